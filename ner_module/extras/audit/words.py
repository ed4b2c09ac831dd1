"""Words that are not what they look like; what the model's tokenizer makes of all words; windows of long sentences."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from os.path import commonprefix
from typing import Any

from ner_module.data.alignment import Subwords, place_sequences
from ner_module.extras.audit.annotations import distribution
from ner_module.extras.audit.corpus import Corpus, Sentence
from ner_module.extras.audit.findings import Finding, Severity, plural, share

# Joiners, variation selectors and tags are part of how emoji, Arabic script and Indic scripts are written, so inside a
# word they are no mistake.
_JOINERS = re.compile("[\u200c\u200d\ufe00-\ufe0f\U000e0020-\U000e007f]")
# UTF-8 that was read as Latin-1 or Windows-1252: "Ã©" for "é", "â€™" for an apostrophe.
_MOJIBAKE = re.compile("\ufffd|[ÃÂ][\u0080-\u00bf]|â€")

_KINDS = {
    "empty_words": ("that are empty or only white space", "remove them with their tags: a model cannot see them"),
    "space_in_words": ("with white space", "split them unless that is meant: words of running text have none"),
    "control_characters": ("with control, unassigned or private characters", "remove these, remains of PDF or markup"),
    "zero_width_characters": (
        "with zero-width characters or soft hyphens",
        "remove these: they change how the word is tokenized",
    ),
    "damaged_characters": (
        "that look like text decoded with the wrong encoding",
        "give the right one: --data.encoding",
    ),
    "decomposed_characters": ("not in NFC (é as e and an accent)", "normalise all text to NFC"),
}

_FORMS_AT_ONCE = 20_000
# A share of unknown words from which the model misses too much; a rule of thumb, not a measurement.
_MANY_UNKNOWN = 0.01

Tokenization = tuple[Any, int, int]
"""A fast tokenizer, and how many subword tokens a sequence has and neighbouring windows share at most."""


def character_kinds(form: str) -> list[str]:
    r"""What is odd about the characters of a word.

    >>> character_kinds("plain"), character_kinds("a\u200bb"), character_kinds("\t"), character_kinds("\ufffd")
    ([], ['zero_width_characters'], ['empty_words'], ['damaged_characters'])
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
        "decomposed_characters": not unicodedata.is_normalized("NFC", form),
    }
    return [kind for kind, applies in found.items() if applies]


def character_findings(corpus: Corpus) -> Iterator[Finding]:
    """Everything odd about characters, one finding a kind."""
    for split in corpus.splits:
        words = {word for sentence in corpus.of(split) for word in sentence.tokens}
        if len(words) > 9 and len(prefix := commonprefix([min(words), max(words)])) > 1:  # noqa: RUF071 (characters)
            message = f"every word of the {split} data begins with {prefix!r}"
            advice = "remove it: words of running text do not have it"
            yield Finding("same_beginning", "warning", len(words), message, corpus.of(split)[0].example(0, 1), advice)
    forms: dict[str, list[str]] = defaultdict(list)
    for form in corpus.forms:
        for kind in character_kinds(form):
            forms[kind].append(form)
    for kind, texts in _KINDS.items():
        yield from _finding(corpus, kind, "info" if kind == "space_in_words" else "warning", forms[kind], *texts)


def _finding(
    corpus: Corpus, code: str, severity: Severity, forms: Collection[str], problem: str, advice: str
) -> Iterator[Finding]:
    """One finding about some forms, at the first of them; none without forms."""
    if forms:
        count = corpus.count(forms)
        yield Finding(code, severity, count, f"{plural(count, 'word')} {problem}", corpus.first_word(forms), advice)


def subword_findings(corpus: Corpus, tokenization: Tokenization) -> tuple[list[Finding], dict[str, dict[str, Any]]]:
    """What becomes of words and long sentences; and numbers of each split, as JSON holds them."""
    tokenizer, longest, stride = tokenization
    subwords, forms = Subwords(tokenizer), list(corpus.forms)
    for start in range(0, len(forms), _FORMS_AT_ONCE):
        subwords.cache([forms[start : start + _FORMS_AT_ONCE]])
    budget = longest - subwords.num_special
    # The unknown token itself may stand in the data.
    unknown = {form for form in forms if tokenizer.unk_token_id in subwords[form] and form != tokenizer.unk_token}
    clipped = [form for form in forms if len(subwords[form]) > budget and form not in unknown]
    invisible = [form for form in forms if not subwords[form]]
    problem, advice = "that vanish in tokenization", "remove them, or their zero-width characters: they are tagged O"
    found = [*_finding(corpus, "words_without_subword", "warning", invisible, problem, advice)]
    problem = f"longer than {longest} subword tokens, which are truncated"
    advice = "check that it is a word, not an address, an encoded file or a table"
    found += _finding(corpus, "clipped_words", "warning", clipped, problem, advice)
    part, whole = corpus.count(unknown), corpus.forms.total()
    severity: Severity = "warning" if part > _MANY_UNKNOWN * whole else "info"
    problem = f"({share(part, whole)}) containing characters that become {tokenizer.unk_token}"
    advice = "choose a base model of this language and script if these words matter"
    found += _finding(corpus, "unknown_words", severity, unknown, problem, advice)
    lengths: dict[str, list[int]] = defaultdict(list)
    sequences: Counter[str] = Counter()
    windowed: list[Sentence] = []
    for sentence in corpus.sentences:
        of_words = [len(subwords[word]) for word in sentence.tokens]
        length, windows = sum(of_words), 1
        if length > budget:  # there is one window only where a clipped word made room
            kept = [min(count, budget) for count in of_words]
            windows = len(place_sequences(kept, range(len(kept)), budget, stride))
        lengths[sentence.split].append(length)
        sequences[sentence.split] += windows
        if windows > 1:
            windowed.append(sentence)
    if windowed:
        message = f"{plural(len(windowed), 'sentence is', 'sentences are')} longer than {longest} subword tokens and "
        message += "split into overlapping windows; each word is predicted and scored once"
        advice = "nothing is lost; a larger --data.max_seq_length or shorter sentences make fewer windows"
        found.append(Finding("windows", "info", len(windowed), message, windowed[0].example(), advice))
    return found, {
        split: {
            "subwords": sum(lengths[split]),
            "subwords_per_sentence": distribution(lengths[split]),
            "unknown_words": sum(word in unknown for sentence in corpus.of(split) for word in sentence.tokens),
            "rows": sequences[split],
            "windowed_sentences": sum(sentence.split == split for sentence in windowed),
        }
        for split in corpus.splits
    }
