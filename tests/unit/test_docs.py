"""The pages tell the truth: commands, options, files, configurations, data examples, error messages and Python code.

Every Markdown page of the repository is read. Links between built pages are checked by `docs/check_pages.py`, which is
tested here, too; the README's file tree in `test_readme.py`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from http.server import HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from conftest import Outcome, run_in_process
from tiny_models import FAMILIES

from ner_module.data import formats
from ner_module.data.formats import ReadingOptions, Sentence, read_sentences
from ner_module.errors import DataError
from ner_module.help import COMMANDS
from ner_module.offers import find_commands
from ner_module.tagging import SCHEMES, Span, spans_to_tags, tags_to_spans
from ner_module.training.results import EPOCH_COLUMNS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]

_COMMAND = re.compile(r"(?:python|bin/python) -m ner_module ((?:\\\n|[^`\n|>;:])*)")
_FOLDERS = ("configs", "ner_module", "docs", "tests", "benchmarks", "docker")
_FILE = re.compile(rf"(?<![\w/.-])((?:{'|'.join(_FOLDERS)})/[\w./-]*\w)")

every_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@cache
def _help(command: str) -> str:
    """The whole help of a command: what its parser knows."""
    outcome = run_in_process([command, "--help-all" if command in COMMANDS else "--help"], ROOT, ROOT / "build")
    assert outcome.code == 0, outcome.err
    return outcome.out


def _is_known(option: str, command: str) -> bool:
    """Whether a parser has an option, or one that holds it (``--trainer.logger.init_args.project``)."""
    name = option.partition("=")[0].rstrip("+").removesuffix(".help")
    while name:
        if re.search(rf"{re.escape(name)}(?![\w.-])", _help(command)):
            return True
        name = name.rpartition(".")[0]
        if name in ("--data", "--model", "--trainer"):
            return False
    return False


@every_page
def test_commands_and_their_options_exist(page: Path) -> None:
    for found in _COMMAND.finditer(_text(page)):
        words = shlex.split(found[1].replace("\\\n", " ").replace("…", ""), comments=True, posix=True)
        command = next((word for word in words if not word.startswith("-")), "")
        if command in ("", "COMMAND"):
            continue
        assert command in (*COMMANDS, *find_commands()), (
            f"{page.name} names the command {command!r}, which does not exist"
        )
        options = [word for word in words if word.startswith("--")]
        unknown = [option for option in options if not _is_known(option, command)]
        assert not unknown, f"{page.name}: `{command}` has no {', '.join(unknown)}"


@every_page
def test_options_and_files_in_running_text_exist(page: Path) -> None:
    text = _text(page)
    for option in set(re.findall(r"--(?:data|model|trainer)\.[a-z_.]*[a-z_]", text)):
        assert _is_known(option, "fit"), f"{page.name} names {option}, which does not exist"
    for name in set(_FILE.findall(text)):
        if "/mine" not in name and name != "ner_module/data/formats/pairs.py":  # which readers make themselves
            assert (ROOT / name).exists(), f"{page.name} names {name}, which does not exist"


@every_page
def test_targets_of_make_and_parts_of_the_package_exist(page: Path) -> None:
    targets = set(re.findall(r"(?:^ {4}|`)make ([a-z-]+)", _text(page), re.MULTILINE))
    command = ["make", "--dry-run", f"PYTHON={sys.executable}", *sorted(targets)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{page.name}: {done.stderr}"
    extras = tomllib.loads(_text(ROOT / "pyproject.toml"))["project"]["optional-dependencies"]
    assert set(re.findall(r"pip install -e '\.\[(\w+)\]'", _text(page))) <= set(extras)


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", _text(page)):
        if "://" not in target:
            assert (page.parent / target).exists(), f"broken link: {target}"


@every_page
def test_yaml_blocks_are_configurations(page: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", _text(page), re.DOTALL):
        content = yaml.safe_load(block)
        assert isinstance(content, dict)
        for section in ("data", "model", "trainer"):
            for name in content.get(section, {}):
                assert _is_known(f"--{section}.{name}", "fit"), f"{page.name}: {section}.{name} does not exist"


@every_page
def test_python_blocks_compile(page: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", _text(page), re.DOTALL):
        if not block.startswith(" "):  # a piece of a function
            compile(block, str(page), "exec")


# ---------------------------------------------------------------------- data.md


def _examples(kind: str) -> dict[str, str]:
    """The blocks of data.md that are marked as ``<!-- kind: name -->``: name -> content."""
    pattern = rf"<!-- {kind}: (\S+) -->\n```\w+\n(.*?)```"
    return dict(re.findall(pattern, _text(DOCS / "data.md"), re.DOTALL))


WRONG = _examples("error")
RIGHT = sorted({name.partition("/")[0] for name in _examples("file") if name not in WRONG})


@pytest.fixture
def data_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with every example of data.md."""
    for name, content in _examples("file").items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_examples() -> None:
    assert len(RIGHT) >= 8
    assert len(WRONG) >= 4


