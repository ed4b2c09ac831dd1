"""``python -m ner_module export``: a checkpoint as a folder that anyone can load, checked against the checkpoint.

The folder is written beside its destination, compared with the checkpoint on real text (`parity.py`), given its card,
and only then moved into place: what is at ``--output`` has passed.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import yaml
from rich import get_console

from ner_module.data.formats import ReadingOptions, expand_files, read_sentences
from ner_module.data.hub import choose_columns, hub_sentences, load_hub_dataset
from ner_module.data.sample import sample_file
from ner_module.data.sentence import Sentence
from ner_module.data.tag_census import detect_scheme
from ner_module.errors import RunError
from ner_module.extras.card.card import card_of
from ner_module.extras.card.facts import CardFacts, run_name
from ner_module.extras.export.onnx import quantize_onnx, write_onnx
from ner_module.extras.export.parity import Parity, check_parity
from ner_module.extras.export.push import check_can_push, push_folder
from ner_module.files import folder_written_whole, read_json_object
from ner_module.inference.model_folder import ONNX, save_model_folder
from ner_module.inference.tagger import NERTagger
from ner_module.tagging import OUTSIDE, Span, tags_to_spans
from ner_module.training.checkpoints import read_checkpoint
from ner_module.training.runs import find_checkpoint, run_dir_of

# Format -> the largest loss of F1, in points. Rounding to eight bits changes a few entities; half a point is less than
# two seeds differ by.
_MAX_F1_DROP = {"transformers": 0.0, "onnx": 0.0, "onnx-int8": 0.5}

_SPLITS = ("test", "validation")


def main(argv: Sequence[str]) -> int:
    """Export, compare, and push if asked to; returns 0.

    Raises:
        RunError: no checkpoint, a taken output, a failed comparison, or a hub that refuses.
        DataError: ``--data`` cannot be read.
    """
    options = _parser().parse_args(list(argv))
    output: Path = options.output
    if output.is_file() or (output.is_dir() and any(output.iterdir()) and not options.overwrite):
        raise RunError(f"{output} exists already: choose another --output, or add --overwrite")
    repo = check_can_push(options.push_to_hub) if options.push_to_hub else None
    checkpoint = find_checkpoint(options.ckpt_path, options.run_dir)
    run_dir = options.run_dir or run_dir_of(checkpoint)
    tagger = NERTagger.load(checkpoint)
    name = run_name(run_dir) if run_dir else checkpoint.stem
    facts = CardFacts(
        name=repo.rpartition("/")[2] if repo else options.name or name,
        labels=tagger.data.labels,
        config=yaml.safe_load(read_checkpoint(checkpoint)["ner_module"]["config"] or "{}"),
        results=read_json_object(run_dir / "results.json") if run_dir else {},
        audit=read_json_object(run_dir / "audit.json") if run_dir else {},
        export_format=options.format,
        repo=repo,
        licence=options.license,
        language=options.language,
    )
    stream, reading, source = _comparison_data(options.data, run_dir, facts)
    sentences = list(islice(stream, options.max_sentences))
    _say(f"checkpoint   {checkpoint}\ncomparing on {source}")
    with folder_written_whole(output) as folder:
        _write_model(tagger, folder, options.format)
        parities = check_parity(tagger, folder, [sentence.tokens for sentence in sentences], _gold(sentences, reading))
        facts.parity = [parity.summary() for parity in parities]
        _say("\n".join(f"  {line}" for line in facts.parity))
        _check_drop(parities, options.max_f1_drop, options.format)
        card_of(facts).save(folder / "README.md")
        if output.exists():
            shutil.rmtree(output)
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file()) / 1e6
    _say(f"Saved in {output} ({options.format}, {size:,.0f} MB)")
    if repo:
        _say(f"Pushed to {push_folder(output, repo, options.private or None)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ner_module export",
        description="Write a checkpoint as a model folder for transformers or onnxruntime, with a model card. Its\n"
        "entities are compared with the checkpoint's; a folder that finds different ones is refused.",
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
    add("--format", choices=_MAX_F1_DROP, default="transformers", help="what to write (transformers)")
    add("--data", nargs="+", metavar="FILE", help="annotated data to compare on (the run's test or validation data)")
    add("--max_sentences", type=int, default=1000, metavar="N", help="how many of its sentences at most (1000)")
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


def _check_drop(parities: Sequence[Parity], asked: float | None, kind: str) -> None:
    bound = _MAX_F1_DROP[kind] if asked is None else asked
    worst = max(parities, key=lambda parity: parity.f1_drop)
    if worst.f1_drop > bound + 1e-9:
        raise RunError(
            f"the {kind} export loses {worst.f1_drop:.2f} points of F1 (run by {worst.way}), more than the "
            f"{bound:g} allowed: nothing was written; choose another --format, or allow more with --max_f1_drop"
        )


def _comparison_data(
    asked: list[str] | None, run_dir: Path | None, facts: CardFacts
) -> tuple[Iterable[Sentence], dict[str, Any], str]:
    """What to compare on: ``--data``, else the data the run was scored on, else the bundled corpus.

    Returns:
        Sentences, the data options they are read with, and where they come from.
    """
    if asked is not None:
        return _read(asked, {}), {}, ", ".join(asked)
    if run_dir is not None:
        options = facts.config.get("data") or {}
        labels = {"source_scheme": facts.results.get("scheme"), "outside_label": facts.results.get("outside_label")}
        written: dict[str, Any] = {"format": "jsonl", "label_column_name": "gold_tags", **labels}
        known: list[tuple[Any, dict[str, Any]]]
        known = [(str(run_dir / "predictions" / f"{split}.jsonl"), written) for split in _SPLITS]
        known += [(options.get(f"{split}_file"), options) for split in _SPLITS]
        for named, reading in known:
            files = [named] if isinstance(named, str) else named or []
            if files and all(Path(file).is_file() for file in files):
                return _read(files, reading), reading, ", ".join(files)
        if options.get("dataset_name"):
            return _read_hub(options), options, f"dataset {options['dataset_name']}"
    return _read([str(sample_file("test"))], {}), {}, "the bundled corpus (the run's own data is not here)"


def _read(files: list[str], options: dict[str, Any]) -> Iterable[Sentence]:
    names = ("format", "encoding", "text_column_name", "label_column_name", "label_names")
    reading = ReadingOptions(**{name: options[name] for name in names if options.get(name) is not None})
    return chain.from_iterable(read_sentences(path, reading) for path in expand_files(files))


def _read_hub(options: dict[str, Any]) -> Iterable[Sentence]:
    name = options["dataset_name"]
    splits = load_hub_dataset(name, options.get("dataset_config_name"), options.get("dataset_revision"))
    split = next(split for split in (*_SPLITS, *splits) if split in splits)
    where = f"dataset {name!r}, split {split!r}"
    asked = (options.get(name) for name in ("text_column_name", "label_column_name", "label_names"))
    return hub_sentences(splits[split], where, choose_columns(splits[split], where, *asked))


def _gold(sentences: Iterable[Sentence], options: dict[str, Any]) -> list[set[Span]]:
    tags = [sentence.tags or [] for sentence in sentences]
    scheme = options.get("source_scheme")
    if scheme is None:
        scheme = detect_scheme(tags)
    return [set(tags_to_spans(row, scheme, options.get("outside_label") or OUTSIDE)) for row in tags]


def _say(text: str) -> None:
    get_console().print(text, highlight=False, soft_wrap=True)
