"""Words that are not what they look like: empty, with control or zero-width characters, or in several Unicode forms.

Each distinct form is classified once; the numbers are of words. Not here: what a tokenizer makes of them
(`sequences.py`).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping

from ner_module.extras.audit.corpus import Corpus
from ner_module.extras.audit.wording import plural, visible
from ner_module.extras.findings import Example, Finding, Severity

# Joiners, variation selectors and tags are part of how emoji, Arabic script and Indic scripts are written, so inside a
# word they are no mistake.
_JOINERS = re.compile("[\u200c\u200d\ufe00-\ufe0f\U000e0020-\U000e007f]")

# UTF-8 that was read as Latin-1 or Windows-1252: "Ã©" for "é", "â€™" for an apostrophe.
_MOJIBAKE = re.compile("\ufffd|[ÃÂ][\u0080-\u00bf]|â€")

_KINDS = {
    "empty_words": (
        "that are empty or only white space",
        "remove them with their tags: a model cannot see them, and predictions there are always outside",
    ),
    "space_in_words": (
        "with white space",
        "split them into words with a tag each if that is not meant: in running text no word will have any",
    ),
    "control_characters": (
        "with control, unassigned or private characters",
        "remove the characters; conversion from PDF or markup leaves such",
    ),
    "zero_width_characters": (
        "with characters of no width (zero-width space, byte order mark, soft hyphen, direction marks)",
        "remove them: a word looks the same with and without, but most tokenizers see two different words",
    ),
    "damaged_characters": (
        "that look like text decoded with the wrong encoding",
        "convert the source again with its true encoding (--data.encoding names it)",
    ),
}
_COMPOSED, _DECOMPOSED = "composed", "decomposed"


def count_words(
    corpus: Corpus, kinds: Mapping[str, Collection[str]]
) -> tuple[Counter[tuple[str, str]], dict[str, Example]]:
    """How many words of each kind every split has, and the first word of each kind.

    Args:
        corpus: the words.
        kinds: form -> its kinds, for the forms that have any.

    Returns:
        (kind, split) -> words; kind -> example.
    """
    counts: Counter[tuple[str, str]] = Counter()
    first: dict[str, Example] = {}
    for sentence in corpus.sentences if kinds else ():
        for at, word in enumerate(sentence.tokens):
            if word in kinds:
                for kind in kinds[word]:
                    counts[kind, sentence.split] += 1
                    if kind not in first:
                        first[kind] = sentence.example(at, at + 1)
    return counts, first


def word_findings(
    kinds: Mapping[str, tuple[str, str]], totals: Mapping[str, int], first: Mapping[str, Example], mild: str
) -> list[Finding]:
    """A warning for each kind that occurs, and a note for a mild one, from its problem and advice."""
    found = []
    for code, (problem, advice) in kinds.items():
        if count := totals.get(code, 0):
            severity: Severity = "info" if code == mild else "warning"
            found.append(Finding(code, severity, count, f"{plural(count, 'word')} {problem}", first[code], advice))
    return found


def character_kinds(form: str) -> list[str]:
    r"""What is odd about the characters of a word.

    >>> character_kinds("plain"), character_kinds("a\u200bb"), character_kinds("\t"), character_kinds("caf\u00c3\u00a9")
    ([], ['zero_width_characters'], ['empty_words'], ['damaged_characters', 'composed'])
    """
    if form.isascii() and form.isprintable() and form and " " not in form:
        return []
    categories = {unicodedata.category(char) for char in form if not char.isspace()}
    bare = _JOINERS.sub("", form) or form
    found = {
        "empty_words": not form.strip(),
        "space_in_words": bool(form.strip()) and any(map(str.isspace, form)),
        "control_characters": not categories.isdisjoint(("Cc", "Cn", "Co")),
        "zero_width_characters": any(unicodedata.category(char) == "Cf" for char in bare),
        "damaged_characters": bool(_MOJIBAKE.search(form)),
        _COMPOSED: unicodedata.is_normalized("NFC", form) and not unicodedata.is_normalized("NFD", form),
        _DECOMPOSED: not unicodedata.is_normalized("NFC", form),
    }
    return [kind for kind, applies in found.items() if applies]


def character_findings(corpus: Corpus) -> list[Finding]:
    """Everything odd about characters, one finding a kind."""
    kinds = {form: found for form in corpus.forms if (found := character_kinds(form))}
    counts, first = count_words(corpus, kinds)
    totals = {kind: sum(counts[kind, split] for split in corpus.splits) for kind in first}
    findings = word_findings(_KINDS, totals, first, mild="space_in_words")
    if not {_COMPOSED, _DECOMPOSED} <= set(totals):
        return findings
    rare, usual = sorted((_COMPOSED, _DECOMPOSED), key=totals.__getitem__)
    names = {_COMPOSED: "in NFC (é as one character)", _DECOMPOSED: "not in NFC (é as e and an accent)"}
    known = set(corpus.forms)
    decomposed = [form for form, found in kinds.items() if _DECOMPOSED in found]
    both = [form for form in decomposed if unicodedata.normalize("NFC", form) in known]
    message = f"{plural(totals[rare], 'word')} with accents {names[rare]}, {totals[usual]:,} {names[usual]}"
    message += f"; {visible(both[0])} occurs in both" if both else ""
    advice = "normalise all text to NFC: words that look the same should be the same"
    details = [{"form": form} for form in both[:100]] or None
    return [*findings, Finding("mixed_unicode_forms", "warning", totals[rare], message, first[rare], advice, details)]
