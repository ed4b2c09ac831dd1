"""Spans and counts on tensors against seqeval, the conlleval rules and cases worked by hand."""

import itertools

import pytest
import torch
from test_metrics_references import (
    SEQEVAL_SCHEMES,
    conlleval_counts,
    conlleval_spans,
    random_corpora,
    seqeval_spans,
    spans_of,
    to_ids,
)

from ner_module.errors import SchemeError
from ner_module.metrics.functional import SpanRules, scores, span_counts, span_rules
from ner_module.tagging import PREFIXES, Span, tags_to_spans


def check_against_seqeval(scheme: str, total: int) -> None:
    for labels, gold, predicted in random_corpora(scheme, total):
        rules = span_rules(labels, scheme)
        gold_ids, predicted_ids = to_ids(gold, labels), to_ids(predicted, labels, padding=7)
        expected = [seqeval_spans(tags) for tags in gold]
        assert spans_of(gold_ids, rules) == expected
        expected_predicted = [seqeval_spans(tags) for tags in predicted]
        true_positives, num_predicted, num_gold = span_counts(predicted_ids, gold_ids, rules)
        for index, name in enumerate(rules.entity_types):
            of_gold = [{span for span in spans if span.entity_type == name} for spans in expected]
            of_predicted = [{span for span in spans if span.entity_type == name} for spans in expected_predicted]
            assert int(num_gold[index]) == sum(map(len, of_gold))
            assert int(num_predicted[index]) == sum(map(len, of_predicted))
            assert int(true_positives[index]) == sum(len(g & p) for g, p in zip(of_gold, of_predicted, strict=True))


@pytest.mark.parametrize("scheme", SEQEVAL_SCHEMES)
def test_spans_and_counts_equal_seqeval(scheme):
    check_against_seqeval(scheme, 1000)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scheme", SEQEVAL_SCHEMES)
def test_spans_and_counts_equal_seqeval_on_100_000_sequences(scheme):
    check_against_seqeval(scheme, 100_000)


def check_against_conlleval(scheme: str, total: int) -> None:
    for labels, gold, predicted in random_corpora(scheme, total, seed=1):
        rules = span_rules(labels, scheme)
        assert spans_of(to_ids(gold, labels), rules) == [conlleval_spans(tags) for tags in gold]
        counts = span_counts(to_ids(predicted, labels), to_ids(gold, labels), rules)
        totals = tuple(int(count.sum()) for count in counts)
        assert totals == conlleval_counts(gold, predicted)


@pytest.mark.parametrize("scheme", ["iob1", "iob2"])
def test_spans_and_counts_equal_the_conlleval_script(scheme):
    check_against_conlleval(scheme, 1000)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scheme", ["iob1", "iob2"])
def test_spans_and_counts_equal_the_conlleval_script_on_100_000_sequences(scheme):
    check_against_conlleval(scheme, 100_000)


@pytest.mark.parametrize("scheme", SEQEVAL_SCHEMES)
def test_every_sequence_of_four_words_and_two_types(scheme):
    """Exhaustive where random sequences might not reach."""
    labels = ["O", *(f"{prefix}-{name}" for name in "XY" for prefix in PREFIXES[scheme])]
    rows = [list(row) for row in itertools.product(labels, repeat=4)]
    assert spans_of(to_ids(rows, labels), span_rules(labels, scheme)) == [seqeval_spans(row) for row in rows]


def test_all_prefixes_in_one_inventory_read_as_the_tagging_module_reads_them():
    labels = ["O", *(f"{prefix}-{name}" for name in "XY" for prefix in "BIESLU")]
    rows = [list(row) for row in itertools.product(labels, repeat=3)]
    assert spans_of(to_ids(rows, labels), span_rules(labels, "bilou")) == [tags_to_spans(row) for row in rows]


