"""Everything there is to know about this project on a GPU, in one command and 15 minutes: is it right, is it fast?

    python benchmarks/gpu.py --output gpu.json
    python benchmarks/gpu.py --output gpu.json --cases machine families       # some of them
    python benchmarks/gpu.py --output gpu.json --small                        # to its end on a CPU, for a test

No network, no account, no data: models of published shapes with random weights, text of the lengths of the bundled
corpus and of CoNLL-2003 (`lengths.json`); the quickstart alone takes real weights, from the package that `make setup`
installs. Every case is a process of its own with a time limit. After each one the JSON file is written, whatever has
come of it: ``ok``, ``failed`` (with the end of its output), ``timeout`` or ``skipped``, and the figures that it had by
then. Inside a case a figure that cannot be had is ``{"error": …}``, and the others are measured.

Exit code: 0 if every case is ``ok``, else 1. The figures of ``--small`` say nothing about speed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from gpu_cases import correctness, machine, programs, training
from gpu_cases.report import Report, offline, write_json

SCHEMA = 1


class Case(NamedTuple):
    """What is run, with a report, whether it is a small one, and a folder to work in; and for how many seconds."""

    run: Callable[[Report, bool, Path], None]
    limit: float
    small_limit: float = 400


# In the order in which they are worth the time: what comes last is left out when 15 minutes are not enough.
CASES: dict[str, Case] = {
    "machine": Case(machine.machine, 60),
    "families": Case(correctness.families, 90),
    "waits": Case(correctness.waits, 60),
    "peers": Case(programs.peers("BERT-base", programs.PEERS), 200),
    "training BERT-base": Case(
        training.grid("BERT-base", ["bf16", "fp32", "tf32", "fp16"], ["16", "32", "4k", "16k"], False, True), 150
    ),
    "quickstart": Case(programs.quickstart, 150),
    "gpu tests": Case(machine.gpu_tests, 200),
    "training compiled": Case(training.grid("BERT-base", ["bf16"], ["16", "32", "4k", "16k"], True, True), 120),
    "training DeBERTa-v3-base": Case(training.grid("DeBERTa-v3-base", ["bf16"], ["16", "32"], False, True), 60),
    "prediction": Case(programs.prediction, 90),
    "start-up and workers": Case(programs.start_up, 150),
    "processes": Case(programs.processes, 180),
    "training ModernBERT-base": Case(training.grid("ModernBERT-base", ["bf16"], ["16", "32"], False, True), 60),
    "training MiniLM": Case(training.grid("MiniLM", ["bf16", "fp32"], ["16", "32"], False, True), 60),
    "peers compiled": Case(programs.peers("BERT-base", programs.COMPILED), 200),
}

ON_ALL_GPUS = ("machine", "processes")
"""The other cases see the first one only."""


def run_case(name: str, small: bool, work: Path, limit: float) -> dict[str, Any]:
    """One case in a process of its own; what has come of it."""
    file, log = work / f"{name}.json", work / f"{name}.log"
    command = [sys.executable, __file__, "--case", name, "--work", str(work), *(["--small"] if small else [])]
    environment = offline()
    if name not in ON_ALL_GPUS:  # Trainer would split a batch over them, and fit start processes
        environment["CUDA_VISIBLE_DEVICES"] = environment.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    begun = time.perf_counter()
    with log.open("wb") as output:
        options: dict[str, Any] = {"stdout": output, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        process = subprocess.Popen(command, env=environment, start_new_session=True, **options)
        try:
            status = "failed" if process.wait(limit) else "ok"
        except subprocess.TimeoutExpired:
            status = "timeout"
        finally:
            if process.poll() is None or status == "failed":
                _end(process)  # and what it has started
    found: dict[str, Any] = {"status": status, "seconds": round(time.perf_counter() - begun, 1)}
    found["found"] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if status != "ok":
        found["exit_code"] = process.returncode
        found["output"] = log.read_text(encoding="utf-8", errors="replace")[-3000:].splitlines()
    return found


def not_measured(outcome: dict[str, Any]) -> list[str]:
    """The figures of a case that could not be had."""
    return [name for name, value in outcome.get("found", {}).items() if isinstance(value, dict) and "error" in value]


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("gpu.json"), help="what was found, as JSON")
    parser.add_argument("--small", action="store_true", help="small models and few steps, for machines without a GPU")
    parser.add_argument("--minutes", type=float, default=15.0, help="for all cases together")
    parser.add_argument(
        "--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help="some cases only"
    )
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        CASES[arguments.case].run(Report(arguments.work / f"{arguments.case}.json"), arguments.small, arguments.work)
        return 0
    deadline = time.monotonic() + 60 * arguments.minutes
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "small": arguments.small,
        "begun": time.strftime("%FT%TZ", time.gmtime()),
    }
    found["cases"] = {}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.cases:
            case = CASES[name]
            limit = min(case.small_limit if arguments.small else case.limit, deadline - time.monotonic())
            if limit < 5:
                outcome: dict[str, Any] = {"status": "skipped", "reason": f"{arguments.minutes:g} minutes are over"}
            else:
                outcome = run_case(name, arguments.small, Path(folder), limit)
            found["cases"][name] = outcome
            write_json(arguments.output, found)
            errors = not_measured(outcome)
            note = f"; not measured: {', '.join(errors)}" if errors else ""
            print(f"{name}: {outcome['status']}, {outcome.get('seconds', 0):.0f} s{note}", flush=True)
    return int(any(outcome["status"] != "ok" for outcome in found["cases"].values()))


if __name__ == "__main__":
    sys.exit(main())