@pytest.mark.parametrize("name", RIGHT)
def test_data_examples_hold_the_same_sentence(name: str, data_files: Path) -> None:
    [sentence] = read_sentences(Path(name))
    assert sentence.tags is not None
    entities = {(kind, " ".join(sentence.tokens[start:end])) for start, end, kind in tags_to_spans(sentence.tags)}
    assert entities == {("PER", "Ada Lovelace"), ("LOC", "Lincoln")}
    assert " ".join(sentence.tokens) == "Ada Lovelace met the mayor of Lincoln ."


@pytest.mark.parametrize("name", sorted(WRONG))
def test_data_errors_read_as_shown(name: str, data_files: Path) -> None:
    with pytest.raises(DataError) as error:
        list(read_sentences(Path(name)))
    assert f"error: {error.value}\n" == WRONG[name]


def test_the_schemes_are_written_as_shown() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| (\S+) \| (\S+) \|$", _text(DOCS / "data.md"), re.MULTILINE)
    shown = {scheme: cells for scheme, *cells in rows}
    assert set(shown) == set(SCHEMES)
    spans = [Span(0, 2, "PER"), Span(2, 3, "PER")]
    for scheme, cells in shown.items():
        units = [Span(word, word + 1, "PER") for word in range(3)] if scheme == "flat" else spans
        assert cells == spans_to_tags(units, 3, scheme), scheme


# ---------------------------------------------------------------------- configs.md, models.md


def test_every_recipe_overlay_and_column_is_explained() -> None:
    text = _text(DOCS / "configs.md")
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        assert f"`configs/{path.name}`" in text, f"docs/configs.md does not name {path.name}"
    for column, key in EPOCH_COLUMNS:
        assert f"| {column.title} | `{key}` |" in text, f"docs/configs.md does not explain the column {column.title}"


def test_every_tested_family_is_named() -> None:
    text = _text(DOCS / "models.md").lower()
    for family in FAMILIES:
        name = family.removesuffix("-uncased").removesuffix("-cased")
        assert f"| {name} " in text, f"docs/models.md does not name {family}"


# ---------------------------------------------------------------------- python.md