def test_bare_prefixes_have_the_type_underscore_as_in_seqeval():
    labels = ["B", "I", "O"]
    rows = [list(row) for row in itertools.product(labels, repeat=4)]
    rules = span_rules(labels)
    assert rules.entity_types == ("_",)
    assert spans_of(to_ids(rows, labels), rules) == [seqeval_spans(row) for row in rows]


def test_flat_labels_are_one_unit_each():
    labels = ["NOUN", "O", "B-X", "I"]
    rows = [["NOUN", "NOUN", "O", "B-X"], ["I", "O"], [], ["O"]]
    rules = span_rules(labels, "flat")
    assert rules.entity_types == ("NOUN", "B-X", "I")
    assert spans_of(to_ids(rows, labels), rules) == [
        [Span(0, 1, "NOUN"), Span(1, 2, "NOUN"), Span(3, 4, "B-X")],
        [Span(0, 1, "I")],
        [],
        [],
    ]
    other = span_rules(labels, "flat", outside_label="NOUN")
    assert spans_of(to_ids(rows[:1], labels), other) == [[Span(2, 3, "O"), Span(3, 4, "B-X")]]
    everything = span_rules(labels, "flat", outside_label=None)
    assert spans_of(to_ids(rows[1:], labels), everything) == [[Span(0, 1, "I"), Span(1, 2, "O")], [], [Span(0, 1, "O")]]


def test_masked_words_are_taken_out_wherever_they_stand():
    labels = ["O", "B-X", "I-X"]
    rules = span_rules(labels, "iob2")
    # B I with a masked word between them is one entity; masked words in front do not count as positions.
    target = torch.tensor([[-100, 1, -100, 2, 0, -100], [-100] * 6, [-100, -100, 1, -100, -100, 1]])
    assert spans_of(target, rules) == [[Span(0, 2, "X")], [], [Span(0, 1, "X"), Span(1, 2, "X")]]
    preds = torch.tensor([[9, 1, 77, 2, 2, -5], [3, -100, 0, 1, 2, 1], [0, 0, 1, 0, 0, 0]])
    counts = span_counts(preds, target, rules)
    assert [int(count) for count in counts] == [1, 2, 3]


def test_random_masks_equal_rows_written_without_the_masked_words():
    generator = torch.Generator().manual_seed(3)
    labels = ["O", "B-X", "I-X", "B-Y", "I-Y"]
    rules = span_rules(labels, "iob1")
    for _ in range(50):
        shape = [int(n) for n in torch.randint(0, 12, (2,), generator=generator)]
        preds, target = (torch.randint(0, 5, shape, generator=generator) for _ in range(2))
        mask = torch.rand(shape, generator=generator) < 0.6
        rows = [
            [labels[i] for i, keep in zip(*row, strict=True) if keep]
            for row in zip(target.tolist(), mask.tolist(), strict=True)
        ]
        assert spans_of(target, rules, mask) == [seqeval_spans(row) for row in rows]
        masked = target.masked_fill(~mask, -100)
        gold = spans_of(masked, rules)
        assert gold == spans_of(target, rules, mask)
        predicted = spans_of(preds, rules, mask)
        true_positives, _, _ = span_counts(preds, masked, rules)
        assert int(true_positives.sum()) == sum(len(set(g) & set(p)) for g, p in zip(gold, predicted, strict=True))


def test_a_row_split_into_two_ends_its_spans():
    rules = span_rules(["O", "B-X", "I-X"])
    assert spans_of(torch.tensor([[1, 2], [2, 2]]), rules) == [[Span(0, 2, "X")], [Span(0, 2, "X")]]


def test_order_and_repetition_of_rows_do_not_matter():
    labels, gold, predicted = next(random_corpora("bioes", 500))
    rules = span_rules(labels, "bioes")
    gold_ids, predicted_ids = to_ids(gold, labels), to_ids(predicted, labels)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    once = span_counts(predicted_ids, gold_ids, rules)
    twice = span_counts(predicted_ids[order].repeat(2, 1), gold_ids[order].repeat(2, 1), rules)
    for a, b in zip(once, twice, strict=True):
        assert torch.equal(2 * a, b)


