"""Check annotated data before training, or rank the annotations most likely wrong."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from ner_module.errors import RunError
from ner_module.files import check_output, write_atomically
from ner_module.help import CommandParser
from ner_module.offers import Offer

if TYPE_CHECKING:
    from ner_module.data.datamodule import NERDataModule

OFFER = Offer(
    commands={"audit": "ner_module.extras.audit:main"},
    callbacks="ner_module.extras.audit.audit:callbacks",
)

_DESCRIPTION = """\
Check annotated data before training: sizes, tags, characters, duplicates, leakage between splits, conflicting
annotations, rare and missing types, tokenization and truncation. Needs the base model's tokenizer and config, never
its weights; without a model, checks that need a tokenizer are skipped."""

_EPILOG = """\
All other options are those of `fit`, for example:
  python -m ner_module audit --config my.yaml
  python -m ner_module audit --data.train_file my/train.conll --strict
  python -m ner_module audit --ckpt_path best --output suspects.jsonl
  python -m ner_module audit --config my.yaml --folds 5 --output suspects.jsonl"""


def main(arguments: Sequence[str]) -> int:
    """``python -m ner_module audit``; returns the exit code."""
    parser = CommandParser("audit", _DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add("--output", type=Path, metavar="FILE", help="write everything as JSON (suspects: JSONL) to FILE")
    add("--json", action="store_true", help="print JSON (suspects: JSONL) instead of tables")
    add("--strict", action="store_true", help="exit with 1 when there are errors or warnings")
    add = parser.add_argument_group("annotations most likely wrong").add_argument
    add("--ckpt_path", help="best, last or a file: rank by the confidence of this trained model")
    add("--run_dir", help="the run of --ckpt_path best or last (the newest)")
    models = "cross-validation: train K models as `fit` would, each on the rest of the training data"
    add("--folds", type=int, metavar="K", help=f"{models}, and rank each fold by the model that has not seen it")
    add("--split", choices=("train", "validation", "test"), default="train", help="what to rank (train)")
    add("--top", type=int, default=20, metavar="N", help="how many to show (20); --output has them all")
    own, others = parser.parse_known_args(list(arguments))
    if own.output is not None:
        check_output(own.output, _is_own)
    if own.ckpt_path is not None or own.folds is not None:
        return _rank(own, others)
    from ner_module.extras.audit.audit import audit_data
    from ner_module.extras.audit.view import show

    audit = audit_data(_data(others))
    if own.output is not None:
        write_atomically(own.output, audit.as_json() + "\n")
    if own.json:
        print(audit.as_json())
    else:
        show(audit)
    return 1 if own.strict and any(finding.severity != "info" for finding in audit.findings) else 0


def _is_own(path: Path) -> bool:
    """Whether a file is empty or begins as what ``--output`` writes: an audit, or ranked suspects."""
    with path.open(encoding="utf-8", errors="replace") as file:
        head = file.read(40)
    return re.match(r'\{("rank": 1,|\n "version": \d+,\n "files": )|$', head) is not None


def _rank(own: argparse.Namespace, others: Sequence[str]) -> int:
    """Rank, show and write the annotations most likely wrong; returns the exit code."""
    from ner_module.arguments import complete_arguments
    from ner_module.extras.audit.suspects import rank_out_of_fold, rank_suspects
    from ner_module.extras.audit.view import show_suspects
    from ner_module.training.failures import load_module
    from ner_module.training.runs import remove_if_unused

    if own.folds is None:
        asked = ["--ckpt_path", own.ckpt_path, *(["--run_dir", own.run_dir] if own.run_dir else [])]
        run = complete_arguments(["validate", *others, *asked])
        remove_if_unused(run.run_dir)
        assert run.checkpoint is not None
        data = _read(run.arguments[1:], own.split, run.checkpoint)
        suspects = rank_suspects(data, load_module(run.checkpoint), own.split)
    elif own.ckpt_path is not None:
        raise RunError("--ckpt_path ranks by a model you have, --folds trains some: give one of them")
    elif own.folds < 2:
        raise RunError(f"--folds must be at least 2, not {own.folds}")
    elif own.split != "train":
        raise RunError(f"--folds ranks the training data; for the {own.split} data give --ckpt_path")
    else:
        suspects = rank_out_of_fold(_read(others, "train"), others, own.folds)
    suspects.sort(key=itemgetter("score", "sentence", "start"))
    lines = [json.dumps({"rank": rank, **each}, ensure_ascii=False) + "\n" for rank, each in enumerate(suspects, 1)]
    if own.output is not None:
        write_atomically(own.output, "".join(lines))
    if own.json:
        print("".join(lines[: own.top]), end="")
    else:
        show_suspects(suspects, own)
    return 0


def _read(arguments: Sequence[str], split: str, checkpoint: Path | None = None) -> NERDataModule:
    """The data as a training has it, or as the one of a checkpoint had it; test data only where they are asked for."""
    from ner_module.training.checkpoints import read_checkpoint

    data = _data(arguments, **({} if split == "test" else {"test_file": None}))
    if checkpoint is not None:
        data.load_state_dict(read_checkpoint(checkpoint)["NERDataModule"])
    data.prepare_data()
    data.setup("fit")
    if split == "test" and "test" not in data.stored:
        raise RunError("there is no test data to rank: give --data.test_file")
    return data


def _data(arguments: Sequence[str], **more: None) -> NERDataModule:
    """The data module that the options of ``fit`` configure."""
    from ner_module.data.datamodule import NERDataModule
    from ner_module.options import parse_fit_options

    return NERDataModule(**parse_fit_options(arguments)["data"] | more)
