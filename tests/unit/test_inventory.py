"""Which labels a model gets: closed, trusted when declared, and no tag taken silently."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ner_module.data.alignment import Subwords
from ner_module.data.encoded import EncodingOptions, encode_split
from ner_module.data.inventory import Tags, check_known, choose_source_schemes
from ner_module.data.preparation import ReadingOptions, store_files
from ner_module.data.store import StoredSplit
from ner_module.errors import DataError
from ner_module.tagging import SCHEMES, LabelSet
from ner_module.tokenizer import load_tokenizer

Store = Callable[..., StoredSplit]

CONLL2003 = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """``store("O B-PER", "O", name="dev")`` stores two sentences with these tags in ``dev.conll``."""

    def make(*sentences: str, name: str = "train") -> StoredSplit:
        path = tmp_path / f"{name}.conll"
        text = "".join("".join(f"word\t{tag}\n" for tag in tags.split()) + "\n" for tags in sentences)
        path.write_text(text, encoding="utf-8")
        return store_files(tmp_path / "cache", [path], ReadingOptions(format="conll"))

    return make


def tags_of(*splits: StoredSplit, scheme: str = "iob2", declared: list[str] | None = None) -> Tags:
    named = dict(zip(("train", "validation", "test"), splits, strict=False))
    return Tags(named, dict.fromkeys(named, scheme), declared)


# ---------------------------------------------------------------- schemes


def scheme_of(stored: StoredSplit, asked: str | None) -> str:
    return choose_source_schemes({"train": stored}, asked)["train"]


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("B-A I-A B-A O", "iob2"),
        ("I-A I-A B-A O", "iob1"),
        ("B-A E-A S-A O", "bioes"),
        ("B-A L-A U-A O", "bilou"),
        ("I-A E-A E-A O", "ioe2"),
        ("I-A E-A I-A O", "ioe1"),
        ("N V N O", "io"),
        ("N V N V D X", "flat"),
        ("O O", "iob2"),
    ],
)
def test_the_scheme_is_detected_and_can_be_named(tags: str, scheme: str, store: Store) -> None:
    stored = store(tags, "O")
    assert scheme_of(stored, None) == scheme
    for asked in SCHEMES:
        if asked == "flat" or scheme not in ("flat", "io"):
            assert scheme_of(stored, asked) == asked


def test_bare_labels_are_no_prefixed_ones(store: Store) -> None:
    with pytest.raises(
        DataError, match=r"train.conll:3: the tag 'NOUN' has no prefix.*--data.source_scheme iob2 needs"
    ):
        scheme_of(store("O O NOUN"), "iob2")


def test_tags_with_and_without_prefix_are_refused_with_the_line(store: Store) -> None:
    stored = store("O B-PER I-PER", "O PER B-PER")
    with pytest.raises(
        DataError, match=r"train.conll:6: the tag 'PER' \(once\) has no prefix.*--data.source_scheme flat"
    ):
        scheme_of(stored, None)
    assert scheme_of(stored, "flat") == "flat"


def test_the_outside_label(store: Store) -> None:
    with_o, without, other = store("N O V"), store("N V", name="b"), store("none N V", name="c")
    assert tags_of(with_o).outside_label("flat", None) == "O"
    assert tags_of(without).outside_label("flat", None) is None
    assert tags_of(without, with_o).outside_label("flat", None) == "O"
    assert tags_of(other).outside_label("flat", "none") == "none"
    assert tags_of(store("B-A", name="d")).outside_label("iob2", None) == "O"
    with pytest.raises(DataError, match=r"--data.outside_label: no word has the tag 'nil'; tags are none, N, V"):
        tags_of(other).outside_label("flat", "nil")


# ---------------------------------------------------------------- inventories


def inventory(splits: dict[str, StoredSplit], declared: list[str] | None = None, scheme: str = "iob2") -> list[str]:
    tags = tags_of(*splits.values(), scheme=scheme, declared=declared)
    return list(tags.label_set(tags.seen, scheme, tags.outside_label(scheme, None)).names)


def test_a_type_with_b_only_gets_its_i(store: Store) -> None:
    assert inventory({"train": store("B-PER O", "B-LOC I-LOC")}) == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


def test_data_without_outside_words_has_the_label_nevertheless(store: Store) -> None:
    assert inventory({"train": store("B-PER I-PER")}) == ["O", "B-PER", "I-PER"]


def test_the_order_does_not_depend_on_the_files(store: Store) -> None:
    first = inventory({"train": store("B-PER O B-LOC", name="a")})
    second = inventory({"train": store("B-LOC O", "B-PER", name="b")})
    assert first == second


def test_a_label_seen_only_in_validation_is_a_label_and_mentioned(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    splits = {"train": store("B-PER O"), "validation": store("O O", "O B-LOC I-LOC I-PER", name="dev")}
    with caplog.at_level(logging.WARNING):
        assert inventory(splits) == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    said = [record.getMessage() for record in caplog.records]
    assert any(re.search(r"dev.conll:5: the label 'B-LOC' does not occur in the training data", text) for text in said)
    assert not any("I-PER" in text for text in said), "its type is known"


def test_flat_labels(store: Store) -> None:
    assert inventory({"train": store("N V")}, scheme="flat") == ["N", "V"]
    assert inventory({"train": store("N V O")}, scheme="flat") == ["O", "N", "V"]
    assert inventory({"train": store("X N V")}, ["V", "N", "X"], scheme="flat") == ["V", "N", "X"]


def test_declared_labels_keep_their_order_also_those_that_never_occur(store: Store) -> None:
    assert inventory({"train": store("B-PER O")}, CONLL2003) == CONLL2003
    tner = ["O", "B-ORG", "B-MISC", "B-PER", "I-PER", "B-LOC", "I-ORG", "I-MISC", "I-LOC"]
    assert inventory({"train": store("B-PER O")}, tner) == tner


def test_declared_labels_are_closed(store: Store) -> None:
    assert inventory({"train": store("B-PER O")}, ["B-PER", "O"]) == ["B-PER", "O", "I-PER"]


@pytest.mark.parametrize(
    ("scheme", "tags", "expected"),
    [
        ("bioes", {"O", "S-PER"}, {"O", "B-PER", "I-PER", "E-PER", "S-PER"}),
        ("ioe2", {"O", "E-PER", "I-PER"}, {"O", "I-PER", "E-PER"}),
        ("flat", {"O", "PER"}, {"O", "PER"}),
    ],
)
def test_labels_declared_in_another_scheme_than_the_trained(
    scheme: str, tags: set[str], expected: set[str], store: Store
) -> None:
    names = tags_of(store("B-PER O"), declared=["O", "B-PER", "I-PER"]).label_set(tags, scheme, "O").names
    assert set(names) == expected, "a label that the scheme does not write would never be right"
    assert len(names) == len(expected)


def test_flat_labels_declared_and_trained_with_prefixes(store: Store) -> None:
    labels = tags_of(store("PER O"), scheme="flat", declared=["O", "PER", "LOC"]).label_set(["B-PER", "O"], "iob2", "O")
    assert labels == LabelSet(("O", "B-PER", "I-PER"), "iob2", "O")


# ---------------------------------------------------------------- what is refused


def test_an_undeclared_tag_is_refused_with_its_line(store: Store) -> None:
    splits = [store("B-PER O"), store("O O", "O B-LOC", name="dev")]
    with pytest.raises(
        DataError, match=r"dev.conll:5: the tag 'B-LOC' is not among the labels O, B-PER, I-PER; correct"
    ):
        tags_of(*splits, declared=["O", "B-PER", "I-PER"]).check_spelling()
    tags_of(*splits, declared=["O", "B-PER", "I-PER", "B-LOC"]).check_spelling()


def test_the_continuation_of_a_declared_label_is_declared(store: Store) -> None:
    tags_of(store("B-PER I-PER O"), declared=["B-PER"]).check_spelling()


def test_a_misspelt_tag_is_refused_unless_declared(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    sentences = ["B-PER I-PER O"] * 60
    stored = store(*sentences, "O B-PRE")
    with pytest.raises(
        DataError, match=r"train.conll:242: .*'B-PRE' occurs once, 'B-PER' 60 times.*--data.label_names"
    ):
        tags_of(stored).check_spelling()
    tags_of(stored, declared=["O", "B-PER", "I-PER", "B-PRE"]).check_spelling()


def test_a_rare_type_is_a_warning(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tags_of(store(*["B-PER I-PER O"] * 60, "O B-FACILITY")).check_spelling()
    assert "train.conll:242: the type of 'B-FACILITY' occurs once" in caplog.text


def test_an_honest_corpus_passes_in_silence(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = [corpus / f"{split}.conll" for split in ("train", "validation", "test")]
    splits = [store_files(tmp_path, [path], ReadingOptions()) for path in files]
    with caplog.at_level(logging.WARNING):
        tags_of(*splits).check_spelling()
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("sentences", "scheme", "names", "message"),
    [
        (
            ("O O", "O B-LOC"),
            "iob2",
            ("O", "B-PER", "I-PER"),
            r"5: the label 'B-LOC' is unknown .* has O, B-PER, I-PER; ",
        ),
        (("O O", "O I-PER", "O I-LOC"), "iob1", ("O", "B-PER", "I-PER"), r"8: the label 'B-LOC'"),
        (("O O", "O I-PER", "O I-LOC"), "iob1", ("O", "PER"), r"8: the label 'LOC'"),
        (("O B-PER", "O"), "iob2", ("O", "B-PER", "I-PER"), None),
    ],
)
def test_a_label_the_checkpoint_does_not_know_is_refused_with_its_line(
    sentences: tuple[str, ...],
    scheme: str,
    names: tuple[str, ...],
    message: str | None,
    store: Store,
    tiny_model: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Whatever scheme the file and the model are in: the file is IOB1 and the model IOB2 or flat, for example."""
    stored, labels = store(*sentences, name="test"), LabelSet(names, "iob2" if "B-PER" in names else "flat")
    options = EncodingOptions(64, 16, False, scheme, labels.scheme, "O")
    subwords = Subwords(load_tokenizer(str(tiny_model())))
    encoded = encode_split(tmp_path / "encoded", stored.annotated(), subwords, options)
    if message is None:
        check_known(labels, stored, encoded)
    else:
        with pytest.raises(DataError, match=rf"test.conll:{message}"):
            check_known(labels, stored, encoded)