def test_thousands_of_labels():
    types = [f"type-{i}" for i in range(5000)]
    labels = ["O", *(f"{prefix}-{name}" for name in types for prefix in "BIES")]
    rules = span_rules(labels, "bioes")
    row = ["B-type-4999", "I-type-4999", "I-type-4998", "E-type-4998", "S-type-0"]
    assert rules.entity_types[4999] == "type-4999"
    assert spans_of(to_ids([row], labels), rules) == [seqeval_spans(row)]


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (3, 0), (1, 1)])
def test_empty_batches(shape):
    rules = span_rules(["O", "B-X", "I-X"])
    ids = torch.zeros(shape, dtype=torch.int64)
    assert spans_of(ids, rules) == [[] for _ in ids]
    assert [count.tolist() for count in span_counts(ids, ids, rules)] == [[0], [0], [0]]


def test_an_inventory_without_types():
    rules = span_rules(["O"])
    ids = torch.zeros(2, 3, dtype=torch.int64)
    assert [count.tolist() for count in span_counts(ids, ids, rules)] == [[], [], []]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_integer_types_of_label_ids(dtype):
    rules = span_rules(["O", "B-X", "I-X"])
    ids = torch.tensor([[1, 2, 0, 2]], dtype=dtype)
    assert spans_of(ids, rules, torch.ones(1, 4, dtype=torch.bool)) == [[Span(0, 2, "X"), Span(3, 4, "X")]]
    counts = span_counts(ids, ids.long(), rules)
    assert [int(count) for count in counts] == [2, 2, 2]


def test_counts_need_nothing_from_the_device():
    """Tensors without data: whatever would read a value, or need one for a shape, raises."""
    rules = SpanRules(("X",), span_rules(["O", "B-X", "I-X"]).codes.to("meta"))
    ids = torch.zeros(4, 7, dtype=torch.int64, device="meta")
    counts = span_counts(ids, ids, rules)
    assert [tuple(count.shape) for count in counts] == [(1,)] * 3
    scores(*counts)


def test_deterministic_algorithms_are_enough():
    rules = span_rules(["O", "B-X", "I-X"])
    ids = torch.tensor([[1, 2, -100]])
    torch.use_deterministic_algorithms(True)
    try:
        assert [int(count) for count in span_counts(ids, ids, rules)] == [1, 1, 1]
    finally:
        torch.use_deterministic_algorithms(False)


def test_wrong_input_is_named():
    rules = span_rules(["O", "B-X", "I-X"])
    ids = torch.tensor([[0, 1]])
    with pytest.raises(ValueError, match=r"one shape \[rows, words\], not \[1, 2\] and \[2, 1\]"):
        span_counts(ids, ids.T, rules)
    with pytest.raises(ValueError, match=r"\[rows, words\], not \[2\]"):
        span_counts(ids[0], ids[0], rules)
    with pytest.raises(ValueError, match=r"integers, not torch\.float32"):
        span_counts(ids.float(), ids, rules)
    with pytest.raises(ValueError, match=r"not in the inventory of 3 labels \(ids 0 to 2"):
        span_counts(torch.tensor([[0, 3]]), ids, rules)
    with pytest.raises(ValueError, match="not in the inventory"):
        span_counts(torch.tensor([[0, -100]]), ids, rules)


def test_inventories_that_cannot_be():
    with pytest.raises(SchemeError, match="unknown tagging scheme 'iobes'"):
        span_rules(["O"], "iobes")
    with pytest.raises(SchemeError, match="'O' is listed twice"):
        span_rules(["O", "O"])
    with pytest.raises(SchemeError, match="'NOUN' is neither"):
        span_rules(["NOUN"])


def test_scores_without_anything_are_zero():
    zero = torch.tensor([0])
    assert [float(score) for score in scores(zero, zero, zero)] == [0.0, 0.0, 0.0]
    assert [float(score) for score in scores(zero, zero, torch.tensor([3]))] == [0.0, 0.0, 0.0]
