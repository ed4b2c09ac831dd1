"""From files or a dataset to batches: labels, schemes, held-out data, the cache, and what a checkpoint restores."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerFn
from seqeval.metrics.sequence_labeling import get_entities
from tiny_models import FAMILIES

from ner_module.data.datamodule import NERDataModule
from ner_module.data.encoded import NO_SUBWORD
from ner_module.data.preparation import store_splits
from ner_module.data.store import StoredSplit
from ner_module.errors import DataError, PretrainedError
from ner_module.tagging import IGNORE_INDEX, LabelSet, Span, tags_to_spans
from ner_module.tokenizer import load_tokenizer

Sentences = list[list[tuple[str, str]]]
Make = Callable[..., NERDataModule]
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write("B-PER O", "O", name="train")`` writes two sentences with these tags to ``train.conll``."""

    def make(*sentences: str, name: str = "train") -> Path:
        path = tmp_path / f"{name}.conll"
        text = "".join("".join(f"word {tag}\n" for tag in tags.split()) + "\n" for tags in sentences)
        path.write_text(text, encoding="utf-8")
        return path

    return make


@pytest.fixture
def make(tiny_model: Callable[..., Path], tmp_path: Path) -> Make:
    """``make(train_file=…)`` is a data module of the tiny model that is set up; with a cache of its own."""

    def build(family: str = "bert-uncased", command: str | None = None, **options: Any) -> NERDataModule:
        files = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
        data = NERDataModule(str(tiny_model(family)), **{"cache_dir": str(tmp_path / "cache"), **files})
        return start(data, command)

    return build


def num_sentences(data: NERDataModule, split: str) -> int:
    return len(data.sentences_of(split)[1])


def start(data: NERDataModule, command: str | None = None) -> NERDataModule:
    """Prepare and set up as the trainer does for a command."""
    if command is not None:
        trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
        trainer.state.fn = TrainerFn(command)
        data.trainer = trainer
    data.prepare_data()
    data.setup(command or "fit")
    return data


def restored(data: NERDataModule, **options: Any) -> NERDataModule:
    """Another process that knows the checkpoint and nothing else."""
    again = NERDataModule(**{"cache_dir": data.hparams["cache_dir"], **options})
    again.load_state_dict(data.state_dict())
    return again


def read_conll(path: Path) -> Sentences:
    """An independent reader."""
    blocks = path.read_text(encoding="utf-8").strip().split("\n\n")
    return [[tuple(line.split()) for line in block.split("\n")] for block in blocks if "-DOCSTART-" not in block]


def evaluated(data: NERDataModule, split: str) -> list[tuple[list[str], list[str]]]:
    """Words and gold tags of a split, in order, as its loader gives them."""
    loader = {"validation": data.val_dataloader, "test": data.test_dataloader, "predict": data.predict_dataloader}[
        split
    ]()
    found: dict[int, list[str]] = {}
    for batch in loader:
        rows = zip(batch["sentence_index"].tolist(), batch["num_words"].tolist(), batch["gold"].tolist(), strict=True)
        for index, length, gold in rows:
            assert index not in found
            found[index] = [data.labels.names[label] if label >= 0 else "?" for label in gold[:length]]
    assert sorted(found) == list(range(num_sentences(data, split)))
    return [(data.sentence_of(split, index)[0], found[index]) for index in sorted(found)]


def trained(data: NERDataModule) -> Counter[tuple[int, ...]]:
    """How often each row of subwords occurs in an epoch."""
    rows: Counter[tuple[int, ...]] = Counter()
    for batch in data.train_dataloader():
        rows.update(tuple(ids.tolist()) for ids in batch["input_ids"].split(batch["lengths"]))
    return rows


# ---------------------------------------------------------------- nothing is lost


