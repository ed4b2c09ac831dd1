"""How else tags are spelt: ``b-per``, ``B_PER``, ``PER-B``, ``M-PER`` of BMES; and what stands for ``O``.

A spelling is detected from the whole inventory, never from one tag: ``B_PER`` among ten ``B-…`` is a typing error.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from ner_module.tagging import OUTSIDE, UNTYPED, has_prefix, join_tag

LIKE_OUTSIDE = frozenset(("o", "0", "\u041e", "\u043e", "\u039f", "\u03bf", "_", "-", "*", ""))
"""What people write for ``O``, the Cyrillic and Greek letters among it."""

_LONG = {"M": "I", "W": "S", "BEGIN": "B", "START": "B", "INSIDE": "I", "IN": "I", "MIDDLE": "I"}
_LONG |= {"END": "E", "LAST": "L", "SINGLE": "S", "UNIT": "U"}
_LETTERS = {letter: letter for letter in "BIESLU"} | _LONG
_PREFIX = f"(?P<prefix>(?i:{'|'.join(sorted(_LETTERS, key=len, reverse=True))}))"
_FORMS = [
    *(re.compile(_PREFIX + re.escape(mark) + "(?P<type>.+)") for mark in "-_:./|"),
    *(re.compile("(?P<type>.+)" + re.escape(mark) + _PREFIX) for mark in "-_:./|"),
    re.compile("(?P<prefix>[BIMESLUW])(?P<type>[A-Z][A-Za-z]+)"),
    re.compile("(?P<prefix>[BIMESLUWbimesluw])(?P<type>)"),
]


def respelling(tags: Iterable[str], outside_label: str | None = None) -> dict[str, str]:
    """Tag -> the same tag as ``O``, ``B-TYPE`` and so on; empty where tags are spelt so, or in no other known way.

    ``outside_label`` stands for ``O`` beside tags with prefixes.

    >>> respelling(["o", "b-per", "i-per"]), respelling(["O", "PER_B", "PER_M", "PER_E"]), respelling(["O", "PER"])
    ({'o': 'O', 'b-per': 'B-per', 'i-per': 'I-per'}, {'PER_B': 'B-PER', 'PER_M': 'I-PER', 'PER_E': 'E-PER'}, {})
    >>> respelling(["PER_B", "PER_I", "ELSE"]), respelling(["PER_B", "PER_I", "ELSE", "OTHER"])
    ({'PER_B': 'B-PER', 'PER_I': 'I-PER'}, {})
    """
    tags = list(dict.fromkeys(tags))
    inside = [tag for tag in tags if tag not in (OUTSIDE, outside_label, *LIKE_OUTSIDE)]
    spelt = {outside_label: OUTSIDE} if outside_label in tags and outside_label not in (OUTSIDE, None) else {}
    if inside and all(map(has_prefix, inside)):
        return spelt
    spelt |= {"o": OUTSIDE} if "o" in tags else {}
    for form in _FORMS if inside else ():
        parts = {tag: (found["prefix"], found["type"]) for tag in inside if (found := form.fullmatch(tag))}
        odd = len(inside) - len(parts)  # one such tag is left: the label of words outside, or a typing error
        if odd <= (len(parts) > 1) and _are_prefixes(parts.values(), is_bare=form in _FORMS[-2:]):
            new = {tag: join_tag(_LETTERS[prefix.upper()], name or UNTYPED) for tag, (prefix, name) in parts.items()}
            return spelt | {tag: new[tag] for tag in new if tag != new[tag]}
    return {}


def _are_prefixes(parts: Collection[tuple[str, str]], is_bare: bool) -> bool:
    """Whether what looks like prefixes goes with types as prefixes do: ``E.coli`` and ``S.aureus`` are labels."""
    by_type: dict[str, set[str]] = defaultdict(set)
    for prefix, name in parts:
        by_type[name].add(prefix.upper()[0])
    used = set[str]().union(*by_type.values())
    if len({prefix.isupper() for prefix, _ in parts}) > 1 or not used & {"B", "I"}:
        return False
    if ("M" in used and ("I" in used or not used & {"E", "S"})) or ("W" in used and not used & {"E", "M"}):
        return False
    several = any(len(prefixes) > 1 for prefixes in by_type.values())
    if is_bare:
        return several and all("B" in prefixes for prefixes in by_type.values())
    return several or used == {"B"} or (used == {"I"} and len(by_type) > 1)


def is_outside(tag: str) -> bool:
    """Whether a tag is a way to say that a word is outside any entity."""
    return tag in LIKE_OUTSIDE or tag.upper() in ("O", "OTHER", "NONE", "OUT", "OUTSIDE", "NULL", "NIL", "NA", "N/A")


def likely_outside(uses: Mapping[str, int]) -> str:
    """Of tags and how often each occurs, the one that words outside any entity most likely have."""
    return max(list(filter(is_outside, uses)) or uses, key=lambda tag: uses[tag])


def shown(tag: str) -> str:
    """A tag for a message; a single letter beyond ASCII by its name, too, since it may look like another one.

    >>> shown("B-PER"), shown("\u041e")
    ("'B-PER'", "'О' (U+041E CYRILLIC CAPITAL LETTER O)")
    """
    if len(tag) == 1 and not tag.isascii():
        return f"{tag!r} (U+{ord(tag):04X} {unicodedata.name(tag, 'without a name')})"
    return repr(tag)
