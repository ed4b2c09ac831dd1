"""Print the options as a JSON schema, for editors.

An editor that knows YAML completes and explains options with it, and underlines what is misspelt. Written from the
parser of ``fit``; types that JSON has no word for (callbacks, loggers) may be anything.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from ner_module.help import CommandParser
from ner_module.offers import Offer

OFFER = Offer(commands={"schema": "ner_module.extras.schema:main"})

_DESCRIPTION = """\
Print a JSON schema of the configuration files. Redirect it into schema.json beside your recipes, and begin these with
"# yaml-language-server: $schema=schema.json": editors then complete and explain their options."""


def main(arguments: Sequence[str]) -> int:
    """Print the schema; returns the exit code."""
    CommandParser("schema", _DESCRIPTION).parse_args(list(arguments))
    print(json.dumps(schema(), indent=1, ensure_ascii=False))
    return 0


def schema() -> dict[str, Any]:
    """The schema, by the parser's options: JSON Schema 2020-12, which pydantic writes."""
    from ner_module.options import build_parser

    root = _section()
    for action in build_parser("fit")._actions:
        *sections, name = action.dest.split(".")
        if name == "help" or len(sections) > 1:
            continue
        place = root
        for section in sections:
            place = place["properties"].setdefault(section, _section())
        kind = getattr(action, "_typehint", action.type)
        if kind is not None and name not in ("model", "data", "trainer"):
            default = action.default if isinstance(action.default, (str, int, float, bool)) else None
            about = {"description": action.help} | ({} if default is None else {"default": default})
            place["properties"][name] = _of_type(kind) | about
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "ner-module configuration"} | root


def _section() -> dict[str, Any]:
    # A "+" appends to what an earlier file says.
    return {"type": "object", "properties": {}, "patternProperties": {r"\+$": {}}, "additionalProperties": False}


def _of_type(kind: Any) -> dict[str, Any]:
    """The schema of a Python type; an empty one, which allows anything, of what JSON cannot say."""
    from pydantic import TypeAdapter

    if isinstance(kind, type) and issubclass(kind, (int, float)) and kind is not bool:  # jsonargparse's PositiveInt
        return {"type": "integer" if issubclass(kind, int) else "number"}
    return TypeAdapter(kind).json_schema() if _is_plain(kind) else {}


def _is_plain(kind: Any) -> bool:
    """Whether a type is made of what JSON has, too."""
    if get_origin(kind) is Literal or kind in (str, int, float, bool, type(None), ...):
        return True
    return get_origin(kind) is not None and all(map(_is_plain, get_args(kind)))
