"""What the metric tests compare with: random tag sequences, seqeval's spans, the rules of the conlleval script.

The other test files import from here. The tests in this file check the references on cases worked by hand, so that two
wrongs do not make a right.
"""

import random
from collections.abc import Iterator

import pytest
import torch
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, IOE1, IOE2
from torch.nn.utils.rnn import pad_sequence

from ner_module.metrics.functional import SpanRules, _read
from ner_module.tagging import IGNORE_INDEX, PREFIXES, Span, illegal_words, join_tag, spans_to_tags

SEQEVAL_SCHEMES = {"iob1": IOB1, "iob2": IOB2, "ioe1": IOE1, "ioe2": IOE2, "bioes": IOBES, "bilou": BILOU}

TYPE_NAMES = [
    *("PER", "LOC", "creative-work", "人物", "Größe", "мес-то", "a-b-c", "PER-2", "O", "B", "I-", "type with space"),
    *("🦊", "x_y", "E-mail", "S", "_x", "é-è", "12", "L-U"),
]


def seqeval_spans(tags: list[str]) -> list[Span]:
    """Spans by seqeval's default rules, with L- and U- read as E- and S-, which it does not know."""
    readable = [{"L": "E", "U": "S"}.get(tag[0], tag[0]) + tag[1:] for tag in tags]
    return [Span(start, end + 1, name) for name, start, end in get_entities(readable)]


def conlleval_spans(tags: list[str]) -> list[Span]:
    """Chunks as the conlleval script sees them in IOB tags, from its documented behaviour.

    https://www.clips.uantwerpen.be/conll2000/chunking/output.html: the script goes through the words one by one. A
    chunk begins at B-, and at I- where the word before is outside, ends the sentence before, or has another type. It
    ends where the next word is outside, is B-, has another type, or begins another sentence.
    """
    chunks = []
    last_tag, last_type, begin = "O", "", -1
    for position, word in enumerate([*tags, "O"]):
        tag, _, word_type = word.partition("-")
        if last_tag in ("B", "I") and (tag in ("O", "B") or word_type != last_type):
            chunks.append(Span(begin, position, last_type))
        if tag == "B" or (tag == "I" and (last_tag == "O" or word_type != last_type)):
            begin = position
        last_tag, last_type = tag, word_type
    return chunks


def conlleval_counts(gold: list[list[str]], predicted: list[list[str]]) -> tuple[int, int, int]:
    """Correct, guessed and gold chunks of a corpus, counted in one pass as the script counts them.

    It keeps no list of chunks: a flag says that the current gold and guessed chunk began together with one type; when
    both end together the chunk is correct, and when they part the flag is taken back.
    """
    correct = guessed = in_gold = 0
    for gold_tags, predicted_tags in zip(gold, predicted, strict=True):
        together = False
        before = ("O", "", "O", "")
        for gold_word, predicted_word in zip([*gold_tags, "O"], [*predicted_tags, "O"], strict=True):
            (tag_g, _, type_g), (tag_p, _, type_p) = gold_word.partition("-"), predicted_word.partition("-")
            last_g, last_type_g, last_p, last_type_p = before
            ends_g = last_g != "O" and (tag_g in ("O", "B") or type_g != last_type_g)
            ends_p = last_p != "O" and (tag_p in ("O", "B") or type_p != last_type_p)
            begins_g = tag_g == "B" or (tag_g == "I" and (last_g == "O" or type_g != last_type_g))
            begins_p = tag_p == "B" or (tag_p == "I" and (last_p == "O" or type_p != last_type_p))
            if together and ends_g and ends_p:
                correct, together = correct + 1, False
            elif together and (ends_g != ends_p or type_g != type_p):
                together = False
            if begins_g and begins_p and type_g == type_p:
                together = True
            guessed, in_gold = guessed + begins_p, in_gold + begins_g
            before = (tag_g, type_g, tag_p, type_p)
    return correct, guessed, in_gold


def inventory(types: list[str], scheme: str) -> list[str]:
    return ["O", *(join_tag(prefix, name) for name in types for prefix in PREFIXES[scheme])]


def random_spans(rng: random.Random, types: list[str], length: int) -> list[Span]:
    """Entities of 1 to 6 words; often adjacent, often of the same type."""
    spans, position = [], 0
    while position < length:
        if rng.random() < 0.5:
            end = min(length, position + rng.randint(1, 6))
            spans.append(Span(position, end, rng.choice(types)))
            position = end
        else:
            position += rng.randint(1, 3)
    return spans


