"""Whole programs: training beside ``Trainer``, prediction beside ``pipeline``, and ours as users run it.

Made of parts of `training_speed.py`, `prediction_speed.py`, `startup.py` and `scaling.py`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import torch

from gpu_cases.made_up import write_corpus, write_model
from gpu_cases.report import Report, device, offline

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "configs" / "quickstart.yaml"

_FAST = {"bf16": True, "tf32": torch.cuda.is_available()}  # transformers refuses tf32 where there is none
PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Trainer": ("trainer", {}),
    "Trainer bf16 tf32": ("trainer", _FAST),
    "Trainer bf16 tf32 grouped": ("trainer", _FAST | {"train_sampling_strategy": "group_by_length"}),
    "Trainer bf16 flattened, flash attention": ("trainer", _FAST | {"flattened": "flash_attention_2"}),
    "ours fp32": ("ours", {"precision": "32-true"}),
    "ours bf16 padded": ("ours", {"precision": "bf16-mixed", "padding": "longest"}),
    "ours bf16": ("ours", {"precision": "bf16-mixed"}),
    "ours bf16 grouped": ("ours", {"precision": "bf16-mixed", "batching": "grouped"}),
}
# In processes of their own: what is compiled stays, and transformers keeps the wish in the environment.
COMPILED: dict[str, tuple[str, dict[str, Any]]] = {
    "ours bf16 compiled": ("ours", {"precision": "bf16-mixed", "compile": "kernels", "skip": 20}),
    "Trainer bf16 tf32 compiled": ("trainer", _FAST | {"torch_compile_backend": "inductor", "skip": 20}),
}

_LITTLE = {"skip": 1, "torch_compile_backend": "aot_eager"}
"""In the place of the same options on a CPU, which takes minutes to compile C++."""


def peers(shape: str, contenders: dict[str, tuple[str, dict[str, Any]]]) -> Any:
    """A case: all contenders on the same batches of 16 and 32, in turn."""
    return partial(_peers, shape=shape, contenders=contenders)


def _peers(report: Report, small: bool, work: Path, shape: str, contenders: dict[str, Any]) -> None:
    from training_speed import WARM_UP, prepare_ours, prepare_trainer

    corpus, folder = write_corpus("conll2003", 120 if small else 3000, work), write_model(shape, small, work)
    sides = {
        "trainer": prepare_trainer(corpus, str(folder)),
        "ours": prepare_ours(corpus, str(folder), work / "cache"),
    }
    rounds, steps, warm_up = (1, 3, 1) if small else (2, 40, WARM_UP)
    unable: set[str] = set()
    for size in (16,) if small else (16, 32):
        found: dict[str, list[dict[str, float]]] = {}
        for number in range(-1, rounds):  # the first one warms up
            for name, (side, given) in contenders.items():
                if name in unable or (number < 0 and "skip" in given):
                    continue
                little = {option: _LITTLE[option] for option in given if small and option in _LITTLE}
                options = given | {"batch_size": size} | little
                torch.set_float32_matmul_precision("highest")  # the last one may have changed it
                unable.add(name)
                with report.attempt(f"{name}, {size}"):
                    rates = sides[side](options, warm_up if number < 0 else steps, 42 + number).rates(steps)
                    unable.remove(name)
                    if number >= 0:
                        found.setdefault(name, []).append(rates)
                        middle = {key: median(row[key] for row in found[name]) for key in rates}
                        report[f"{name}, {size}"] = {key: round(value, 3) for key, value in middle.items()}


def prediction(report: Report, small: bool, work: Path) -> None:
    """``predict`` beside ``pipeline``, from a file of text to one of entities."""
    from prediction_speed import as_transformers, compare_prediction, texts_of, train

    corpus, model = write_corpus("conll2003", 120 if small else 3000, work), write_model("BERT-base", small, work)
    run, folder = work / "prediction", work / "prediction-transformers"
    os.environ["NER_MODULE_CACHE"] = str(work / "cache")
    train(corpus, run, 4 if small else 60, str(model))
    as_transformers(run, folder)
    texts = list(islice(cycle(texts_of(corpus, "corpus")), 20 if small else 600))
    found = compare_prediction(run, folder, work, texts, 1, repeated=1 if small else 20)
    for name, value in found.items():
        report[name] = value


def _fit(run: Path, *options: str) -> dict[str, Any]:
    """The quickstart in a process of its own: ``results.json``, and the seconds that it took."""
    command = [sys.executable, "-m", "ner_module", "fit", "--config", str(QUICKSTART), "--run_dir", str(run)]
    begun = time.perf_counter()
    subprocess.run([*command, *options], cwd=ROOT, env=offline(), check=True)
    found: dict[str, Any] = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return found | {"seconds": round(time.perf_counter() - begun, 2)}


def quickstart(report: Report, small: bool, work: Path) -> None:
    """The README's first command with fp32, bf16 and what is taken unless one is named: F1 on the test data."""
    few = ["--trainer.max_steps", "4", "--trainer.limit_val_batches", "2"] if small else []
    cache = ["--data.cache_dir", str(work / "cache")]
    for name in ("unset", "bf16-mixed", *(() if small else ("32-true",))):
        with report.attempt(name):
            run = work / f"quickstart-{name}"
            precision = [] if name == "unset" else ["--trainer.precision", name]
            found = _fit(run, *precision, *few, *cache)
            test = ["test", "--run_dir", str(run), "--ckpt_path", "best"]
            subprocess.run([sys.executable, "-m", "ner_module", *test], cwd=ROOT, env=offline(), check=True)
            tested = json.loads((run / "results.json").read_text(encoding="utf-8"))["test"]
            written = (run / "config.yaml").read_text(encoding="utf-8")
            report[name] = {
                "seconds": found["seconds"],
                "validation_f1": [round(row["val/f1"], 4) for row in found["epochs"]],
                "test_f1": round(tested["test/f1"], 4),
                "precision": (re.findall(r"^  precision: (.*)$", written, re.M) or [None])[0],
                "throughput": found.get("throughput"),
            }


