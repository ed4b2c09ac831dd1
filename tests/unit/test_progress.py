"""How far a command is: lines where there is no terminal, and the bar of one."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer

from ner_module.errors import for_terminal
from ner_module.training import progress


def test_every_stage_prints_lines(
    fit_options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_main: Callable[..., Any]
) -> None:
    """The rate of a resumed epoch counts neither the time since the machine was started nor the batches before."""
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    (tmp_path / "in.txt").write_text("one line\nanother\n")
    clock = r"\d\d:\d\d"
    said = run_main("fit", *fit_options, "--run_dir", "run", "--save_every_steps", 3, "--save_every_minutes", 0)
    assert re.search(rf"epoch 1/2  batch 8/8  .* 00:00 left, training {clock}\n", said.err), said.err
    assert re.search(r"epoch 2/2  batch 8/8  loss \d+\.\d{4}  .* 00:00 left\n", said.err), said.err
    assert "batches/s" not in said.out, "standard output is for results"
    for command, line in (("validate", "validating"), ("test", "testing"), ("predict", "predicting")):
        more = ["--data.eval_batch_size", 1, *(["--data.predict_file", "in.txt"] if command == "predict" else [])]
        said = run_main(command, "--run_dir", "run", "--ckpt_path", "best", *more)
        assert re.search(rf"{line}  batch (\d+)/\1  [\d,.]+ (batches/s|s/batch)  00:00 left\n", said.err), said.err
        assert "batches/s" not in said.out

    (tmp_path / "run" / "checkpoints" / "last.ckpt").unlink()
    said = run_main("fit", "--run_dir", "run", "--ckpt_path", "last")
    first = next(line for line in said.err.splitlines() if line.startswith("epoch 2/2  batch "))
    assert not first.startswith("epoch 2/2  batch 1/"), "in the middle of the epoch"
    rate = re.search(r"([\d.]+) (batches/s|s/batch)", first)
    assert rate is not None
    assert float(rate[1]) > 0.5 if rate[2] == "batches/s" else float(rate[1]) < 2


def test_the_time_left_counts_the_epochs_to_come() -> None:
    trainer = Trainer(max_epochs=3, logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.training, trainer.fit_loop.max_batches = True, 10
    assert progress._pace(trainer, 3.0, 4) == "3.0 s/batch  00:12 left, training 01:12"
    trainer.fit_loop.epoch_progress.current.completed = 2
    assert progress._pace(trainer, 0.5, 4) == "2.0 batches/s  00:02 left"


def test_the_bar_of_a_terminal_shares_no_line_with_what_follows(
    fit_options: list[str], tmp_path: Path, run_main: Callable[..., Any]
) -> None:
    run_main("fit", *fit_options, "--run_dir", "run", "--trainer.max_epochs", 1)
    again = "main('fit --run_dir run --ckpt_path last --trainer.max_epochs 3 --data.batch_size 1'.split())"
    quick = "from ner_module.training import progress; progress._PaceColumn.max_refresh = None"
    commands = "; ".join([again, *(f"main(['{name}', '--run_dir', 'run'])" for name in ("test", "validate"))])
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", f"from ner_module.__main__ import main; {quick}; {commands}"],
        cwd=tmp_path, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 1 << 16):
            shown += part
    except OSError:  # Linux ends a terminal so
        pass
    assert process.wait() == 0
    lines = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.decode().replace("\r\n", "\n")).split("\n")
    lines = [line.split("\r")[-1] for line in lines]  # what was drawn there last
    for expected in ("Testing ", "Validation ", "model card ", "report "):
        assert [line for line in lines if line.startswith(expected)], lines
        assert not [line for line in lines if expected in line[1:]], lines
    drawn = re.findall(r"Epoch 2/3 .*?(?=\r|\n)", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.decode()))
    assert any(
        re.search(r"(batches/s|s/batch)  \d\d:\d\d left, training \d\d:\d\d  loss \d\.\d{4} *$", line) for line in drawn
    )


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
