"""Datasets that the `datasets` library loads: columns, integer tags and their names, splits, and what is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from ner_module.data.hub import HubColumns, choose_columns, hub_sentences, is_unlabelled, load_hub_dataset
from ner_module.errors import DataError

NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
TOKENS = [["Ada", "Lovelace", "left"], ["Rome"], []]
IDS = [[1, 2, 0], [3], []]
TAGS = [["B-PER", "I-PER", "O"], ["B-LOC"], []]

Write = Callable[..., str]


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    datasets.disable_progress_bars()


def dataset(kind: str, label: str = "ner_tags", text: str = "tokens") -> Dataset:
    """``TOKENS`` with tags of a kind: ``class`` (integers with names), ``int`` or ``str``."""
    inner = {"class": ClassLabel(names=NAMES), "int": Value("int64"), "str": Value("string")}[kind]
    features = Features({"id": Value("string"), text: List(Value("string")), label: List(inner)})
    tags = TAGS if kind == "str" else IDS
    return Dataset.from_dict({"id": ["0", "1", "2"], text: TOKENS, label: tags}, features=features)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write(train=…, validation=…)`` makes a folder of parquet files and returns its name."""

    def make(folder: str = "corpus", **splits: Dataset) -> str:
        for split, rows in splits.items():
            rows.to_parquet(str(tmp_path / folder / f"{split}.parquet"))
        return str(tmp_path / folder)

    return make


def test_a_local_folder_is_loaded_offline_and_dev_is_validation(write: Write) -> None:
    loaded = load_hub_dataset(write(train=dataset("class"), dev=dataset("class"), test=dataset("class")), None, None)
    assert sorted(loaded) == ["test", "train", "validation"]
    columns = choose_columns(loaded["train"], "here", None, None, None)
    assert columns == HubColumns("tokens", "ner_tags", NAMES), "names travel in the file"


@pytest.mark.parametrize(
    ("kind", "given", "names"),
    [("class", None, NAMES), ("class", ["X"], NAMES), ("int", NAMES, NAMES), ("str", None, None)],
)
def test_each_kind_of_tags_gives_the_same_sentences(kind: str, given: list[str], names: Any, write: Write) -> None:
    rows = load_hub_dataset(write(train=dataset(kind)), None, None)["train"]
    columns = choose_columns(rows, "here", None, None, given)
    assert columns.names == names
    sentences = list(hub_sentences(rows, "here", columns))
    assert [sentence.tokens for sentence in sentences] == TOKENS
    assert [sentence.tags for sentence in sentences] == TAGS
    assert [sentence.line for sentence in sentences] == [1, 2, 3]


@pytest.mark.parametrize(("text", "label"), [("words", "tags"), ("tokens", "labels"), ("Wort", "Etikett")])
def test_columns_by_their_usual_or_given_names(text: str, label: str) -> None:
    rows = dataset("str", label, text)
    asked = (text, label) if text == "Wort" else (None, None)
    assert choose_columns(rows, "here", *asked, None) == HubColumns(text, label, None)


@pytest.mark.parametrize("kind", ["class", "str"])
def test_a_column_that_is_called_like_tags_beside_one_that_holds_them_is_refused(kind: str) -> None:
    rows = dataset(kind, "entity").add_column("tags", [["NNP", "NNP", "VBD"], ["NNP"], []])
    with pytest.raises(DataError, match="'tags' is named like tags, but the tags are in 'entity'; name one of them"):
        choose_columns(rows, "here", None, None, None)
    assert choose_columns(rows, "here", None, "tags", None).label == "tags"
    assert choose_columns(rows, "here", None, "entity", None).label == "entity"


