"""``python -m ner_module audit --config my.yaml``: what is wrong with the data, or which annotations are suspects."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ner_module.arguments import complete_arguments
from ner_module.data.datamodule import NERDataModule
from ner_module.errors import RunError
from ner_module.extras.audit.audit import audit_data
from ner_module.extras.audit.suspects import rank_out_of_fold, rank_suspects
from ner_module.extras.audit.view import show, show_suspects
from ner_module.files import MAX_TEXT, check_output, write_atomically
from ner_module.options import parse_fit_options
from ner_module.training.checkpoints import read_checkpoint
from ner_module.training.failures import load_module
from ner_module.training.runs import remove_if_unused


def run(own: argparse.Namespace, others: Sequence[str]) -> int:
    """Run the command, given its own options and those of ``fit``; returns the exit code."""
    if own.output is not None:
        check_output(own.output, _is_own)
    if own.ckpt_path is not None or own.folds is not None:
        return _rank(own, others)
    audit = audit_data(NERDataModule(**parse_fit_options(others)["data"]))
    if own.output is not None:
        audit.write(own.output)
    if own.json:
        print(audit.as_json())
    else:
        show(audit)
    if audit.failure is not None:
        raise audit.failure
    return 1 if own.strict and any(finding.severity != "info" for finding in audit.findings) else 0


def _is_own(path: Path) -> bool:
    """Whether a file is empty or what ``--output`` writes: an audit, or ranked suspects."""
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read(MAX_TEXT)  # the first line of suspects is enough
    try:
        found = json.loads(text.partition("\n")[0] if text.startswith('{"rank"') else text or "{}")
    except ValueError:
        return False
    return not text or (isinstance(found, dict) and {"findings", "rank"} & found.keys() != set())


def _rank(own: argparse.Namespace, others: Sequence[str]) -> int:
    """Rank, show and write the annotations most likely wrong; returns the exit code."""
    if own.folds is None:
        asked = ["--ckpt_path", own.ckpt_path, *(["--run_dir", own.run_dir] if own.run_dir else [])]
        run = complete_arguments(["validate", *others, *asked])
        remove_if_unused(run.run_dir)
        assert run.checkpoint is not None
        data = _read(run.arguments[1:], own.split, run.checkpoint)
        module = load_module(run.checkpoint)
        suspects = rank_suspects(data, module, own.split)
    elif own.ckpt_path is not None:
        raise RunError("--ckpt_path ranks by a model you have, --folds trains some: give one of them")
    elif own.folds < 2:
        raise RunError(f"--folds must be at least 2, not {own.folds}")
    elif own.split != "train":
        raise RunError(f"--folds ranks the training data; for the {own.split} data give --ckpt_path")
    else:
        suspects = rank_out_of_fold(_read(others, "train"), others, own.folds)
    suspects.sort(key=lambda suspect: (suspect.score, suspect.sentence, suspect.start))
    lines = [json.dumps({"rank": rank, **asdict(s)}, ensure_ascii=False) + "\n" for rank, s in enumerate(suspects, 1)]
    if own.output is not None:
        write_atomically(own.output, "".join(lines))
    if own.json:
        print("".join(lines[: own.top]), end="")
    else:
        show_suspects(suspects, own)
    return 0


def _read(arguments: Sequence[str], split: str, checkpoint: Path | None = None) -> NERDataModule:
    options = parse_fit_options(arguments)["data"]
    if split != "test":
        options["test_file"] = None
    data = NERDataModule(**options)
    if checkpoint is not None:
        data.load_state_dict(read_checkpoint(checkpoint)["NERDataModule"])
    data.prepare_data()
    data.setup("fit")
    if split == "test" and "test" not in data.stored:
        raise RunError("there is no test data to rank: give --data.test_file")
    return data
