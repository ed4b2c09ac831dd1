"""Sentences that occur more than once: inside a split, in two splits (leakage), and with different tags.

Compared word by word; and nearly, by a hash of their characters without case, white space and compatibility variants,
so that another tokenisation of the same text is found too.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from functools import cache

from ner_module.extras.audit.corpus import Corpus, Sentence
from ner_module.extras.audit.wording import plural, share
from ner_module.extras.findings import Finding

# Shorter sentences ("Yes .", a score, a dateline) repeat in honest data.
_LONG_ENOUGH = 5
# From this share on a training split says one thing too often.
_MANY = 0.05

# A sentence and an equal one before it, or in the training data.
Pairs = list[tuple[Sentence, Sentence]]


def duplicate_findings(corpus: Corpus) -> list[Finding]:
    """Contradictions first, then leakage, then mere repetition."""
    fold = cache(folded)

    def folded_hash(sentence: Sentence) -> int:
        return hash("".join(map(fold, sentence.tokens)))

    first: dict[tuple[str, ...], Sentence] = {}
    train: dict[tuple[str, ...], Sentence] = {}
    folded_train: dict[int, Sentence] = {}
    for sentence in corpus.sentences:
        first.setdefault(sentence.tokens, sentence)
        if sentence.split == "train" and sentence.tokens:
            train.setdefault(sentence.tokens, sentence)
            folded_train.setdefault(folded_hash(sentence), sentence)
    differing: Pairs = []
    equal: dict[tuple[str, str], Pairs] = defaultdict(list)
    for sentence in corpus.sentences:
        if not sentence.tokens:
            continue
        twin = first[sentence.tokens]
        if sentence.tags != twin.tags:
            differing.append((sentence, twin))
        if twin is not sentence and twin.split == sentence.split:
            equal["duplicate_sentences", sentence.split].append((sentence, twin))
        if sentence.split == "train":
            continue
        if sentence.tokens in train:
            equal["leakage", sentence.split].append((sentence, train[sentence.tokens]))
        elif (key := folded_hash(sentence)) in folded_train:
            equal["near_leakage", sentence.split].append((sentence, folded_train[key]))
    codes = [(code, split) for split in corpus.splits for code in ("leakage", "near_leakage")]
    codes += [("duplicate_sentences", split) for split in corpus.splits]
    found = [_repetition(corpus, *pair, equal[pair]) for pair in codes if pair in equal]
    return [_contradiction(differing), *found] if differing else found


def _repetition(corpus: Corpus, code: str, split: str, pairs: Pairs) -> Finding:
    count, size = len(pairs), len(corpus.of(split))
    long = [pair for pair in pairs if len(pair[0].tokens) >= _LONG_ENOUGH]
    # A long sentence says more than "Yes .", so the example is one if there is one.
    sentence, twin = long[0] if long else max(pairs, key=lambda pair: len(pair[0].tokens))
    message = f"{plural(count, 'sentence')} of the {split} data ({share(count, size)}; {len(long):,} of {_LONG_ENOUGH} "
    if code == "duplicate_sentences":
        message += f"words or more) {'repeats' if count == 1 else 'repeat'} an earlier one"
        severe = split == "train" and len(long) > _MANY * size
        reason = " unless their frequency is what you want to learn"
        reason = reason if split == "train" else ": they count several times in the score"
        advice = f"remove repetitions{reason}"
    else:
        how = "" if code == "leakage" else " but for case, white space or tokenisation"
        message += f"words or more) {'is' if count == 1 else 'are'} in the training data too{how}"
        severe = bool(long)
        advice = f"remove them from one side: the {split} score rewards remembering them"
    example = sentence.example(note=f"  (also {twin.example().place})")
    details = [{"place": leaked.example().place} for leaked, _ in pairs[:1000]]
    listed = None if code == "duplicate_sentences" else details
    return Finding(code, "warning" if severe else "info", count, message, example, advice, listed)


def _contradiction(pairs: Pairs) -> Finding:
    count = len({first.tokens for _, first in pairs})
    later, first = pairs[0]
    at = next(at for at, tags in enumerate(zip(first.tags, later.tags, strict=True)) if tags[0] != tags[1])
    note = f"  {later.tags[at]} here, {first.tags[at]} in {first.example(at).place}"
    shown = [(first.example(), later.example()) for later, first in pairs[:100]]
    return Finding(
        "contradicting_duplicates",
        "warning",
        count,
        f"{plural(count, 'sentence occurs', 'sentences occur')} several times with different tags",
        later.example(at, at + 1, note),
        "decide which annotation is right; a model cannot learn both, and a score cannot reward both",
        [{"places": [one.place, other.place], "text": one.text} for one, other in shown],
    )


def folded(form: str) -> str:
    r"""A word without what people vary when they copy text: case, white space, compatibility forms.

    >>> folded("Ｓtraße"), folded(" New\xa0York ")
    ('strasse', 'newyork')
    """
    if not form.isascii():
        form = unicodedata.normalize("NFKC", form).casefold()
    return "".join(form.lower().split())
