"""Kinds of data and labels, through the whole program: from the file to scores and entities."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_files import checkpoint, conll_sentences, json_lines, learnt, results

RunMain = Callable[..., Any]

# Enough to learn a small file by heart, validated once.
LEARN = (
    *("--trainer.max_epochs", 16, "--trainer.check_val_every_n_epoch", 16, "--data.batch_size", 4),
    *("--model.learning_rate", "1e-2", "--model.dropout", 0),
)
TIMES = 4

SENTENCES = [
    (["Anna", "Lee", "met", "Ben", "in", "Oslo", "."], ["B-PER", "I-PER", "O", "B-PER", "O", "B-LOC", "O"]),
    (["Oslo", "Rome", "and", "Lima", "won"], ["B-LOC", "B-LOC", "O", "B-LOC", "O"]),
    (["the", "train", "was", "late"], ["O", "O", "O", "O"]),
    (["Ben", "Lee", "sings"], ["B-PER", "I-PER", "O"]),
]


def write_conll(path: Path, sentences: list[tuple[list[str], list[str]]], times: int = TIMES) -> Path:
    part = "\n".join("\n".join(f"{word}\t{tag}" for word, tag in zip(*pair, strict=True)) + "\n" for pair in sentences)
    path.write_text("\n".join([part] * times), encoding="utf-8")
    return path


def iob1(tags: list[str]) -> list[str]:
    """B- only where an entity follows another of its type: written out here as the reference."""
    previous, out = "O", []
    for tag in tags:
        keep = tag.startswith("B-") and previous != "O" and previous[2:] == tag[2:]
        out.append(tag if tag == "O" or keep else "I-" + tag[2:])
        previous = tag
    return out


@pytest.fixture
def learn(run_main: RunMain, tiny_model: Callable[..., Path], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Train on a file and score the same file; returns the test scores with the labels."""

    def run(train: Path, *options: object, model: str = "bert-uncased") -> dict[str, Any]:
        files = [part for split in ("train", "validation", "test") for part in (f"--data.{split}_file", train)]
        base = ["--model.model_name_or_path", tiny_model(model)]
        run_main("fit", *base, *files, *LEARN, *options, "--run_dir", "run")
        run_main("test", "--run_dir", "run", "--ckpt_path", "best")
        found = results(tmp_path / "run")
        return {**found["test"], "label_names": found["label_names"], "scheme": found["scheme"]}

    return run


def predicted(run_main: RunMain, tokens: list[str], tmp_path: Path) -> list[tuple[str, str, int, int]]:
    options = ["--run_dir", tmp_path / "run", "--ckpt_path", "best", "--data.predict_file", "-"]
    (row,) = json_lines(run_main("predict", *options, stdin=" ".join(tokens).encode()).out)
    words, place = {}, 0
    for index, token in enumerate(tokens):  # character offset -> word
        words[place] = index
        place += len(token)
        words[place] = index + 1
        place += 1
    return [(e["type"], e["text"], words[e["start"]], words[e["end"]]) for e in row["entities"]]


def test_iob1_and_iob2_are_the_same_data(
    learn: Callable[..., dict[str, Any]], run_main: RunMain, tmp_path: Path
) -> None:
    """Also where an entity follows another of its type, which only the scheme tells apart."""
    one = learn(write_conll(tmp_path / "iob2.conll", SENTENCES))
    (tmp_path / "run").rename(tmp_path / "iob2")
    other = learn(write_conll(tmp_path / "iob1.conll", [(words, iob1(tags)) for words, tags in SENTENCES]))
    assert one == other
    assert one["test/f1"] == 1.0
    assert learnt(tmp_path / "run") == learnt(tmp_path / "iob2")
    assert predicted(run_main, SENTENCES[1][0], tmp_path) == [
        ("LOC", "Oslo", 0, 1),
        ("LOC", "Rome", 1, 2),
        ("LOC", "Lima", 3, 4),
    ]


