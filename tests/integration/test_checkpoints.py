"""A run is self-contained: its checkpoints are used from anywhere, without the base model, the hub or training data."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_files import checkpoint, conll_sentences, files_in, json_lines, replace_checkpoint, results
from seqeval.metrics import f1_score, precision_score, recall_score

from ner_module import NERTagger
from ner_module.errors import RunError

RunMain = Callable[..., Any]


@pytest.fixture
def run_dir(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, for a test to write into."""
    return Path(shutil.copytree(trained_run, tmp_path / "runs" / "trained" / "1"))


def scores_of(run: Path) -> dict[str, float]:
    """The test scores, without those that need to know what was seen in training."""
    scores: dict[str, float] = results(run)["test"]
    return {name: score for name, score in scores.items() if not name.endswith("seen")}


def test_best_last_and_a_file_are_what_they_say(run_main: RunMain, run_dir: Path) -> None:
    """Weights replaced by zeros in one of the two show which one was read."""
    best = run_dir / "checkpoints" / "best.ckpt"
    broken = torch.load(best, weights_only=True)
    for name in ("model.classifier.weight", "model.classifier.bias"):
        broken["state_dict"][name].zero_()
    replace_checkpoint(broken, run_dir / "checkpoints" / "last.ckpt")
    found = {}
    for asked in ("best", "last", str(best)):
        run_main("test", "--run_dir", run_dir, "--ckpt_path", asked)
        found[asked] = scores_of(run_dir)
    assert found["best"]["test/f1"] > 0.2
    assert found["last"]["test/f1"] == 0
    assert found["best"] == found[str(best)]
    # Without --run_dir a file's own run is used.
    (run_dir / "results.json").unlink()
    run_main("test", "--ckpt_path", best)
    assert scores_of(run_dir) == found["best"]


def test_without_run_dir_the_newest_run_is_meant(run_main: RunMain, run_dir: Path, tmp_path: Path) -> None:
    older = Path(shutil.copytree(run_dir, tmp_path / "runs" / "other" / "2"))
    for path in (older / "checkpoints").iterdir():
        os.utime(path, (1, 1))
    run_main("test", "--ckpt_path", "best")
    assert "test" in results(run_dir)
    assert "test" not in results(older)
    for path in (run_dir / "checkpoints").iterdir():
        os.utime(path, (0, 0))
    run_main("validate", "--ckpt_path", "last")
    assert "validate" in results(older)


def test_validate_repeats_the_scores_of_training(run_main: RunMain, run_dir: Path) -> None:
    """Both checkpoints give the numbers of their epoch again."""
    rows = results(run_dir)["epochs"]
    for name, row in (("best", max(rows, key=lambda row: row["val/f1"])), ("last", rows[-1])):
        outcome = run_main("validate", "--run_dir", run_dir, "--ckpt_path", name)
        again = results(run_dir)["validate"]
        same = {name: value for name, value in row.items() if name.startswith("val/")}
        assert {name: again[name] for name in same} == pytest.approx(same, abs=2e-6)
        assert f"{row['val/f1']:.4f}" in outcome.out
    assert results(run_dir)["epochs"] == rows, "the table of the training is kept"


def test_the_predictions_file_has_the_scores_that_are_reported(
    run_main: RunMain, run_dir: Path, trained_run: Path
) -> None:
    """By seqeval, from the file alone; one line a sentence, in the order of the data."""
    run_main("test", "--run_dir", run_dir, "--ckpt_path", "best")
    rows = json_lines((run_dir / "predictions" / "test.jsonl").read_text(encoding="utf-8"))
    expected = conll_sentences(trained_run.parent / "mixed.conll")
    assert [(row["tokens"], row["gold_tags"]) for row in rows] == expected
    for row in rows:
        assert len(row["predicted_tags"]) == len(row["scores"]) == len(row["tokens"])
        assert all(0 < score <= 1 for score in row["scores"])
    gold, predicted = [row["gold_tags"] for row in rows], [row["predicted_tags"] for row in rows]
    scores = scores_of(run_dir)
    assert 0.2 < scores["test/f1"] < 0.98
    assert scores["test/f1"] == pytest.approx(f1_score(gold, predicted), abs=1e-6)
    assert scores["test/precision"] == pytest.approx(precision_score(gold, predicted), abs=1e-6)
    assert scores["test/recall"] == pytest.approx(recall_score(gold, predicted), abs=1e-6)
    assert scores["test/f1_macro"] == pytest.approx(f1_score(gold, predicted, average="macro"), abs=1e-6)
    pairs = [(g, p) for one, other in zip(gold, predicted, strict=True) for g, p in zip(one, other, strict=True)]
    assert scores["test/accuracy"] == pytest.approx(sum(g == p for g, p in pairs) / len(pairs), abs=1e-6)


