"""What a run directory holds, for tests to look into."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import torch
import yaml

from ner_module.offers import find_offers

ROOT_DATA = Path(__file__).parent.parent / "ner_module" / "data" / "sample"
"""The bundled corpus."""

_FILES_OF_EXTRAS = {"audit": {"audit.json"}, "card": {"README.md"}}

RUN_FILES = {
    "config.yaml",
    "metrics.csv",
    "results.json",
    "train_entities.json",
    *(f"checkpoints/{name}.ckpt" for name in ("best", "last", "previous")),
    *(file for extra in find_offers() for file in _FILES_OF_EXTRAS.get(extra, ())),
}
"""What `fit` leaves behind, with the extras that are installed but the report."""

REPORT_FILES = {"report.html"} if "report" in find_offers() else set()

SHORT_RUN_FILES = RUN_FILES - {"checkpoints/previous.ckpt"}
"""The same for a run that saved only once."""


def files_in(folder: Path) -> set[str]:
    """The files below a folder, as relative paths."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def results(run: Path) -> dict[str, Any]:
    """``results.json``, without the checksums of files, which hold paths and times."""
    loaded: dict[str, Any] = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return {name: value for name, value in loaded.items() if name not in ("checksum", "sha256")}


def csv_rows(run: Path) -> list[dict[str, str]]:
    """The rows of ``metrics.csv``."""
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def checkpoint(run: Path, name: str) -> dict[str, Any]:
    """``best`` or ``last`` of a run."""
    loaded: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return loaded


def replace_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Put another checkpoint in the place of one of a run."""
    torch.save(content, path)


def json_lines(text: str) -> list[dict[str, Any]]:
    """The objects of JSONL text, one a line and nothing else."""
    return [json.loads(line) for line in text.removesuffix("\n").split("\n")] if text else []


def conll_sentences(path: Path) -> list[tuple[list[str], list[str]]]:
    """Words and tags of each sentence of a two-column file; read here anew, as a reference."""
    parts = path.read_text(encoding="utf-8").strip().split("\n\n")
    rows = [[line.split() for line in part.splitlines() if line.strip()] for part in parts]
    return [([row[0] for row in sentence], [row[-1] for row in sentence]) for sentence in rows]


def write_config(path: Path, content: dict[str, Any]) -> Path:
    """A YAML file."""
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def learnt(run: Path) -> dict[str, Any]:
    """The results of a run without what was measured (times, memory) and what names files."""
    return {name: value for name, value in results(run).items() if name not in ("environment", "throughput")}