def test_a_class_of_the_sentence_is_no_column_of_tags() -> None:
    rows = Dataset.from_dict({"tokens": TOKENS, "label": [0, 1, 0], "ner": TAGS})
    assert choose_columns(rows, "here", None, None, None) == HubColumns("tokens", "ner", None)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            ("text", None),
            r"here: has no column 'text' \(columns: id, tokens, ner_tags\); correct --data.text_column_name",
        ),
        ((None, "tag"), r"here: has no column 'tag' .*; correct --data.label_column_name"),
        ((None, "id"), r"here: column 'id' is not a list of tags; name one with --data.label_column_name"),
        (("id", None), r"here: column 'id' is not a list of words; name one with --data.text_column_name"),
        (("ner_tags", None), r"here: column 'ner_tags' is not a list of words"),
    ],
)
def test_wrong_columns_are_named(asked: tuple[str | None, str | None], message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose_columns(dataset("int"), "here", *asked, NAMES)


def test_unusual_column_names_must_be_given() -> None:
    with pytest.raises(
        DataError, match=r"here: has none of the columns tokens, words, .* \(columns: id, Wort, Etikett\)"
    ):
        choose_columns(dataset("str", "Etikett", "Wort"), "here", None, None, None)


def test_integers_need_names() -> None:
    with pytest.raises(
        DataError, match=r"here: column 'ner_tags' holds integers without names; give --data.label_names"
    ):
        choose_columns(dataset("int"), "here", None, None, None)


def test_tags_must_be_integers_or_strings() -> None:
    rows = Dataset.from_dict({"tokens": [["a"]], "ner_tags": [[0.5]]})
    with pytest.raises(DataError, match=r"here: column 'ner_tags' .*float"):
        choose_columns(rows, "here", None, None, NAMES)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"tokens": [["a"], ["a", "b"]], "ner_tags": [[0], [0]]}, "here:2: 2 words but 1 tags"),
        ({"tokens": [["a"], ["b"]], "ner_tags": [[0], [5]]}, "here:2: the tag id 5 is outside the 5 names"),
        ({"tokens": [["a"]], "ner_tags": [[-1]]}, "here:1: the tag id -1 is outside the 5 names"),
        ({"tokens": [["a"], ["b"]], "ner_tags": [[0], [None]]}, "here:2: column 'ner_tags' is null, or holds null"),
        ({"tokens": [["a"], None], "ner_tags": [[0], [0]]}, "here:2: column 'tokens' is null"),
        ({"tokens": [["a"], ["b"]], "ner_tags": [[0], None]}, "here:2: column 'ner_tags' is null"),
        ({"tokens": [["a", None]], "ner_tags": [[0, 0]]}, "here:1: column 'tokens' is null, or holds null"),
        ({"tokens": [["a"]], "ner_tags": [["B-PER"]]}, None),
        ({"tokens": [["a", "b"]], "ner_tags": [["B-PER", None]]}, "here:1: column 'ner_tags' is null"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_their_number(rows: dict[str, Any], message: str | None) -> None:
    made = Dataset.from_dict(rows)
    columns = choose_columns(made, "here", None, None, NAMES)
    if message is None:
        assert [sentence.tags for sentence in hub_sentences(made, "here", columns)] == [["B-PER"]]
        return
    with pytest.raises(DataError, match=message):
        list(hub_sentences(made, "here", columns))


@pytest.mark.parametrize("name", ["conll2003", "nobody/nothing", "./not/there"])
def test_a_dataset_that_is_not_there(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL), pytest.raises(DataError, match=f"dataset '{name}': cannot be loaded"):
        load_hub_dataset(name, None, None)


def test_a_mistake_of_this_program_is_no_problem_of_the_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ner_module.data.hub._load", lambda *given: given[3])
    with pytest.raises(IndexError):
        load_hub_dataset("a/b", None, None)


def test_a_dataset_with_a_loading_script_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "scripted"
    folder.mkdir()
    trap = tmp_path / "executed"
    (folder / "scripted.py").write_text(f"open({str(trap)!r}, 'w')\n", encoding="utf-8")
    with pytest.raises(DataError, match="cannot be loaded"):
        load_hub_dataset(str(folder), None, None)
    assert not trap.exists()


def test_a_split_whose_labels_are_hidden(write: Write) -> None:
    """Test sets of shared tasks come with -1 for every label; one real label, or no word at all, is no such split."""

    def split(*ids: list[int]) -> Dataset:
        features = Features({"tokens": List(Value("string")), "ner_tags": List(Value("int64"))})
        return Dataset.from_dict({"tokens": [["a"] * len(row) for row in ids], "ner_tags": ids}, features=features)

    columns = HubColumns("tokens", "ner_tags", NAMES)
    assert is_unlabelled(split([-1, -1], [], [-1]), columns)
    assert not is_unlabelled(split([-1, -1], [0]), columns)
    assert not is_unlabelled(split([], []), columns)
    assert not is_unlabelled(dataset("str"), columns)


@pytest.mark.parametrize("kind", ["string", "int64"])
def test_a_column_of_documents_is_read(kind: str) -> None:
    features = Features({"tokens": List(Value("string")), "tags": List(Value("string")), "doc_id": Value(kind)})
    names = [7, 7, None] if kind == "int64" else ["7", "7", None]
    rows = Dataset.from_dict({"tokens": TOKENS, "tags": TAGS, "doc_id": names}, features=features)
    columns = choose_columns(rows, "here", None, None, None)
    assert columns == HubColumns("tokens", "tags", None, "doc_id")
    assert [sentence.document for sentence in hub_sentences(rows, "here", columns)] == ["7", "7", None]