@pytest.mark.parametrize("outside", ["O", pytest.param("none", marks=pytest.mark.slow)])
def test_flat_labels(learn: Callable[..., dict[str, Any]], run_main: RunMain, tmp_path: Path, outside: str) -> None:
    """Labels without prefixes: each word that is not outside is one unit (the binary recipe)."""
    flat = [(words, ["NAME" if tag != "O" else outside for tag in tags]) for words, tags in SENTENCES]
    options = ["--data.source_scheme", "flat", *(() if outside == "O" else ("--data.outside_label", outside))]
    scores = learn(write_conll(tmp_path / "flat.conll", flat), *options)
    assert scores["scheme"] == "flat"
    assert sorted(scores["label_names"]) == sorted(["NAME", outside])
    assert scores["test/support/NAME"] == 9 * TIMES
    assert f"test/support/{outside}" not in scores
    assert scores["test/f1"] == 1.0
    assert [entity[1:] for entity in predicted(run_main, SENTENCES[0][0], tmp_path)] == [
        ("Anna", 0, 1),
        ("Lee", 1, 2),
        ("Ben", 3, 4),
        ("Oslo", 5, 6),
    ]


@pytest.mark.parametrize(
    "scheme", ["bioes", *(pytest.param(name, marks=pytest.mark.slow) for name in ("iob1", "ioe1", "ioe2", "bilou"))]
)
def test_another_scheme_is_trained(
    learn: Callable[..., dict[str, Any]], run_main: RunMain, tmp_path: Path, scheme: str
) -> None:
    scores = learn(write_conll(tmp_path / "data.conll", SENTENCES), "--data.scheme", scheme)
    assert scores["scheme"] == scheme
    assert scores["test/f1"] == 1.0
    assert (scores["test/support/LOC"], scores["test/support/PER"]) == (4 * TIMES, 3 * TIMES)
    assert predicted(run_main, SENTENCES[0][0], tmp_path) == [
        ("PER", "Anna Lee", 0, 2),
        ("PER", "Ben", 3, 4),
        ("LOC", "Oslo", 5, 6),
    ]


@pytest.mark.parametrize("source", ["bioes", pytest.param("bilou", marks=pytest.mark.slow)])
def test_a_source_scheme_is_detected(learn: Callable[..., dict[str, Any]], tmp_path: Path, source: str) -> None:
    last, single = {"bioes": ("E", "S"), "bilou": ("L", "U")}[source]
    converted = []
    for words, tags in SENTENCES:
        new = []
        for index, tag in enumerate(tags):
            ends = index + 1 == len(tags) or not tags[index + 1].startswith("I-")
            prefix = {"B": single if ends else "B", "I": last if ends else "I"}.get(tag[0], "")
            new.append(prefix + tag[1:] if prefix else tag)
        converted.append((words, new))
    scores = learn(write_conll(tmp_path / "data.conll", converted))
    assert scores["scheme"] == "iob2"
    assert sorted(scores["label_names"]) == ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]
    assert (scores["test/support/LOC"], scores["test/support/PER"]) == (4 * TIMES, 3 * TIMES)
    assert scores["test/f1"] == 1.0


def test_integer_tags_with_names(learn: Callable[..., dict[str, Any]], run_main: RunMain, tmp_path: Path) -> None:
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    rows = [{"tokens": words, "ner_tags": [names.index(tag) for tag in tags]} for words, tags in SENTENCES] * TIMES
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    scores = learn(path, "--data.label_names", json.dumps(names))
    assert scores["label_names"] == names, "in the order given"
    assert scores["test/f1"] == 1.0


