"""``audit --ckpt_path …`` and ``audit --folds K``: the annotations most likely wrong, in the terminal and as JSONL."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from rich import get_console
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ner_module.arguments import complete_arguments
from ner_module.data.datamodule import NERDataModule
from ner_module.errors import RunError
from ner_module.extras.audit.folds import best_device, rank_out_of_fold
from ner_module.extras.audit.planned import parse_as_fit
from ner_module.extras.audit.suspects import Suspect, rank_suspects
from ner_module.extras.audit.wording import plural
from ner_module.model.module import NERModule
from ner_module.training.checkpoints import read_checkpoint
from ner_module.training.runs import remove_if_unused

log = logging.getLogger(__name__)


def run_suspects(own: argparse.Namespace, others: Sequence[str]) -> int:
    """Rank, show and write; returns the exit code."""
    if own.ckpt_path is not None and own.folds is not None:
        raise RunError("--ckpt_path ranks by a model you have, --folds trains some: give one of them")
    if own.folds is not None and own.split != "train":
        raise RunError(f"--folds ranks the training data; for the {own.split} data give --ckpt_path")
    suspects = _by_checkpoint(own, others) if own.ckpt_path is not None else _by_folds(own, others)
    if own.output is not None:
        own.output.parent.mkdir(parents=True, exist_ok=True)
        with own.output.open("w", encoding="utf-8") as file:
            file.writelines(_lines(suspects))
    if own.json:
        print("".join(_lines(suspects[: own.top])), end="")
    else:
        show_suspects(suspects, own.top, own.output, in_sample=own.folds is None and own.split == "train",
                      console=get_console())  # fmt: skip
    return 0


def _by_checkpoint(own: argparse.Namespace, others: Sequence[str]) -> list[Suspect]:
    asked = ["--ckpt_path", own.ckpt_path, *(["--run_dir", own.run_dir] if own.run_dir else [])]
    run = complete_arguments(["validate", *others, *asked])
    if run.run_dir is not None:
        remove_if_unused(run.run_dir)
    assert run.checkpoint is not None
    data = _read(parse_as_fit(run.arguments[1:])["data"], own.split, run.checkpoint)
    module = NERModule.load_from_checkpoint(run.checkpoint, map_location=best_device(), weights_only=True)
    return rank_suspects(data, module, own.split)


def _by_folds(own: argparse.Namespace, others: Sequence[str]) -> list[Suspect]:
    return rank_out_of_fold(_read(parse_as_fit(others)["data"], "train", None), others, own.folds)


def _read(options: dict[str, object], split: str, checkpoint: Path | None) -> NERDataModule:
    if split != "test":
        options["test_file"] = None
    data = NERDataModule(**options)  # type: ignore[arg-type]
    if checkpoint is not None:
        data.load_state_dict(read_checkpoint(checkpoint)["NERDataModule"])
    data.prepare_data()
    data.setup("fit")
    if split == "test" and "test" not in data.stored:
        raise RunError("there is no test data to rank: give --data.test_file")
    return data


def _lines(suspects: Sequence[Suspect]) -> list[str]:
    return [
        json.dumps({"rank": rank, **suspect.as_json()}, ensure_ascii=False) + "\n"
        for rank, suspect in enumerate(suspects, 1)
    ]


def show_suspects(
    suspects: Sequence[Suspect], top: int, output: Path | None, *, in_sample: bool, console: Console
) -> None:
    """The first of them, each with its place, what is annotated, what the model would, and the sentence."""
    disagreed = sum(suspect.kind != "agreed" for suspect in suspects)
    console.print(
        Text(
            f"{plural(len(suspects), 'annotation')}, annotated or predicted; gold and model differ in {disagreed:,}. "
            "Ranked by the model's lowest probability of a gold tag in each; the first are the most likely wrong."
        ),
        "",
    )
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="bold")
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for rank, suspect in enumerate(suspects[:top], 1):
        gold, predicted = _entities(suspect.gold), _entities(suspect.predicted)
        verdict = f"annotated {gold}" if suspect.kind == "agreed" else f"annotated {gold}, the model says {predicted}"
        place = suspect.file if suspect.line is None else f"{suspect.file}:{suspect.line}"
        table.add_row(f"{rank}", f"{suspect.score:.4f}", Text(verdict, style="bold"))
        table.add_row("", "", Text.assemble((place, "underline"), "  ", suspect.text))
    console.print(table)
    if in_sample:
        console.print(
            Text(
                "\nThis model may know these annotations by heart; `--folds 5` asks models that have not seen them.",
                style="italic",
            )
        )
    if output is not None:
        console.print(Text(f"\nAll of them: {output}"), soft_wrap=True)


def _entities(entities: Sequence[dict[str, object]]) -> str:
    return ", ".join(f"{entity['type']} {str(entity['text'])!r}" for entity in entities) or "nothing"
