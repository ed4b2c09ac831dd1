"""Lines of progress where there is no terminal."""

from __future__ import annotations

import io
import pty
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ner_module.__main__ import main
from ner_module.errors import for_terminal
from ner_module.training import progress


def test_every_stage_prints_lines(
    fit_options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.txt").write_text("one line\nanother\n")
    expected: dict[Callable[[], int], str] = {
        lambda: main(["fit", *fit_options, "--run_dir", "run"]): r"epoch 2/2  batch 8/8  loss \d+\.\d{4}  .* 0:00 left",
        lambda: main(["validate", "--run_dir", "run", "--ckpt_path", "best"]): r"validating  batch 1/1",
        lambda: main(["test", "--run_dir", "run", "--ckpt_path", "best"]): r"testing  batch 1/1",
        lambda: main(
            ["predict", "--run_dir", "run", "--ckpt_path", "best", "--data.predict_file", "in.txt"]
        ): r"predicting  2/2 sentences  [\d,.]+ sentences/s  0:00 left",
    }
    for run, pattern in expected.items():
        assert run() == 0
        captured = capfd.readouterr()
        if "epoch 1/2" in captured.err:
            assert re.search(r"epoch 1/2  batch 8/8  .* 0:00 left, \d:\d\d of the training", captured.err)
        assert re.search(pattern, captured.err), captured.err
        assert "batches/s" not in captured.out, "standard output is for results"


def test_the_rate_of_a_resumed_epoch_counts_its_own_batches(
    fit_options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not the time since the machine was started, nor the batches of the run before."""
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *fit_options, "--run_dir", "run", "--save_every_steps", "3", "--save_every_minutes", "0"]) == 0
    (tmp_path / "run" / "checkpoints" / "last.ckpt").unlink()
    capfd.readouterr()
    assert main(["fit", "--run_dir", "run", "--ckpt_path", "last"]) == 0
    first = next(line for line in capfd.readouterr().err.splitlines() if line.startswith("epoch 2/2  batch "))
    assert not first.startswith("epoch 2/2  batch 1/"), "in the middle of the epoch"
    rate = re.search(r"([\d.]+) (batches/s|s/batch)", first)
    assert rate is not None
    assert float(rate[1]) > 0.5 if rate[2] == "batches/s" else float(rate[1]) < 2


def test_on_a_terminal_prose_is_wrapped_between_words_and_commands_are_not() -> None:
    command = f"see all: python -m ner_module audit --config {'x' * 80}"
    prose = "warning: " + "entities " * 30
    ours, theirs = pty.openpty()
    with open(ours, "rb"), open(theirs, "w") as terminal:  # noqa: PTH123
        wrapped = for_terminal(f"{prose}\n{command}\n\x1b[2J", terminal).split("\n")
    assert wrapped[-2:] == [command, "\\x1b[2J"]
    assert all(len(line) <= 80 and not line.startswith("   ") for line in wrapped[:-2])
    assert " ".join(" ".join(wrapped[:-2]).split()) == prose.strip()
    assert for_terminal(prose, io.StringIO()) == prose, "a file may have lines of any length"
