"""Sentences that occur more than once: inside a split, in two splits (leakage), and with different tags.

Compared word by word; and nearly, by a hash of their characters without case, white space and compatibility variants,
so that another tokenisation of the same text is found too.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from functools import cache

from ner_module.extras.audit.corpus import Corpus, Sentence
from ner_module.extras.audit.findings import Finding, plural, share

# Shorter sentences ("Yes .", a score, a dateline) repeat in honest data.
_LONG_ENOUGH = 5
# From this share on a training split says one thing too often.
_MANY = 0.05
_DETAILS = 1_000

_EQUAL = {
    "leakage": "also in the training data",
    "near_leakage": "also in the training data, up to case, white space or tokenisation",
    "duplicate_sentences": "duplicates of earlier ones",
}


def duplicate_findings(corpus: Corpus) -> Iterator[Finding]:
    """Contradictions first, then leakage, then mere repetition."""
    fold = cache(folded)

    def characters(sentence: Sentence) -> int:
        return hash("".join(map(fold, sentence.tokens)))

    sentences = [sentence for sentence in corpus.sentences if sentence.tokens]
    train = [sentence for sentence in sentences if sentence.split == "train"]
    # Of equal sentences the first: a dictionary keeps the last of what it is made from.
    first = {sentence.tokens: sentence for sentence in reversed(sentences)}
    first_train = {sentence.tokens: sentence for sentence in reversed(train)}
    folded_train = {characters(sentence): sentence for sentence in reversed(train)}
    differing: list[tuple[Sentence, Sentence]] = []
    equal: dict[tuple[str, str], list[tuple[Sentence, Sentence]]] = defaultdict(list)
    for sentence in sentences:
        twin, split = first[sentence.tokens], sentence.split
        same_types = corpus.types_by_file[sentence.file] == corpus.types_by_file[twin.file]
        if sentence.tags != twin.tags and same_types:
            differing.append((sentence, twin))
        if twin is not sentence and twin.split == split:
            equal["duplicate_sentences", split].append((sentence, twin))
        if split != "train" and (same := first_train.get(sentence.tokens)):
            equal["leakage", split].append((sentence, same))
        elif split != "train" and (alike := folded_train.get(characters(sentence))):
            equal["near_leakage", split].append((sentence, alike))
    if differing:
        yield _contradiction(differing)
    for code, split in sorted(equal, key=lambda pair: list(_EQUAL).index(pair[0])):
        yield _repetition(code, split, equal[code, split], len(corpus.of(split)))


def _contradiction(pairs: list[tuple[Sentence, Sentence]]) -> Finding:
    count = len({twin.tokens for _, twin in pairs})
    sentence, twin = pairs[0]
    at = next(at for at, tags in enumerate(zip(twin.tags, sentence.tags, strict=True)) if tags[0] != tags[1])
    note = f"  {sentence.tags[at]} here, {twin.tags[at]} in {twin.example(at).place}"
    message = f"{plural(count, 'sentence occurs', 'sentences occur')} several times with different tags"
    advice = "decide which annotation is right; a model cannot learn both, and a score cannot reward both"
    details = [{"places": [twin.example().place, each.example().place]} for each, twin in pairs[:_DETAILS]]
    example = sentence.example(at, at + 1, note)
    return Finding("contradicting_duplicates", "warning", count, message, example, advice, details)


def _repetition(code: str, split: str, pairs: list[tuple[Sentence, Sentence]], size: int) -> Finding:
    count, long = len(pairs), sum(len(sentence.tokens) >= _LONG_ENOUGH for sentence, _ in pairs)
    # A long sentence says more than "Yes .".
    sentence, twin = max(pairs, key=lambda pair: min(len(pair[0].tokens), _LONG_ENOUGH))
    example = sentence.example(note=f"  (also {twin.example().place})")
    message = f"{plural(count, 'sentence')} of the {split} data ({share(count, size)}; {long:,} of {_LONG_ENOUGH} "
    message += f"words or more) {'is' if count == 1 else 'are'} {_EQUAL[code]}"
    if code == "duplicate_sentences":
        severe = split == "train" and long > _MANY * size
        advice = "remove repetitions, unless their frequency is what you want to learn and to score"
        return Finding(code, "warning" if severe else "info", count, message, example, advice)
    advice = f"remove them from one side: the {split} score rewards remembering them"
    details = [{"place": leaked.example().place} for leaked, _ in pairs[:_DETAILS]]
    return Finding(code, "warning" if long else "info", count, message, example, advice, details)


def folded(form: str) -> str:
    r"""A word without what people vary when they copy text: case, white space, compatibility forms.

    >>> folded("Ｓtraße"), folded(" New\xa0York ")
    ('strasse', 'newyork')
    """
    if not form.isascii():
        form = unicodedata.normalize("NFKC", form).casefold()
    return "".join(form.lower().split())
