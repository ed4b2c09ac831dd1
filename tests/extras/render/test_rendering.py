"""Predictions inside their text: terminal, HTML, displaCy, Label Studio, doccano."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from run_files import json_lines

from ner_module.data.formats import read_sentences
from ner_module.extras.render.command import as_text, html_page, terminal_line
from ner_module.tagging import Span, tags_to_spans

ROOT = Path(__file__).parents[3]
TEXT: dict[str, Any] = {
    "text": "Ada <b> met <i>& Bo.",
    "entities": [
        {"type": "PER", "text": "Ada <b>", "start": 0, "end": 7, "score": 0.9},
        {"type": 'A"<i>', "text": "Bo", "start": 17, "end": 19, "score": 0.5},
    ],
}
WORDS: dict[str, Any] = {
    "tokens": ["in", "New", "York", ""],
    "entities": [{"type": "LOC", "text": "New York", "start": 1, "end": 3, "score": 0.7}],
}
EMPTY: dict[str, Any] = {"text": "", "entities": []}


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.paragraphs: list[str] = []
        self.marked: list[str] = []
        self.addresses: list[str] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "p":
            self.paragraphs.append("")
        if tag == "mark" and "p" in self._open:
            self.marked.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "b" in self._open:  # the type's name beside a mention
            return
        if "p" in self._open:
            self.paragraphs[-1] += data
            if "mark" in self._open:
                self.marked[-1] += data


def test_html_holds_the_text_and_nothing_else() -> None:
    page = Page(html_page([as_text(TEXT), as_text(WORDS), as_text(EMPTY)]))
    assert page.paragraphs == ["Ada <b> met <i>& Bo.", "in New York ", "\u00a0"]
    assert page.marked == ["Ada <b>", "Bo", "New York"]
    assert "i" not in page.tags
    assert "script" not in page.tags
    assert page.addresses == []


def test_types_differ_in_colour() -> None:
    names = ("PER", "ORG", "LOC", "MISC", "person", "location", "group", "product")
    row = {
        "text": "x" * 8,
        "entities": [{"type": n, "text": "x", "start": i, "end": i + 1} for i, n in enumerate(names)],
    }
    assert len({span.style for span in terminal_line(row, {}).spans}) == 16
    assert all(f'class="c{index}"' in html_page([row]) for index in range(8))
    many = {**row, "entities": [{**entity, "type": entity["type"] + "2"} for entity in row["entities"]]}
    assert html_page([row, many]).count("<mark ") == 32, "more types than colours: they come round again"


def test_html_without_texts() -> None:
    assert "0 entities in 0 texts" in html_page([])


def test_terminal() -> None:
    assert terminal_line(as_text(TEXT), {}).plain == "Ada <b> met <i>& Bo.".replace("Ada <b>", "[Ada <b> PER]").replace(
        "Bo", '[Bo A"<i>]'
    )
    assert terminal_line(as_text(WORDS), {}).plain == "in [New York LOC] "
    assert terminal_line(as_text(EMPTY), {}).plain == ""


@pytest.mark.parametrize(
    "entity", [{"start": 3, "end": 99}, {"start": -1, "end": 2}, {"start": 2, "end": 2}, {"start": 1, "end": 5}]
)
def test_entities_must_lie_in_the_text(entity: dict[str, int]) -> None:
    row = {"text": TEXT["text"], "entities": [TEXT["entities"][0], {"type": "PER", "text": "x", **entity}]}
    with pytest.raises(ValueError, match="overlaps another one, or lies outside the text"):
        as_text(row)


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    path = tmp_path / "found.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (TEXT, WORDS, EMPTY)), encoding="utf-8")
    return path


def test_displacy(run_main: Callable[..., Any], predictions: Path, tmp_path: Path) -> None:
    run_main("render", predictions, "out.json", "--to", "displacy")
    rows = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [row["text"] for row in rows] == [TEXT["text"], "in New York ", ""]
    assert rows[1]["ents"] == [{"start": 3, "end": 11, "label": "LOC"}]


@pytest.mark.parametrize("target", ["label-studio", "doccano"])
def test_annotation_tools_give_the_entities_back(
    run_main: Callable[..., Any], predictions: Path, tmp_path: Path, target: str
) -> None:
    """Read by this project's own readers of those tools' exports; pre-annotations count as annotations there."""
    run_main("render", predictions, "out.json", "--to", target)
    text = (tmp_path / "out.json").read_text(encoding="utf-8")
    if target == "label-studio":
        tasks = json.loads(text)
        assert tasks[0]["predictions"][0]["score"] == 0.5
        assert all("annotations" not in task for task in tasks)
        # What the tool exports once somebody has accepted them.
        tasks = [{"data": task["data"], "annotations": task["predictions"]} for task in tasks]
        text = json.dumps(tasks)
    back = tmp_path / ("back.json" if target == "label-studio" else "back.jsonl")
    back.write_text(text, encoding="utf-8")
    found = list(read_sentences(back))
    assert [sentence.text for sentence in found][:2] == [TEXT["text"], "in New York "]
    assert tags_to_spans(found[1].tags or []) == [Span(1, 3, "LOC")]


def test_command(run_main: Callable[..., Any], predictions: Path, tmp_path: Path) -> None:
    assert "in [New York LOC]" in run_main("render", predictions).out
    assert "in [New York LOC]" in run_main("render", "-", stdin=predictions.read_bytes()).out
    run_main("render", predictions, "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    done = run_main("render", predictions, "page.html", check=False)
    assert done.errors() == ["error: page.html: the output exists already; choose another name, or add --overwrite"]
    assert run_main("render", predictions, "page.pdf", check=False).code == 1
    predictions.write_text(json.dumps(TEXT) + '\n{"text": "a"}\n', encoding="utf-8")
    done = run_main("render", predictions, "new.html", check=False)
    assert "found.jsonl:2: not a prediction" in done.errors()[0]
    assert not (tmp_path / "new.html").exists()
    assert "no such file" in run_main("render", "nothing.jsonl", check=False).errors()[0]


def test_predictions_are_piped_through(run_main: Callable[..., Any], trained_run: Path, corpus: Path) -> None:
    """``predict … | render -``: the entities of the JSON, inside their text."""
    command = ("predict", "--run_dir", trained_run, "--ckpt_path", "best")
    printed = run_main(*command, "--data.predict_file", corpus / "train.conll").out
    shown = run_main("render", "-", stdin=printed.encode()).out.splitlines()
    assert shown == [terminal_line(as_text(row), {}).plain for row in json_lines(printed)]
    assert sum("PER]" in line for line in shown) > 10


@pytest.mark.parametrize("target", ["terminal", "doccano"])
def test_lines_are_shown_as_they_arrive(target: str) -> None:
    """A line is printed while the pipe is still open."""
    command = [sys.executable, "-m", "ner_module", "render", "-", "--to", target]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", cwd=ROOT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for row in (WORDS, TEXT):
            process.stdin.write(json.dumps(row) + "\n")
            process.stdin.flush()
            assert as_text(row)["text"][:2] in process.stdout.readline()
        process.stdin.close()
        assert process.wait(timeout=60) == 0