def test_columns_are_chosen_by_number(learn: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    lines = []
    for words, tags in SENTENCES * TIMES:
        lines += [f"{tag} NN {word} x" for word, tag in zip(words, tags, strict=True)] + [""]
    (tmp_path / "columns.conll").write_text("\n".join(lines), encoding="utf-8")
    options = ["--data.text_column_name", 2, "--data.label_column_name", 0]
    assert learn(tmp_path / "columns.conll", *options)["test/f1"] == 1.0


def test_globs_and_lists_of_files(run_main: RunMain, fit_options: list[str], tmp_path: Path) -> None:
    for number, sentence in enumerate(SENTENCES):
        write_conll(tmp_path / f"part-{number}.conll", [sentence], times=2)
    one = write_conll(tmp_path / "two.conll", SENTENCES[:2], times=2)
    options = [*fit_options, "--trainer.max_epochs", "1"]
    globbed = run_main("fit", *options, "--data.train_file", "part-*.conll", "--run_dir", "a")
    assert "8 sentences" in globbed.err
    run_main("fit", *options, "--data.train_file", f"[part-0.conll, part-1.conll, {one}]", "--run_dir", "b")
    entities = json.loads((tmp_path / "b" / "train_entities.json").read_text(encoding="utf-8"))
    assert entities["PER"] == {"Anna Lee": 4, "Ben": 4}


@pytest.mark.parametrize("label_all_tokens", [pytest.param("false", marks=pytest.mark.slow), "true"])
def test_label_all_tokens_changes_training_and_not_what_is_scored(
    learn: Callable[..., dict[str, Any]], run_main: RunMain, tmp_path: Path, label_all_tokens: str
) -> None:
    path = write_conll(tmp_path / "data.conll", SENTENCES)
    scores = learn(path, "--data.label_all_tokens", label_all_tokens)
    assert scores["test/f1"] == 1.0
    assert (scores["test/support/LOC"], scores["test/support/PER"]) == (4 * TIMES, 3 * TIMES), "words, not subwords"
    run_main("predict", "--run_dir", "run", "--ckpt_path", "best", "--data.predict_file", path)
    assert checkpoint(tmp_path / "run", "last")["NERDataModule"]["label_all_tokens"] is (label_all_tokens == "true")


def test_sentences_longer_than_the_model_are_read_whole(
    learn: Callable[..., dict[str, Any]], run_main: RunMain, tmp_path: Path
) -> None:
    """Windows over what is too long: nothing is cut from training, scores or predictions."""
    filler = (["the", "train", "was", "late"] * 12, ["O"] * 48)
    long = [(filler[0] + words + filler[0], filler[1] + tags + filler[1]) for words, tags in SENTENCES[:2]]
    path = write_conll(tmp_path / "long.conll", [*SENTENCES, *long])
    scores = learn(path)
    assert (scores["test/support/LOC"], scores["test/support/PER"]) == (8 * TIMES, 5 * TIMES)
    assert scores["test/f1"] > 0.9
    lines = (tmp_path / "run" / "predictions" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["tokens"], row["gold_tags"]) for row in rows] == conll_sentences(path)
    assert all(len(row["predicted_tags"]) == len(row["tokens"]) for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["roberta", "distilbert"])
def test_other_families_keep_one_tag_per_word(
    learn: Callable[..., dict[str, Any]], run_main: RunMain, tmp_path: Path, family: str
) -> None:
    odd = (["Anna", "\u200b", "", "\x07", "Lee", "😀"], ["B-PER", "I-PER", "I-PER", "I-PER", "I-PER", "O"])
    rows = [{"tokens": words, "ner_tags": tags} for words, tags in [*SENTENCES, odd]] * TIMES
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    scores = learn(path, model=family)
    assert scores["test/support/PER"] == 4 * TIMES
    found = run_main("predict", "--run_dir", "run", "--ckpt_path", "best", "--data.predict_file", path)
    assert [row["tokens"] for row in json_lines(found.out)] == [row["tokens"] for row in rows]


