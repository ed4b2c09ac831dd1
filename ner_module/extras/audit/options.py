"""The options of ``python -m ner_module audit``, parsed before anything heavy is imported."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

_DESCRIPTION = """\
Look for what is wrong with annotated data before it costs anything: sizes, tags, characters, duplicates and leakage
between splits, conflicting annotations, rare and missing types, what the tokenizer and its windows do. Needs the base
model's tokenizer and config, never its weights; without a model, the checks that need no tokenizer are made."""

_EPILOG = """\
All other options are those of `fit` (python -m ner_module fit --help) and mean the same, for example:
  python -m ner_module audit --config my.yaml
  python -m ner_module audit --data.train_file my/train.conll --data.test_file my/test.conll --strict
  python -m ner_module audit --ckpt_path best --output suspects.jsonl
  python -m ner_module audit --config my.yaml --folds 5 --output suspects.jsonl"""


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    own, others = _parser().parse_known_args(list(arguments))
    from ner_module.extras.audit.command import run

    return run(own, others)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ner_module audit",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--output", type=Path, metavar="FILE", help="write everything as JSON (suspects: JSONL) to FILE")
    add("--json", action="store_true", help="print JSON (suspects: JSONL) instead of tables")
    add("--strict", action="store_true", help="exit with 1 when there are errors or warnings")
    add = parser.add_argument_group("annotations most likely wrong").add_argument
    add("--ckpt_path", help="best, last or a file: rank by this trained model's confidence")
    add("--run_dir", help="the run that --ckpt_path best or last is of; the newest by default")
    models = "train K models as `fit` would, each on the rest of the training data"
    add("--folds", type=int, metavar="K", help=f"{models}, and rank every part by the model that has not seen it")
    add("--split", choices=("train", "validation", "test"), default="train", help="what to rank (train)")
    add("--top", type=int, default=20, metavar="N", help="how many to show (20); --output has them all")
    return parser
