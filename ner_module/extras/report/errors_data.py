"""The errors of a run as compact JSON for the page, safe inside ``<script type="application/json">``.

Sentences are held once, however many errors they have; of a long one the words around an error are shown.
"""

from __future__ import annotations

import json
from typing import Any

from markupsafe import Markup

from ner_module.extras.analysis.analysis import Analysis
from ner_module.extras.analysis.errors import error_records

MOST_ERRORS = 20_000
"""More would make the page heavy; the rest is in the JSONL file, and the page says so."""

_CONTEXT = 40
"""Words shown on either side of an error."""


def errors_json(analysis: Analysis) -> tuple[Markup, int, int]:
    """All errors, as JSON text to be put into the page.

    The object: ``texts`` (lists of words) and ``errors``, each ``{"s": sentence number, "t": index of its text, "c":
    class, "g": [start, end, type] or null, "p": [start, end, type, score or null] or null, "a": words left out before,
    "z": words left out after}``; places are within the text.

    Returns:
        The JSON, how many errors it holds, and how many there are.
    """
    records = error_records(analysis.sentences, analysis.pairings)
    texts: list[list[str]] = []
    index_of: dict[tuple[int, int, int], int] = {}
    errors: list[dict[str, Any]] = []
    for record in records[:MOST_ERRORS]:
        tokens: list[str] = record["tokens"]
        entities: list[dict[str, Any]] = [e for e in (record["gold"], record["predicted"]) if e]
        first = max(min(entity["start"] for entity in entities) - _CONTEXT, 0)
        last = min(max(entity["end"] for entity in entities) + _CONTEXT, len(tokens))
        if len(tokens) <= 2 * _CONTEXT:
            first, last = 0, len(tokens)
        place = (int(record["sentence"]), first, last)
        if place not in index_of:
            index_of[place] = len(texts)
            texts.append(tokens[first:last])
        errors.append(
            {
                "s": record["sentence"],
                "t": index_of[place],
                "c": record["error"],
                "g": _entity(record["gold"], first, False),
                "p": _entity(record["predicted"], first, True),
                "a": first,
                "z": len(tokens) - last,
            }
        )
    return script_json({"texts": texts, "errors": errors}), len(errors), len(records)


def script_json(value: Any) -> Markup:
    r"""JSON in which nothing can end a script element or open a comment: ``<``, ``>`` and ``&`` are escapes.

    >>> script_json({"word": "</script><!--"})
    Markup('{"word":"\\u003c/script\\u003e\\u003c!--"}')
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _entity(entity: Any, first: int, is_predicted: bool) -> list[Any] | None:
    if entity is None:
        return None
    place = [entity["start"] - first, entity["end"] - first, entity["type"]]
    return [*place, entity.get("score")] if is_predicted else place
