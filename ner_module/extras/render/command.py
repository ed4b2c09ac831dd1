"""``python -m ner_module render``: what ``predict`` found, to look at or to correct.

Reads the JSONL of ``predict`` and shows the entities inside their text: in the terminal, as a page of HTML (one file,
light and dark, no network), as displaCy's input, or as pre-annotations for Label Studio and doccano. Predictions on
lists of words are shown with the words joined by spaces.
"""

from __future__ import annotations

import argparse
import html
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from ner_module.errors import DataError

TARGETS = ("terminal", "html", "displacy", "label-studio", "doccano")

# Hues that stay apart for the common kinds of colour blindness too.
_HUES = (210, 30, 150, 275, 355, 60, 185, 320)
_TERMINAL = ("cyan", "yellow", "green", "magenta", "red", "blue", "bright_cyan", "bright_magenta")


def main(argv: Sequence[str]) -> int:
    """Render a predictions file; returns the exit code.

    Raises:
        DataError: the file is not what ``predict`` writes, or the output exists.
    """
    options = _parser().parse_args(list(argv))
    target = options.to or ("terminal" if options.output is None else _target(options.output))
    rows = _read(options.predictions)
    if options.output is None:
        _write(rows, target, sys.stdout)
        return 0
    if options.output.exists() and not options.overwrite:
        raise DataError(options.output, None, "the output exists already", "choose another name, or add --overwrite")
    content = list(rows)  # a damaged line leaves nothing half-written
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with options.output.open("w", encoding="utf-8", newline="\n") as file:
        _write(content, target, file)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ner_module render",
        description="Show what `predict` found inside its text: in the terminal, as HTML, or as pre-annotations.",
        epilog="Examples:\n"
        "  python -m ner_module render found.jsonl\n"
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


def _target(output: Path) -> str:
    if output.suffix.lower() in (".html", ".htm"):
        return "html"
    raise DataError(output, None, "the output's name does not tell its format", f"add --to with {', '.join(TARGETS)}")


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


def _write(rows: Iterable[dict[str, Any]], target: str, file: Any) -> None:
    if target == "terminal":
        console = Console(file=file)
        colours: dict[str, int] = {}
        for row in rows:
            console.print(terminal_line(row, colours), soft_wrap=True)
    elif target == "html":
        file.write(html_page(list(rows)))
    elif target == "doccano":
        for row in rows:
            label = [[entity["start"], entity["end"], entity["type"]] for entity in row["entities"]]
            file.write(json.dumps({"text": row["text"], "label": label}, ensure_ascii=False) + "\n")
    else:
        convert = displacy if target == "displacy" else label_studio_task
        json.dump([convert(row) for row in rows], file, ensure_ascii=False, indent=1)
        file.write("\n")


def as_text(row: dict[str, Any]) -> dict[str, Any]:
    """A prediction with ``text`` and places in characters, whether it was made on text or on words.

    Raises:
        ValueError, KeyError, TypeError, IndexError: it is no prediction, or an entity lies outside its text.

    >>> as_text({"tokens": ["in", "Rome"], "entities": [{"type": "LOC", "text": "Rome", "start": 1, "end": 2}]})
    {'text': 'in Rome', 'entities': [{'type': 'LOC', 'text': 'Rome', 'start': 3, 'end': 7}]}
    """
    if "text" in row:
        text, entities = row["text"], [dict(entity) for entity in row["entities"]]
    else:
        tokens, places, position = row["tokens"], [], 0
        for token in tokens:
            places.append((position, position + len(token)))
            position += len(token) + 1
        text = " ".join(tokens)
        entities = [
            {**entity, "start": places[entity["start"]][0], "end": places[entity["end"] - 1][1]}
            for entity in row["entities"]
        ]
    entities.sort(key=lambda entity: entity["start"])
    reached = 0
    for entity in entities:
        if not reached <= entity["start"] < entity["end"] <= len(text):
            raise ValueError(f"the entity {entity['text']!r} overlaps another one, or lies outside the text")
        reached = entity["end"]
        str(entity["type"])
    return {"text": text, "entities": entities}