def test_a_base_model_that_is_a_tagger_keeps_its_head(
    learn: Callable[..., dict[str, Any]], run_main: RunMain, trained_run: Path, tmp_path: Path, corpus: Path
) -> None:
    """A head keeps what it knows of labels, in whatever order they are; a run or a folder is such a base model."""
    from ner_module import NERTagger

    tagger = NERTagger.load(trained_run)
    tagger.module.model.save_pretrained(tmp_path / "tagger")
    for name, text in checkpoint(trained_run, "best")["NERDataModule"]["tokenizer"].items():
        (tmp_path / "tagger" / name).write_text(text, encoding="utf-8")
    files = ["--data.train_file", corpus / "train.conll", "--data.validation_file", corpus / "train.conll"]
    frozen = ["--model.learning_rate", "1e-20", "--trainer.max_epochs", 1]
    names = ["I-PER", "B-PER", "O", "B-MISC", "I-MISC", "I-LOC", "B-LOC", "B-ORG", "I-ORG"]
    best = max(row["val/f1"] for row in results(trained_run)["epochs"])
    for run, options in (("same", []), ("order", ["--data.label_names", json.dumps(names)])):
        outcome = run_main("fit", "--model.model_name_or_path", "tagger", *files, *frozen, *options, "--run_dir", run)
        assert "its head is reused" in outcome.err
        assert results(tmp_path / run)["epochs"][0]["val/f1"] == best
    outcome = run_main("fit", "--model.model_name_or_path", trained_run, *files, "--run_dir", "again", check=False)
    assert outcome.errors() == [
        f"error: {trained_run} is a run: `export --run_dir {trained_run} --output FOLDER`, and name that folder"
    ]
    # With one type more: what was known stays known.
    (tmp_path / "city.conll").write_text("Rome B-CITY\nfell O\n\n" * 2, encoding="utf-8")
    more = ["--data.train_file", json.dumps([str(corpus / "train.conll"), "city.conll"])]
    outcome = run_main("fit", "--model.model_name_or_path", "tagger", *files, *more, *frozen, "--run_dir", "more")
    (line,) = [line for line in outcome.err.splitlines() if "its head" in line]
    assert line.endswith("is new for B-CITY, I-CITY")
    assert "tagger is a tagger: its head is kept for O, B-LOC" in line
    assert results(tmp_path / "more")["epochs"][0]["val/f1"] > 0.8 * best


def test_types_are_renamed_and_dropped(run_main: RunMain, tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    """From the flag or YAML to scores and predictions; with the checkpoint alone too, on files as they are."""
    path = write_conll(tmp_path / "data.conll", SENTENCES)
    base = ["--model.model_name_or_path", tiny_model(), "--data.train_file", path, "--data.validation_file", path]
    (tmp_path / "map.yaml").write_text("data:\n  label_map: {PER: human, LOC: O}\n", encoding="utf-8")
    for run, options in (
        ("flag", ["--data.label_map", "{PER: human, LOC: O}", *LEARN]),
        ("yaml", ["--config", tmp_path / "map.yaml", "--trainer.max_epochs", 1]),
    ):
        run_main("fit", *base, *options, "--data.test_file", path, "--run_dir", run)
        assert sorted(results(tmp_path / run)["label_names"]) == ["B-human", "I-human", "O"]
    run_main("test", "--run_dir", "flag", "--ckpt_path", "best")
    found = results(tmp_path / "flag")
    assert found["test"]["test/support/human"] == 3 * TIMES
    assert found["test"]["test/f1"] == 1.0
    (tmp_path / "flag" / "config.yaml").unlink()  # only the checkpoint is left
    (tmp_path / "config.yaml").write_text(f"data: {{test_file: {path}}}\n", encoding="utf-8")
    alone = ["--config", tmp_path / "config.yaml", "--ckpt_path", tmp_path / "flag" / "checkpoints" / "best.ckpt"]
    run_main("test", *alone, "--model.model_name_or_path", tiny_model(), "--run_dir", "alone")
    scores = results(tmp_path / "alone")["test"]
    assert scores == {key: value for key, value in found["test"].items() if key in scores}


def test_what_is_repaired_is_refused_when_asked(run_main: RunMain, fit_options: list[str], tmp_path: Path) -> None:
    path = write_conll(tmp_path / "data.conll", [*SENTENCES, (["in", "Oslo"], ["O", "I-LOC"])], times=1)
    line = path.read_text(encoding="utf-8").split("\n").index("Oslo\tI-LOC") + 1
    options = [*fit_options, "--data.train_file", "data.conll", "--trainer.max_epochs", 1, "--run_dir", "run"]
    (error,) = run_main("fit", *options, "--data.strict", "true", check=False).errors()
    assert f"data.conll:{line}: the tag 'I-LOC' after 'O' is illegal in iob2" in error
    assert not (tmp_path / "run").exists()
    assert f"data.conll:{line - 1}: an illegal tag sequence" in run_main("fit", *options).err
