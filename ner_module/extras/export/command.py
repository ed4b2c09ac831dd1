"""``python -m ner_module export``: a checkpoint as a folder that anyone can load, checked against the checkpoint.

The folder is written beside its destination, compared with the checkpoint on real text (`parity.py`), given its card,
and only then moved into place: what is at ``--output`` has passed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from itertools import chain, islice
from pathlib import Path

from ner_module.data.formats import ReadingOptions, expand_files, read_sentences
from ner_module.data.sample import sample_file
from ner_module.data.sentence import Sentence
from ner_module.data.tag_census import detect_scheme
from ner_module.errors import RunError
from ner_module.extras.card.card import CardFacts, card_of, run_name
from ner_module.extras.export.onnx import write_onnx
from ner_module.extras.export.parity import check_parity
from ner_module.files import check_output, folder_written_whole, read_json_object
from ner_module.inference.model_folder import ABOUT, ONNX, save_model_folder
from ner_module.inference.tagger import NERTagger
from ner_module.tables import say
from ner_module.tagging import LabelSet, Span, tags_to_spans
from ner_module.tokenizer import TOKENIZER_FILES
from ner_module.training.checkpoints import broken_weights, described, read_checkpoint
from ner_module.training.results import is_as_written
from ner_module.training.runs import find_checkpoint, run_dir_of
from ner_module.training.saved_config import parse_config


def export(options: argparse.Namespace) -> int:
    """Export and compare; returns 0.

    Raises:
        RunError: no checkpoint, a taken output, or a failed comparison.
        DataError: ``--data`` cannot be read.
    """
    output: Path = options.output
    checkpoint = find_checkpoint(options.ckpt_path, options.run_dir)
    run_dir = options.run_dir or run_dir_of(checkpoint)
    check_output(output, _is_export, [checkpoint, *([run_dir] if run_dir else [])], options.overwrite)
    loaded = read_checkpoint(checkpoint)
    if name := broken_weights(loaded):
        raise RunError(f"{checkpoint} holds non-finite weights ({name}): nothing is exported; train again")
    tagger = NERTagger.load(checkpoint)
    facts = CardFacts(
        name=(options.name or (run_name(run_dir) if run_dir else checkpoint.stem)).rpartition("/")[2],
        labels=tagger.data.labels,
        config=parse_config(loaded["ner_module"]["config"] or "{}", f"the configuration in {checkpoint}"),
        results=read_json_object(run_dir / "results.json") if run_dir else {},
        audit=read_json_object(run_dir / "audit.json") if run_dir else {},
        points=tagger.operating_points or {},
        export_format=options.format,
        repo=options.name if "/" in (options.name or "") else None,
        licence=options.license,
        language=options.language,
    )
    files, reading = _comparison_data(options.data, run_dir, facts)
    stream = chain.from_iterable(read_sentences(path, reading) for path in files)
    sentences = list(islice(stream, options.max_sentences))
    bundled = " (bundled: the run's own data is not here)" if files == [sample_file("test")] else ""
    say(f"checkpoint   {described(loaded, checkpoint)}\ncomparing on {', '.join(map(str, files))}{bundled}")
    with folder_written_whole(output, replace=True) as folder:
        if facts.is_onnx:
            write_onnx(tagger.module.model, folder / ONNX)
        save_model_folder(tagger.module, tagger.data, folder, not facts.is_onnx, tagger.operating_points)
        words = [sentence.tokens for sentence in sentences]
        parities = check_parity(tagger, folder, words, _gold(sentences, tagger.labels))
        facts.parity = [parity.summary for parity in parities]
        say("\n".join(f"  {line}" for line in facts.parity))
        worst = max(parities, key=lambda parity: parity.f1_drop)
        if worst.f1_drop > options.max_f1_drop + 1e-9:
            raise RunError(
                f"the {options.format} export loses {worst.f1_drop:.2f} points of F1 (run by {worst.way}), more than "
                f"the {options.max_f1_drop:g} allowed: nothing was written; choose another --format, or allow more "
                "with --max_f1_drop"
            )
        try:
            card_of(facts).save(folder / "README.md")
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # a file of the run was edited
            problem = f"no card can be written from the files of {run_dir} ({type(error).__name__}: {error})"
            raise RunError(f"{problem}; score the run again with `test`, or restore its results.json") from error
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file()) / 1e6
    say(f"Saved in {output} ({options.format}, {size:,.0f} MB)")
    return 0


def _is_export(folder: Path) -> bool:
    """Whether a folder is an earlier export, with nothing of others in it."""
    known = ("config.json", ABOUT, "README.md", ONNX, f"{ONNX}.data", *TOKENIZER_FILES)
    files = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return ABOUT in files and all(name in known or name.startswith("model") for name in files)


def _comparison_data(
    asked: list[str] | None, run_dir: Path | None, facts: CardFacts
) -> tuple[list[Path], ReadingOptions]:
    """What to compare on, and how it is read: ``--data``, else of the run, else the bundled corpus."""
    if asked is not None:
        return expand_files(asked), ReadingOptions()
    options = facts.config.get("data") or {}
    names = [field.name for field in fields(ReadingOptions) if field.name != "tagged"]
    for split in ("test", "validation"):
        if run_dir is None:
            break
        predictions = run_dir / "predictions" / f"{split}.jsonl"
        if predictions.is_file():
            is_as_written(predictions, run_dir, facts.results)
            return [predictions], ReadingOptions(format="jsonl", label_column_name="gold_tags")
        named = options.get(f"{split}_file") or []
        files = [Path(file) for file in ([named] if isinstance(named, str) else named)]
        if files and all(file.is_file() for file in files):
            return files, ReadingOptions(**{name: options[name] for name in names if options.get(name) is not None})
    return [sample_file("test")], ReadingOptions()


def _gold(sentences: Sequence[Sentence], labels: LabelSet) -> list[set[Span]]:
    """The annotated entities: read by the model's scheme where its labels are used, else by the detected one."""
    tags = [sentence.tags or [] for sentence in sentences]
    if set().union(*tags) <= set(labels.names):
        return [set(labels.spans(each)) for each in tags]
    scheme = detect_scheme(tags)
    if scheme == "flat" and labels.scheme != "flat":
        scheme = "io"
    return [set(tags_to_spans(each, scheme)) for each in tags]
