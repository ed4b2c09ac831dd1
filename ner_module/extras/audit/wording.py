"""Numbers, words and excerpts as findings write them."""

from __future__ import annotations

_LONGEST = 100


def plural(count: int, noun: str) -> str:
    """A number with its noun.

    >>> plural(1, "sentence"), plural(1200, "sentence"), plural(2, "entity")
    ('1 sentence', '1,200 sentences', '2 entities')
    """
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun[:-1]}ies" if noun.endswith("y") else f"{count:,} {noun}s"


def share(part: int, whole: int) -> str:
    """A share as people read it; never 0 % of something, nor 100 % of not all.

    >>> share(1, 3), share(1, 5000), share(0, 0), share(4999, 5000)
    ('33 %', '0.02 %', '0 %', '99.98 %')
    """
    if part in (0, whole):
        return "100 %" if part else "0 %"
    percent = 100 * part / whole
    return f"{percent:.0f} %" if 1 <= percent <= 99 else f"{percent:.2g} %" if percent < 1 else f"{percent:.2f} %"


def excerpt(tokens: list[str], start: int = 0, end: int = 0) -> str:
    r"""The words of a sentence around those from ``start`` to ``end``, which are put in brackets.

    Characters that cannot be seen are written as escapes, so that an example shows what is wrong.

    >>> excerpt(["He", "left", "New", "York", "."], 2, 4)
    'He left [New York] .'
    >>> excerpt(["zero\u200bwidth", ""], 1, 2)
    'zero\\u200bwidth []'
    """
    marked = " ".join(visible(token) for token in tokens[start:end])
    if end <= start:
        return _cut(" ".join(visible(token) for token in tokens), _LONGEST)
    marked = f"[{_cut(marked, _LONGEST)}]"
    room = max((_LONGEST - len(marked)) // 2, 20)
    before, after = "", ""
    for index in range(start - 1, -1, -1):
        longer = f"{visible(tokens[index])} {before}"
        if len(longer) > room:
            before = f"… {before}"
            break
        before = longer
    for index in range(end, len(tokens)):
        longer = f"{after} {visible(tokens[index])}"
        if len(longer) > room:
            after = f"{after} …"
            break
        after = longer
    return f"{before}{marked}{after}"


def visible(token: str) -> str:
    r"""A word with its invisible characters as escapes.

    >>> visible("a\tb"), visible("naïve")
    ('a\\tb', 'naïve')
    """
    if token.isprintable():
        return token
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in token)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