def test_a_checkpoint_moved_away_carries_everything(run_main: RunMain, run_dir: Path, tmp_path: Path) -> None:
    run_main("test", "--run_dir", run_dir, "--ckpt_path", "best")
    shutil.copy(run_dir / "checkpoints" / "best.ckpt", tmp_path / "my model.ckpt")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(run_dir, tmp_path / "gone")
    run_main("test", "--ckpt_path", tmp_path / "my model.ckpt", cwd=elsewhere)
    (found,) = elsewhere.glob("runs/*/*/results.json")
    assert scores_of(found.parent) == scores_of(tmp_path / "gone")
    run_main("test", "--ckpt_path", "../my model.ckpt", "--run_dir", "here", cwd=elsewhere)
    assert scores_of(elsewhere / "here") == scores_of(tmp_path / "gone")


def test_a_run_directory_can_be_moved(run_main: RunMain, run_dir: Path, tmp_path: Path) -> None:
    run_main("test", "--run_dir", run_dir, "--ckpt_path", "best")
    before = scores_of(run_dir)
    shutil.move(run_dir, tmp_path / "moved")
    (tmp_path / "moved" / "results.json").unlink()
    run_main("test", "--run_dir", "moved", "--ckpt_path", "best")
    assert scores_of(tmp_path / "moved") == before


@pytest.mark.parametrize("moved", [False, True])
def test_a_worse_epoch_after_a_resume_leaves_best_alone(
    run_main: RunMain, run_dir: Path, tmp_path: Path, moved: bool
) -> None:
    """The last checkpoint's head is erased, so that what follows is worse than what was."""
    if moved:
        shutil.move(run_dir, tmp_path / "moved")
        run_dir = tmp_path / "moved"
    rows = results(run_dir)["epochs"]
    best = checkpoint(run_dir, "best")["global_step"]
    last = checkpoint(run_dir, "last")
    for name in ("model.classifier.weight", "model.classifier.bias"):
        last["state_dict"][name].zero_()
    replace_checkpoint(last, run_dir / "checkpoints" / "last.ckpt")
    more = len(rows) + 1
    run_main(
        "fit", "--run_dir", run_dir.name if moved else run_dir, "--ckpt_path", "last", "--trainer.max_epochs", more
    )
    again = results(run_dir)["epochs"]
    assert again[:-1] == rows
    assert again[-1]["val/f1"] < max(row["val/f1"] for row in rows)
    assert checkpoint(run_dir, "best")["global_step"] == best
    assert checkpoint(run_dir, "last")["global_step"] == again[-1]["step"]


def test_a_finished_training_stays_as_it_is(run_main: RunMain, run_dir: Path) -> None:
    before = checkpoint(run_dir, "last")["global_step"], results(run_dir)["epochs"]
    outcome = run_main("fit", "--run_dir", run_dir, "--ckpt_path", "last")
    assert (checkpoint(run_dir, "last")["global_step"], results(run_dir)["epochs"]) == before
    assert "All 20 epochs are done; to continue, give --trainer.max_epochs 21" in outcome.err
    assert "F1 stayed" not in outcome.err


def test_options_that_a_resumed_training_cannot_change_are_mentioned(run_main: RunMain, run_dir: Path) -> None:
    epochs = len(results(run_dir)["epochs"]) + 1
    options = ["--run_dir", run_dir, "--ckpt_path", "last", "--trainer.max_epochs", epochs]
    outcome = run_main("fit", *options, "--model.learning_rate", "1e-5")
    assert "--model.learning_rate 1e-05 has no effect" in outcome.err
    assert len(results(run_dir)["epochs"]) == epochs


