"""``audit --ckpt_path …`` and ``audit --folds K``: the annotations most likely wrong, in the terminal and as JSONL."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import get_console
from rich.table import Table
from rich.text import Text

from ner_module.arguments import complete_arguments
from ner_module.cli import parse_fit_options
from ner_module.data.datamodule import NERDataModule
from ner_module.errors import RunError
from ner_module.extras.audit.folds import best_device, rank_out_of_fold
from ner_module.extras.audit.suspects import Suspect, rank_suspects
from ner_module.extras.audit.wording import plural
from ner_module.files import write_atomically
from ner_module.model.module import NERModule
from ner_module.training.checkpoints import read_checkpoint
from ner_module.training.runs import remove_if_unused


def run_suspects(own: argparse.Namespace, others: Sequence[str]) -> int:
    """Rank, show and write; returns the exit code."""
    if own.ckpt_path is not None and own.folds is not None:
        raise RunError("--ckpt_path ranks by a model you have, --folds trains some: give one of them")
    if own.folds is not None and own.split != "train":
        raise RunError(f"--folds ranks the training data; for the {own.split} data give --ckpt_path")
    if own.folds is not None:
        suspects = rank_out_of_fold(_read(others, "train", None), others, own.folds)
    else:
        asked = ["--ckpt_path", own.ckpt_path, *(["--run_dir", own.run_dir] if own.run_dir else [])]
        run = complete_arguments(["validate", *others, *asked])
        if run.run_dir is not None:
            remove_if_unused(run.run_dir)
        assert run.checkpoint is not None
        data = _read(run.arguments[1:], own.split, run.checkpoint)
        module = NERModule.load_from_checkpoint(run.checkpoint, map_location=best_device(), weights_only=True)
        suspects = rank_suspects(data, module, own.split)
    lines = [json.dumps({"rank": rank, **asdict(s)}, ensure_ascii=False) + "\n" for rank, s in enumerate(suspects, 1)]
    if own.output is not None:
        write_atomically(own.output, "".join(lines))
    if own.json:
        print("".join(lines[: own.top]), end="")
    else:
        _show(suspects, own)
    return 0


def _read(arguments: Sequence[str], split: str, checkpoint: Path | None) -> NERDataModule:
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


def _show(suspects: Sequence[Suspect], own: argparse.Namespace) -> None:
    """The first of them, each with its place, what is annotated, what the model predicts, and the sentence."""
    console = get_console()
    disagreed = sum(suspect.kind != "agreed" for suspect in suspects)
    console.print(
        Text(
            f"{plural(len(suspects), 'annotation')}, annotated or predicted; gold and model differ in {disagreed:,}. "
            "Ranked by the model's lowest probability of a gold tag in each; the first are the most likely wrong."
        ),
        "",
    )
    table = Table.grid(padding=(0, 1))
    for justify in ("right", "right", "left"):
        table.add_column(justify=justify, overflow="fold")
    for rank, suspect in enumerate(suspects[: own.top], 1):
        verdict = f"annotated {_entities(suspect.gold)}"
        if suspect.kind != "agreed":
            verdict += f", the model says {_entities(suspect.predicted)}"
        table.add_row(f"{rank}", f"{suspect.score:.4f}", Text(verdict, style="bold"))
        table.add_row("", "", Text(f"{suspect.file}:{suspect.line}  {suspect.text}"))
    console.print(table)
    if own.folds is None and own.split == "train":
        note = "This model was trained on these annotations; `--folds 5` asks models that have not seen them."
        console.print("", Text(note, style="italic"))
    if own.output is not None:
        console.print("", Text(f"All of them: {own.output}"), soft_wrap=True)


def _entities(entities: Iterable[dict[str, Any]]) -> str:
    return ", ".join(f"{entity['type']} {entity['text']!r}" for entity in entities) or "nothing"
