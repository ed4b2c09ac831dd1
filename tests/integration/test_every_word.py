"""As many labels out as words in: no text, however odd or long, loses a word in any stage.

Through the real data module and loaders for short and long rows, and through the program with a tiny model. How many
words have a subword is asked of transformers' own tokenizer, word by word.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerFn
from run_files import json_lines
from tiny_models import make_tiny_model
from transformers import AutoTokenizer

from ner_module import NERDataModule, NERTagger
from ner_module.tagging import IGNORE_INDEX

RunMain = Callable[..., Any]
Rows = list[dict[str, list[str]]]

ODD = [
    *("x" * 2000, "ab" * 1000, "中" * 2000, "!" * 2000, "\u200b" * 2000, "😀" * 500),
    *("\u200b", "\x07", "", " ", "\u00ad", "\ufe0f", "a\u200bb", "\x03word", "\u2028", "\ufeff", "\x00"),
    *("😀", "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "العربية", "الْعَرَبِيَّة", "مرحبا", "北京大学在中国", "東京都知事は", "ไทย", "हिन्दी"),
]


def make_sequences(words: int, singles: int) -> Rows:
    """A document of that many words, that many one-word sentences, odd words alone and among others."""
    chance = random.Random(0)
    plain = ["was", "born", "in", "Paris", "Zyqxw", "on", "Monday", "."]
    mixed = [chance.choice(ODD if chance.random() < 0.01 else plain) for _ in range(words)]
    sentences = [
        mixed,
        *([chance.choice(ODD if chance.random() < 0.2 else plain)] for _ in range(singles)),
        *([word] for word in ODD),
        ODD,
        [],
        ["\u200b", "\x07"],
    ]
    return [
        {"tokens": tokens, "tags": [chance.choice(["O", "B-PER", "I-PER"]) for _ in tokens]} for tokens in sentences
    ]


@pytest.fixture(scope="module")
def long_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of 514 positions, whose tokenizer file cuts at 128 subwords and pads, as MiniLM's does."""
    folder = make_tiny_model("bert-uncased", tmp_path_factory.mktemp("long"), max_positions=514)
    path = folder / "tokenizer.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    description["truncation"] = {"direction": "Right", "max_length": 128, "strategy": "LongestFirst", "stride": 0}
    description["padding"] = {
        "strategy": {"Fixed": 128},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    path.write_text(json.dumps(description), encoding="utf-8")
    return folder


def write(path: Path, rows: Rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def visible_words(folder: Path, rows: Rows) -> int:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    forms = {word for row in rows for word in row["tokens"]}
    seen = {
        word: bool(tokenizer([word], is_split_into_words=True, add_special_tokens=False).input_ids) for word in forms
    }
    return sum(seen[word] for row in rows for word in row["tokens"])


def check_loaders(model: Path, rows: Rows, max_seq_length: int, folder: Path, **options: Any) -> None:
    path = str(write(folder / "rows.jsonl", rows))
    words, visible = sum(len(row["tokens"]) for row in rows), visible_words(model, rows)
    assert 0 < visible < words
    files = {f"{split}_file": path for split in ("train", "validation", "test", "predict")}
    data = NERDataModule(str(model), **files, max_seq_length=max_seq_length, **options)
    data.prepare_data()
    data.setup("fit")
    labelled = 0
    for batch in data.train_dataloader():
        assert max(batch["lengths"]) <= max_seq_length
        labelled += int((batch["labels"] != IGNORE_INDEX).sum())
    assert labelled == visible, "train"
    state = data.state_dict()
    for command in ("validate", "test", "predict"):
        evaluated = NERDataModule(**files)
        evaluated.load_state_dict(state)
        evaluated.trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
        evaluated.trainer.state.fn = TrainerFn(command)
        evaluated.prepare_data()
        evaluated.setup(command)
        loaders = {"validate": evaluated.val_dataloader, "test": evaluated.test_dataloader}
        counted = gold = read = in_loss = 0
        seen: list[int] = []
        for batch in loaders.get(command, evaluated.predict_dataloader)():
            assert max(batch["lengths"]) <= max_seq_length
            in_loss += int((batch["labels"] != IGNORE_INDEX).sum())
            read += int((batch["word_positions"] >= 0).sum())
            gold += int((batch["gold"] != IGNORE_INDEX).sum())
            counted += int(batch["num_words"].sum())
            seen += batch["sentence_index"].tolist()
        assert sorted(seen) == list(range(len(rows))), command
        assert (counted, read) == (words, visible), command
        assert (gold, in_loss) == ((0, 0) if command == "predict" else (words, visible)), command


@pytest.mark.parametrize("max_seq_length", [16, 64, 512])
def test_labelled_positions_are_the_words_that_have_a_subword(
    max_seq_length: int, long_model: Path, tmp_path: Path
) -> None:
    check_loaders(long_model, make_sequences(800, 200), max_seq_length, tmp_path)


def test_with_document_context_too(long_model: Path, tmp_path: Path) -> None:
    check_loaders(long_model, make_sequences(300, 200), 64, tmp_path, context_size=40, documents="file")


@pytest.mark.slow
@pytest.mark.parametrize("max_seq_length", [16, 64, 512])
def test_a_document_of_20000_words_and_10000_sentences_of_one(
    max_seq_length: int, long_model: Path, tmp_path: Path
) -> None:
    check_loaders(long_model, make_sequences(20_000, 10_000), max_seq_length, tmp_path)


def check_program(run_main: RunMain, model: Path, rows: Rows, folder: Path, *options: object) -> None:
    path = write(folder / "rows.jsonl", rows)
    files = [part for split in ("train", "validation", "test") for part in (f"--data.{split}_file", path)]
    run_main(
        *("fit", "--model.model_name_or_path", model, *files, "--trainer.max_epochs", 1, "--run_dir", "run"),
        *("--data.batch_size", 64, *options),
    )
    for command, name in (("validate", "validation"), ("test", "test")):
        run_main(command, "--run_dir", "run", "--ckpt_path", "last")
        text = (folder / "run" / "predictions" / f"{name}.jsonl").read_text(encoding="utf-8")
        found = json_lines(text)
        assert [row["tokens"] for row in found] == [row["tokens"] for row in rows], command
        for row, given in zip(found, rows, strict=True):
            count = len(given["tokens"])
            assert len(row["gold_tags"]) == len(row["predicted_tags"]) == len(row["scores"]) == count
    found = json_lines(run_main("predict", "--run_dir", "run", "--ckpt_path", "last", "--data.predict_file", path).out)
    assert [row["tokens"] for row in found] == [row["tokens"] for row in rows]
    for row in found:
        assert all(0 <= e["start"] < e["end"] <= len(row["tokens"]) for e in row["entities"])
        assert all(e["text"] == " ".join(row["tokens"][e["start"] : e["end"]]) for e in row["entities"])


def test_the_program_gives_every_word_a_label(run_main: RunMain, long_model: Path, tmp_path: Path) -> None:
    check_program(run_main, long_model, make_sequences(400, 60), tmp_path, "--data.max_seq_length", 64)


@pytest.mark.slow
def test_the_program_on_20000_words_and_10000_sentences(run_main: RunMain, long_model: Path, tmp_path: Path) -> None:
    check_program(run_main, long_model, make_sequences(20_000, 10_000), tmp_path)


def test_document_context_from_training_to_the_tagger(run_main: RunMain, tiny_model: Any, tmp_path: Path) -> None:
    """What `predict` says of a file with documents, the tagger says of the same texts; alone they differ."""
    names, words = ["PER", "LOC"], ["Anna", "was", "born", "in", "Paris", "Monday", "the"]
    chance = random.Random(1)
    rows = []
    for number in range(60):
        tokens = chance.choices(words, k=chance.randrange(1, 6))
        tags = [chance.choice(["O", *(f"B-{name}" for name in names)]) for _ in tokens]
        rows.append({"tokens": tokens, "tags": tags, "document": f"d{number // 4}"})
    path = write(tmp_path / "rows.jsonl", rows)  # type: ignore[arg-type]
    base = ["--model.model_name_or_path", tiny_model(), "--data.train_file", path, "--data.validation_file", path]
    learn = ["--trainer.max_epochs", 8, "--trainer.check_val_every_n_epoch", 8, "--model.learning_rate", "1e-2"]
    fit = run_main("fit", *base, "--data.test_file", path, "--data.context_size", 40, *learn, "--run_dir", "run")
    assert "60 sentences are encoded with up to 40 subword tokens of their document" in fit.err
    run_main("test", "--run_dir", "run", "--ckpt_path", "last")
    scored = json_lines((tmp_path / "run" / "predictions" / "test.jsonl").read_text(encoding="utf-8"))
    predicted = json_lines(
        run_main("predict", "--run_dir", "run", "--ckpt_path", "last", "--data.predict_file", path).out
    )
    assert [row["tokens"] for row in predicted] == [row["tokens"] for row in rows]
    tagger = NERTagger.load(tmp_path / "run" / "checkpoints" / "last.ckpt")
    tokens, documents = [row["tokens"] for row in rows], [row["document"] for row in rows]
    together = tagger.predict(tokens, documents=documents)
    places = [[(e["type"], e["start"], e["end"]) for e in row["entities"]] for row in together]
    assert places == [[(e["type"], e["start"], e["end"]) for e in row["entities"]] for row in predicted]
    assert together != tagger.predict(tokens)
    for row, found in zip(scored, places, strict=True):
        inside = {word for _, start, end in found for word in range(start, end)}
        assert inside == {index for index, tag in enumerate(row["predicted_tags"]) if tag != "O"}
    # Raw text marks no documents: each line alone, unless a file is said to be one.
    (tmp_path / "lines.txt").write_text("".join(" ".join(row["tokens"]) + "\n" for row in rows), encoding="utf-8")
    options = ["predict", "--run_dir", "run", "--ckpt_path", "last", "--data.predict_file", "lines.txt"]
    alone, whole = run_main(*options), run_main(*options, "--data.documents", "file")
    assert "predict: no sentence has context" in alone.err
    texts = [" ".join(words) for words in tokens]
    assert json_lines(alone.out) == tagger.predict(texts)
    assert json_lines(whole.out) == tagger.predict(texts, documents=[0] * len(texts))
    assert json_lines(whole.out) != json_lines(alone.out)
