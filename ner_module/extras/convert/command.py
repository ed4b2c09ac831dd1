"""``python -m ner_module convert IN… OUT``: annotated data from one format to another.

Reads all before anything is written, which finds the tagging scheme and refuses what cannot be read. What the target
cannot hold (`docs/data.md` has a table) is never dropped silently: each kind of loss is reported with the number of
sentences.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ner_module.data.formats import ReadingOptions, expand_files, known_formats, read_sentences
from ner_module.data.formats.files import suffix_of
from ner_module.data.tag_census import suspicious_tags
from ner_module.errors import DataError, UserError, printable
from ner_module.extras.convert.writers import TARGETS, Annotated, Losses
from ner_module.files import check_output, put_in_place
from ner_module.help import CommandParser
from ner_module.tagging import SCHEMES, SOURCE_SCHEMES, convert_tags, illegal_words, tags_to_spans

_SUFFIXES = {".bio": "conll", ".iob": "conll", ".conll": "conll", ".jsonl": "jsonl"}


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = CommandParser(
        "convert",
        "Convert annotated data between formats. Whatever the target format cannot hold is counted and reported.",
        "Examples:\n"
        "  python -m ner_module convert doccano.jsonl train.conll\n"
        "  python -m ner_module convert train.conll.gz train.jsonl --scheme bioes\n"
        "  python -m ner_module convert 'corpus/*.conll' tasks.json --to label-studio\n\n"
        "`jsonl` holds tokens and tags; `doccano` and `label-studio` text and character\n"
        "spans. All keep documents; `conll` loses the raw text.",
    )
    add = parser.add_argument
    add("inputs", nargs="+", metavar="IN", help="files, folders (brat, datasets) or quoted globs")
    add("output", type=Path, metavar="OUT", help="the file to write; .gz compresses it")
    known = ("auto", *known_formats())
    add("--from", dest="format", choices=known, default="auto", metavar="FORMAT", help=f"of IN: {', '.join(known)}")
    add("--to", choices=TARGETS, metavar="FORMAT", help=f"of OUT (by its extension): {', '.join(TARGETS)}")
    add("--text_column_name", metavar="NAME", help="column or key of the words or the text: a name, or a number from 0")
    add("--label_column_name", metavar="NAME", help="column or key of the tags or spans, likewise")
    add("--label_names", nargs="+", metavar="NAME", help="names of integer tags, from 0")
    add("--max_record_mb", type=int, default=16, metavar="N", help="the longest record of IN in MiB (16)")
    add("--span_offsets", default="auto", metavar="WAY", help="how offsets in IN are counted (docs/data.md)")
    add("--encoding", help="encoding of IN (utf-8); OUT is always UTF-8")
    schemes = ", ".join(SOURCE_SCHEMES)
    add("--source_scheme", choices=SOURCE_SCHEMES, metavar="SCHEME", help=f"of IN (detected): {schemes}")
    add("--outside_label", metavar="TAG", help="the tag of words outside any entity in IN, if not O")
    add("--scheme", choices=SCHEMES, metavar="SCHEME", help="of OUT, one of the same but io (default: that of IN)")
    add("--strict", action="store_true", help="exit with 1 after any warning")
    add("--overwrite", action="store_true", help="replace OUT if it exists")
    arguments = parser.parse_args(argv)
    try:
        warnings = _convert(arguments)
    except UserError as error:
        raise UserError(_own_options(str(error))) from None
    for warning in warnings:
        print(f"warning: {printable(_own_options(warning))}", file=sys.stderr)
    return 1 if warnings and arguments.strict else 0


def _convert(arguments: argparse.Namespace) -> list[str]:
    """Convert; returns the warnings."""
    from ner_module.data.inventory import Tags, choose_source_schemes  # import torch, which help and errors need not
    from ner_module.data.preparation import store_files

    output: Path = arguments.output
    target = arguments.to or _SUFFIXES.get(suffix_of(output))
    if target is None:
        advice = f"add --to with one of {', '.join(TARGETS)}"
        raise DataError(output, None, "the output's name does not tell its format", advice)
    paths = expand_files(arguments.inputs)
    check_output(output, partial(_holds, target=target), paths, arguments.overwrite)
    options = ReadingOptions.of(vars(arguments), tagged=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    losses: Losses = Counter()
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as scratch:
        stored = store_files(Path(scratch), paths, options)
        [scheme] = choose_source_schemes({"": stored}, arguments.source_scheme, options.outside_label).values()
        tags = Tags({"": stored}, {"": scheme})
        outside = tags.outside_label(scheme, options.outside_label)
        sizes = Counter(sentences=len(stored), words=0, entities=0)

        def annotated() -> Iterator[Annotated]:
            for sentence in stored.sentences():
                found = sentence.tags or []
                spans = tags_to_spans(found, scheme, outside)
                sizes.update(words=len(found), entities=len(spans))
                if arguments.scheme is not None:
                    losses["have tags that were illegal and are repaired"] += bool(illegal_words(found, scheme))
                    sentence.tags = convert_tags(found, scheme, arguments.scheme, outside)
                    spans = tags_to_spans(sentence.tags, arguments.scheme, outside)
                yield sentence, spans

        written = Path(scratch) / output.name
        TARGETS[target](written, annotated(), losses)
        put_in_place(written, output)
    print(f"{output}: {', '.join(f'{sizes[kind]:,} {kind}' for kind in ('sentences', 'words', 'entities'))} ({target})")
    return [
        *filter(None, [stored.meta["changed_spans"]]),
        *(tags.how_counted(options.outside_label) if arguments.source_scheme is None else ()),
        *(str(suspicion.error()) for suspicion in suspicious_tags(tags.seen, tags.is_bare)),
        *(f"{count:,} sentence{'s' * (count != 1)} {loss}" for loss, count in losses.items() if count),
    ]


def _own_options(message: str) -> str:
    """A reader's message with the options as this command spells them."""
    return message.replace("--data.format", "--from").replace("--data.", "--")


def _holds(output: Path, target: str) -> bool:
    """Whether a file can be an earlier conversion: it begins with a sentence in the format of the target."""
    kind = "spans" if target in ("doccano", "label-studio") else target
    try:
        return next(read_sentences(output, ReadingOptions(format=kind)), None) is not None
    except DataError:
        return False
