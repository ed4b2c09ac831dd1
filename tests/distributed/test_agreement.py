"""Processes that do not see the same data or labels end with one error, at once."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OTHER = "Ada B-PER\nleft O\n\n"


@pytest.mark.ddp
@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("split", "text", "error"),
    [
        ("train", OTHER * 40, "has other train data"),
        ("validation", OTHER, "has other validation data"),
        ("train", None, "train.conll: no such file"),
        ("train", "Ada\n", "train.conll:1: "),
    ],
)
@pytest.mark.parametrize("odd", [0, 1])
def test_other_data_on_one_of_two_machines(
    split: str, text: str | None, error: str, odd: int, fit_options: list[str], corpus: Path, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    model = fit_options[1]
    processes = []
    for rank in range(2):
        folder = tmp_path / f"machine{rank}"
        folder.mkdir()
        for name in ("train", "validation"):
            (folder / f"{name}.conll").write_bytes((corpus / f"{name}.conll").read_bytes())
        if rank == odd:
            (folder / f"{split}.conll").unlink()
            if text is not None:
                (folder / f"{split}.conll").write_text(text)
        variables = {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "NER_MODULE_CACHE": str(folder / "cache"),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "WORLD_SIZE": "2",
            "RANK": str(rank),
            "LOCAL_RANK": "0",
            "LOCAL_WORLD_SIZE": "1",
            "GROUP_RANK": str(rank),
            "TORCHELASTIC_RUN_ID": "job",
        }
        command = [sys.executable, "-m", "ner_module", "fit", "--model.model_name_or_path", model, "--run_dir", "run"]
        files = ["--data.train_file", "train.conll", "--data.validation_file", "validation.conll"]
        processes.append(
            subprocess.Popen(
                [*command, *files],
                cwd=folder,
                env={**os.environ, **variables},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    started = time.monotonic()
    said = [process.communicate(timeout=150)[0] for process in processes]
    assert time.monotonic() - started < 60
    assert [process.returncode for process in processes] == [1, 1]
    errors = [line for text in said for line in text.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, said
    assert error in errors[0]
    assert "Traceback" not in "".join(said)
    assert not (tmp_path / "machine0" / "run" / "config.yaml").exists()


def _torchrun(
    *arguments: str, folder: Path, cache: Path, stdin: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    variables = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NER_MODULE_CACHE": str(cache)}
    command = [*launcher, "-m", "ner_module", *arguments]
    environment = {**os.environ, **variables}
    return subprocess.run(
        command, cwd=folder, env=environment, input=stdin, capture_output=True, timeout=150, check=False
    )


@pytest.mark.ddp
@pytest.mark.timeout(200)
def test_a_finished_run_is_not_overwritten(
    fit_options: list[str], trained_run: Path, tmp_path: Path, cache: Path
) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    done = _torchrun("fit", *fit_options, "--run_dir", "run", folder=tmp_path, cache=cache)
    assert done.returncode != 0
    assert done.stderr.decode().count("error: run already holds a run") == 1
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


@pytest.mark.ddp
@pytest.mark.timeout(200)
def test_standard_input_is_read_once_and_left_nowhere(trained_run: Path, tmp_path: Path, cache: Path) -> None:
    texts = [f"Ada Lovelace number {number} met the mayor of Rome." for number in range(300)]
    before = {path.name for path in Path(tempfile.gettempdir()).glob("ner-module-*")}
    done = _torchrun(
        *("predict", "--run_dir", str(trained_run), "--ckpt_path", "best", "--data.predict_file", "-"),
        *("--output", "out.jsonl"),
        folder=tmp_path,
        cache=tmp_path / "cache",
        stdin="\n".join(texts).encode(),
    )
    assert done.returncode == 0, done.stderr.decode()
    assert [json.loads(line)["text"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == texts
    assert {path.name for path in Path(tempfile.gettempdir()).glob("ner-module-*")} <= before
    assert not (tmp_path / "cache").exists()