def perturbed(rng: random.Random, tags: list[str], labels: list[str]) -> list[str]:
    return [rng.choice(labels) if rng.random() < 0.12 else tag for tag in tags]


def random_corpora(
    scheme: str, total: int, seed: int = 0
) -> Iterator[tuple[list[str], list[list[str]], list[list[str]]]]:
    """Label names, gold and predicted tags in blocks of 500 sequences, ``total`` in all.

    Half of the gold sequences are random labels, half are legal ones with some tags exchanged; predictions are gold
    with some tags exchanged, or unrelated.
    """
    rng = random.Random(f"{scheme} {seed}")
    for _ in range(total // 500):
        types = rng.sample(TYPE_NAMES, rng.randint(1, 20))
        labels = inventory(types, scheme)
        # Few labels at a time, or neighbours would rarely have the same type.
        gold, predicted = [], []
        for index in range(500):
            some_types = rng.sample(types, min(len(types), rng.randint(1, 3)))
            some = inventory(some_types, scheme)
            length = rng.randint(0, 60)
            if index % 2:
                tags = rng.choices(some, k=length)
            else:
                tags = perturbed(rng, spans_to_tags(random_spans(rng, some_types, length), length, scheme), some)
            gold.append(tags)
            predicted.append(perturbed(rng, tags, some) if rng.random() < 0.8 else rng.choices(some, k=length))
        yield labels, gold, predicted


def to_ids(rows: list[list[str]], labels: list[str], padding: int = IGNORE_INDEX) -> torch.Tensor:
    """Label ids ``[rows, words]``, padded."""
    ids = {name: index for index, name in enumerate(labels)}
    tensors = [torch.tensor([ids[tag] for tag in row], dtype=torch.int64) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=padding)


def spans_of(label_ids: torch.Tensor, rules: SpanRules, mask: torch.Tensor | None = None) -> list[list[Span]]:
    """The spans that the tensor functions count, as lists, one per row; positions among the row's unmasked words."""
    mask = label_ids != IGNORE_INDEX if mask is None else mask
    fields = (field[0].tolist() for field in _read([label_ids], mask, rules))
    return [
        [Span(start, i + 1, rules.entity_types[kind - 1]) for i, (kind, start, last) in enumerate(words) if last]
        for words in (zip(*row, strict=True) for row in zip(*fields, strict=True))
    ]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], []),
        (["O", "O"], []),
        (["B-X", "I-X", "O"], [Span(0, 2, "X")]),
        (["I-X", "I-X", "B-X"], [Span(0, 2, "X"), Span(2, 3, "X")]),
        (["I-X", "I-Y"], [Span(0, 1, "X"), Span(1, 2, "Y")]),
        (["B-X", "B-X"], [Span(0, 1, "X"), Span(1, 2, "X")]),
        (["B-X", "I-Y", "I-Y"], [Span(0, 1, "X"), Span(1, 3, "Y")]),
    ],
)
def test_conlleval_reference_on_cases_worked_by_hand(tags, expected):
    assert conlleval_spans(tags) == expected


def test_conlleval_counts_are_those_of_its_spans():
    for _, gold, predicted in random_corpora("iob1", 1000, seed=5):
        gold_spans = [set(conlleval_spans(tags)) for tags in gold]
        predicted_spans = [set(conlleval_spans(tags)) for tags in predicted]
        assert conlleval_counts(gold, predicted) == (
            sum(len(g & p) for g, p in zip(gold_spans, predicted_spans, strict=True)),
            sum(map(len, predicted_spans)),
            sum(map(len, gold_spans)),
        )


def test_random_corpora_hold_what_they_promise():
    lengths, types, agreeing, illegal = set(), set(), 0, 0
    for labels, gold, predicted in random_corpora("iob2", 2000):
        types.add((len(labels) - 1) // 2)
        lengths.update(map(len, gold))
        agreeing += sum(g == p for g, p in zip(gold, predicted, strict=True))
        illegal += sum(bool(illegal_words(tags, "iob2")) for tags in gold)
    assert {0, 1, 60} <= lengths
    assert len(types) > 1
    assert 0 < agreeing < 1500
    assert 500 < illegal < 2000
