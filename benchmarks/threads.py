"""How fast a two-thread training step is by what OpenMP's threads do while they wait, alone and on busy cores.

Each figure is a process of its own, as these variables are read when OpenMP is loaded. Policies take turns, and the
median counts; read ratios, not rates. It needs no download: the model has MiniLM-L6's shape and random weights.

    python benchmarks/threads.py [--rounds 5] [--steps 20]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

POLICIES: dict[str, dict[str, str]] = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "spin 1,000": {"GOMP_SPINCOUNT": "1000"},
    "spin 10,000": {"GOMP_SPINCOUNT": "10000"},
}

BUSY = "while True: pass"


def measure(steps: int) -> dict[str, float]:
    """Steps per second, and the processor seconds of a step, of training on random batches of 16 short sentences."""
    import torch
    from transformers import BertConfig, BertForTokenClassification

    from ner_module.model.optimizer import make_optimizer
    from ner_module.model.packed import packed_logits, prepare
    from ner_module.offers import call_all

    torch.manual_seed(0)
    sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    model = BertForTokenClassification(BertConfig(**sizes, num_labels=9)).train()
    prepare(model)
    call_all("model", model)
    optimizer = make_optimizer(model, 5e-5, 0.0, fused=True)
    begin = used = 0.0
    for step in range(-2, steps):
        if step == 0:
            begin, used = time.perf_counter(), time.process_time()
        lengths = torch.randint(5, 40, (16,)).tolist()
        ids = torch.randint(1000, 30000, (sum(lengths),))
        torch.nn.functional.cross_entropy(packed_logits(model, ids, lengths), ids % 9).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    seconds = time.perf_counter() - begin
    return {"rate": steps / seconds, "processor": (time.process_time() - used) / steps}


def run(policy: str, arguments: argparse.Namespace, busy: int) -> dict[str, float]:
    """One process under a policy, beside some that do nothing but use a core."""
    unset = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    environment = inherited | {"OMP_NUM_THREADS": str(arguments.threads)} | POLICIES[policy]
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
    try:
        command = [sys.executable, __file__, "--child", "--steps", str(arguments.steps)]
        found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    finally:
        for other in others:
            other.kill()
            other.wait()
    measured: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return measured


def main() -> None:
    """Measure all policies in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.steps)))
        return
    for busy in (0, 2):
        rounds = [{policy: run(policy, arguments, busy) for policy in POLICIES} for _ in range(arguments.rounds)]
        print(f"\nbeside {busy} busy processes" if busy else "alone")
        for policy in POLICIES:
            ratio = statistics.median(each[policy]["rate"] / each["default"]["rate"] for each in rounds)
            rate, used = (statistics.median(each[policy][name] for each in rounds) for name in ("rate", "processor"))
            print(f"{policy:14} {rate:6.2f} steps/s  {ratio:5.2f} of the default  {1000 * used:5.0f} ms of CPU a step")


if __name__ == "__main__":
    main()
