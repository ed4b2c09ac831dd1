"""What many tests need: tiny models, small corpora, and the program as a user runs it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from ner_module import offers
from ner_module.data.formats import ReadingOptions, Sentence, read_sentences
from ner_module.errors import DataError

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "ner_module" / "data" / "sample"

for folder in ("extras/audit", "unit", ""):  # modules that tests share
    sys.path.insert(0, str(Path(__file__).parent / folder))

# The fast tests draw the same examples each time, and pass or fail alike everywhere; `make test-all` draws new ones.
settings.register_profile("same", derandomize=True)
settings.register_profile("new")
settings.load_profile("same")  # `--hypothesis-profile new` draws other examples

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that wants a hub starts one of its own
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of tokenised data for this test session only."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("NER_MODULE_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def without_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings in this process draw no report, which is half the time of a small one; a test marked `report` does."""
    if request.node.get_closest_marker("report") is None:
        found = offers.find_offers()
        changed = {"report": replace(found["report"], callbacks=None)} if "report" in found else {}
        monkeypatch.setattr(offers, "find_offers", lambda: found | changed)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``tiny_model("bert-uncased")`` -> the folder of a tiny random model; made once."""
    from tiny_models import make_tiny_model

    folder = tmp_path_factory.mktemp("models")
    made: dict[str, Path] = {}

    def make(family: str = "bert-uncased") -> Path:
        if family not in made:
            made[family] = make_tiny_model(family, folder / family, max_positions=66)
        return made[family]

    return make


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``train.conll`` (120 sentences), ``validation.conll`` and ``test.conll`` (30 each).

    Short ones, that fit the tiny models in one row: 16 sentences of a batch are 16 rows.
    """
    folder = tmp_path_factory.mktemp("corpus")
    for split, count in (("train", 120), ("validation", 30), ("test", 30)):
        text = (SAMPLE / f"{split}.conll").read_text(encoding="utf-8")
        sentences = [part for part in text.split("\n\n") if part.strip() and not part.startswith("-DOCSTART-")]
        short = [part for part in sentences if part.count("\n") < 12]
        (folder / f"{split}.conll").write_text("\n\n".join(short[:count]) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def program(tmp_path: Path, cache: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``program("fit", "--run_dir", …)`` runs ``python -m ner_module`` in an empty folder of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}

    def run(*arguments: object, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "ner_module", *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=200,
            check=False,
        )
        if check and done.returncode != 0:
            pytest.fail(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    return run


@pytest.fixture
def fit_options(tiny_model: Callable[..., Path], corpus: Path) -> list[str]:
    """The options of a quick training: tiny model, small corpus, two epochs of 8 steps."""
    return [
        "--model.model_name_or_path",
        str(tiny_model()),
        "--data.train_file",
        str(corpus / "train.conll"),
        "--data.validation_file",
        str(corpus / "validation.conll"),
        "--data.test_file",
        str(corpus / "test.conll"),
        "--trainer.max_epochs",
        "2",
        "--model.learning_rate",
        "3e-3",
    ]


@dataclass(frozen=True)
class Outcome:
    """What one command did: its exit code and what it printed."""

    code: int
    out: str
    err: str

    def errors(self) -> list[str]:
        """The lines that begin with ``error: ``."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


def run_in_process(arguments: Iterable[object], folder: Path, cache: Path, stdin: bytes = b"") -> Outcome:
    """Run a command of the program in this process, as if typed in ``folder``: importing torch takes seconds."""
    import torch

    from ner_module.__main__ import main

    saved_environment, saved_stdin, saved_threads = dict(os.environ), sys.stdin, torch.get_num_threads()
    torch.set_num_threads(1)  # the models here are too small for more
    os.environ["NER_MODULE_CACHE"] = str(cache)
    os.environ["COLUMNS"] = "120"
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main([str(argument) for argument in arguments])
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else 1
            except Exception:
                traceback.print_exc()  # what Python itself would print
                code = 1
    finally:
        sys.stdin = saved_stdin
        torch.set_num_threads(saved_threads)
        os.environ.clear()
        os.environ.update(saved_environment)
    return Outcome(code, out.getvalue(), err.getvalue())


@pytest.fixture
def run_main(tmp_path: Path, cache: Path) -> Callable[..., Outcome]:
    """``run_main("fit", "--run_dir", …)`` is ``program`` in this process; it expects success unless ``check=False``."""

    def run(*arguments: object, check: bool = True, stdin: bytes = b"", cwd: Path = tmp_path) -> Outcome:
        outcome = run_in_process(arguments, cwd, cache, stdin)
        if check and outcome.code != 0:
            pytest.fail(f"exit code {outcome.code}\n{outcome.out}\n{outcome.err}")
        return outcome

    return run


@pytest.fixture(scope="session")
def trained_run(tiny_model: Callable[..., Path], corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run that knows ``train.conll`` by heart; tests copy it before they change it.

    Its test data is two thirds of training sentences (found) and one third of others (mostly not), so that scores
    are neither 0 nor 1.
    """
    folder = tmp_path_factory.mktemp("trained")
    train = (corpus / "train.conll").read_text(encoding="utf-8").split("\n\n")
    test = (corpus / "test.conll").read_text(encoding="utf-8")
    (folder / "mixed.conll").write_text("\n\n".join([*train[:60], test]), encoding="utf-8")
    outcome = run_in_process(
        [
            *("fit", "--run_dir", folder / "run", "--model.model_name_or_path", tiny_model()),
            *("--data.train_file", corpus / "train.conll", "--data.validation_file", corpus / "train.conll"),
            *("--data.test_file", folder / "mixed.conll", "--data.batch_size", 8, "--trainer.max_epochs", 20),
            *("--model.learning_rate", "1e-2", "--model.dropout", 0, "--model.warmup_ratio", 0.1),
        ],
        folder,
        tmp_path_factory.getbasetemp() / "cache",
    )
    assert outcome.code == 0, outcome.err
    return folder / "run"


# ---------------------------------------------------------------------- reading files


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[Sentence]]:
    """``read(content)`` writes a text, or records as JSONL, and reads it."""

    def run(content: Any, name: str = "x.jsonl", span_counts: Any = None, **options: Any) -> list[Sentence]:
        path = tmp_path / name
        if not isinstance(content, str):
            content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in content)
        path.write_bytes(content.encode())
        return list(read_sentences(path, ReadingOptions(**options), span_counts))

    return run


@pytest.fixture
def refused(read: Callable[..., Any]) -> Callable[..., DataError]:
    """``refused(content)`` is the error of reading it."""

    def run(content: Any, *arguments: Any, **options: Any) -> DataError:
        with pytest.raises(DataError) as caught:
            read(content, *arguments, **options)
        return caught.value

    return run


def words_and_tags(sentences: Iterable[Sentence]) -> list[tuple[list[str], list[str] | None]]:
    """What is compared of sentences."""
    return [(sentence.tokens, sentence.tags) for sentence in sentences]
