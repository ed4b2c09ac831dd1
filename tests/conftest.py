"""What many tests need: tiny models, small corpora, and the program as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "ner_module" / "data" / "sample"

sys.path.insert(0, str(Path(__file__).parent))

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that wants a hub starts one of its own
os.environ.setdefault("WANDB_MODE", "offline")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of tokenised data for this test session only."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("NER_MODULE_CACHE", str(folder))
    return folder


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
    """A folder with ``train.conll`` (120 sentences), ``validation.conll`` and ``test.conll`` (30 each)."""
    folder = tmp_path_factory.mktemp("corpus")
    for split, count in (("train", 120), ("validation", 30), ("test", 30)):
        text = (SAMPLE / f"{split}.conll").read_text(encoding="utf-8")
        sentences = [part for part in text.split("\n\n") if part.strip() and not part.startswith("-DOCSTART-")]
        (folder / f"{split}.conll").write_text("\n\n".join(sentences[:count]) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def program(tmp_path: Path, cache: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
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

    yield run


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
