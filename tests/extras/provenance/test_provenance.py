"""Where a model comes from, in ``results.json``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from run_files import results

import ner_module
from ner_module.extras.provenance import callback
from ner_module.files import sha256_of


def test_the_record_of_a_training(trained_run: Path, corpus: Path) -> None:
    record = results(trained_run)["environment"]
    assert list(record) == [
        *("command", "started", "code", "data", "libraries", "python", "platform", "device", "processes", "precision"),
        "seconds",
    ]
    train = record["data"]["train"]
    assert train["sources"] == [str(corpus / "train.conll")]
    assert train["sha256"] == [sha256_of(corpus / "train.conll")]
    assert train["sentences"] == (corpus / "train.conll").read_text(encoding="utf-8").strip().count("\n\n") + 1
    assert record["libraries"]["ner-module"] == ner_module.__version__
    assert record["seconds"] > 0


def test_the_state_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(
            ["git", *author, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    monkeypatch.setattr(ner_module, "__file__", str(tmp_path / "__init__.py"))
    assert callback.code_state() == {"commit": None, "dirty": None}
    (tmp_path / "code.py").write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD").strip()
    assert callback.code_state() == {"commit": commit, "dirty": False}
    (tmp_path / "code.py").write_text("2")
    assert callback.code_state() == {"commit": commit, "dirty": True}
