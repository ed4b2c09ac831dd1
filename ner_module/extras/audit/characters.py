"""Words that are not what they look like: empty, with control or zero-width characters, or in several Unicode forms.

Each distinct form is looked at once; the numbers are of words.

Not here: what a model's tokenizer makes of them (`subwords.py`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ner_module.extras.audit.corpus import Corpus
from ner_module.extras.audit.spans import Bools
from ner_module.extras.audit.wording import plural, visible
from ner_module.extras.findings import Example, Finding, Severity

# Joiners, variation selectors and tags are part of how emoji, Arabic script and Indic scripts are written, so inside a
# word they are no mistake.
_JOINERS = re.compile("[\u200c\u200d\ufe00-\ufe0f\U000e0020-\U000e007f]")
_INVISIBLE = frozenset({"Cf"})

# UTF-8 that was read as Latin-1 or Windows-1252: "Ã©" for "é", "â€™" for an apostrophe.
_MOJIBAKE = re.compile("Ã[\u0080-\u00bf]|Â[\u0080-\u00bf]|â€[\u0080-\u00bf™œ\u009d\u0153\u201c-\u203a]?")


class _Kind(NamedTuple):
    code: str
    severity: Severity
    test: Callable[[str], bool]
    message: str
    advice: str


def _is_blank(form: str) -> bool:
    return not form.strip()


def _has_space(form: str) -> bool:
    return bool(form.strip()) and any(char.isspace() for char in form)


def _has_control(form: str) -> bool:
    return any(unicodedata.category(char) in ("Cc", "Cn", "Co") and not char.isspace() for char in form)


def _has_zero_width(form: str) -> bool:
    bare = _JOINERS.sub("", form)
    return any(unicodedata.category(char) in _INVISIBLE for char in bare or form)


def _is_damaged(form: str) -> bool:
    return "\ufffd" in form or bool(_MOJIBAKE.search(form))


_KINDS = (
    _Kind(
        "empty_words",
        "warning",
        _is_blank,
        "{words} {are} empty or only white space",
        "remove them with their tags: a model cannot see them, and predictions there are always outside",
    ),
    _Kind(
        "space_in_words",
        "info",
        _has_space,
        "{words} {contain} white space",
        "split them into words with a tag each if that is not meant: in running text no word will have any",
    ),
    _Kind(
        "control_characters",
        "warning",
        _has_control,
        "{words} {contain} control, unassigned or private characters",
        "remove the characters; conversion from PDF or markup leaves such",
    ),
    _Kind(
        "zero_width_characters",
        "warning",
        _has_zero_width,
        "{words} {contain} characters of no width (zero-width space, byte order mark, soft hyphen, direction marks)",
        "remove them: the same word with and without looks equal and is another one to most tokenizers",
    ),
    _Kind(
        "damaged_characters",
        "warning",
        _is_damaged,
        "{words} {look} like text that was decoded with the wrong encoding",
        "convert the source again with its true encoding (--data.encoding names it)",
    ),
)


def character_findings(corpus: Corpus) -> list[Finding]:
    """Everything odd about characters, one finding a kind."""
    flags = np.zeros(len(corpus.forms), dtype=np.int32)
    unusual = [(index, form) for index, form in enumerate(corpus.forms) if not _is_usual(form)]
    for bit, kind in enumerate(_KINDS):
        for index, form in unusual:
            if kind.test(form):
                flags[index] |= 1 << bit
    composed, decomposed = len(_KINDS), len(_KINDS) + 1
    for index, form in unusual:
        if form.isascii():
            continue
        if not unicodedata.is_normalized("NFC", form):
            flags[index] |= 1 << decomposed
        elif not unicodedata.is_normalized("NFD", form):
            flags[index] |= 1 << composed
    counts, first = count_words(corpus, flags, len(_KINDS) + 2)
    findings = [
        Finding(
            kind.code,
            kind.severity,
            counts[bit],
            kind.message.format(
                words=plural(counts[bit], "word"),
                are="is" if counts[bit] == 1 else "are",
                contain="contains" if counts[bit] == 1 else "contain",
                look="looks" if counts[bit] == 1 else "look",
            ),
            first[bit],
            kind.advice,
        )
        for bit, kind in enumerate(_KINDS)
        if counts[bit]
    ]
    if counts[composed] and counts[decomposed]:
        findings.append(_mixed_forms(corpus, flags, counts, first, composed, decomposed))
    return findings


def _is_usual(form: str) -> bool:
    return form.isascii() and form.isprintable() and " " not in form and form != ""


def _mixed_forms(
    corpus: Corpus,
    flags: npt.NDArray[np.int32],
    counts: list[int],
    first: list[Example | None],
    composed: int,
    decomposed: int,
) -> Finding:
    rare, usual = sorted((composed, decomposed), key=lambda bit: counts[bit])
    names = {composed: "NFC (é as one character)", decomposed: "not NFC (é as e and an accent)"}
    known = set(corpus.forms)
    both = [
        corpus.forms[index]
        for index in np.flatnonzero(flags & (1 << decomposed)).tolist()
        if unicodedata.normalize("NFC", corpus.forms[index]) in known
    ]
    same = f"; {visible(both[0])} occurs in both" if both else ""
    return Finding(
        "mixed_unicode_forms",
        "warning",
        counts[rare],
        f"{plural(counts[rare], 'word')} with accents {'is' if counts[rare] == 1 else 'are'} {names[rare]}, "
        f"{counts[usual]:,} {names[usual]}{same}",
        first[rare],
        "normalise all text to NFC: words that look the same should be the same",
        [{"form": form} for form in both[:100]] or None,
    )


def count_words(corpus: Corpus, flags: npt.NDArray[np.int32], bits: int) -> tuple[list[int], list[Example | None]]:
    """How many words have a form with each flag, and the first such word.

    Args:
        corpus: the words.
        flags: of each form, bit by bit, ``[forms]``.
        bits: how many there are.
    """
    counts = [0] * bits
    first: list[Example | None] = [None] * bits
    if not flags.any():
        return counts, first
    for chunk in corpus.chunks():
        of_words = flags[chunk.words]
        if not of_words.any():
            continue
        for bit in range(bits):
            found: Bools = (of_words & (1 << bit)) != 0
            count = int(found.sum())
            counts[bit] += count
            if count and first[bit] is None:
                word = int(np.argmax(found))
                sentence = int(chunk.sentence_of(np.array([word]))[0])
                place = word - int(chunk.offsets[sentence])
                first[bit] = corpus.example(chunk.first_sentence + sentence, place, place + 1)
    return counts, first