def start_up(report: Report, small: bool, work: Path) -> None:
    """Seconds from the command to its first step, with warm caches, and steps with 0, 2 and 4 workers."""
    from startup import run

    cache = ["--data.cache_dir", str(work / "cache")]
    os.environ.update(offline())
    os.chdir(ROOT)
    rows = []
    for number in range(1 if small else 3):
        arguments = ["fit", "--config", str(QUICKSTART), "--run_dir", str(work / f"start-{number}"), *cache]
        rows.append(run([*arguments, "--trainer.max_steps", "1", "--trainer.limit_val_batches", "1"], work / "marks"))
    report["start_up"] = {stage: round(median(row[stage] for row in rows[-2:]), 2) for stage in rows[0]}
    for workers in (0, 2) if small else (0, 2, 4):
        with report.attempt(f"workers {workers}"):
            options = ["--data.num_workers", str(workers), "--trainer.max_epochs", "2", *cache]
            options += ["--trainer.max_steps", "4", "--trainer.limit_val_batches", "1"] if small else []
            found = _fit(work / f"workers-{workers}", *options)
            report[f"workers {workers}"] = found["throughput"] | {"seconds": found["seconds"]}


# Process 1 asks for more memory than any machine has, in its fourth step.
_OUT_OF_MEMORY = """
import os, sys
import torch
from ner_module.model.module import NERModule

step = NERModule.training_step

def training_step(self, batch, batch_idx):
    if batch_idx == 3 and os.environ["RANK"] == "1":
        torch.empty(1 << 50, dtype=torch.uint8, device=self.device)
    return step(self, batch, batch_idx)

NERModule.training_step = training_step
from ner_module.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def processes(report: Report, small: bool, work: Path) -> None:
    """Several processes, one for each GPU (without one: two on the CPU): speed, and the end when one has no memory."""
    from scaling import seconds_per_step

    cuda = device().type == "cuda"
    number = torch.cuda.device_count() if cuda else 2
    report["processes"] = number
    if number < 2:
        report["skipped"] = "one GPU: nothing to scale over"
        return
    os.environ.update(offline())
    model = write_model("BERT-base", small, work)
    kind = "cuda" if cuda else "cpu"
    for count in sorted({1, 2, number}):
        with report.attempt(f"{count} processes"):
            spent = seconds_per_step(count, 1, str(model), 14 if small else 80, kind, 16)
            report[f"{count} processes"] = {"step_ms": round(1000 * spent, 2), "sentences": 16 * count / spent}
    script = work / "exhausted.py"
    script.write_text(_OUT_OF_MEMORY, encoding="utf-8")
    corpus = write_corpus("conll2003", 200, work)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(number)]
    command += [str(script), "fit", "--model.model_name_or_path", str(model), "--run_dir", str(work / "exhausted")]
    command += ["--data.train_file", str(corpus.train), "--data.validation_file", str(corpus.validation)]
    command += ["--trainer.accelerator", kind, "--trainer.max_epochs", "50", "--data.cache_dir", str(work / "cache")]
    begun = time.perf_counter()
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "check": False}
    done = subprocess.run(command, cwd=work, env=offline(), timeout=120, **options)
    lines = [line for line in done.stdout.splitlines() if "memory" in line.lower() and "peak memory" not in line]
    ended = {"exit_code": done.returncode, "seconds": round(time.perf_counter() - begun, 1), "first_line": lines[:1]}
    report["out_of_memory"] = ended
    if done.returncode == 0 or not lines:
        raise RuntimeError(f"a process out of memory ended with code {done.returncode}: {done.stdout[-500:]}")