@pytest.mark.parametrize("max_seq_length", [16, 64])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_word_with_a_subword_is_labelled_once_and_every_word_evaluated(
    family: str, max_seq_length: int, make: Make, corpus: Path, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    sentences = read_conll(corpus / "validation.conll")
    sentences += [[("\u200b", "O"), ("was", "B-PER")], [("Zyqxw", "B-LOC")] * 80, [("\x03", "O")], [("x" * 500, "O")]]
    path = tmp_path / "data.conll"
    path.write_text("\n".join("".join(f"{word}\t{tag}\n" for word, tag in words) for words in sentences), "utf-8")
    data = make(family, train_file=path, validation_file=path, max_seq_length=max_seq_length, batch_size=3)
    # The reference encodes whole sentences, by the tokenizer's own word ids.
    tokenizer = load_tokenizer(str(tiny_model(family)))
    labels: Counter[str] = Counter()
    visible = []
    for words in sentences:
        encoding = tokenizer([word for word, _ in words], is_split_into_words=True)
        seen = set(encoding.word_ids()) - {None}
        visible.append(seen)
        labels.update(tag for index, (_, tag) in enumerate(words) if index in seen)

    batches = list(data.train_dataloader())
    assert max(max(batch["lengths"]) for batch in batches) <= max_seq_length
    found = Counter(
        data.labels.names[label] for batch in batches for label in batch["labels"][batch["labels"] >= 0].tolist()
    )
    assert found == labels
    assert {batch["labels"].min().item() for batch in batches} == {IGNORE_INDEX}
    assert sum(batch["labelled_in_step"] for batch in batches) == labels.total()

    for batch in data.val_dataloader():
        for index, positions in zip(batch["sentence_index"].tolist(), batch["word_positions"].tolist(), strict=True):
            assert {word for word, position in enumerate(positions) if position != NO_SUBWORD} == visible[index]
    assert evaluated(data, "validation") == [
        ([word for word, _ in words], [tag for _, tag in words]) for words in sentences
    ]


def test_labels_on_all_subwords(make: Make, corpus: Path) -> None:
    files = {"train_file": corpus / "train.conll", "validation_file": corpus / "validation.conll"}
    first, every = make(**files), make(**files, label_all_tokens=True)

    words = [word for sentence in read_conll(corpus / "train.conll") for word, _ in sentence]

    def counts(data: NERDataModule) -> Counter[str]:
        return Counter(
            data.labels.names[label]
            for batch in data.train_dataloader()
            for label in batch["labels"][batch["labels"] >= 0].tolist()
        )

    pieces = {word: len(every.tokenizer([word], is_split_into_words=True).input_ids) - 2 for word in words}
    assert counts(every).total() == sum(pieces[word] for word in words)
    assert counts(first).total() == len(words)
    for label in first.labels.names:
        if label.startswith("B-"):
            assert counts(every)[label] == counts(first)[label], "a mention begins once"
    assert counts(every)["I-PER"] > counts(first)["I-PER"]
    assert evaluated(every, "validation") == evaluated(first, "validation"), "words are scored the same"


# ---------------------------------------------------------------- labels and schemes


def test_a_label_only_in_validation_or_test_is_a_label(
    make: Make, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    files = {
        "train_file": write("B-PER O", "O"),
        "validation_file": write("O O", "B-LOC I-LOC", name="dev"),
        "test_file": write("B-ORG", name="test"),
    }
    with caplog.at_level(logging.WARNING):
        data = make(**files)
    assert list(data.labels.names) == ["O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER"]
    assert "dev.conll:4: the label 'B-LOC' does not occur in the training data" in caplog.text
    assert "test.conll:1: the label 'B-ORG' does not occur in the training data" in caplog.text
    assert [tags for _, tags in evaluated(data, "validation")] == [["O", "O"], ["B-LOC", "I-LOC"]]


def test_each_split_has_its_own_order_of_tags_and_the_model_one(make: Make, write: Write) -> None:
    train, dev = write("I-A B-B I-B", "O B-A"), write("B-B O", "B-A I-A", name="dev")
    data = make(train_file=train, validation_file=dev)
    assert data.encoded["train"].tag_names != data.encoded["validation"].tag_names
    assert [tags for _, tags in evaluated(data, "validation")] == [["B-B", "O"], ["B-A", "I-A"]]


@pytest.mark.parametrize(
    ("sentences", "options", "names", "gold"),
    [
        (("N V N", "V"), {}, ["N", "V"], [["N", "V", "N"], ["V"]]),
        (("N O N", "V"), {"source_scheme": "flat"}, ["O", "N", "V"], [["N", "O", "N"], ["V"]]),
        (
            ("N none N", "V"),
            {"source_scheme": "flat", "outside_label": "none"},
            ["none", "N", "V"],
            [["N", "none", "N"], ["V"]],
        ),
        (("N N O", "V"), {}, ["O", "B-N", "I-N", "B-V", "I-V"], [["B-N", "I-N", "O"], ["B-V"]]),
        (("N N O", "V"), {"scheme": "flat"}, ["O", "N", "V"], [["N", "N", "O"], ["V"]]),
        (("S V O", "S O"), {"source_scheme": "flat"}, ["O", "S", "V"], [["S", "V", "O"], ["S", "O"]]),
        (
            ("N N O", "V"),
            {"source_scheme": "flat", "scheme": "iob2"},
            ["O", "B-N", "I-N", "B-V", "I-V"],
            [["B-N", "B-N", "O"], ["B-V"]],
        ),
        (("B-N I-N O", "B-V"), {"scheme": "flat"}, ["O", "N", "V"], [["N", "N", "O"], ["V"]]),
        (
            ("N N none", "V"),
            {"scheme": "iob2", "outside_label": "none"},
            ["O", "B-N", "I-N", "B-V", "I-V"],
            [["B-N", "I-N", "O"], ["B-V"]],
        ),
        (
            ("B-N I-N B-N", "B-V"),
            {"scheme": "bioes"},
            ["O", *(f"{prefix}-{name}" for name in "NV" for prefix in "BIES")],
            [["B-N", "E-N", "S-N"], ["S-V"]],
        ),
    ],
)
def test_flat_labels_and_other_schemes(
    sentences: tuple[str, ...],
    options: dict[str, Any],
    names: list[str],
    gold: list[list[str]],
    make: Make,
    write: Write,
) -> None:
    path = write(*sentences)
    data = make(train_file=path, validation_file=path, **options)
    assert list(data.labels.names) == names
    assert [tags for _, tags in evaluated(data, "validation")] == gold
    assert data.labels.outside == (names[0] if names[0] in ("O", "none") else None)
    # Another process with the checkpoint reads the same files the same way.
    again = start(restored(data, validation_file=str(path), **options), "validate")
    assert [tags for _, tags in evaluated(again, "validation")] == gold


def test_a_file_in_iob1_is_trained_as_iob2_with_the_same_spans(make: Make, write: Write) -> None:
    sentences = ["I-A I-A B-A O I-B", "O I-A I-B", "O", "I-A O I-A"]
    path = write(*sentences)
    data = make(train_file=path, validation_file=path)
    assert (data.labels.scheme, list(data.labels.names)) == ("iob2", ["O", "B-A", "I-A", "B-B", "I-B"])
    for sentence, (_, tags) in zip(sentences, evaluated(data, "validation"), strict=True):
        expected = [Span(start, end + 1, name) for name, start, end in get_entities(sentence.split())]
        assert tags_to_spans(tags) == expected
    assert evaluated(data, "validation")[0][1] == ["B-A", "I-A", "B-A", "O", "B-B"]


def test_splits_in_different_schemes_meet_in_the_trained_one(make: Make, write: Write) -> None:
    train, dev = write("B-A I-A O B-A"), write("B-A E-A O S-A", name="dev")
    data = make(train_file=train, validation_file=dev)
    assert list(data.labels.names) == ["O", "B-A", "I-A"]
    assert evaluated(data, "validation")[0][1] == ["B-A", "I-A", "O", "B-A"]


def test_a_corpus_without_an_entity_is_refused_in_training_but_can_be_evaluated(make: Make, write: Write) -> None:
    nothing = write(*["O O"] * 5, name="nothing")
    with pytest.raises(DataError, match=r"nothing.conll: every word has the tag 'O': there is nothing to learn"):
        make(train_file=nothing)
    data = make(train_file=write("B-A O"), validation_file=nothing)
    assert {tag for _, tags in evaluated(data, "validation") for tag in tags} == {"O"}
    again = start(restored(data, test_file=str(nothing)), "test")
    assert len(evaluated(again, "test")) == 5


def test_the_entities_of_the_training_data(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "train.conll"
    path.write_text("New B-LOC\nYork I-LOC\nand O\nAda B-PER\n\nNew B-LOC\nYork I-LOC\nParis B-LOC\n", "utf-8")
    data = make(train_file=path, validation_file=path)
    assert data.train_entities() == {"LOC": {"New York": 2, "Paris": 1}, "PER": {"Ada": 1}}


# ---------------------------------------------------------------- datasets


@pytest.fixture
def parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """``parquet("class")`` is a folder with train and validation, tags as ``class``, ``int`` or ``str``."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    datasets.disable_progress_bars()
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    corpora = {
        "train": ([["Ada", "Lovelace", "left"], ["Rome", "was"]], [[1, 2, 0], [3, 0]]),
        "validation": ([["Ada", "was"], ["in", "Rome"]], [[1, 0], [0, 3]]),
    }

    def make(kind: str) -> str:
        inner = {"class": ClassLabel(names=names), "int": Value("int32"), "str": Value("string")}[kind]
        features = Features({"tokens": List(Value("string")), "ner_tags": List(inner)})
        for split, (tokens, ids) in corpora.items():
            tags = [[names[tag] for tag in row] for row in ids] if kind == "str" else ids
            rows = Dataset.from_dict({"tokens": tokens, "ner_tags": tags}, features=features)
            rows.to_parquet(str(tmp_path / kind / f"{split}.parquet"))
        return str(tmp_path / kind)

    return make


@pytest.mark.parametrize(
    ("kind", "options", "names"),
    [
        ("class", {}, ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]),
        ("int", {"label_names": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]}, ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]),
        ("str", {}, ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]),
        ("str", {"label_names": ["B-PER", "I-PER", "B-LOC", "O"]}, ["B-PER", "I-PER", "B-LOC", "O", "I-LOC"]),
    ],
)
def test_a_dataset_folder_offline(
    kind: str, options: dict[str, Any], names: list[str], make: Make, parquet: Callable[[str], str]
) -> None:
    folder = parquet(kind)
    data = make(dataset_name=folder, **options)
    assert list(data.labels.names) == names
    assert evaluated(data, "validation") == [(["Ada", "was"], ["B-PER", "O"]), (["in", "Rome"], ["O", "B-LOC"])]
    assert num_sentences(data, "train") == 2
    # What is asked for next is in the cache: a second process encodes nothing.
    before = snapshot(data.cache)
    again = make(dataset_name=folder, **options)
    assert list(again.labels.names) == names
    assert snapshot(data.cache) == before


# ---------------------------------------------------------------- held-out validation


def test_held_out_sentences_are_not_trained_on(make: Make, corpus: Path) -> None:
    data = make(train_file=corpus / "train.conll", validation_fraction=0.25)
    whole = make(train_file=corpus / "train.conll", validation_file=corpus / "train.conll")
    assert (num_sentences(data, "train"), num_sentences(data, "validation")) == (90, 30)
    held_out = evaluated(data, "validation")
    everything = evaluated(whole, "validation")
    assert all(sentence in everything for sentence in held_out)
    # Held out and trained on make the whole corpus, row by row.
    validation = Counter(
        tuple(ids.tolist()) for batch in data.val_dataloader() for ids in batch["input_ids"].split(batch["lengths"])
    )
    assert trained(data) + validation == trained(whole)
    train = [data.sentence_of("train", index)[0] for index in range(90)]
    assert len(train) + len(held_out) == 120
    assert data.train_entities() != whole.train_entities()


def test_the_seed_decides_what_is_held_out_and_the_order(make: Make, corpus: Path) -> None:
    def seen(**options: Any) -> tuple[Any, Any]:
        data = make(train_file=corpus / "train.conll", **options)
        return evaluated(data, "validation"), [batch["input_ids"].tolist() for batch in data.train_dataloader()]

    torch.manual_seed(1)
    first = seen(seed=1)
    torch.manual_seed(2)
    assert seen(seed=1) == first
    other = seen(seed=2)
    assert other[0] != first[0]
    assert other[1] != first[1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loaders_leave_the_global_generators_alone(num_workers: int, make: Make, corpus: Path) -> None:
    # Dropout and new heads draw from them: training must not depend on how often data is looked at, or by how many.
    data = make(train_file=corpus / "train.conll", num_workers=num_workers)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = [batch["input_ids"].tolist() for batch in data.train_dataloader()]
    evaluated(data, "validation")
    assert torch.equal(torch.get_rng_state(), before)
    alone = make(train_file=corpus / "train.conll")
    assert first == [batch["input_ids"].tolist() for batch in alone.train_dataloader()]


def test_validate_of_held_out_data_reads_the_training_file(make: Make, corpus: Path) -> None:
    fitted = make(train_file=corpus / "train.conll")
    alone = make(command="validate", train_file=corpus / "train.conll")
    assert evaluated(alone, "validation") == evaluated(fitted, "validation")


# ---------------------------------------------------------------- the cache


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_second_setup_neither_reads_nor_tokenises_again(make: Make, corpus: Path) -> None:
    files = {f"{split}_file": corpus / f"{split}.conll" for split in ("train", "validation", "test")}
    data = make(**files)
    before = snapshot(data.cache)
    assert len({Path(name).parts[0] for name in before}) == 6
    again = make(**files)
    assert snapshot(data.cache) == before
    assert evaluated(again, "validation") == evaluated(data, "validation")
    # Other options of batches and training change nothing on disk.
    make(**files, batch_size=2, batching="grouped", seed=3)
    assert snapshot(data.cache) == before


def test_a_changed_file_is_read_again(make: Make, write: Write) -> None:
    dev = write("B-A O", "O", name="dev")
    data = make(train_file=write("B-A O"), validation_file=dev)
    before = snapshot(data.cache)
    modified = dev.stat()
    dev.write_text(dev.read_text(encoding="utf-8").replace("B-A O", "B-B O").replace("B-A", "B-B"), encoding="utf-8")
    os.utime(dev, ns=(modified.st_atime_ns, modified.st_mtime_ns))
    assert dev.stat().st_size == modified.st_size, "neither size nor time tell"
    again = make(train_file=write("B-A O"), validation_file=dev)
    assert evaluated(again, "validation")[0][1] == ["B-B", "O"]
    after = snapshot(data.cache)
    assert before.items() <= after.items(), "what was there is left alone"
    assert len({Path(name).parts[0] for name in after}) == 6


@pytest.mark.parametrize(
    "change", [{"max_seq_length": 32}, {"stride": 2}, {"label_all_tokens": True}, {"scheme": "bioes"}]
)
def test_an_option_of_alignment_encodes_anew_and_does_not_read_again(
    change: dict[str, Any], make: Make, write: Write
) -> None:
    files = {"train_file": write("B-A O"), "validation_file": write("O B-A", name="dev")}
    data = make(**files)
    before = snapshot(data.cache)
    make(**files, **change)
    new = {Path(name).parts[0] for name in snapshot(data.cache).keys() - before.keys()}
    assert len(new) == 2
    assert all(name.startswith("encoded-") for name in new)


def test_another_tokenizer_encodes_anew(make: Make, write: Write) -> None:
    files = {"train_file": write("B-A O"), "validation_file": write("O B-A", name="dev")}
    data = make("bert-uncased", **files)
    count = len(snapshot(data.cache))
    other = make("bert-cased", **files)
    assert len(snapshot(data.cache)) > count
    assert other.encoded["train"].input_ids.tolist() != data.encoded["train"].input_ids.tolist()


# ---------------------------------------------------------------- what a checkpoint restores


@pytest.mark.parametrize("family", ["bert-cased", "xlm-roberta"])
def test_a_restored_module_needs_neither_model_nor_training_files(
    family: str, tiny_model: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    model, folder = tmp_path / "model", tmp_path / "corpus"
    shutil.copytree(tiny_model(family), model)
    shutil.copytree(corpus, folder)
    files = {f"{split}_file": str(folder / f"{split}.conll") for split in ("train", "validation", "test")}
    data = start(NERDataModule(str(model), **files, cache_dir=str(tmp_path / "cache"), max_seq_length=24, stride=3))
    expected = [batch["input_ids"] for batch in data.test_dataloader()]
    state = torch_round_trip(data.state_dict(), tmp_path)
    shutil.rmtree(model)
    shutil.rmtree(tmp_path / "cache")
    (folder / "train.conll").unlink()

    # The model's name is still in the configuration; the training file is too.
    again = NERDataModule(str(model), **files, cache_dir=str(tmp_path / "cache2"))
    again.load_state_dict(state)
    start(again, "test")
    assert again.labels == LabelSet(data.labels.names, "iob2", "O")
    assert (again.max_seq_length, again.stride) == (24, 3)
    found = [batch["input_ids"] for batch in again.test_dataloader()]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert evaluated(again, "test") == evaluated(data, "test")


def torch_round_trip(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Through a file, loaded without trust."""
    torch.save(state, folder / "state.pt")
    loaded: dict[str, Any] = torch.load(folder / "state.pt", weights_only=True)
    return loaded


@pytest.mark.parametrize("family", FAMILIES)
def test_a_restored_module_finds_what_training_left_in_the_cache(family: str, make: Make, corpus: Path) -> None:
    files = {f"{split}_file": str(corpus / f"{split}.conll") for split in ("train", "validation", "test")}
    data = make(family, **files)
    before = snapshot(data.cache)
    start(restored(data, **files), "test")
    start(restored(data, **files))
    assert snapshot(data.cache) == before, "a tokenizer from a checkpoint is the same tokenizer"


def test_setup_uses_what_its_process_prepared(make: Make, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []

    def counted(options: Any, command: str, cache: Path) -> dict[str, StoredSplit]:
        reads.append(command)
        return store_splits(options, command, cache)

    monkeypatch.setattr("ner_module.data.datamodule.store_splits", counted)
    data = make(train_file=write("B-PER O"), validation_file=write("O", name="dev"))
    assert reads == ["fit"], "once, by prepare_data"
    data.setup("fit")
    assert reads == ["fit", "fit"], "a process that has not prepared reads the cache itself"
    other = NERDataModule(**data.hparams)
    other.prepare_data()
    other.load_state_dict(data.state_dict())
    other.setup("fit")
    assert reads == ["fit"] * 4, "what was encoded before a checkpoint brought its tokenizer is not used"


def test_labels_keep_the_checkpoints_order_and_a_smaller_inventory_is_fine(make: Make, write: Write) -> None:
    data = make(
        train_file=write("I-B B-A B-C"), validation_file=write("O", name="dev"), label_names=["B-C", "B-A", "B-B"]
    )
    assert list(data.labels.names) == ["B-C", "B-A", "B-B", "O", "I-C", "I-A", "I-B"]
    test = start(restored(data, test_file=str(write("O B-A", name="test"))), "test")
    assert test.labels.names == data.labels.names
    assert evaluated(test, "test")[0][1] == ["O", "B-A"]


def test_a_label_the_checkpoint_does_not_know_is_refused_with_its_line(make: Make, write: Write) -> None:
    data = make(train_file=write("B-PER O"), validation_file=write("O B-PER", name="dev"))
    test = write("O O", "O B-LOC", name="test")
    with pytest.raises(DataError, match=r"test.conll:5: the label 'B-LOC' is unknown to the checkpoint's model"):
        start(restored(data, test_file=str(test)), "test")


def test_the_command_line_and_lightning_both_restore(make: Make, write: Write) -> None:
    data = make(train_file=write("B-PER O"), validation_file=write("O B-PER", name="dev"))
    state = data.state_dict()
    again = start(restored(data, test_file=str(write("O", name="test"))), "test")
    again.load_state_dict(state)
    other = make(train_file=write("B-LOC O", name="other"), validation_file=write("O B-LOC", name="other_dev"))
    with pytest.raises(DataError, match=r"its labels are not the checkpoint's, O, B-PER, I-PER; use the same data"):
        other.load_state_dict(state)


def test_going_on_with_other_training_data_is_mentioned(
    make: Make, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    dev = write("O B-A", name="dev")
    data = make(train_file=write("B-A O"), validation_file=dev)
    with caplog.at_level(logging.WARNING):
        start(restored(data, train_file=str(write("B-A O")), validation_file=str(dev)))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    with caplog.at_level(logging.WARNING):
        start(restored(data, train_file=str(write("B-A O", "O")), validation_file=str(dev)))
    assert "the training data has changed since the checkpoint was made" in caplog.text


def test_predict_reads_text_and_words_without_tags(make: Make, write: Write, tmp_path: Path) -> None:
    data = make(train_file=write("B-PER O"), validation_file=write("O B-PER", name="dev"))
    text = tmp_path / "input.txt"
    text.write_text("Ada left.\n\n\u200b\nwas born\n", encoding="utf-8")
    again = start(restored(data, predict_file=str(text)), "predict")
    assert [tokens for tokens, _ in evaluated(again, "predict")] == [
        ["Ada", "left", "."],
        [],
        ["\u200b"],
        ["was", "born"],
    ]
    lines = tmp_path / "input.jsonl"
    lines.write_text('{"tokens": ["Ada", "left."]}\n{"tokens": []}\n', encoding="utf-8")
    again = start(restored(data, predict_file=str(lines)), "predict")
    assert evaluated(again, "predict") == [(["Ada", "left."], ["?", "?"]), ([], [])]


# ---------------------------------------------------------------- options


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"batch_size": 0}, r"--data.batch_size: it is 0; give a number of at least 1"),
    ({"eval_batch_size": -1}, r"--data.eval_batch_size: it is -1"),
    (
        {"validation_fraction": -0.1},
        r"--data.validation_fraction: it is -0.1; give a share below 1; 0 trains on all of the data",
    ),
    ({"validation_fraction": 1.0}, r"--data.validation_fraction: it is 1.0"),
    ({"max_seq_length": 67}, r"--data.max_seq_length: it is 67; the model takes at most 66; give 4 to 66"),
    ({"max_seq_length": 3}, r"--data.max_seq_length: it is 3"),
    ({"max_seq_length": 0}, r"--data.max_seq_length: it is 0"),
    ({"max_seq_length": 32, "stride": 17}, r"--data.stride: it is 17 with windows of 32; give at most 16"),
    ({"stride": -1}, r"--data.stride: it is -1"),
    ({"dataset_name": "a/b"}, r"--data.train_file: it is given together with --data.dataset_name; give one of them"),
    ({"train_file": None}, r"train data: `fit` needs it, but none is given; give --data.train_file"),
]


@pytest.mark.parametrize(("options", "message"), IMPOSSIBLE)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], message: str, make: Make, write: Write) -> None:
    with pytest.raises(DataError, match=message):
        make(**{"train_file": write("B-PER O", "O", "O"), **options})


