"""``python -m ner_module render``: predictions, to look at or to correct.

Reads the JSONL of ``predict`` and shows the entities in their text: in the terminal, as an HTML page (one file, light
and dark, no network), as displaCy's input, or as pre-annotations for Label Studio and doccano. Predictions on lists of
words are shown with the words joined by spaces.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from rich.console import Console
from rich.text import Text

from ner_module.errors import DataError
from ner_module.files import write_atomically

TARGETS = ("terminal", "html", "displacy", "label-studio", "doccano")

# Hues that can be told apart with the common kinds of colour blindness, too.
_HUES = (210, 30, 150, 275, 355, 60, 185, 320)
_TERMINAL = ("cyan", "yellow", "green", "magenta", "red", "blue", "bright_cyan", "bright_magenta")


def main(argv: Sequence[str]) -> int:
    """Render a predictions file; returns 0.

    Raises:
        DataError: the file is not what ``predict`` writes, or the output exists.
    """
    options = _parser().parse_args(list(argv))
    output: Path | None = options.output
    rows = _read(options.predictions)
    if output is None:
        _write(rows, options.to or "terminal", sys.stdout)
        return 0
    if options.to is None and output.suffix.lower() not in (".html", ".htm"):
        advice = f"add --to with {', '.join(TARGETS)}"
        raise DataError(output, None, "the format cannot be inferred from the output's name", advice)
    if output.exists() and not options.overwrite:
        raise DataError(output, None, "the output exists already", "choose another name, or add --overwrite")
    content = io.StringIO()
    _write(rows, options.to or "html", content)
    write_atomically(output, content.getvalue())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ner_module render",
        description="Show the entities that `predict` found in their text: in the terminal, as HTML, or as\n"
        "pre-annotations.",
        epilog="Examples:\n"
        "  python -m ner_module render found.jsonl\n"
        "  python -m ner_module predict --ckpt_path best --data.predict_file FILE | python -m ner_module render -\n"
        "  python -m ner_module render found.jsonl page.html\n"
        "  python -m ner_module render found.jsonl tasks.json --to label-studio",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("predictions", metavar="IN", help="the JSONL that `predict` wrote; - for standard input")
    parser.add_argument("output", nargs="?", type=Path, metavar="OUT", help="the file to write (standard output)")
    parser.add_argument("--to", choices=TARGETS, help="what to write (terminal; html where OUT ends in .html)")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    return parser


def _read(name: str) -> Iterator[dict[str, Any]]:
    path = Path("standard input" if name == "-" else name)
    if name != "-" and not path.is_file():
        raise DataError(path, None, "no such file", "give the file that `predict --output` wrote")
    with sys.stdin if name == "-" else path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield as_text(json.loads(line))
            except (ValueError, KeyError, TypeError, IndexError) as error:
                problem = f"not a prediction ({type(error).__name__}: {error})"
                raise DataError(path, number, problem, "give what `predict` wrote") from error


def as_text(row: dict[str, Any]) -> dict[str, Any]:
    """A prediction with ``text`` and places in characters, whether it was made on text or on words.

    Raises:
        ValueError, KeyError, TypeError, IndexError: it is no prediction, or an entity lies outside its text.

    >>> as_text({"tokens": ["in", "Rome"], "entities": [{"type": "LOC", "text": "Rome", "start": 1, "end": 2}]})
    {'text': 'in Rome', 'entities': [{'type': 'LOC', 'text': 'Rome', 'start': 3, 'end': 7}]}
    """
    entities = sorted((dict(entity) for entity in row["entities"]), key=lambda entity: entity["start"])
    text = row["text"] if "text" in row else " ".join(row["tokens"])
    if "text" not in row:
        starts = [0]
        for token in row["tokens"]:
            starts.append(starts[-1] + len(token) + 1)
        for entity in entities:
            entity["start"], entity["end"] = starts[entity["start"]], starts[entity["end"]] - 1
    reached = 0
    for entity in entities:
        if not reached <= entity["start"] < entity["end"] <= len(text):
            raise ValueError(f"the entity {entity['text']!r} overlaps another one, or lies outside the text")
        if not isinstance(entity["type"], str):
            raise TypeError(f"the type {entity['type']!r} is not a string")
        reached = entity["end"]
    return {"text": text, "entities": entities}


def _write(rows: Iterable[dict[str, Any]], target: str, file: Any) -> None:
    """Terminal and doccano line by line as predictions arrive, the others at the end."""
    if target == "terminal":
        console, colours = Console(file=file), dict[str, int]()
        for row in rows:
            console.print(terminal_line(row, colours), soft_wrap=True)
    elif target == "html":
        file.write(html_page(list(rows)))
    elif target == "doccano":
        for row in rows:
            label = [[entity["start"], entity["end"], entity["type"]] for entity in row["entities"]]
            print(json.dumps({"text": row["text"], "label": label}, ensure_ascii=False), file=file, flush=True)
    else:
        convert = displacy if target == "displacy" else label_studio_task
        print(json.dumps([convert(row) for row in rows], ensure_ascii=False, indent=1), file=file)


def _split(row: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """The text in order, split at entities: each part with its entity or ``None``."""
    position = 0
    for entity in row["entities"]:
        yield row["text"][position : entity["start"]], None
        yield row["text"][entity["start"] : entity["end"]], entity
        position = entity["end"]
    yield row["text"][position:], None


def terminal_line(row: dict[str, Any], colours: dict[str, int]) -> Text:
    """A prediction for a terminal: ``[Ada Lovelace PER] met …``, coloured where colours are shown.

    Args:
        row: what :func:`as_text` returns.
        colours: the colour of each type so far; new types are added.
    """
    line = Text()
    for part, entity in _split(row):
        if entity is None:
            line.append(part)
        else:
            colour = _TERMINAL[colours.setdefault(entity["type"], len(colours)) % len(_TERMINAL)]
            line.append(f"[{part} ", style=f"bold {colour}").append(f"{entity['type']}]", style=colour)
    return line


def displacy(row: dict[str, Any]) -> dict[str, Any]:
    """For ``displacy.render(…, style="ent", manual=True)``."""
    ents = [{"start": entity["start"], "end": entity["end"], "label": entity["type"]} for entity in row["entities"]]
    return {"text": row["text"], "ents": ents, "title": None}


def label_studio_task(row: dict[str, Any]) -> dict[str, Any]:
    """A task with predictions, for an interface with ``<Labels name="label" toName="text">``."""
    result = [
        {
            "id": f"entity-{index}",
            "from_name": "label",
            "to_name": "text",
            "type": "labels",
            "score": entity.get("score"),
            "value": {key: entity[key] for key in ("start", "end", "text")} | {"labels": [entity["type"]]},
        }
        for index, entity in enumerate(row["entities"])
    ]
    prediction: dict[str, Any] = {"model_version": "ner-module", "result": result}
    if scores := [entity["score"] for entity in row["entities"] if entity.get("score") is not None]:
        prediction["score"] = min(scores)  # tasks sorted by it begin with the least certain
    return {"data": {"text": row["text"]}, "predictions": [prediction]}


def html_page(rows: Sequence[dict[str, Any]]) -> str:
    """One self-contained page with every text and its entities."""
    counts = Counter(entity["type"] for row in rows for entity in row["entities"])
    classes = {name: index % len(_HUES) for index, name in enumerate(sorted(counts))}
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, keep_trailing_newline=True)
    page = environment.get_template("page.html.jinja")
    return page.render(rows=rows, counts=counts, classes=classes, hues=_HUES, split=_split)
