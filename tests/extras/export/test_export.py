"""`export`: folders that plain transformers code, onnxruntime and NERTagger load, with the checkpoint's entities."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from run_files import conll_sentences, files_in
from seqeval.metrics.sequence_labeling import get_entities
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

from ner_module import NERTagger
from ner_module.errors import DataError, RunError

RunMain = Callable[..., Any]
Words = list[list[str]]


@pytest.fixture(scope="module")
def words(corpus: Path) -> Words:
    """Sentences the model knows and others, and what is odd."""
    known = [words for split in ("train", "test") for words, _ in conll_sentences(corpus / f"{split}.conll")]
    return [*known, [], ["\u200b"], ["Anna", "\u200b", "met", "Ben", "."], ["x" * 300]]


@pytest.fixture(scope="module")
def exported(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformers folder and an ONNX folder of the trained run."""
    from conftest import run_in_process

    folder = tmp_path_factory.mktemp("exported")
    cache = tmp_path_factory.getbasetemp() / "cache"
    for kind in ("transformers", "onnx"):
        done = run_in_process(
            ["export", "--run_dir", trained_run, "--output", folder / kind, "--format", kind], folder, cache
        )
        assert done.code == 0, done.err
        assert "identical" in done.out
        assert ".0000" not in done.out, "a comparison of nothing"
    return folder


def reference(folder: Path, sentences: Words, run: Callable[..., np.ndarray]) -> list[set[tuple[str, int, int]]]:
    """Entities by code that shares nothing with this project: one sentence at a time, seqeval reads the spans."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    names = json.loads((folder / "config.json").read_text())["id2label"]
    found = []
    for tokens in sentences:
        if not tokens:
            found.append(set())
            continue
        encoded = tokenizer(tokens, is_split_into_words=True, return_tensors="np")
        best = run(encoded["input_ids"].astype(np.int64), encoded["attention_mask"].astype(np.int64))[0].argmax(-1)
        tags = ["O"] * len(tokens)
        for position, word in reversed(list(enumerate(encoded.word_ids()))):
            if word is not None:
                tags[word] = names[str(best[position])]
        found.append({(kind, start, end + 1) for kind, start, end in get_entities(tags)})
    return found


def entities(rows: list[dict[str, Any]]) -> list[set[tuple[str, int, int]]]:
    return [{(entity["type"], entity["start"], entity["end"]) for entity in row["entities"]} for row in rows]


def greedy(folder: Path) -> NERTagger:
    """Each word's most probable label, as code without this project takes it."""
    tagger = NERTagger.load(folder)
    assert tagger.module.hparams["decoding"] == "viterbi"
    tagger.module.hparams["decoding"] = "greedy"
    return tagger


def test_what_is_written(exported: Path) -> None:
    common = {"README.md", "config.json", "ner_module.json", "tokenizer.json", "tokenizer_config.json"}
    assert files_in(exported / "transformers") == common | {"model.safetensors"}
    assert files_in(exported / "onnx") == common | {"model.onnx"}
    config = json.loads((exported / "transformers" / "config.json").read_text())
    assert config["label2id"] == {name: int(index) for index, name in config["id2label"].items()}
    assert config["architectures"] == ["BertForTokenClassification"]
    backend = json.loads((exported / "transformers" / "tokenizer.json").read_text())
    assert backend["truncation"] is None
    assert backend["padding"] is None
    for path in exported.rglob("*.json"):
        assert "/tmp" not in path.read_text(), f"{path.name} tells where it was made"


def test_plain_transformers_code_finds_the_same(exported: Path, trained_run: Path, words: Words) -> None:
    folder = exported / "transformers"
    short = [tokens for tokens in words if len("".join(tokens)) < 200]
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()

    def run(input_ids: np.ndarray, attention_mask: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(input_ids), torch.from_numpy(attention_mask)).logits.numpy()

    found = entities(greedy(trained_run).predict(short))
    assert sum(map(len, found)) > 100
    assert reference(folder, short, run) == found


