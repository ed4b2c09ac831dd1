"""The report page and the comparison: what they show, say when it is missing, and that text from data stays text."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ner_module.errors import UserError
from ner_module.extras.analysis.analysis import analyse
from ner_module.extras.report import page as page_module
from ner_module.extras.report.figure import lines, points
from ner_module.extras.report.page import write_comparison, write_report

pytestmark = pytest.mark.report

HOSTILE = (
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "<!--<script>",
    "&lt;b&gt;",
    "{{7*7}}",
    "\u2028\u2029",
    "$\\frac{1}{",
)


class _Page(HTMLParser):
    """What a browser would make of a page: its elements, and the text outside style and script."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._within = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "wbr":
            self.text = self.text.removesuffix(" ")
        if tag in ("script", "style"):
            self._within = tag
            if tag == "script":
                self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within == "script":
            self.scripts[-1] += data
        elif not self._within:
            self.text += data + " "

    def rows(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def write_run(folder: Path, sentences: list[tuple[list[str], list[str], list[str]]], **results: Any) -> Path:
    """A run directory with predictions: words, gold tags, predicted tags."""
    (folder / "predictions").mkdir(parents=True)
    with (folder / "predictions" / "test.jsonl").open("w", encoding="utf-8") as file:
        for tokens, gold, predicted in sentences:
            row = {"tokens": tokens, "gold_tags": gold, "predicted_tags": predicted, "scores": [0.5] * len(tokens)}
            file.write(json.dumps(row) + "\n")
    (folder / "results.json").write_text(json.dumps({"scheme": "iob2", "outside_label": "O", **results}))
    return folder


@pytest.mark.parametrize("values", [[0.0], [1e-17, 3e-17], [0.0, 5e-324], [-2.0, -1.0], [1e12, 1.5e12], [7.0, 7.0]])
def test_values_of_any_size_are_drawn(values: list[float]) -> None:
    drawn = lines({"s": [(float(step), value) for step, value in enumerate(values)]})
    kind, _, content = drawn.uri.partition(",")
    assert kind == "data:image/svg+xml;base64"
    picture = base64.b64decode(content).decode()
    assert picture.rstrip().endswith("</svg>")
    assert "nan" not in picture.lower()
    assert drawn == lines({"s": [(float(step), value) for step, value in enumerate(values)]})
    visible = [f"s {value:.4g}, step {step}" for step, value in enumerate(values) if value >= 0]
    assert [text for _, _, text in drawn.dots] == visible


@pytest.fixture(scope="module")
def hostile_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run whose words, types, file names and messages are markup."""
    kind = HOSTILE[1].replace(" ", "")
    sentences = [([word, "in", word], ["O", "O", f"B-{kind}"], [f"B-{kind}", "O", "O"]) for word in HOSTILE]
    epoch = {"epoch": 1.0, "step": 5, "train/loss": 1.0, "val/loss": 1.0, "val/f1": 0.0, f"val/f1/{kind}": 0.0}
    run = write_run(
        tmp_path_factory.mktemp("hostile") / "<i>run",
        sentences,
        epochs=[epoch],
        health=[{"code": "x", "step": 1, "message": HOSTILE[0], "advice": HOSTILE[1]}],
        environment={"command": HOSTILE[0], "data": {HOSTILE[1]: {"sources": [HOSTILE[0]], "sha256": ["0"]}}},
        throughput={HOSTILE[0]: 1.0},
    )
    finding = {"severity": HOSTILE[1], "count": 1, "message": HOSTILE[0], "advice": HOSTILE[2]}
    example = {"file": HOSTILE[0], "line": 3}
    (run / "audit.json").write_text(json.dumps({"findings": [finding | {"example": example}]}))
    (run / "config.yaml").write_text(f"model: {{model_name_or_path: '{HOSTILE[0]}'}}\n")
    (run / "train_entities.json").write_text(json.dumps({kind: {HOSTILE[0]: 1}}))
    return write_report(run)


def test_hostile_text_is_only_text(hostile_report: Path) -> None:
    page = _Page(hostile_report)
    assert len(page.scripts) == 2, "the errors' JSON and the page's own script"
    assert not any(tag in ("i", "b", "iframe", "link", "svg") for tag, _ in page.elements)
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert pictures
    assert all((each["src"] or "").startswith("data:image/svg+xml;base64,") for each in pictures)
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    data = json.loads(page.scripts[0])
    assert [text["w"][0] for text in data] == list(HOSTILE)
    assert page.text.count(HOSTILE[0]) >= 6, "facts, health, environment, audit, configuration, throughput"


def test_the_page_asks_for_nothing(hostile_report: Path) -> None:
    page = _Page(hostile_report)
    policy = next(a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    for tag, attributes in page.elements:
        assert "style" not in attributes, "the policy would not let it through"
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#"), (tag, attributes)
    source = hostile_report.read_text(encoding="utf-8")
    assert "url(" not in source
    assert "@import" not in source


def test_accessible_structure(hostile_report: Path) -> None:
    page = _Page(hostile_report)
    tables = page.rows("table")
    assert tables > 8
    assert page.rows("caption") == tables
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in page.elements if tag == "th")
    identifiers = [a["id"] for _, a in page.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    for tag, attributes in page.elements:
        if tag == "a":
            assert (attributes["href"] or "").removeprefix("#") in identifiers
        if tag == "img":
            assert attributes["alt"]


def test_after_fit_alone_it_reports_validation_and_says_what_is_missing(trained_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(
        trained_run, run, ignore=shutil.ignore_patterns("predictions", "checkpoints", "report.*", "audit.json")
    )
    found = json.loads((run / "results.json").read_text())
    del found["throughput"], found["checksum"]
    (run / "results.json").write_text(json.dumps(found))
    page = _Page(write_report(run))
    best = max(row["val/f1"] for row in found["epochs"])
    assert f"{best:.4f}" in page.text
    assert "F1 on validation data" in page.text
    for said in ("Not tested yet", "need predictions", "no audit.json", "throughput"):
        assert said in page.text
    assert [a["alt"] for tag, a in page.elements if tag == "img"] == [
        f"Plot: {title}" for title in ("Loss", "Validation scores", "Learning rate", "Gradient norm", "F1 by type")
    ]


def test_numbers_are_those_of_the_analysis(trained_run: Path, tmp_path: Path, run_main: Callable[..., Any]) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    run_main("test", "--run_dir", run, "--ckpt_path", "best")
    page = _Page(run / "report.html")  # written by `test` itself
    report = analyse(run, "test")
    for _, interval in report.by_type.values():
        assert f"{interval.value:.4f}" in page.text
        assert f"{interval.low:.4f} to {interval.high:.4f}" in page.text
    texts = json.loads(page.scripts[0])
    written = [json.loads(line) for line in (run / "predictions" / "test_errors.jsonl").open(encoding="utf-8")]
    found = [(text["s"], text["f"], error["c"]) for text in texts for error in text["e"]]
    assert found == [(row["sentence"], f"{row['file']}:{row['line']}", row["error"]) for row in written]
    for row in written:
        first = Path(row["file"]).read_text(encoding="utf-8").splitlines()[row["line"] - 1].split()[0]
        assert first == row["tokens"][0]
    assert f"{len(written)} errors on test data" in page.text


def test_a_training_that_ends_at_its_best_is_said(tmp_path: Path) -> None:
    rows = [{"epoch": e, "step": 5 * e, "train/loss": 1.0, "val/loss": 1.0, "val/f1": e / 10} for e in (1.0, 2.0, 3.0)]
    for name, epochs in (("rising", rows), ("falling", [*rows, rows[0] | {"epoch": 4.0, "step": 20}])):
        run = write_run(tmp_path / name, [(["Ada"], ["B-PER"], ["B-PER"])], epochs=epochs, test={"test/f1": 0.5})
        assert ("F1 on validation data was still rising" in _Page(write_report(run)).text) == (name == "rising")


def test_f1_of_zero_is_said(tmp_path: Path) -> None:
    epoch = {"epoch": 3.0, "step": 6, "train/loss": 2.0, "val/loss": 2.0, "val/f1": 0.0, "val/precision": 0.0}
    run = write_run(tmp_path / "run", [(["Ada"], ["B-PER"], ["O"])], epochs=[epoch], test={"test/f1": 0.0})
    text = _Page(write_report(run)).text
    assert "F1 is 0: not one entity is entirely right. The training had 6 steps." in " ".join(text.split())
    assert "no entity was predicted" in text


def test_long_sentences_are_shown_around_the_error(tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(500)]
    tags = ["O"] * 500
    gold = [*tags[:250], "B-PER", "I-PER", *tags[252:]]
    run = write_run(tmp_path / "run", [(words, gold, tags), (words[:80], ["B-PER", *tags[:79]], tags[:80])])
    data = page_module.errors_by_text(analyse(run, "test"))
    first, second = data
    start, end, kind = first["e"][0]["g"]
    assert (first["w"][start:end], kind) == (["w250", "w251"], "PER")
    assert (first["a"], first["z"], len(first["w"])) == (210, 208, 82)
    assert (second["a"], second["z"], len(second["w"])) == (0, 0, 80)


def test_a_sentence_with_several_errors_is_shown_once(tmp_path: Path) -> None:
    sentence = (["Ada", "met", "Bob", "in", "Rome"], ["B-PER", "O", "B-PER", "O", "B-LOC"], ["O"] * 4 + ["B-PER"])
    [text] = page_module.errors_by_text(analyse(write_run(tmp_path / "run", [sentence]), "test"))
    assert [error["c"] for error in text["e"]] == ["missed", "missed", "wrong type"]


def test_more_errors_than_a_page_should_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MOST_ERRORS", 20)
    run = write_run(tmp_path / "run", [(["Ada"], ["B-PER"], ["O"])] * 21)
    page = _Page(write_report(run))
    assert sum(len(text["e"]) for text in json.loads(page.scripts[0])) == 20
    assert "21 errors on test data ; the first 20 are here" in page.text.replace("data; ", "data ; ")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("results.json", "{", "results.json: the file is damaged"),
        ("results.json", "[]", "is not a JSON object"),
        ("audit.json", "nope", "audit.json: the file is damaged"),
        ("config.yaml", "a: [", "invalid YAML"),
        ("predictions/test.jsonl", "{}", ":1: tokens: Field required"),
    ],
)
def test_damaged_files(tmp_path: Path, run_main: Callable[..., Any], name: str, content: str, message: str) -> None:
    run = write_run(tmp_path / "run", [(["Ada"], ["B-PER"], ["B-PER"])])
    (run / name).write_text(content)
    with pytest.raises(UserError, match=re.escape(message)):
        write_report(run)
    assert not (run / "report.html").exists()
    outcome = run_main("report", run, check=False)
    assert outcome.code == 1
    assert len(outcome.errors()) == 1


def test_a_split_without_predictions_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [(["Ada"], ["B-PER"], ["B-PER"])])
    with pytest.raises(UserError, match=r"validation\.jsonl: the predictions cannot be read.*`.* validate` writes it"):
        write_report(run, split="validation")


def test_no_run(tmp_path: Path, run_main: Callable[..., Any]) -> None:
    (tmp_path / "empty").mkdir()
    for asked, said in (("nowhere", "no such run directory"), ("empty", "holds no results.json")):
        outcome = run_main("report", asked, check=False)
        assert outcome.code == 1
        assert said in outcome.errors()[0]


def test_runs_side_by_side(tmp_path: Path, run_main: Callable[..., Any]) -> None:
    words = (["Ada", "slept"], ["B-PER", "O"])
    good = [(*words, ["B-PER", "O"])] * 40 + [(*words, ["O", "O"])] * 10
    bad = [(*words, ["B-PER", "O"])] * 10 + [(*words, ["O", "O"])] * 40
    epochs = [{"epoch": 1.0, "step": 5, "train/loss": 1.0, "val/loss": 1.0, "val/f1": 0.5}]
    for name, sentences, rate in (("a", good, 1), ("b", bad, 2), ("c", good, 1)):
        run = write_run(tmp_path / name, sentences, epochs=epochs, test={"test/f1": 0.5})
        (run / "config.yaml").write_text(f"model: {{learning_rate: {rate}}}\ntrainer: {{max_epochs: 3}}\n")
    outcome = run_main("report", "a", "b", "c", "--output", "pages/side.html")
    assert "Report: pages/side.html" in outcome.out
    text = " ".join(_Page(tmp_path / "pages" / "side.html").text.split())
    f1_difference = 2 * 10 / 60 - 2 * 40 / 90
    assert f"B minus A {f1_difference:+.4f}" in text
    assert "C minus A +0.0000" in text
    assert "model.learning_rate" in text
    assert "trainer.max_epochs" not in text, "only what differs"
    assert "Errors that run B fixes and introduces, compared with A" in text
    assert "PER – – 30 –" in text or "PER 0 0 30 0" in text, "B loses 30 entities that A finds"
    assert "C compared with A" not in text


def test_runs_that_cannot_be_tested_against_each_other(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", [(["Ada"], ["B-PER"], ["B-PER"])])
    b = write_run(tmp_path / "b", [(["Bob"], ["B-PER"], ["B-PER"])])
    page = tmp_path / "x.html"
    write_comparison([a, b], page)
    assert "other words than in" in _Page(page).text
    shutil.rmtree(b / "predictions")
    write_comparison([a, b], page)
    assert "which run B does not have" in _Page(page).text


def test_a_loss_that_was_not_a_number_is_no_point() -> None:
    """``results.json`` holds null there."""
    rows: list[Any] = [{"step": 1, "val/loss": 0.0}, {"step": 2, "val/loss": None}, {"step": 3}]
    assert points(rows, "val/loss") == [(1, 0.0)]
