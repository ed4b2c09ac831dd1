"""The errors of a run as compact JSON for the page, safe inside ``<script type="application/json">``.

Sentences are held once, however many errors they have; of a long one the words around an error are shown.
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

    The object: ``texts`` (lists of words) and ``errors``, each ``{"s": sentence number, "t": index of its text, "c":
    class, "g": [start, end, type] or null, "p": [start, end, type, score or null] or null, "a": words left out before,
    "z": words left out after}``; places are within the text.
    """
    index_of: dict[tuple[int, int, int], int] = {}
    texts: list[list[str]] = []
    errors: list[dict[str, Any]] = []
    for record in analysis.errors[:MOST_ERRORS]:
        tokens, gold, predicted = record["tokens"], record["gold"], record["predicted"]
        entities = [entity for entity in (gold, predicted) if entity]
        first = max(min(entity["start"] for entity in entities) - _CONTEXT, 0)
        last = min(max(entity["end"] for entity in entities) + _CONTEXT, len(tokens))
        if len(tokens) <= 2 * _CONTEXT:
            first, last = 0, len(tokens)
        text = index_of.setdefault((record["sentence"], first, last), len(texts))
        if text == len(texts):
            texts.append(tokens[first:last])
        g = gold and [gold["start"] - first, gold["end"] - first, gold["type"]]
        p = predicted and [predicted["start"] - first, predicted["end"] - first, predicted["type"]]
        error = {"s": record["sentence"], "t": text, "c": record["error"], "g": g}
        errors.append(error | {"p": p and [*p, predicted.get("score")], "a": first, "z": len(tokens) - last})
    return script_json({"texts": texts, "errors": errors}), len(errors)


def script_json(value: Any) -> Markup:
    r"""JSON in which nothing can end a script element or open a comment: ``<``, ``>`` and ``&`` are escapes.

    >>> script_json({"word": "</script><!--"})
    Markup('{"word":"\\u003c/script\\u003e\\u003c!--"}')
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
