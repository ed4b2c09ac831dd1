"""``python -m ner_module export``: a checkpoint as a folder that anyone can load, checked against the checkpoint.

The folder is written beside its place, compared with the checkpoint on real text (`parity.py`), given its card, and
only then moved there: what lies at ``--output`` has passed.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from rich import get_console

from ner_module.data.formats import ReadingOptions, expand_files, read_sentences
from ner_module.data.hub import choose_columns, hub_sentences, load_hub_dataset
from ner_module.data.sample import sample_file
from ner_module.data.schemes import SchemeCensus
from ner_module.data.sentence import Sentence
from ner_module.errors import RunError
from ner_module.extras.analysis.sentences import read_predictions
from ner_module.extras.card.card import card_of
from ner_module.extras.card.facts import CardFacts, read_json, run_name
from ner_module.extras.export.onnx import quantize_onnx, write_onnx
from ner_module.extras.export.parity import AnnotatedSentence, Parity, check_parity
from ner_module.extras.export.push import check_can_push, push_folder
from ner_module.inference.model_folder import ONNX, save_model_folder
from ner_module.inference.tagger import NERTagger
from ner_module.tagging import OUTSIDE, tags_to_spans
from ner_module.training.checkpoints import read_checkpoint
from ner_module.training.runs import find_checkpoint, run_dir_of

FORMATS = ("transformers", "onnx", "onnx-int8")

# Rounding to eight bits changes a few entities; half a point is less than two seeds differ by.
_MAX_F1_DROP = {"transformers": 0.0, "onnx": 0.0, "onnx-int8": 0.5}


def main(argv: Sequence[str]) -> int:
    """Export, check, and push if asked to.

    Returns:
        0. What is wrong is raised, for the dispatcher to show.

    Raises:
        RunError: no checkpoint, a taken output, a failed comparison, or a hub that refuses.
        DataError: ``--data`` cannot be read.
    """
    options = _parser().parse_args(list(argv))
    output: Path = options.output
    if output.exists() and not options.overwrite and (not output.is_dir() or any(output.iterdir())):
        raise RunError(f"{output} exists already: choose another --output, or add --overwrite")
    repo = check_can_push(options.push_to_hub) if options.push_to_hub else None
    checkpoint = find_checkpoint(options.ckpt_path, options.run_dir)
    run_dir = options.run_dir or run_dir_of(checkpoint)
    tagger = NERTagger.load(checkpoint)
    sentences, source = _comparison_data(options.data, run_dir, options.max_sentences)
    console = get_console()
    console.print(f"checkpoint   {checkpoint}\ncomparing on {source}", highlight=False, soft_wrap=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as scratch:
        folder = Path(scratch) / "model"
        _write_model(tagger, folder, options.format)
        parity = check_parity(tagger, folder, sentences)
        for comparison in parity:
            console.print(f"  {comparison.summary()}", highlight=False, soft_wrap=True)
        _check_drop(parity, options.max_f1_drop, options.format)
        facts = _facts(tagger, checkpoint, run_dir)
        facts.name = repo.rpartition("/")[2] if repo else options.name or facts.name
        facts.repo, facts.licence, facts.language = repo, options.license, options.language
        facts.parity, facts.export_format = parity, options.format
        card_of(facts).save(folder / "README.md")
        if output.exists():
            shutil.rmtree(output)
        folder.chmod(0o755)
        folder.replace(output)
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file()) / 1e6
    console.print(f"Saved in {output} ({options.format}, {size:,.0f} MB)", highlight=False, soft_wrap=True)
    if repo:
        address = push_folder(output, repo, options.private or None)
        console.print(f"Pushed to {address}", highlight=False, soft_wrap=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ner_module export",
        description="Write a checkpoint as a model folder for transformers or onnxruntime, with a model card, and\n"
        "compare its entities with the checkpoint's; a folder that finds others is refused.",
        epilog="Examples:\n"
        "  python -m ner_module export --ckpt_path best --output exported\n"
        "  python -m ner_module export --ckpt_path best --output exported-onnx --format onnx\n"
        "  python -m ner_module export --ckpt_path best --output exported --push_to_hub me/my-tagger --private",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--ckpt_path", default="best", metavar="best|last|FILE", help="the checkpoint (best)")
    add("--run_dir", type=Path, metavar="DIR", help="the run that best and last are of (the newest)")
    add("--output", type=Path, required=True, metavar="DIR", help="the folder to write")
    add("--format", choices=FORMATS, default="transformers", help="what to write (transformers)")
    add("--data", nargs="+", metavar="FILE", help="annotated data to compare on (the run's test or validation data)")
    add("--max_sentences", type=int, default=1000, metavar="N", help="of it at most so many sentences (1000)")
    add("--max_f1_drop", type=float, metavar="POINTS", help="refuse a larger loss of F1 (0; for onnx-int8 0.5)")
    add("--name", help="the model's name in its card (the run's)")
    add("--license", metavar="ID", help="licence for the card, such as apache-2.0 (the base model's, where known)")
    add("--language", metavar="CODE", help="language for the card, such as en")
    add("--push_to_hub", metavar="REPO", help="upload to this hub id; uses HF_TOKEN or `hf auth login`")
    add("--private", action="store_true", help="make a new repository private")
    add("--overwrite", action="store_true", help="replace --output if it exists")
    return parser


def _write_model(tagger: NERTagger, folder: Path, kind: str) -> None:
    save_model_folder(tagger.module, tagger.data, folder, weights=kind == "transformers")
    if kind == "onnx":
        write_onnx(tagger.module.model, folder / ONNX)
    elif kind == "onnx-int8":
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            write_onnx(tagger.module.model, Path(scratch) / ONNX)
            quantize_onnx(Path(scratch) / ONNX, folder / ONNX)


def _check_drop(parity: Sequence[Parity], asked: float | None, kind: str) -> None:
    bound = _MAX_F1_DROP[kind] if asked is None else asked
    worst = max(parity, key=lambda comparison: comparison.f1_drop)
    if worst.f1_drop > bound + 1e-9:
        raise RunError(
            f"the {kind} export loses {worst.f1_drop:.2f} points of F1 (run by {worst.way}), more than the "
            f"{bound:g} allowed: nothing was written; choose another --format, or allow more with --max_f1_drop"
        )


def _comparison_data(files: list[str] | None, run_dir: Path | None, limit: int) -> tuple[list[AnnotatedSentence], str]:
    """Sentences to compare on, and where they are from: ``--data``, what the run was scored on, or the sample."""
    if files is None and run_dir is not None:
        for split in ("test", "validation"):
            path = run_dir / "predictions" / f"{split}.jsonl"
            if path.is_file():
                known = read_json(run_dir / "results.json") or {}
                rows = read_predictions(path, known.get("scheme"), known.get("outside_label", OUTSIDE))
                return [AnnotatedSentence(row.tokens, row.gold) for row in rows[:limit]], str(path)
        options = _run_config(run_dir).get("data") or {}
        named = [options.get(f"{split}_file") for split in ("test", "validation")]
        existing = [file for file in named if file and _exist(file)]
        if existing:
            return _read(existing[0], limit, options), str(existing[0])
        if options.get("dataset_name"):
            return _read_hub(options, limit), f"dataset {options['dataset_name']}"
    if files is not None:
        return _read(files, limit, {}), ", ".join(files)
    return _read(str(sample_file("test")), limit, {}), "the bundled corpus (the run's own data is not here)"


def _exist(files: str | list[str]) -> bool:
    return all(Path(file).is_file() for file in ([files] if isinstance(files, str) else files))


def _read(files: str | list[str], limit: int, options: dict[str, Any]) -> list[AnnotatedSentence]:
    names = ("format", "encoding", "text_column_name", "label_column_name", "label_names")
    reading = ReadingOptions(**{name: options[name] for name in names if options.get(name) is not None})
    stream = (sentence for path in expand_files(files) for sentence in read_sentences(path, reading))
    return _annotated(list(islice(stream, limit)), options)


def _read_hub(options: dict[str, Any], limit: int) -> list[AnnotatedSentence]:
    names = (options["dataset_name"], options.get("dataset_config_name"), options.get("dataset_revision"))
    splits = load_hub_dataset(*names)
    split = next(name for name in ("test", "validation", *splits) if name in splits)
    where = f"dataset {names[0]!r}, split {split!r}"
    asked = (options.get(name) for name in ("text_column_name", "label_column_name", "label_names"))
    columns = choose_columns(splits[split], where, *asked)
    return _annotated(list(islice(hub_sentences(splits[split], where, columns), limit)), options)


def _annotated(rows: list[Sentence], options: dict[str, Any]) -> list[AnnotatedSentence]:
    scheme = options.get("source_scheme")
    if scheme is None:
        census = SchemeCensus()
        for row in rows:
            census.add(row.tags or [])
        scheme = census.detect()
    outside = options.get("outside_label") or OUTSIDE
    return [AnnotatedSentence(row.tokens, tags_to_spans(row.tags or [], scheme, outside)) for row in rows]


def _facts(tagger: NERTagger, checkpoint: Path, run_dir: Path | None) -> CardFacts:
    """What the card says; of a checkpoint that was moved away from its run, its own configuration."""
    facts = CardFacts(
        name=run_name(run_dir) if run_dir else checkpoint.stem,
        label_names=tagger.label_names,
        scheme=tagger.scheme,
        outside_label=tagger.outside_label,
        config=yaml.safe_load(read_checkpoint(checkpoint)["ner_module"]["config"] or "{}"),
    )
    if run_dir is not None:
        facts.results = read_json(run_dir / "results.json") or {}
        facts.audit = read_json(run_dir / "audit.json")
    return facts


def _run_config(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "config.yaml"
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return loaded