def test_other_test_data_without_anything_else(run_main: RunMain, run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "one.conll").write_text("Anna B-PER\nsings O\n", encoding="utf-8")
    run_main("test", "--run_dir", run_dir, "--ckpt_path", "best", "--data.test_file", "one.conll")
    assert scores_of(run_dir)["test/support/PER"] == 1
    assert len((run_dir / "predictions" / "test.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_a_label_the_model_does_not_know(run_main: RunMain, run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "one.conll").write_text("Anna B-PER\n\nis O\nhere B-PLACE\n", encoding="utf-8")
    options = ["--run_dir", run_dir, "--ckpt_path", "best", "--data.test_file", "one.conll"]
    outcome = run_main("test", *options, check=False)
    assert outcome.code == 1
    (error,) = outcome.errors()
    assert error.startswith("error: one.conll:4: ")
    assert "B-PLACE" in error


# ---------------------------------------------------------------------- damage


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_last_gives_way_to_previous(run_main: RunMain, run_dir: Path) -> None:
    """Training resumes from the epoch before, and ends where it would have."""
    rows, before = results(run_dir)["epochs"], checkpoint(run_dir, "last")
    flip_a_byte(run_dir / "checkpoints" / "last.ckpt")
    outcome = run_main("fit", "--run_dir", run_dir, "--ckpt_path", "last")
    (line,) = [line for line in outcome.err.splitlines() if "is damaged" in line]
    assert "using previous.ckpt instead" in line
    after = checkpoint(run_dir, "last")
    assert after["global_step"] == before["global_step"]
    assert all(torch.equal(after["state_dict"][name], tensor) for name, tensor in before["state_dict"].items())
    assert results(run_dir)["epochs"] == rows
    assert "is damaged" not in run_main("test", "--run_dir", run_dir, "--ckpt_path", "last").err


def test_a_flipped_byte_is_never_loaded(run_main: RunMain, run_dir: Path) -> None:
    """By no command, by name or by path, nor in Python."""
    for path in (run_dir / "checkpoints").glob("*.ckpt"):
        flip_a_byte(path)
    best = run_dir / "checkpoints" / "best.ckpt"
    for command in ("fit", "validate", "test", "predict"):
        for asked in ("best", "last", "previous", best):
            options = ["--run_dir", run_dir, "--ckpt_path", asked, "--data.predict_file", best]
            outcome = run_main(command, *options, check=False)
            assert outcome.code == 1
            (error,) = outcome.errors()
            assert "is damaged" in error
    with pytest.raises(RunError, match="is damaged"):
        NERTagger.load(run_dir)


def test_last_is_saved_every_few_minutes(run_main: RunMain, fit_options: list[str], tmp_path: Path) -> None:
    """Here after every step; without an interval after epochs only."""
    for minutes, expected in ((1e-6, 15), (0, 8)):
        run = tmp_path / f"every-{minutes}"
        run_main("fit", *fit_options, "--run_dir", run, "--save_every_minutes", minutes)
        assert checkpoint(run, "last")["global_step"] == 16
        assert checkpoint(run, "previous")["global_step"] == expected


def test_a_full_disk_leaves_the_last_checkpoint_whole(run_main: RunMain, run_dir: Path) -> None:
    """A warning while training continues; an error at the end; and with free space training resumes."""
    resource = pytest.importorskip("resource")
    kept = (run_dir / "checkpoints" / "last.ckpt").read_bytes()
    more = len(results(run_dir)["epochs"]) + 2
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) // 2, limits[1]))
    options = ["--run_dir", run_dir, "--ckpt_path", "last", "--trainer.max_epochs", more]
    try:
        outcome = run_main("fit", *options, check=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert outcome.code == 1
    assert len([line for line in outcome.err.splitlines() if "last.ckpt could not be saved after step" in line]) == 2
    (error,) = outcome.errors()
    assert "its last state could not be saved" in error
    assert "Traceback" not in outcome.err
    assert (run_dir / "checkpoints" / "last.ckpt").read_bytes() == kept
    run_main("fit", *options)
    assert len(results(run_dir)["epochs"]) == more


def test_resuming_elsewhere_takes_the_best_checkpoint_along(run_main: RunMain, run_dir: Path, tmp_path: Path) -> None:
    """Where it cannot come along, nothing says that `best.ckpt` holds the best epoch."""
    last, best = run_dir / "checkpoints" / "last.ckpt", checkpoint(run_dir, "best")
    worse = checkpoint(run_dir, "last")
    for name in ("model.classifier.weight", "model.classifier.bias"):
        worse["state_dict"][name].zero_()
    replace_checkpoint(worse, last)
    rows = results(run_dir)["epochs"]
    options = ["--ckpt_path", last, "--trainer.max_epochs", len(rows) + 1]
    run_main("fit", "--run_dir", "with", *options)
    assert checkpoint(tmp_path / "with", "best")["global_step"] == best["global_step"]
    (run_dir / "checkpoints" / "best.ckpt").unlink()
    outcome = run_main("fit", "--run_dir", "without", *options)
    assert (
        checkpoint(tmp_path / "without", "best")["global_step"] == results(tmp_path / "without")["epochs"][-1]["step"]
    )
    assert "The best epoch is " in outcome.out, "which best.ckpt does not hold"
    outcome = run_main("fit", "--run_dir", "with", *options, check=False)
    assert outcome.errors()[0].startswith("error: with already holds a run: ")


def test_a_checkpoint_of_an_earlier_version_is_used_but_not_resumed(run_main: RunMain, run_dir: Path) -> None:
    """Version 0.1 had neither document context nor a label map, and counted micro-batches."""
    path, old = run_dir / "checkpoints" / "last.ckpt", checkpoint(run_dir, "last")
    del old["NERDataModule"]["context_size"], old["NERDataModule"]["label_map"], old["hyper_parameters"]["decoding"]
    old["NERDataModule"]["position"] = [1, 5]
    replace_checkpoint(old, path)
    run_main("test", "--run_dir", run_dir, "--ckpt_path", "last")
    assert NERTagger.load(path).predict(["Ada met Ben."])
    outcome = run_main("fit", "--run_dir", run_dir, "--ckpt_path", "last", check=False)
    (error,) = outcome.errors()
    assert "cannot be resumed: it has only weights, or is of an earlier version" in error


# ---------------------------------------------------------------------- a new process, and what may be missing


@pytest.fixture
def only_the_run(
    fit_options: list[str], tiny_model: Callable[..., Path], corpus: Path, tmp_path: Path, run_main: RunMain
) -> Path:
    """A run after which everything `fit` read is deleted, with the cache; only the test file is left."""
    shutil.copytree(tiny_model(), tmp_path / "base")
    shutil.copytree(corpus, tmp_path / "corpus")
    options = [
        option.replace(str(corpus), str(tmp_path / "corpus")).replace(str(tiny_model()), str(tmp_path / "base"))
        for option in fit_options
    ]
    run_main("fit", *options, "--run_dir", "run", "--data.cache_dir", "cache")
    for path in (tmp_path / "base", tmp_path / "cache"):
        shutil.rmtree(path)
    for name in ("train", "validation"):
        (tmp_path / "corpus" / f"{name}.conll").unlink()
    return tmp_path / "run"


def test_prediction_in_a_new_process_with_the_run_alone(
    only_the_run: Path, program: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    text = "Anna met Ben.\n\nJosé saw 東京 😀\n"
    done = program("predict", "--ckpt_path", "run/checkpoints/last.ckpt", "--data.predict_file", "-", stdin=text)
    assert [row["text"] for row in json_lines(done.stdout)] == text.splitlines()
    assert done.stderr == "checkpoint run/checkpoints/last.ckpt (epoch 2, step 16)\n", "nothing else to say"


def test_scores_with_the_run_alone(only_the_run: Path, run_main: RunMain) -> None:
    run_main("test", "--run_dir", "run", "--ckpt_path", "last")
    assert 0 <= scores_of(only_the_run)["test/f1"] <= 1
    outcome = run_main("validate", "--run_dir", "run", "--ckpt_path", "last", check=False)
    assert outcome.code == 1
    (error,) = outcome.errors()
    assert "validation.conll: no such file" in error


def test_from_another_working_directory(
    fit_options: list[str], corpus: Path, tmp_path: Path, run_main: RunMain, trained_run: Path
) -> None:
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    other = tmp_path / "other"
    other.mkdir()
    run_main("test", "--run_dir", run, "--ckpt_path", "best", cwd=other)
    run_main("validate", "--ckpt_path", "../run/checkpoints/last.ckpt", cwd=other)
    assert {"test", "validate"} <= set(results(run))
    assert files_in(other) == set()
    # Relative paths count from where a command is typed; where that was another folder, the message says so.
    shutil.copytree(corpus, tmp_path / "data")
    options = [option.replace(str(corpus), "data") for option in fit_options]
    run_main("fit", *options, "--trainer.max_epochs", 1, "--run_dir", "relative")
    outcome = run_main("test", "--run_dir", "../relative", "--ckpt_path", "best", cwd=other, check=False)
    assert outcome.code == 1
    (error,) = outcome.errors()
    assert error.startswith("error: data/test.conll: no such file")
    assert f"relative paths start at {other}" in error


# ---------------------------------------------------------------------- no checkpoint


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("validate", []),
        ("test", []),
        ("predict", []),
        ("test", ["--ckpt_path", "best"]),
        ("test", ["--ckpt_path", "last"]),
        ("test", ["--ckpt_path", "previous"]),
        ("test", ["--ckpt_path=null"]),
        ("test", ["--ckpt_path"]),
        ("predict", ["--ckpt_path", "nowhere/best.ckpt"]),
        ("predict", ["--ckpt_path", "."]),
        ("predict", ["--run_dir", "empty", "--ckpt_path", "best"]),
        ("predict", ["--run_dir", "nowhere", "--ckpt_path", "last"]),
        ("validate", ["--ckpt_path", "notes.txt"]),
        ("validate", ["--ckpt_path", "empty.ckpt"]),
        ("validate", ["--ckpt_path", "truncated.ckpt"]),
        ("validate", ["--ckpt_path", "other.ckpt"]),
        ("validate", ["--ckpt_path", "pickle.ckpt"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_random_head_is_never_used(
    run_main: RunMain,
    fit_options: list[str],
    trained_run: Path,
    tmp_path: Path,
    command: str,
    options: list[str],
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no checkpoint\n", encoding="utf-8")
    (tmp_path / "empty.ckpt").write_bytes(b"")
    whole = (trained_run / "checkpoints" / "best.ckpt").read_bytes()
    (tmp_path / "truncated.ckpt").write_bytes(whole[: len(whole) // 2])
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    torch.save({"ner_module": os.system}, tmp_path / "pickle.ckpt")  # would run code if it were trusted
    before = files_in(tmp_path)
    data = fit_options[:-4]
    outcome = run_main(command, *options, *data, "--data.predict_file", "notes.txt", check=False)
    assert outcome.code in (1, 2)
    assert len(outcome.errors()) == 1, outcome.err
    assert outcome.err.splitlines()[-1] == outcome.errors()[0]
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    assert files_in(tmp_path) == before


def test_the_message_names_the_checkpoints_that_exist(run_main: RunMain, run_dir: Path) -> None:
    outcome = run_main("test", "--run_dir", "elsewhere", "--ckpt_path", "best", check=False)
    assert "runs/trained/1/checkpoints/best.ckpt" in outcome.err


def test_weights_are_loaded_as_data_only(trained_run: Path) -> None:
    """Whoever loads one of our checkpoints never has to trust it."""
    for name in ("best", "last"):
        loaded = checkpoint(trained_run, name)  # weights_only=True
        assert {"state_dict", "hyper_parameters", "NERDataModule", "ner_module"} <= set(loaded)
        json.dumps(loaded["hyper_parameters"])
        json.dumps(loaded["NERDataModule"])