def _pieces(row: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """The text in order, cut at entities: each piece with its entity or ``None``."""
    position = 0
    for entity in row["entities"]:
        yield row["text"][position : entity["start"]], None
        yield row["text"][entity["start"] : entity["end"]], entity
        position = entity["end"]
    yield row["text"][position:], None


def terminal_line(row: dict[str, Any], colours: dict[str, int]) -> Text:
    """A prediction for a terminal: ``[Ada Lovelace PER] met …``, coloured where colours are shown.

    Args:
        row: a line of ``predict``.
        colours: which colour each type has so far; new types are added.
    """
    line = Text()
    for piece, entity in _pieces(as_text(row)):
        if entity is None:
            line.append(piece)
        else:
            colour = _TERMINAL[colours.setdefault(entity["type"], len(colours)) % len(_TERMINAL)]
            line.append(f"[{piece} ", style=f"bold {colour}").append(f"{entity['type']}]", style=colour)
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
    scores = [entity["score"] for entity in row["entities"] if entity.get("score") is not None]
    prediction: dict[str, Any] = {"model_version": "ner-module", "result": result}
    if scores:
        prediction["score"] = min(scores)  # tasks sorted by it begin with the least certain
    return {"data": {"text": row["text"]}, "predictions": [prediction]}


def html_page(rows: Sequence[dict[str, Any]]) -> str:
    """One self-contained page with every text and its entities."""
    counts = Counter(entity["type"] for row in rows for entity in row["entities"])
    colours = {name: index % len(_HUES) for index, name in enumerate(sorted(counts))}
    legend = "".join(
        f'<li><mark class="c{colours[name]}">{html.escape(name)}</mark> {count:,}</li>'
        for name, count in sorted(counts.items())
    )
    texts = "\n".join(f"<p>{_html_line(row, colours)}</p>" for row in rows)
    found = f"{sum(counts.values()):,} entities in {len(rows):,} texts"
    return _PAGE.format(colours=_colours(), found=found, legend=legend, texts=texts)


def _html_line(row: dict[str, Any], colours: dict[str, int]) -> str:
    parts = []
    for piece, entity in _pieces(row):
        if entity is None:
            parts.append(html.escape(piece))
        else:
            name = html.escape(entity["type"])
            score = f' title="{entity["score"]:.4f}"' if isinstance(entity.get("score"), float) else ""
            parts.append(f'<mark class="c{colours[entity["type"]]}"{score}>{html.escape(piece)}<b>{name}</b></mark>')
    return "".join(parts) or "&nbsp;"


def _colours() -> str:
    return "\n".join(f".c{index} {{ --hue: {hue}; }}" for index, hue in enumerate(_HUES))


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Entities</title>
<style>
:root {{ color-scheme: light dark; --paper: #fff; --ink: #1b1b1b; --rule: #ddd; }}
body {{ margin: 2rem auto; padding: 0 1rem; max-width: 46rem; background: var(--paper); color: var(--ink);
  font: 1.05rem/1.9 system-ui, sans-serif; }}
h1 {{ font-size: 1.2rem; }}
ul {{ list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; }}
p {{ margin: 0; padding: .45rem 0; border-top: 1px solid var(--rule); white-space: pre-wrap;
  overflow-wrap: anywhere; unicode-bidi: plaintext; }}
mark {{ background: hsl(var(--hue) 85% 88%); color: hsl(var(--hue) 80% 17%); border-radius: .25rem;
  padding: .1rem .3rem; -webkit-box-decoration-break: clone; box-decoration-break: clone; }}
mark b {{ margin-left: .4em; font-size: .68em; letter-spacing: .03em; user-select: none; }}
{colours}
@media (prefers-color-scheme: dark) {{
  :root {{ --paper: #15171a; --ink: #e6e6e6; --rule: #33373d; }}
  mark {{ background: hsl(var(--hue) 45% 24%); color: hsl(var(--hue) 85% 88%); }}
}}
</style>
</head>
<body>
<h1>{found}</h1>
<ul>{legend}</ul>
<main>
{texts}
</main>
</body>
</html>
"""