@pytest.mark.parametrize(("max_seq_length", "stride"), [(4, 0), (4, 2), (66, 33), (None, None)])
def test_options_at_their_limits_work(max_seq_length: int | None, stride: int | None, make: Make, write: Write) -> None:
    path = write("B-PER O " * 50)
    data = make(train_file=path, validation_file=path, max_seq_length=max_seq_length, stride=stride)
    assert data.max_seq_length == (max_seq_length or 66)
    assert data.stride == (16 if stride is None else stride)
    assert len(evaluated(data, "validation")[0][1]) == 100


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta"])
def test_positions_that_a_model_cannot_use_are_not_used(family: str, make: Make, write: Write) -> None:
    data = make(family, train_file=write("O B-A"), validation_file=write("O B-A", name="dev"))
    assert data.max_seq_length == 64
    with pytest.raises(DataError, match="the model takes at most 64"):
        make(family, train_file=write("O B-A"), max_seq_length=65)


def test_a_command_without_its_data_says_so(make: Make, write: Write) -> None:
    data = make(train_file=write("B-PER O"), validation_file=write("O B-PER", name="dev"))
    for command in ("test", "predict", "validate"):
        needed = {"validate": "validation"}.get(command, command)
        with pytest.raises(
            DataError, match=rf"{needed} data: `{command}` needs it, but none is given; give --data.{needed}_file"
        ):
            start(restored(data), command)


