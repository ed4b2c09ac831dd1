"""``python -m ner_module audit`` as a user runs it, and what `fit` says and leaves of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from audit_corpora import column_file

RunMain = Callable[..., Any]

PEOPLE = ["Anna/B-PER sings/O", "Ben/B-PER reads/O a/O book/O", "Carla/B-PER Diaz/I-PER left/O Rome/B-LOC"]
FEW = [f"{sentence} number{number}/O" for number in range(5) for sentence in PEOPLE] + ["it/O ends/O"]


@pytest.fixture
def few(tmp_path: Path) -> list[str]:
    """The options for 16 training sentences and one for validation."""
    train = column_file(tmp_path / "train.conll", FEW)
    validation = column_file(tmp_path / "dev.conll", ["Dora/B-PER met/O Emil/B-PER in/O Ulm/B-LOC"])
    return ["--data.train_file", str(train), "--data.validation_file", str(validation)]


def codes(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {finding["code"]: finding for finding in report["findings"]}


def test_everything_on_the_screen_and_as_json(
    run_main: RunMain, few: list[str], tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    outcome = run_main("audit", *few, "--model.model_name_or_path", tiny_model(), "--output", "out/audit.json")
    assert "subword tokens" in outcome.out
    assert outcome.err == ""
    report = json.loads((tmp_path / "out" / "audit.json").read_text(encoding="utf-8"))
    assert report["version"] == 2
    assert [(file["split"], file["scheme"]) for file in report["files"]] == [("train", "iob2"), ("validation", "iob2")]
    read_as = "; ".join(report["files"][0]["read_as"])
    assert read_as in " ".join(outcome.out.split())
    for part in (
        "format conll, detected from",
        "2 columns separated by tabs",
        "words 0, tags 1",
        "scheme iob2: 25 of 25 tagged",
    ):
        assert part in read_as
    assert report["splits"]["train"]["sentences"] == 16
    assert report["splits"]["train"]["entities_by_type"] == {"PER": 15, "LOC": 5}
    rare = codes(report)["rare_type"]
    assert rare["example"] == {
        "file": str(tmp_path / "train.conll"),
        "line": 14,
        "text": "Carla Diaz left [Rome] number0",
    }
    for finding in report["findings"]:
        assert finding["severity"] in ("error", "warning", "info")
        assert finding["advice"]
        assert finding["count"] > 0
        assert set(finding) >= {"code", "severity", "count", "message", "example", "advice"}
    assert not (tmp_path / "runs").exists()


def test_files_that_annotate_other_types(run_main: RunMain, tmp_path: Path) -> None:
    """The table of files and types; what is outside where its type is not annotated contradicts nothing."""
    people = column_file(tmp_path / "people.conll", ["Anna/B-PER saw/O Rome/O", "so/O did/O Ben/B-PER"] * 20)
    places = column_file(tmp_path / "places.conll", ["Anna/O saw/O Rome/B-LOC", "in/O Ulm/B-LOC ./O"] * 20)
    options = ["--data.train_file", json.dumps([str(people), str(places)]), "--data.validation_fraction", "0"]
    report = json.loads(run_main("audit", *options, "--json").out)
    assert [file["entities_by_type"] for file in report["files"]] == [{"LOC": 0, "PER": 40}, {"LOC": 40, "PER": 0}]
    assert {"entity_or_outside", "contradicting_duplicates"} < codes(report).keys()
    given = [*options, "--data.annotated_types", "{people.conll: [PER], places.conll: [LOC]}"]
    report = json.loads(run_main("audit", *given, "--json").out)
    assert [file["entities_by_type"] for file in report["files"]] == [
        {"LOC": None, "PER": 40},
        {"LOC": 40, "PER": None},
    ]
    assert codes(report).keys().isdisjoint({"entity_or_outside", "contradicting_duplicates"})
    shown = run_main("audit", *given).out
    assert "Entities by file" in shown
    assert "the file does not annotate the type" in shown


def test_what_needs_no_tokenizer_is_looked_at_without_one(run_main: RunMain, few: list[str], tmp_path: Path) -> None:
    for model, severity in (([], None), (["--model.model_name_or_path", f"{tmp_path}/nowhere"], "error")):
        report = json.loads(run_main("audit", *few, "--json", *model).out)
        assert "subwords" not in report["splits"]["train"]
        assert codes(report).get("no_tokenizer", {}).get("severity") == severity


def test_strict_fails_on_warnings_and_passes_without(run_main: RunMain, few: list[str], tmp_path: Path) -> None:
    assert run_main("audit", *few, check=False).code == 0
    assert run_main("audit", *few, "--strict", check=False).code == 1
    names = ["Anna", "Ben", "Carla"]
    clean = column_file(tmp_path / "clean.conll", [f"{names[n % 3]}/B-PER saw/O thing{n}/O" for n in range(60)])
    options = ["--data.train_file", str(clean), "--data.validation_fraction", "0.2"]
    outcome = run_main("audit", *options, "--strict")
    assert "No problems found." in outcome.out


def test_a_configuration_file_and_options_after_it(run_main: RunMain, few: list[str], tmp_path: Path) -> None:
    other = column_file(tmp_path / "other.conll", ["Zoe/B-PER waits/O"] * 3)
    text = f"data:\n  train_file: {tmp_path}/train.conll\ntrainer:\n  max_epochs: 7\n"
    (tmp_path / "my.yaml").write_text(text, encoding="utf-8")
    report = json.loads(run_main("audit", "--config", "my.yaml", "--data.validation_file", other, "--json").out)
    assert report["splits"]["train"]["sentences"] == 16
    assert report["splits"]["validation"]["sentences"] == 3


def test_wrong_options_are_refused(run_main: RunMain, few: list[str]) -> None:
    assert run_main("audit", *few, "--data.nonsense", "1", check=False).code == 2
    for options, problem in (([], "`fit` needs it"), (["--data.train_file", "nowhere.conll"], "no such file")):
        outcome = run_main("audit", *options, check=False)
        assert (outcome.code, outcome.out, len(outcome.errors())) == (1, "", 1)
        assert problem in outcome.err


def test_misspelt_tags_are_findings_not_the_end(run_main: RunMain, tmp_path: Path) -> None:
    sentences = [f"Anna/B-PER number{number}/O" for number in range(50)] + ["Ben/B-PRE left/O", "Rome/BLOC fell/O"]
    train = column_file(tmp_path / "train.conll", sentences)
    report = json.loads(run_main("audit", "--data.train_file", train, "--json").out)
    misspelt = [finding for finding in report["findings"] if finding["code"] == "misspelt_tag"]
    assert {finding["example"]["text"] for finding in misspelt} == {"Ben B-PRE", "Rome BLOC"}
    assert {finding["example"]["line"] for finding in misspelt} == {151, 154}


def test_windows(run_main: RunMain, tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    long = " ".join(["so/O"] * 25 + ["Anna/B-PER", *["Maria/I-PER"] * 9] + ["so/O"] * 5)
    train = column_file(tmp_path / "train.conll", [long, "Ben/B-PER left/O"])
    options = ["--data.max_seq_length", "32", "--data.stride", "0", "--json"]
    outcome = run_main(
        "audit", "--model.model_name_or_path", tiny_model(), "--data.train_file", train,
        "--data.validation_file", train, *options,
    )  # fmt: skip
    report = json.loads(outcome.out)
    found = codes(report)
    assert found["windows"]["count"] == 2, "once in each split"
    assert report["splits"]["train"]["rows"] > 2


# ---------------------------------------------------------------------- in fit


def test_fit_says_the_worst_and_leaves_the_whole(
    run_main: RunMain, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    twin = "Anna/B-PER met/O Ben/B-PER in/O Rome/B-LOC"
    train = column_file(tmp_path / "train.conll", [twin, *FEW, "a/O b/I-PER"])
    test = column_file(tmp_path / "test.conll", [twin])
    outcome = run_main(
        "fit", "--run_dir", "run", "--model.model_name_or_path", tiny_model(), "--data.train_file", train,
        "--data.validation_file", train, "--data.test_file", test, "--trainer.max_epochs", 1,
    )  # fmt: skip
    said = outcome.err
    assert f"{test}:1: 1 sentence of the test data" in said
    assert said.count("an illegal tag sequence") == 2, "once for each split, and not again by the audit"
    [summary, pointer] = re.findall("^audit .*\n.*", said, re.MULTILINE)[0].splitlines()
    assert summary.endswith("; see all:"), "the command stands on a line of its own: it can be copied whole"
    assert pointer.endswith("audit --config run/config.yaml")
    report = json.loads((tmp_path / "run" / "audit.json").read_text(encoding="utf-8"))
    assert {"leakage", "illegal_tags"} <= set(codes(report))
    again = run_main(*pointer.split(" -m ner_module ")[1].split(), "--json")
    assert {finding["code"] for finding in json.loads(again.out)["findings"]} == set(codes(report))


def test_a_label_map_is_applied(run_main: RunMain, fit_options: list[str]) -> None:
    whole = json.loads(run_main("audit", *fit_options, "--json").out)
    options = ["--data.label_map", '{"PER": "NAME", "LOC": "NAME", "MISC": "O"}']
    mapped = json.loads(run_main("audit", *fit_options, *options, "--json").out)
    assert sorted(whole["entity_types"]) == ["LOC", "MISC", "ORG", "PER"]
    assert sorted(mapped["entity_types"]) == ["NAME", "ORG"]
    entities = {name: split["entities_by_type"] for name, split in whole["splits"].items()}
    for name, split in mapped["splits"].items():
        by_type = split["entities_by_type"]
        assert by_type["NAME"] == entities[name]["PER"] + entities[name]["LOC"]
        assert by_type["ORG"] == entities[name]["ORG"]
    wrong = json.loads(run_main("audit", *fit_options, "--data.label_map", '{"PERS": "NAME"}', "--json").out)
    (finding,) = [finding for finding in wrong["findings"] if finding["code"] == "label_map"]
    assert finding["severity"] == "error"


# ---------------------------------------------------------------------- suspects


@pytest.fixture
def corrupted(corpus: Path, trained_run: Path, tmp_path: Path) -> Path:
    """The data the trained run knows by heart, one entity forgotten."""
    lines = (corpus / "train.conll").read_text(encoding="utf-8").splitlines()
    at = next(index for index, line in enumerate(lines) if line.endswith("B-PER") and lines[index + 1].endswith(" O"))
    lines[at] = lines[at].replace("B-PER", "O")
    path = tmp_path / "corrupted.conll"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "line").write_text(str(at + 1))
    return path


def test_a_forgotten_entity_is_the_first_suspect(
    run_main: RunMain, trained_run: Path, corrupted: Path, tmp_path: Path
) -> None:
    outcome = run_main(
        "audit", "--run_dir", trained_run, "--ckpt_path", "best", "--data.train_file", corrupted,
        "--output", "suspects.jsonl",
    )  # fmt: skip
    first, *rest = map(json.loads, (tmp_path / "suspects.jsonl").read_text(encoding="utf-8").splitlines())
    assert (first["rank"], first["file"], first["line"]) == (1, str(corrupted), int((tmp_path / "line").read_text()))
    assert (first["kind"], first["gold"]) == ("only predicted", [])
    assert first["predicted"][0]["type"] == "PER"
    assert first["score"] < 0.1 < rest[-1]["score"]
    assert "annotated nothing, the model says PER" in " ".join(outcome.out.split())
    assert not (tmp_path / "runs").exists()


def test_top_as_json_lines(run_main: RunMain, trained_run: Path) -> None:
    options = ["--run_dir", trained_run, "--ckpt_path", "best", "--json", "--top", 3, "--split", "test"]
    outcome = run_main("audit", *options)
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert [line["rank"] for line in lines] == [1, 2, 3]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--folds", 2, "--ckpt_path", "best"), "give one of them"),
        (("--folds", 2, "--split", "test"), "--folds ranks the training data"),
        (("--folds", 1), "must be at least 2"),
    ],
)
def test_what_folds_refuse(run_main: RunMain, few: list[str], options: tuple[object, ...], problem: str) -> None:
    assert problem in run_main("audit", *few, *options, check=False).err


def test_folds_need_the_files(run_main: RunMain, fit_options: list[str]) -> None:
    outcome = run_main(
        "audit", *fit_options, "--data.annotated_types", "{train*: [PER, LOC, ORG, MISC]}", "--folds", 2, check=False
    )
    assert "--folds trains on copies" in outcome.err


def test_out_of_fold(run_main: RunMain, fit_options: list[str], corpus: Path, tmp_path: Path) -> None:
    outcome = run_main("audit", *fit_options, "--folds", 2, "--output", "suspects.jsonl", "--json", "--top", 1)
    suspects = [json.loads(line) for line in (tmp_path / "suspects.jsonl").read_text(encoding="utf-8").splitlines()]
    gold = (corpus / "train.conll").read_text(encoding="utf-8").count(" B-")
    assert sum(len(suspect["gold"]) for suspect in suspects) == gold, "each annotation is judged once"
    assert json.loads(outcome.out)["rank"] == 1
    assert not (tmp_path / "runs").exists()


def test_each_file_of_a_split_says_its_scheme_and_what_it_leaves_out(run_main: RunMain, tmp_path: Path) -> None:
    column_file(tmp_path / "a.conll", ["Ada/B-PER Finch/I-PER saw/O Bo/B-PER"])
    column_file(tmp_path / "b.conll", ["Ada/B-PER Finch/E-PER saw/O Bo/S-PER"])
    record = {"text": "Ada met Bo", "_is_binary": True, "answer": "accept", "spans": []}
    (tmp_path / "c.jsonl").write_text("".join(json.dumps({**record, "text": f"Bo {n}"}) + "\n" for n in range(3)))
    (tmp_path / "d.jsonl").write_text('{"tokens": ["Ada"], "tags": ["B-PER"]}\n')
    report = json.loads(run_main("audit", "--data.train_file", f"{tmp_path}/[a-d].*", "--json", check=False).out)
    said = {Path(file["file"]).name: "; ".join(file["read_as"]) for file in report["files"]}
    assert "scheme iob2: 3 of 3 tagged words fit" in said["a.conll"]
    assert "scheme iob2: 1 of 3 tagged words fit" in said["b.conll"]
    assert "binary judgements, which say nothing of other words: 3" in said["c.jsonl"]
    assert "scheme iob2: no word is tagged" in said["c.jsonl"]
    assert "words are in 'tokens', tags in 'tags'" in said["d.jsonl"]
    assert [name for name in said if "binary" in said[name]] == ["c.jsonl"]