def test_onnxruntime_alone_finds_the_same(exported: Path, trained_run: Path, words: Words) -> None:
    import onnxruntime

    short = [tokens for tokens in words if len("".join(tokens)) < 200]
    session = onnxruntime.InferenceSession(exported / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])

    def run(input_ids: np.ndarray, attention_mask: np.ndarray) -> np.ndarray:
        return session.run(["logits"], {"input_ids": input_ids, "attention_mask": attention_mask})[0]

    assert reference(exported / "onnx", short, run) == entities(greedy(trained_run).predict(short))


@pytest.mark.parametrize(("kind", "batch_size"), [("transformers", 32), ("onnx", 1)])
def test_tagger_finds_the_same_with_windows(
    exported: Path, trained_run: Path, words: Words, kind: str, batch_size: int
) -> None:
    """The tiny model's rows hold 66 subwords: all sentences in one are many windows."""
    long = [[token for tokens in words for token in tokens]]
    texts = [" ".join(tokens) for tokens in words]
    checkpoint, folder = NERTagger.load(trained_run), NERTagger.load(exported / kind)
    for given in (words, long, texts):
        expected, found = checkpoint.predict(given), folder.predict(given, batch_size=batch_size)
        assert entities(found) == entities(expected)
        for one, other in zip(found, expected, strict=True):
            scores = [[entity["score"] for entity in row["entities"]] for row in (one, other)]
            assert scores[0] == pytest.approx(scores[1], abs=2e-4)
    assert len(entities(folder.predict(long))[0]) > 80


def test_pipeline_agrees_where_words_are_the_same(exported: Path, trained_run: Path, corpus: Path) -> None:
    """On text whose words, the tokenizer's and ours, are those between spaces."""
    lines = [" ".join(tokens) for tokens, _ in conll_sentences(corpus / "train.conll")]
    simple = [line for line in lines if all(token.isalpha() or token in ".," for token in line.split())]
    tagger = pipeline("token-classification", str(exported / "transformers"), aggregation_strategy="first")
    found = [{(entity["entity_group"], entity["start"], entity["end"]) for entity in row} for row in tagger(simple)]
    expected = entities(greedy(trained_run).predict(simple))
    assert sum(map(len, expected)) > 30
    # `pipeline` joins neighbours of one type only where the second has no B-; so do the rules of conlleval.
    assert found == expected


def test_card(exported: Path, trained_run: Path) -> None:
    for kind, library in (("transformers", "transformers"), ("onnx", "onnx")):
        card = ModelCard.load(exported / kind / "README.md")
        assert card.data.library_name == library
        assert card.data.pipeline_tag == "token-classification"
        assert "(Viterbi decoding)" in card.text
        assert f"- {'onnxruntime' if kind == 'onnx' else kind}: " in card.text
        assert ("`pipeline` follows rules of its own" in card.text) == (kind == "transformers")
    assert "## Compared with its checkpoint" not in (trained_run / "README.md").read_text()


