"""``python -m ner_module audit --config my.yaml``: what is wrong with the data, and with the training planned on it.

The configuration is read by the parser of ``fit``, so every option of ``fit`` works here and means the same. With
``--ckpt_path`` or ``--folds`` the annotations that are most likely wrong are ranked instead (`suspects.py`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rich import get_console
from transformers import AutoConfig

from ner_module.cli import parse_fit_options
from ner_module.data.datamodule import NERDataModule
from ner_module.extras.audit.audit import audit_data
from ner_module.extras.audit.plan import count_memory
from ner_module.extras.audit.suspects_command import run_suspects
from ner_module.extras.audit.view import show
from ner_module.pretrained import from_pretrained

_DESCRIPTION = """\
Look for what is wrong with annotated data, and with the training planned on it, before it costs anything: sizes, tags,
characters, duplicates and leakage between splits, conflicting annotations, rare and missing types, what the tokenizer
and its windows do, steps and memory. Needs the base model's tokenizer and config, never its weights; without a model,
the checks that need no tokenizer are made."""

_EPILOG = """\
All other options are those of `fit` (python -m ner_module fit --help) and mean the same, for example:
  python -m ner_module audit --config my.yaml
  python -m ner_module audit --data.train_file my/train.conll --data.test_file my/test.conll --strict
  python -m ner_module audit --ckpt_path best --output suspects.jsonl
  python -m ner_module audit --config my.yaml --folds 5 --output suspects.jsonl"""


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    own, others = _parser().parse_known_args(list(arguments))
    if own.ckpt_path is not None or own.folds is not None:
        return run_suspects(own, others)
    config = parse_fit_options(others)
    data = NERDataModule(**config["data"])
    audit = audit_data(data, config["trainer"], config["model"]["warmup_ratio"])
    if audit.train_lengths:
        base = from_pretrained(AutoConfig.from_pretrained, data.hparams["model_name_or_path"], data.hparams["revision"])
        labels = 1 + 2 * len(audit.types)  # exact for IOB2; the head is a thousandth of a model
        rows = min(data.hparams["batch_size"], len(audit.train_lengths))
        audit.memory = count_memory(base, labels, rows, max(audit.train_lengths))
    if own.output is not None:
        audit.write(own.output)
    if own.json:
        print(json.dumps(audit.as_json(), indent=1, ensure_ascii=False))
    else:
        show(audit, get_console())
    if audit.failure is not None:
        raise audit.failure
    return 1 if own.strict and any(finding.severity != "info" for finding in audit.findings) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ner_module audit",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write everything as JSON (suspects: JSONL) to FILE"
    )
    parser.add_argument("--json", action="store_true", help="print JSON (suspects: JSONL) instead of tables")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when there are errors or warnings")
    group = parser.add_argument_group("annotations most likely wrong")
    group.add_argument("--ckpt_path", help="best, last or a file: rank by this trained model's confidence")
    group.add_argument("--run_dir", help="the run that --ckpt_path best or last is of; the newest by default")
    group.add_argument(
        "--folds",
        type=_at_least_two,
        metavar="K",
        help="train K models as `fit` would, each on the rest of the training data, and rank every part by the model "
        "that has not seen it",
    )
    group.add_argument("--split", choices=("train", "validation", "test"), default="train", help="what to rank (train)")
    group.add_argument("--top", type=int, default=20, metavar="N", help="how many to show (20); --output has them all")
    return parser


def _at_least_two(text: str) -> int:
    number = int(text)
    if number < 2:
        raise argparse.ArgumentTypeError(f"must be at least 2, not {number}")
    return number
