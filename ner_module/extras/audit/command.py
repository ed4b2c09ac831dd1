"""``python -m ner_module audit --config my.yaml``: what is wrong with the data, and with the training planned on it.

The configuration is read by the parser of ``fit``, so every option of ``fit`` works here and means the same. With
``--ckpt_path`` or ``--folds`` the annotations that are most likely wrong are ranked instead (`suspects.py`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import get_console

from ner_module.data.datamodule import NERDataModule
from ner_module.errors import PretrainedError
from ner_module.extras.audit.audit import Audit, audit_sources
from ner_module.extras.audit.cost import count_memory, measure_time
from ner_module.extras.audit.planned import parse_as_fit
from ner_module.extras.audit.reading import read_data
from ner_module.extras.audit.subwords import Tokenization
from ner_module.extras.audit.view import show
from ner_module.extras.findings import Finding, most_severe_first
from ner_module.pretrained import from_pretrained

_DESCRIPTION = """\
Look for what is wrong with annotated data, and with the training planned on it, before it costs anything: sizes, tags,
characters, duplicates and leakage between splits, conflicting annotations, rare and missing types, what the tokenizer
and its windows do, steps, memory and time. Needs the base model's tokenizer and config, never its weights; without a
model, what needs no tokenizer is looked at."""

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
        from ner_module.extras.audit.suspects_command import run_suspects

        return run_suspects(own, others)
    config = parse_as_fit(others)
    data = NERDataModule(**config["data"])
    reading = read_data(data)
    findings = reading.findings
    tokenization, base = _tokenization(data, findings)
    audit = audit_sources(
        reading.sources,
        reading.outside_label,
        tokenization=tokenization,
        batch_size=config["data"]["batch_size"],
        trainer=config["trainer"],
        warmup_ratio=config["model"]["warmup_ratio"],
        findings=findings,
        label_map=reading.label_map,
        max_tokens=config["data"]["max_tokens"],
    )
    if base is not None and len(audit.row_lengths):
        _add_cost(audit, base, config["data"]["batch_size"], config["trainer"], probe=not own.no_probe)
    if own.output is not None:
        audit.write(own.output)
    if own.json:
        print(json.dumps(audit.as_json(), indent=1, ensure_ascii=False))
    else:
        show(audit, get_console())
    if reading.failure is not None:
        raise reading.failure
    return 1 if own.strict and audit.count("error", "warning") else 0


def _tokenization(data: NERDataModule, findings: list[Finding]) -> tuple[Tokenization | None, Any]:
    """The tokenizer and config of the base model, where one is configured and can be had."""
    name, revision = data.hparams["model_name_or_path"], data.hparams["revision"]
    if name is None:
        return None, None
    from transformers import AutoConfig

    try:
        data.load_tokenizer()
        base = from_pretrained(AutoConfig.from_pretrained, name, revision)
    except PretrainedError as error:
        findings.append(
            Finding("no_tokenizer", "error", 1, str(error), None, "what needs subwords or steps is left out here")
        )
        return None, None
    return Tokenization(data.tokenizer, data.max_seq_length, data.stride), base


def _add_cost(audit: Audit, base: Any, batch_size: int, trainer: Mapping[str, Any], *, probe: bool) -> None:
    """Memory and time, of a head for the types found."""
    labels = 1 + 2 * len(audit.types)  # exact for IOB2; the head is a thousandth of a model
    assert audit.schedule is not None
    rows = min(batch_size, len(audit.row_lengths))
    audit.memory = count_memory(base, labels, rows, int(audit.row_lengths.max())).as_json()
    if probe:
        steps = audit.schedule["steps"]
        batches = None if steps is None else steps * audit.schedule["accumulate"]
        audit.time = measure_time(base, labels, audit.row_lengths, batch_size, batches).as_json()
    audit.findings = most_severe_first(audit.findings)


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
    parser.add_argument("--no_probe", action="store_true", help="do not measure the time of training steps")
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