def test_a_worse_export_is_refused(
    run_main: RunMain, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder whose head was damaged on the way finds other entities: nothing is left of it."""
    from ner_module.inference import model_folder

    write = model_folder.save_to_folder

    def write_damaged(whole: Any, folder: str) -> None:
        write(whole, folder)
        model = AutoModelForTokenClassification.from_pretrained(folder)
        with torch.no_grad():
            model.classifier.bias[0] += 5
        model.save_pretrained(folder)

    monkeypatch.setattr(model_folder, "save_to_folder", write_damaged)
    command = ("export", "--run_dir", trained_run, "--output", tmp_path / "out", "--max_sentences", 50)
    done = run_main(*command, check=False)
    assert done.code == 1
    (line,) = done.errors()
    assert "points of F1" in line
    assert "--max_f1_drop" in line
    assert list(tmp_path.iterdir()) == []
    assert "missing" in run_main(*command, "--max_f1_drop", 100).out


def test_data_to_compare_on(run_main: RunMain, trained_run: Path, corpus: Path, tmp_path: Path) -> None:
    """``--data``; else what the run was scored on; else its files; else the bundled corpus."""
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    command = ("export", "--run_dir", run, "--overwrite", "--output", tmp_path / "out", "--max_sentences", 7)
    out = run_main(*command).out
    assert "mixed.conll" in out
    assert "in 7 sentences" in out
    assert "validation.conll" in run_main(*command, "--data", corpus / "validation.conll").out
    (run / "predictions").mkdir(exist_ok=True)
    row = {"tokens": ["Anna"], "gold_tags": ["B-PER"], "predicted_tags": ["O"]}
    (run / "predictions/test.jsonl").write_text(json.dumps(row) + "\n")
    out = run_main(*command).out
    assert "predictions/test.jsonl" in out
    assert "in 1 sentences" in out
    moved = shutil.copy(run / "checkpoints/best.ckpt", tmp_path / "moved.ckpt")
    out = run_main("export", "--ckpt_path", moved, "--output", tmp_path / "out2", "--max_sentences", 5).out
    assert "(bundled: " in out
    card = (tmp_path / "out2/README.md").read_text()
    assert "`learning_rate` | 0.01" in card, "a moved checkpoint carries its configuration"


def test_taken_output_and_missing_checkpoint(run_main: RunMain, trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    done = run_main("export", "--run_dir", trained_run, "--output", "out", check=False)
    assert done.errors() == ["error: out exists already: choose another output, or add --overwrite"]
    assert (tmp_path / "out/mine.txt").read_text() == "mine"
    done = run_main("export", "--run_dir", tmp_path, "--output", "new", check=False)
    assert done.code == 1
    assert "no checkpoint" in done.errors()[0]


def test_a_damaged_results_file_is_named(run_main: RunMain, trained_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    (run / "results.json").write_text("{")
    done = run_main("export", "--run_dir", run, "--output", tmp_path / "out", check=False)
    assert done.code == 1
    [line] = done.errors()
    assert line.startswith(f"error: {run / 'results.json'}: the file is damaged")
    (run / "results.json").write_text('{"test": {"test/f1": {}}}')  # of an earlier version, without a checksum
    done = run_main("export", "--run_dir", run, "--output", tmp_path / "out", check=False)
    [line] = done.errors()
    assert "no card can be written from the files of" in line
    assert not (tmp_path / "out").exists()


def test_damaged_folders_are_explained(exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported / "onnx", tmp_path / "onnx"))
    (folder / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(RunError, match=r"model.onnx is not the file that was exported: .* delete sha256 and checksum"):
        NERTagger.load(folder)
    about = json.loads((folder / "ner_module.json").read_text())
    assert about["sha256"].keys() == {path.name for path in folder.iterdir()} - {"README.md", "ner_module.json"}
    del about["sha256"], about["checksum"]  # as the message says
    for change, message in (
        ({}, "cannot be read as an ONNX model"),
        ({"format_version": 99}, "written by ner-module 0"),
        ({"data": about["data"] | {"label_names": ["O"]}}, "have different labels"),
    ):
        (folder / "ner_module.json").write_text(json.dumps(about | change))
        with pytest.raises(RunError, match=message):
            NERTagger.load(folder)
    (folder / "ner_module.json").write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        NERTagger.load(folder)


def test_a_folder_of_another_program_is_no_tagger(tiny_model: Callable[..., Path]) -> None:
    with pytest.raises(RunError, match=r"is no tagger of this project: it has no ner_module\.json"):
        NERTagger.load(tiny_model())


@pytest.mark.slow
@pytest.mark.parametrize("family", ["roberta", "deberta-v3", "modernbert", "xlm-roberta", "distilbert", "electra"])
@pytest.mark.parametrize("scheme", ["iob2", "bioes"])
def test_families(
    run_main: RunMain, tiny_model: Callable[..., Path], corpus: Path, tmp_path: Path, family: str, scheme: str
) -> None:
    """Each kind of tokenizer and model: the export itself compares by plain code, and must find the same."""
    epochs, rate = (24, "3e-3") if family == "electra" else (12, "1e-2")  # the higher rate leaves it without entities
    run_main(
        *("fit", "--run_dir", "run", "--model.model_name_or_path", tiny_model(family), "--data.scheme", scheme),
        *("--data.train_file", corpus / "train.conll", "--data.validation_file", corpus / "test.conll"),
        *("--trainer.max_epochs", epochs, "--model.learning_rate", rate, "--model.dropout", 0),
        *("--data.batch_size", 8),
    )
    for kind in ("transformers", "onnx"):
        out = run_main(
            *("export", "--run_dir", "run", "--output", kind, "--format", kind, "--data", corpus / "train.conll")
        ).out
        assert out.count("identical") == 2, out
        assert " 0 entities" not in out
