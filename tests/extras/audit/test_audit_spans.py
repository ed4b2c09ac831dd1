"""The audit's array rules against `tagging.py`, which reads tags one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner_module.extras.audit.hashing import RangeHashes, mix, text_keys
from ner_module.extras.audit.spans import find_illegal, find_spans, tag_table
from ner_module.tagging import PREFIXES, illegal_words, tags_to_spans

TAGS = ["O", *(f"{prefix}-{name}" for prefix in "BIESLU" for name in ("PER", "LOC")), "B", "I"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.sampled_from(TAGS), max_size=9), max_size=6))
def test_spans_and_illegal_words_are_those_of_tagging(sentences: list[list[str]]) -> None:
    flat = [tag for tags in sentences for tag in tags]
    inventory = sorted(set(flat))
    table = tag_table(inventory, False, "O")
    ids = np.array([inventory.index(tag) for tag in flat], dtype=np.int16)
    first = np.zeros(len(flat), dtype=bool)
    expected, base = [], 0
    for tags in sentences:
        if tags:
            first[base] = True
        expected += [(s + base, e + base, name) for s, e, name in tags_to_spans(tags)]
        base += len(tags)
    spans = find_spans(ids, table, first)
    found = [(s, e, table.type_names[t]) for s, e, t in zip(*(part.tolist() for part in spans), strict=True)]
    assert found == expected
    for scheme in (name for name in PREFIXES if name != "flat"):
        illegal, base = [], 0
        for tags in sentences:
            illegal += [base + word for word in illegal_words(tags, scheme)]
            base += len(tags)
        assert np.flatnonzero(find_illegal(ids, table, spans, first, scheme)).tolist() == illegal, scheme


@pytest.mark.parametrize(("outside", "expected"), [("O", [1, 2]), (None, [0, 1, 2])])
def test_flat_labels_are_units_of_one_word(outside: str | None, expected: list[int]) -> None:
    table = tag_table(["O", "X"], True, outside)
    spans = find_spans(np.array([0, 1, 1]), table, np.array([True, False, False]))
    assert spans.starts.tolist() == expected
    assert (spans.ends - spans.starts == 1).all()


def test_a_tag_without_prefix_counts_as_outside_under_a_prefixed_scheme() -> None:
    table = tag_table(["O", "PER", "B-PER"], False, "O")
    assert find_spans(np.array([1, 2]), table, np.array([True, False])).starts.tolist() == [1]


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.data())
def test_equal_ranges_and_only_they_have_equal_hashes(values: list[int], data: st.DataObject) -> None:
    hashes = RangeHashes(mix(np.array(values)))
    bounds = st.tuples(st.integers(0, len(values)), st.integers(0, len(values))).map(sorted)
    (a, b), (c, d) = data.draw(bounds), data.draw(bounds)
    one, other = hashes(np.array([a, c]), np.array([b, d])).tolist()
    assert (one == other) == (values[a:b] == values[c:d])


def test_words_hash_to_their_characters_however_they_are_cut() -> None:
    def whole(words: list[str]) -> int:
        keys, widths = text_keys(words)
        return int(RangeHashes(keys, widths)(np.array([0]), np.array([len(words)]))[0])

    assert whole(["don't", "go"]) == whole(["do", "n't", "", "go"]) == whole(["don'tgo"])
    assert whole(["don't", "go"]) != whole(["go", "don't"])
