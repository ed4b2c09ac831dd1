"""Lines of progress where there is no terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ner_module.__main__ import main
from ner_module.callbacks import prediction_progress, progress


def test_every_stage_prints_lines(
    fit_options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(prediction_progress, "_SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.txt").write_text("one line\nanother\n")
    expected: dict[Callable[[], int], str] = {
        lambda: main(["fit", *fit_options, "--run_dir", "run"]): r"epoch 2/2  batch 8/8  loss \d+\.\d{4}  .* 0:00 left",
        lambda: main(["validate", "--run_dir", "run", "--ckpt_path", "best"]): r"validating  batch 1/1",
        lambda: main(["test", "--run_dir", "run", "--ckpt_path", "best"]): r"testing  batch 1/1",
        lambda: main(
            ["predict", "--run_dir", "run", "--ckpt_path", "best", "--data.predict_file", "in.txt"]
        ): r"predicting  2/2 sentences  [\d,]+ sentences/s  0:00 left",
    }
    for run, pattern in expected.items():
        assert run() == 0
        captured = capfd.readouterr()
        assert re.search(pattern, captured.err), captured.err
        assert "batches/s" not in captured.out, "standard output is for results"
