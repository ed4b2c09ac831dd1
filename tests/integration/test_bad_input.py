"""What is wrong with data, model or options is said in one line, and nothing half-made is left."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_files import files_in, results

RunMain = Callable[..., Any]

GOOD = "Anna B-PER\nvisits O\nNew B-LOC\nYork I-LOC\n\nIt O\nrains O\n\n"
BROKEN = GOOD * 3 + "Ben B-PER\nsleeps\n\n"  # its line 26 has one column
JSON_ROW = json.dumps({"tokens": ["Anna", "sings"], "ner_tags": ["B-PER", "O"]}) + "\n"
INTEGER_ROW = json.dumps({"tokens": ["Anna", "sings"], "ner_tags": [1, 0]}) + "\n"


def refused(outcome: Any, *parts: str, code: int = 1) -> None:
    """Exactly one line beginning with ``error: ``, the last one; it says all of ``parts``."""
    assert outcome.code == code, outcome.err
    assert len(outcome.errors()) == 1, outcome.err
    message = outcome.err[outcome.err.index("error: ") :].rstrip("\n")
    if code == 1:
        assert "\n" not in message, "the error is the last line"
    for part in parts:
        assert part in message
    assert "Traceback" not in outcome.out + outcome.err


@pytest.fixture
def attempt(run_main: RunMain, tiny_model: Callable[..., Path], tmp_path: Path) -> Callable[..., Any]:
    """``attempt("--data.train_file", …)`` runs `fit`, and checks that a failure leaves nothing."""

    def run(*options: object, model: object = None) -> Any:
        before = files_in(tmp_path)
        common = ["--model.model_name_or_path", model or tiny_model(), "--trainer.max_epochs", 1]
        outcome = run_main("fit", *common, *options, check=False)
        if outcome.code:
            assert files_in(tmp_path) == before
            assert not (tmp_path / "runs").exists()
        return outcome

    return run


def split_for(name: str) -> str:
    """Each broken file or path is tried as one of the splits, which are read by the same code."""
    return ("train", "validation", "test")[len(name) % 3]


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("broken.conll", BROKEN, ["broken.conll:26: ", "1 column", "2 columns"]),
        ("no_name.conll", GOOD + "Ben B-\n", ["no_name.conll:9: ", "'B-'", "names no entity type"]),
        ("no_prefix.conll", GOOD + "Ben PER\n", ["no_prefix.conll:9: ", "'PER'", "prefix"]),
        ("empty.conll", "", ["empty.conll: ", "empty"]),
        ("blank.conll", "\n \n\n", ["blank.conll: ", "no sentence"]),
        ("empty.jsonl", "", ["empty.jsonl: ", "empty"]),
        ("binary.conll", bytes(range(256)) * 9, ["binary.conll", "binary file"]),
        ("model.conll", b"PK\x03\x04" + b"x" * 99, ["model.conll", "zip archive"]),
        ("latin.conll", GOOD.encode() + "José B-PER\n".encode("latin-1"), ["latin.conll:9: ", "0xE9", "encoding"]),
        ("cut.conll.gz", gzip.compress(GOOD.encode() * 999)[:-40], ["cut.conll.gz:", "truncated"]),
        ("bad.jsonl", JSON_ROW * 2 + '{"tokens": [\n', ["bad.jsonl:3: ", "JSON"]),
        ("tags.jsonl", JSON_ROW + JSON_ROW.replace(', "sings"', ""), ["tags.jsonl:2: ", "1 token", "2 tags"]),
        ("key.jsonl", JSON_ROW + '{"tokens": ["a"]}\n', ["key.jsonl:2: ", "ner_tags"]),
        ("integers.jsonl", INTEGER_ROW, ["integers.jsonl:1: ", "integer", "label_names"]),
    ],
    ids=lambda value: value if isinstance(value, str) and value.count(".") and "\n" not in value else "",
)
def test_a_file_that_cannot_be_read(
    attempt: Callable[..., Any], tmp_path: Path, name: str, content: str | bytes, parts: list[str]
) -> None:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    (tmp_path / "good.conll").write_text(GOOD * 9, encoding="utf-8")
    files = {"train": "good.conll", "validation": "good.conll", "test": "good.conll", split_for(name): name}
    refused(attempt(*(part for key, path in files.items() for part in (f"--data.{key}_file", path))), *parts)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("nowhere/good.conll", ["nowhere/good.conll: no such file", "nowhere does not exist"]),
        ("goood.conll", ["goood.conll: no such file", "did you mean good.conll?"]),
        ("*.bio", ["*.bio: no file matches"]),
        (".", ["not a dataset"]),
        ("[]", ["empty"]),
    ],
)
def test_a_path_that_does_not_exist(attempt: Callable[..., Any], tmp_path: Path, path: str, parts: list[str]) -> None:
    (tmp_path / "good.conll").write_text(GOOD * 9, encoding="utf-8")
    options = ["--data.train_file", "good.conll", f"--data.{split_for(path)}_file", path]
    refused(attempt(*options), *parts)


def test_a_misspelt_tag(attempt: Callable[..., Any], corpus: Path, tmp_path: Path) -> None:
    lines = (corpus / "train.conll").read_text(encoding="utf-8").split("\n")
    number = [index for index, line in enumerate(lines) if line.endswith((" B-PER", "\tB-PER"))][5]
    lines[number] = lines[number].replace("B-PER", "B-PRE")
    (tmp_path / "typo.conll").write_text("\n".join(lines), encoding="utf-8")
    refused(attempt("--data.train_file", "typo.conll"), f"typo.conll:{number + 1}: ", "'B-PRE'", "'B-PER'")


def test_a_tag_that_is_not_among_the_names_given(attempt: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "good.conll").write_text(GOOD * 9, encoding="utf-8")
    options = ["--data.train_file", "good.conll", "--data.label_names"]
    refused(attempt(*options, "[O, B-PER, I-PER]"), "good.conll:3: ", "'B-LOC'", "--data.label_names")
    assert attempt(*options, "[O, B-PER, I-PER, B-LOC, I-LOC]").code == 0


def test_a_label_that_only_validation_data_has_is_a_warning(
    attempt: Callable[..., Any], tmp_path: Path, run_main: RunMain
) -> None:
    (tmp_path / "train.conll").write_text(GOOD * 9, encoding="utf-8")
    (tmp_path / "dev.conll").write_text(GOOD + "Mars B-PLANET\n", encoding="utf-8")
    outcome = attempt("--data.train_file", "train.conll", "--data.validation_file", "dev.conll", "--run_dir", "run")
    assert outcome.code == 0
    (line,) = [line for line in outcome.err.splitlines() if "PLANET" in line]
    assert line.startswith("warning: dev.conll:9: ")
    assert "cannot be learnt" in line
    assert {"B-PLANET", "I-PLANET"} <= set(results(tmp_path / "run")["label_names"])
    assert results(tmp_path / "run")["epochs"][0]["val/support/PLANET"] == 1
    run_main("validate", "--run_dir", "run", "--ckpt_path", "best")


@pytest.mark.parametrize(
    ("content", "options", "parts"),
    [
        ("This O\nis O\nit O\n\n" * 9, [], ["'O'", "nothing to learn", "--data.label_column_name"]),
        ("Anna NN B-PER\nis NN O\n\n" * 9, ["--data.label_column_name", "1"], ["'NN'", "nothing to learn"]),
        (GOOD * 9, ["--data.label_column_name", "2"], ["data.conll:1: ", "column 2"]),
        (GOOD * 9, ["--data.label_column_name", "ner"], ["data.conll:1: ", "'ner'"]),
        (GOOD * 9, ["--data.text_column_name", "7"], ["data.conll:1: ", "column 7"]),
        (GOOD, ["--data.validation_file", "null"], []),
        ("Anna B-PER\nsings O\n", [], ["data.conll: ", "1 sentence", "--data.validation_file"]),
        (GOOD * 9, ["--data.encoding", "klingon"], ["'klingon' is unknown"]),
        (GOOD * 9, ["--data.encoding", "utf-16"], ["data.conll:1: ", "UTF-16"]),
        (GOOD * 9, ["--data.format", "xml"], ["'xml' is unknown", "conll"]),
        (GOOD * 9, ["--data.format", "jsonl"], ["data.conll:1: ", "JSON"]),
        (GOOD * 9, ["--data.source_scheme", "flat", "--data.outside_label", "X"], ["--data.outside_label", "'X'"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_data_that_does_not_fit_the_options(
    attempt: Callable[..., Any], tmp_path: Path, content: str, options: list[str], parts: list[str]
) -> None:
    (tmp_path / "data.conll").write_text(content, encoding="utf-8")
    outcome = attempt("--data.train_file", "data.conll", *options)
    if parts:
        refused(outcome, *parts)
    else:
        assert outcome.code == 0, outcome.err


def test_a_missing_key_of_records(attempt: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(JSON_ROW * 3, encoding="utf-8")
    options = ["--data.train_file", "rows.jsonl", "--data.label_column_name", "labels"]
    refused(attempt(*options), "rows.jsonl:1: ", "'labels'", "'ner_tags'")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--data.max_seq_length", "67"], ["--data.max_seq_length", "67", "at most 66"]),
        (["--data.max_seq_length", "1"], ["--data.max_seq_length", "1"]),
        (["--data.stride", "40"], ["--data.stride", "40", "33"]),
        (["--data.stride", "-1"], ["--data.stride", "-1"]),
        (["--data.batch_size", "0"], ["--data.batch_size", "0"]),
        (["--data.eval_batch_size", "-2"], ["--data.eval_batch_size", "-2"]),
        (["--data.num_workers", "-1"], ["--data.num_workers", "-1"]),
        (["--data.validation_fraction", "1.5"], ["--data.validation_fraction", "1.5"]),
        (["--data.dataset_name", "a/b"], ["--data.train_file", "--data.dataset_name"]),
        (["--data.cache_dir", "data.conll"], ["data.conll"]),
        (["--run_dir", "data.conll"], ["data.conll"]),
        (["--run_dir", "data.conll/run"], ["data.conll"]),
        (["--model.learning_rate", "0"], ["--model.learning_rate: it is 0.0; give"]),
        (["--model.head_learning_rate", ".inf"], ["--model.head_learning_rate: it is inf; give"]),
        (["--model.warmup_ratio", "2"], ["--model.warmup_ratio: it is 2.0; give"]),
        (["--model.weight_decay", "-1"], ["--model.weight_decay: it is -1.0; give"]),
        (["--model.dropout", "2"], ["--model.dropout: it is 2.0; give"]),
        (["--seed_everything", "-1"], ["--seed_everything", "-1"]),
        (["--trainer.max_epochs", "-1"], ["--trainer.max_epochs"]),
        (["--trainer.max_steps", "-5"], ["max_steps", "-5"]),
        (["--trainer.accelerator", "abacus"], ["abacus"]),
        (["--trainer.accelerator", "tpu"], ["torch_xla"]),
        (["--trainer.accelerator", "cpu", "--trainer.devices", "0"], ["devices"]),
        (["--trainer.overfit_batches", "2"], ["--trainer.overfit_batches"]),
        (["--trainer.val_check_interval", "500"], ["val_check_interval", "500"]),
        (["--config", "stop.yaml"], ["val/f2", "val/f1"]),
    ],
    ids=lambda value: value[0] + value[1] if value[0].startswith("--") and len(value) > 1 else "",
)
def test_an_option_that_cannot_be(
    attempt: Callable[..., Any], tmp_path: Path, options: list[str], parts: list[str]
) -> None:
    (tmp_path / "data.conll").write_text(GOOD * 9, encoding="utf-8")
    (tmp_path / "stop.yaml").write_text(
        "trainer:\n  callbacks:\n    class_path: EarlyStopping\n    init_args: {monitor: val/f2, patience: 2}\n"
    )
    refused(attempt("--data.train_file", "data.conll", *options), *parts)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--data.batch_sizes", "3"], ["--data.batch_sizes"]),
        (["--batch_size", "3"], ["--batch_size; did you mean --data.batch_size?"]),
        (["--lr", "3"], ["--lr; did you mean --model.learning_rate?"]),
        (["--num-train-epochs", "3"], ["--num-train-epochs; did you mean --trainer.max_epochs?"]),
        (["--config", "configs/smal.yaml"], ["configs/smal.yaml: there is no such file; did you mean small.yaml?"]),
        (["--model.label_names", "[O]"], ["--model.label_names"]),
        (["--model.scheme", "iob2"], ["--model.scheme"]),
        (["--data.batch_size", "many"], ["data.batch_size", "many"]),
        (["--model.learning_rate", "fast"], ["model.learning_rate", "fast"]),
        (["--model.lr_scheduler_type", "zigzag"], ["lr_scheduler_type", "zigzag"]),
        (["--data.scheme", "iob3"], ["data.scheme", "iob3"]),
        (["--data.batching", "sorted"], ["data.batching", "sorted"]),
        (["--seed_everything", "true"], ["seed_everything"]),
        (["--trainer.precision", "7"], ["trainer.precision"]),
        (["--ckpt_path"], ["--ckpt_path"]),
        (["--config", "nowhere.yaml"], ["nowhere.yaml"]),
        (["--config", "typo.yaml"], ["learnin_rate"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0].startswith("--") else "",
)
def test_an_option_that_does_not_exist_or_has_another_type(
    attempt: Callable[..., Any], tmp_path: Path, options: list[str], parts: list[str]
) -> None:
    (tmp_path / "data.conll").write_text(GOOD * 9, encoding="utf-8")
    (tmp_path / "typo.yaml").write_text("model:\n  learnin_rate: 1\n", encoding="utf-8")
    outcome = attempt("--data.train_file", "data.conll", *options)
    refused(outcome, *parts, code=2)
    assert re.search(r"python -m ner_module (fit )?--help", outcome.err)
    assert len(outcome.err.splitlines()) < 20, "the error is not buried"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"model: [\n", "broken.yaml:2: invalid YAML"),
        (b"model:\n\tdropout: 0\n", "broken.yaml:2: invalid YAML: while scanning"),
        (b"seed_everything: !!python/name:os.system\n", "broken.yaml:1: invalid YAML: could not determine a construc"),
        (b"seed_everything: 1\ntrainer:\n  - max_epochs: 1\n", "broken.yaml:3: the section 'trainer'"),
        (b"trainer: max_epochs=1\n", "broken.yaml:1: the section 'trainer'"),
        (b"model:\n#  dropout: 0\n", "broken.yaml:1: the section 'model'"),
        (b"\xff\xfe", "not UTF-8"),
        (b"just words\n", "has no options"),
        (b"a: " + b"x" * (1 << 20), "larger than 1 MiB"),
        (b"a: &a [x, x]\n" + b"b: [" + b"*a, " * 101 + b"x]\n", "101 aliases"),
        (None, "not a regular file"),
    ],
)
def test_a_configuration_that_cannot_be_read(
    attempt: Callable[..., Any], tmp_path: Path, content: bytes | None, problem: str
) -> None:
    path = tmp_path / "broken.yaml"
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    refused(attempt("--config", "broken.yaml"), "broken.yaml", problem, code=2 if "section" in problem else 1)


@pytest.mark.parametrize("arguments", [["fitt"], ["--seed_everything", "1", "fit"], ["fit"]])
def test_a_command_that_does_not_exist(run_main: RunMain, tmp_path: Path, arguments: list[str]) -> None:
    outcome = run_main(*arguments, check=False)
    refused(outcome, code=2)
    assert files_in(tmp_path) == set()


# ---------------------------------------------------------------------- the base model


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("nowhere", ["'nowhere'"]),
        ("./nowhere", ["nowhere"]),
        ("namespace/name", ["'namespace/name'"]),
        ("empty", ["empty", "config.json"]),
        ("no_weights", ["no_weights", "model.safetensors"]),
        ("no_tokenizer", ["no_tokenizer", "tokenizer"]),
        ("no_config", ["no_config", "config.json"]),
        ("cut_weights", ["cut_weights"]),
        ("broken_config", ["broken_config", "config.json: the file is damaged"]),
        ("unknown_type", ["unknown_type", "nonsense"]),
        ("other_size", ["other_size", "random"]),
        ("package:somewhere/else", ["package:somewhere/else"]),
    ],
)
def test_a_base_model_that_cannot_be_had(
    attempt: Callable[..., Any], tiny_model: Callable[..., Path], tmp_path: Path, name: str, parts: list[str]
) -> None:
    (tmp_path / "data.conll").write_text(GOOD * 9, encoding="utf-8")
    folder = tmp_path / name
    if name == "empty":
        folder.mkdir()
    elif "_" in name:
        shutil.copytree(tiny_model(), folder)
    if name == "no_weights":
        (folder / "model.safetensors").unlink()
    elif name == "no_tokenizer":
        for path in folder.glob("tokenizer*"):
            path.unlink()
    elif name == "no_config":
        (folder / "config.json").unlink()
    elif name == "cut_weights":
        whole = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    elif name == "broken_config":
        (folder / "config.json").write_text("{", encoding="utf-8")
    elif name == "unknown_type":
        (folder / "config.json").write_text('{"model_type": "nonsense"}', encoding="utf-8")
    elif name == "other_size":
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 64}), encoding="utf-8")
    refused(attempt("--data.train_file", "data.conll", model=name), *parts)


def test_a_dataset_without_network(attempt: Callable[..., Any]) -> None:
    refused(attempt("--data.dataset_name", "namespace/name"), "'namespace/name'")


# ---------------------------------------------------------------------- prediction


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("nowhere.txt", None, ["nowhere.txt: no such file"]),
        ("latin.txt", "eins\nJosé".encode("latin-1"), ["latin.txt:2: ", "0xE9"]),
        ("binary.txt", b"\x89PNG" + bytes(99), ["binary.txt", "PNG"]),
        ("bad.jsonl", b'{"tokens": ["a"]}\n{"tokens": \n', ["bad.jsonl:2: ", "JSON"]),
        ("number.jsonl", b'{"tokens": ["a"]}\n{"tokens": [1]}\n', ["number.jsonl:2: "]),
        ("other.jsonl", b'{"words of": 1}\n', ["other.jsonl:1: "]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_input_that_cannot_be_predicted(
    run_main: RunMain, trained_run: Path, tmp_path: Path, name: str, content: bytes | None, parts: list[str]
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    before = files_in(tmp_path)
    options = ["--run_dir", trained_run, "--ckpt_path", "best", "--output", "out.jsonl"]
    outcome = run_main("predict", *options, "--data.predict_file", name, check=False)
    refused(outcome, *parts)
    assert outcome.out == ""
    assert files_in(tmp_path) == before


def test_nothing_to_predict(run_main: RunMain, trained_run: Path) -> None:
    outcome = run_main("predict", "--run_dir", trained_run, "--ckpt_path", "best", check=False)
    refused(outcome, "--data.predict_file")