def test_without_a_trainer_setup_takes_the_stage(make: Make, write: Write) -> None:
    data = make(train_file=write("B-PER O"), validation_file=write("O B-PER", name="dev"))
    alone = restored(data, test_file=str(write("O O B-PER", name="test")))
    with pytest.raises(DataError, match=r"test data: not prepared; call setup\('test'\) first, with --data.test_file"):
        alone.test_dataloader()
    alone.setup("test")  # there is no training file
    assert [tags for _, tags in evaluated(alone, "test")] == [["O", "O", "B-PER"]]
    with pytest.raises(DataError, match=r"train data: not prepared; call setup\('fit'\) first, with --data.train_file"):
        alone.train_dataloader()


def test_a_model_must_be_named(write: Write) -> None:
    with pytest.raises(DataError, match=r"--model.model_name_or_path: it is not given; name a hub id or a folder"):
        start(NERDataModule(train_file=str(write("O B-A"))))


def test_a_model_without_tokenizer_is_refused(tiny_model: Callable[..., Path], write: Write, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(PretrainedError, match=r"holds no model: it has no config\.json"):
        start(NERDataModule(str(folder), train_file=str(write("O B-A"))))
    shutil.copy(tiny_model() / "config.json", folder)
    # transformers makes an empty tokenizer of nothing, to which every word is unknown.
    with pytest.raises(PretrainedError, match=r"has no tokenizer files \(tokenizer\.json\)"):
        start(NERDataModule(str(folder), train_file=str(write("O B-A"))))


def test_what_was_not_taken_as_it_stood_is_said_with_its_place(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "train.conll"
    long = "".join("word O\n" for _ in range(100))
    path.write_text(f"a B-PER\n\n{long}\n\u200b O\nb I-PER\n\n{'!' * 300} B-PER\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        make(train_file=path, validation_file=path)
    said = caplog.text
    assert "train.conll:3: longer than 66 subword tokens, the first of 1 such" in said
    assert "train.conll:104: an illegal tag sequence, the first of 1" in said
    assert "train.conll:104: a word that vanishes in tokenization" in said
    assert "train.conll:107: a word longer than 66 subword tokens" in said


def test_one_data_module_keeps_its_labels_from_fit_to_test(make: Make, write: Write) -> None:
    """Test data that lacks a type of the training data must not change what the model's label ids mean."""
    data = make(
        train_file=write("B-A B-B O"), validation_file=write("B-A O", name="dev"), test_file=write("B-B O", name="test")
    )
    start(data)
    labels = list(data.labels.names)
    start(data, "test")
    assert list(data.labels.names) == labels
    assert evaluated(data, "test")[0][1] == ["B-B", "O"]


# ---------------------------------------------------------------- what a user's cache and datasets may hold


DAMAGES: dict[str, Callable[[Path], object]] = {
    "is missing": Path.unlink,
    "has 0 bytes where": lambda path: path.write_bytes(b""),  # a power cut
    "does not match its checksum": lambda path: path.write_bytes(bytes(path.stat().st_size)),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("lost", ["meta.json", "sentences.arrow", "input_ids.bin", "word_labels.bin"])
def test_a_damaged_cache_is_made_again(
    lost: str, damage: str, make: Make, corpus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"train_file": corpus / "train.conll", "validation_file": corpus / "validation.conll"}
    data = make(**options)
    before = evaluated(data, "validation")
    files = list(data.cache.glob(f"*/{lost}"))
    assert files
    for file in files:
        DAMAGES[damage](file)
    with caplog.at_level(logging.WARNING):
        assert evaluated(make(**options), "validation") == before
    assert sum(f"is damaged: {lost} {damage}" in message for message in caplog.messages) == len(files)


def test_a_full_disk_names_the_cache(make: Make, corpus: Path, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))  # what a full disk does to a large file
    try:
        with pytest.raises(OSError, match="File too large") as full:
            make(train_file=corpus / "train.conll")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(full.value.filename).startswith(str(tmp_path / "cache" / "stored-"))
    assert not list((tmp_path / "cache").iterdir()), "nothing half is left"


def test_a_copied_cache_is_used(make: Make, corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its times differ; its content is compared, once for all."""
    options = {"train_file": corpus / "train.conll", "validation_file": corpus / "validation.conll"}
    data = make(**options)
    shutil.copytree(data.cache, tmp_path / "copy", copy_function=shutil.copyfile)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "copy").rglob("*.bin")}
    again = make(**options, cache_dir=str(tmp_path / "copy"))
    assert evaluated(again, "validation") == evaluated(data, "validation")
    assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "copy").rglob("*.bin")}
    assert not [message for message in caplog.messages if "damaged" in message]


def test_a_file_that_changes_while_it_is_read_is_refused(make: Make, corpus: Path, tmp_path: Path) -> None:
    """Read from a file that grows: the cache must not hold what its key does not say."""
    path = tmp_path / "train.conll"
    path.write_bytes((corpus / "train.conll").read_bytes())
    changed = threading.Event()

    def grow() -> None:
        while not changed.is_set():
            with path.open("ab") as file:
                file.write(b"Ada B-PER\n\n")

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        with pytest.raises(DataError, match=r"train\.conll: the file changed while it was read; run the command again"):
            make(train_file=path, validation_file=corpus / "validation.conll", cache_dir=str(tmp_path / "cache"))
    finally:
        changed.set()
        thread.join()
    assert list((tmp_path / "cache").glob("stored-*")) == []


def test_a_test_split_with_hidden_labels_is_left_out(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    datasets.disable_progress_bars()
    features = Features({"tokens": List(Value("string")), "ner_tags": List(Value("int64"))})
    for split, ids in {"train": [1, 0], "validation": [0, 1], "test": [-1, -1]}.items():
        rows = Dataset.from_dict({"tokens": [["Ada", "was"]] * 3, "ner_tags": [ids] * 3}, features=features)
        rows.to_parquet(str(tmp_path / "hidden" / f"{split}.parquet"))
    options = {"dataset_name": str(tmp_path / "hidden"), "label_names": ["O", "B-PER"]}
    with caplog.at_level(logging.INFO):
        data = make(**options)
    assert sorted(data.stored) == ["train", "validation"]
    assert [message for message in caplog.messages if "left out" in message and "are -1" in message]
    again = restored(data, **options)
    with pytest.raises(DataError, match="the tag id -1 is outside the 2 names"):
        start(again, "test")


def test_same_named_documents_of_two_files_are_held_out_apart(make: Make, tmp_path: Path) -> None:
    """Twelve files with documents 1 and 2 each: 24 documents, not two."""
    for number in range(12):
        text = "".join(f"# newdoc id = {name}\nword{number}x{name}\tB-PER\n\nother\tO\n\n" for name in (1, 2))
        (tmp_path / f"{number:02}.conll").write_text(text, encoding="utf-8")
    data = make(train_file=str(tmp_path / "*.conll"), validation_fraction=0.1)
    assert num_sentences(data, "validation") == 6, "three of 24 documents, two sentences each"
