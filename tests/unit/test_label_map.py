"""``--data.label_map`` and ``--data.strict``: what is renamed, dropped, refused, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ner_module import NERDataModule
from ner_module.errors import DataError
from ner_module.tagging import PREFIXES, Span, convert_tags, map_label_names, spans_to_tags, tags_to_spans

PREFIXED = [scheme for scheme in PREFIXES if scheme != "flat"]
Make = Callable[..., NERDataModule]


@pytest.fixture
def make(tiny_model: Callable[..., Path], tmp_path: Path) -> Make:
    """``make("A B-x\\n", label_map=…)``: a data module set up on a file with this text (train and validation)."""

    def build(text: str, name: str = "data.conll", **options: Any) -> NERDataModule:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        given = {"train_file": str(path), "validation_file": str(path), **options}
        data = NERDataModule(model_name_or_path=str(tiny_model()), **given)
        data.prepare_data()
        data.setup("fit")
        return data

    return build


def columns(*sentences: list[tuple[str, str]]) -> str:
    return "\n".join("".join(f"{word}\t{tag}\n" for word, tag in sentence) for sentence in sentences)


def tags_of(data: NERDataModule, sentence: int = 0) -> list[str]:
    split = data.encoded["train"]
    return [split.tag_names[label] for label in split.word_labels[split.words_of(sentence)]]


# ---------------------------------------------------------------- spans are renamed, not words


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from("abcd")), max_size=6),
    st.sampled_from(PREFIXED),
    st.sampled_from(PREFIXED),
)
def test_spans_keep_their_boundaries(parts: list[tuple[int, int, str]], source: str, target: str) -> None:
    label_map = {"a": "X", "b": "X", "c": "O"}
    spans, end = [], 0
    for gap, length, name in parts:
        spans.append(Span(end + gap, end + gap + length, name))
        end += gap + length
    tags = spans_to_tags(spans, end, source)
    kept = [Span(s.start, s.end, label_map.get(s.entity_type, s.entity_type)) for s in spans if s.entity_type != "c"]
    assert tags_to_spans(convert_tags(tags, source, target, label_map=label_map), target) == kept
    flat = convert_tags(tags, source, "flat", label_map=label_map)
    expected = ["O"] * end
    for start, stop, name in kept:
        expected[start:stop] = [name] * (stop - start)
    assert flat == expected, "each word has the new name of its entity"


def test_flat_labels_are_renamed_themselves() -> None:
    assert convert_tags(["a", "a", "none"], "flat", "flat", "none", {"a": "X"}) == ["X", "X", "none"]
    assert convert_tags(["a", "b", "none"], "flat", "flat", "none", {"a": "O", "b": "none"}) == ["none"] * 3
    assert convert_tags(["a", "b", "none"], "flat", "iob2", "none", {"a": "X", "b": "X"}) == ["B-X", "B-X", "O"]


def test_declared_names_follow_the_map() -> None:
    names = ["O", "B-a", "I-a", "B-b", "I-b", "B-c", "I-c"]
    assert map_label_names(names, {"a": "X", "b": "X", "c": "O"}, "iob2") == ["O", "B-X", "I-X"]
    assert map_label_names(["a", "none", "b"], {"a": "X", "b": "none"}, "flat", "none") == ["X", "none"]


# ---------------------------------------------------------------- through the data module


IOB1 = columns(
    [("Ann", "I-person"), ("Ben", "I-human"), ("Cid", "I-human"), ("x", "O"), ("Dee", "I-misc")],
    [("Eve", "I-person"), ("Fay", "B-person"), ("Rome", "I-place")],
)


def test_merged_neighbours_stay_two(make: Make) -> None:
    """In IOB1 the two types beside each other need no B-; as one type they do."""
    options = {"label_map": {"person": "PER", "human": "PER", "misc": "O"}}
    data = make(IOB1, **options)
    assert data.labels.scheme == "iob2"
    assert tags_of(data) == ["B-PER", "B-PER", "I-PER", "O", "O"]
    assert list(data.labels.names) == ["O", "B-PER", "I-PER", "B-place", "I-place"]
    assert tags_of(make(IOB1, scheme="iob1", **options)) == ["I-PER", "B-PER", "I-PER", "O", "O"]
    assert data.train_entities() == {"PER": {"Ann": 1, "Ben Cid": 1, "Eve": 1, "Fay": 1}, "place": {"Rome": 1}}


def test_the_map_is_part_of_the_cache_key(make: Make) -> None:
    one = make(IOB1)
    other = make(IOB1, label_map={"person": "PER"})
    assert tags_of(one)[0] == "B-person"
    assert tags_of(other)[0] == "B-PER"
    assert tags_of(make(IOB1))[0] == "B-person"


def test_flat_labels_through_the_data_module(make: Make) -> None:
    text = columns([("a", "NN"), ("b", "NNS"), ("c", "VB"), ("d", "NN")])
    data = make(text, label_map={"NNS": "NN", "VB": "O"})
    assert (data.labels.scheme, data.labels.outside) == ("flat", "O")
    assert tags_of(data) == ["NN", "NN", "O", "NN"]
    assert list(data.labels.names) == ["O", "NN"]


def test_integer_tags_with_names_follow(make: Make) -> None:
    row = '{"tokens": ["a", "b"], "ner_tags": [1, 3]}\n'
    names = ["O", "B-person", "I-person", "B-misc", "I-misc"]
    data = make(row, "data.jsonl", label_names=names, label_map={"person": "PER", "misc": "O"})
    assert list(data.labels.names) == ["O", "B-PER", "I-PER"]
    assert tags_of(data) == ["B-PER", "O"]


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        ({"persn": "PER"}, r"no entity has the type 'persn'; the types are human, misc, person, place"),
        ({"B-person": "PER"}, r"no entity has the type 'B-person'"),
        ({"person": "B-PER"}, r"would become 'B-PER', which is a tag and not a type; write 'PER'"),
        ({False: "PER"}, r"no entity has the type False; put names such as NO and ON in quotes"),
        ({"person": " "}, r"'person' would become ' '; give a name, or O to drop it"),
    ],
)
def test_maps_that_make_no_sense(make: Make, label_map: dict[Any, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(IOB1, label_map=label_map)


def test_all_types_dropped(make: Make) -> None:
    with pytest.raises(DataError, match="there is nothing to learn"):
        make(IOB1, label_map=dict.fromkeys(["person", "human", "misc", "place"], "O"))


def test_a_type_only_in_validation_may_be_mapped(make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "dev.conll").write_text("Ann\tI-woman\n", encoding="utf-8")
    options = {"validation_file": str(tmp_path / "dev.conll"), "label_map": {"woman": "person", "misc": "O"}}
    data = make(IOB1, **options)
    assert "B-woman" not in data.labels.names
    assert not [message for message in caplog.messages if "cannot be learnt" in message]


def test_a_checkpoint_keeps_its_map(make: Make, tmp_path: Path) -> None:
    trained = make(IOB1, label_map={"person": "PER", "human": "PER", "misc": "O"})
    state = trained.state_dict()
    data = NERDataModule(train_file=str(tmp_path / "data.conll"), validation_file=str(tmp_path / "data.conll"))
    data.load_state_dict(state)
    data.setup("fit")
    assert data.labels.names == trained.labels.names
    assert tags_of(data) == tags_of(trained)
    (tmp_path / "new.conll").write_text("Ann\tI-woman\nBen\tI-person\n", encoding="utf-8")
    files = {"train_file": str(tmp_path / "new.conll"), "validation_file": str(tmp_path / "new.conll")}
    added = NERDataModule(**files, label_map={"woman": "PER"})
    added.load_state_dict(state)
    added.setup("fit")
    assert tags_of(added) == ["B-PER", "B-PER"], "what is given beside a checkpoint is added to its map"
    unmapped = NERDataModule(**files)
    unmapped.load_state_dict(state)
    with pytest.raises(DataError, match=r"new.conll:1: the label 'B-woman' is unknown"):
        unmapped.setup("fit")


# ---------------------------------------------------------------- strict


def test_illegal_tags_are_refused_with_their_own_line(make: Make) -> None:
    text = columns([("a", "B-PER"), ("b", "I-PER"), ("c", "O")], [("d", "O"), ("e", "I-PER"), ("f", "B-PER")])
    assert tags_of(make(text), 1) == ["O", "B-PER", "B-PER"]
    with pytest.raises(DataError) as refused:
        make(text, strict=True)
    assert "data.conll:6: the tag 'I-PER' after 'O' is illegal in iob2 (word 2 of the sentence; 1 such tags" in str(
        refused.value
    )
    legal = columns([("a", "B-PER"), ("b", "I-PER")], [("d", "O"), ("e", "B-PER")])
    assert make(legal, strict=True).encoded["train"].findings == {}


def test_a_bare_tag_written_out_is_legal(make: Make) -> None:
    """``B-_`` is ``B``: legal, and one label."""
    text = columns([("a", "B-_"), ("b", "I"), ("c", "O"), ("d", "B")])
    data = make(text, strict=True)
    assert tags_of(data) == ["B", "I", "O", "B"]
    assert list(data.labels.names) == ["O", "B", "I"]
    assert data.encoded["train"].findings == {}


@pytest.mark.parametrize(
    ("spans", "fits"),
    [
        ('[[0, 3, "PER"]]', True),
        ('[[0, 3, "PER"], [0, 3, "PER"]]', True),  # twice the same is no change
        ('[[0, 4, "PER"]]', True),  # white space at the end does not count
        ('[[0, 2, "PER"]]', False),
        ('[[0, 3, "PER"], [0, 7, "PER"]]', False),
        ('[[0, 7, "PER"], [4, 9, "PER"]]', False),
        ('[[3, 4, "PER"]]', False),
    ],
)
def test_spans_that_were_changed_are_refused(make: Make, spans: str, fits: bool) -> None:
    good = '{"text": "Ann Lee x", "label": [[0, 7, "PER"]]}\n'
    text = f'{good}{{"text": "Ann Lee x", "label": {spans}}}\n{good}'
    make(text, "data.jsonl")
    if fits:
        make(text, "data.jsonl", strict=True)
    else:
        with pytest.raises(DataError, match=r"data.jsonl:2: a character span does not fit whole words"):
            make(text, "data.jsonl", strict=True)


def test_brat_annotations_in_pieces_are_refused(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "brat"
    folder.mkdir()
    (folder / "a.txt").write_text("Ann Lee x\nBob\n", encoding="utf-8")
    (folder / "a.ann").write_text("T1\tPER 0 3\tAnn\nT2\tPER 0 3;8 9\tAnn x\n", encoding="utf-8")
    options = {"train_file": str(folder), "validation_file": str(folder)}
    make("", **options)
    with pytest.raises(DataError, match=r"a.ann:2: a character span"):
        make("", strict=True, **options)
