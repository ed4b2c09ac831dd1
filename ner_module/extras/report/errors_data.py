"""The errors of a run as compact JSON for the page, safe inside ``<script type="application/json">``.

A sentence is held once, however many errors it has; of a long one the words around each error are shown.
"""

from __future__ import annotations

import json
from typing import Any

from markupsafe import Markup

from ner_module.extras.analysis.analysis import Analysis

MOST_ERRORS = 20_000
"""More would make the page heavy; the rest is in the JSONL file, and the page says so."""

_CONTEXT = 40
"""Words shown on either side of an error."""


def errors_json(analysis: Analysis) -> tuple[Markup, int]:
    """The first errors as JSON text to be put into the page, and how many these are.

    The list holds texts, each ``{"s": sentence number, "f": "file:line" or null, "w": words, "a": words left out
    before, "z": words left out after, "e": errors}``, and an error is ``{"c": class, "g": [start, end, type] or null,
    "p": [start, end, type, score or null] or null}``; places are within the text.
    """
    texts: dict[tuple[int, int, int], dict[str, Any]] = {}
    for record in analysis.errors[:MOST_ERRORS]:
        number, tokens = record["sentence"], record["tokens"]
        entities = [entity for entity in (record["gold"], record["predicted"]) if entity]
        first, last = 0, len(tokens)
        if len(tokens) > 2 * _CONTEXT:
            first = max(min(entity["start"] for entity in entities) - _CONTEXT, 0)
            last = min(max(entity["end"] for entity in entities) + _CONTEXT, len(tokens))
        text = {"s": number, "f": analysis.sentences[number - 1].place, "w": tokens[first:last], "a": first}
        text |= {"z": len(tokens) - last, "e": []}
        g, p = (
            entity and [entity["start"] - first, entity["end"] - first, entity["type"]]
            for entity in (record["gold"], record["predicted"])
        )
        error = {"c": record["error"], "g": g, "p": p and [*p, record["predicted"].get("score")]}
        texts.setdefault((number, first, last), text)["e"].append(error)
    return script_json(list(texts.values())), min(len(analysis.errors), MOST_ERRORS)


def script_json(value: Any) -> Markup:
    r"""JSON in which nothing can end a script element or open a comment: ``<``, ``>`` and ``&`` are escapes.

    >>> script_json({"word": "</script><!--"})
    Markup('{"word":"\\u003c/script\\u003e\\u003c!--"}')
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