def test_python_page_runs(
    run_main: Callable[..., Outcome],
    fit_options: list[str],
    corpus: Path,
    tiny_model: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All blocks, one after the other, as a reader would type them; printed values are those of the comments.

    The server answers one request; the spaCy component runs where spaCy is installed.
    """
    run_main("fit", *fit_options, "--run_dir", "runs/mine", "--trainer.max_epochs", 1)
    shutil.copytree(corpus, tmp_path / "data")
    shutil.copytree(tiny_model(), tmp_path / "models" / "base")
    monkeypatch.chdir(tmp_path)
    printed: list[str] = []
    space: dict[str, Any] = {"print": lambda *values: printed.append(" ".join(map(str, values)))}
    checked = 0
    answers: list[Any] = []
    for block in re.findall(r"```python\n(.*?)```", _text(DOCS / "python.md"), re.DOTALL):
        printed.clear()
        if "import spacy" in block and importlib.util.find_spec("spacy") is None:
            continue
        if "serve_forever" in block:
            block = block.replace("8000", "0").replace("server.serve_forever()", "")
        exec(compile(block, "docs/python.md", "exec"), space)
        expected = re.findall(r"^print\(.*\)  # (.*)$", block, re.MULTILINE)
        if "HTTPServer" in block:
            answers = _answers(space["server"], ["Ada Lovelace slept.", "No one did."])
        if expected:
            assert printed == expected
            checked += len(expected)
    assert checked >= 2
    assert [answer["text"] for answer in answers] == ["Ada Lovelace slept.", "No one did."]
    assert all(isinstance(answer["entities"], list) for answer in answers)
    assert set(space["trainer"].callback_metrics) >= {"val/f1", "val/loss"}
    assert isinstance(space["entities"], list)


def _answers(server: HTTPServer, texts: list[str]) -> Any:
    """What the server of the page answers to one request."""
    thread = Thread(target=server.handle_request)
    thread.start()
    try:
        with urlopen(f"http://127.0.0.1:{server.server_port}", json.dumps(texts).encode(), timeout=60) as response:
            return json.loads(response.read())
    finally:
        thread.join()
        server.server_close()


# ---------------------------------------------------------------------- cli.md


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (["do"], ["doctor"]),
        (["fit", "--config", "x.yaml", "--data.train"], ["--data.train_file"]),
        (["convert", "--over"], ["--overwrite"]),
        (["fit", "my/tr"], []),  # bash itself completes names of files
    ],
    ids=" ".join,
)
def test_the_tab_key_completes(typed: list[str], completed: list[str], tmp_path: Path) -> None:
    [code] = re.findall(r"```bash\n(.*?)```", _text(DOCS / "cli.md"), re.DOTALL)
    program = tmp_path / "ner-module"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m ner_module "$@"\n', "utf-8")
    program.chmod(0o755)
    words = " ".join(map(shlex.quote, ["ner-module", *typed]))
    script = f'{code}COMP_WORDS=({words}) COMP_CWORD={len(typed)}\n_ner_module\necho "${{COMPREPLY[@]}}"'
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (completed, "")


# ---------------------------------------------------------------------- docs/check_pages.py


@pytest.fixture
def problems() -> Callable[[Path], list[str]]:
    spec = importlib.util.spec_from_file_location("check_pages", DOCS / "check_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.problems


def test_built_pages_are_checked(tmp_path: Path, problems: Callable[[Path], list[str]]) -> None:
    good = '<h1 id="top">x</h1><a href="b.html#place">b</a><a href="https://x.org/y">out</a><img src="p.png">'
    (tmp_path / "a.html").write_text(good, encoding="utf-8")
    (tmp_path / "b.html").write_text('<p id="place"><a href="#place">here</a>', encoding="utf-8")
    (tmp_path / "p.png").write_bytes(b"")
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('<a href="c.html">', "broken link c.html"),
        ('<a href="a.html#nowhere">', "no such place a.html#nowhere"),
        ('<a href="#nowhere">', "no such place #nowhere"),
        ('<a href="../outside.html">', "broken link ../outside.html"),
        ('<img src="p.png">', "broken link p.png"),
        ('<script src="https://cdn.org/x.js"></script>', "loads https://cdn.org/x.js"),
        ('<link rel="stylesheet" href="//fonts.org/f.css">', "loads //fonts.org/f.css"),
        ('<p style="background: url(https://x.org/i.png)">', "loads https://x.org/i.png"),
    ],
)
def test_what_is_wrong_with_built_pages_is_said(
    line: str, said: str, tmp_path: Path, problems: Callable[[Path], list[str]]
) -> None:
    (tmp_path.parent / "outside.html").write_text("", encoding="utf-8")
    (tmp_path / "a.html").write_text(line, encoding="utf-8")
    assert [problem.partition(": ")[2] for problem in problems(tmp_path.resolve())] == [said]


def test_styles_that_load_from_elsewhere_are_found(tmp_path: Path, problems: Callable[[Path], list[str]]) -> None:
    (tmp_path / "a.html").write_text("<p>", encoding="utf-8")
    (tmp_path / "s.css").write_text("@import 'https://fonts.org/f.css'; p { background: url(no.png) }", "utf-8")
    assert len(problems(tmp_path.resolve())) == 2


def test_no_pages_is_a_problem(tmp_path: Path, problems: Callable[[Path], list[str]]) -> None:
    assert problems(tmp_path)


def test_the_reader_of_the_docs_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [code] = re.findall(
        r"```python\n(# ner_module/data/formats/pairs.py\n.*?)```", _text(DOCS / "extending.md"), re.DOTALL
    )
    scope: dict[str, Any] = {}
    exec(code, scope)  # what a reader of the page copies
    monkeypatch.setitem(formats._READERS, "pairs", scope["read_pairs"])
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, "pairs"))
    path = tmp_path / "train.pairs"
    path.write_text('[["Ada", "B-PER"], ["slept", "O"]]\n[["Ada", "B-PER"], ["slept"]]\n', encoding="utf-8")
    sentences = read_sentences(path, ReadingOptions(format="pairs"))
    assert next(sentences) == Sentence(["Ada", "slept"], ["B-PER", "O"], 1)
    with pytest.raises(DataError, match=r"train\.pairs:2: not a list of \[word, tag\] pairs"):
        next(sentences)
