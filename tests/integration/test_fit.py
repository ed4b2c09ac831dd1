"""What a training leaves behind, what it prints, and the options that change its course."""

from __future__ import annotations

import json
import math
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from run_files import REPORT_FILES, RUN_FILES, SHORT_RUN_FILES, checkpoint, csv_rows, files_in, results, write_config
from seqeval.metrics.sequence_labeling import get_entities

RunMain = Callable[..., Any]


def _without(options: list[str], name: str) -> list[str]:
    position = options.index(name)
    return options[:position] + options[position + 2 :]


@pytest.mark.report
def test_leaves_exactly_the_documented_files(run_main: RunMain, fit_options: list[str], tmp_path: Path) -> None:
    run_main("fit", *fit_options, "--run_dir", "run")
    assert files_in(tmp_path) == {f"run/{name}" for name in RUN_FILES | REPORT_FILES}


@pytest.mark.parametrize("sanity_steps", [0, 2])
def test_a_row_per_epoch_and_none_from_the_sanity_check(
    run_main: RunMain, fit_options: list[str], tmp_path: Path, sanity_steps: int
) -> None:
    options = [*fit_options, "--trainer.max_epochs", "3", "--trainer.num_sanity_val_steps", str(sanity_steps)]
    outcome = run_main("fit", *options, "--run_dir", "run")
    rows = results(tmp_path / "run")["epochs"]
    assert [(row["epoch"], row["step"]) for row in rows] == [(1.0, 8), (2.0, 16), (3.0, 24)]  # 120 sentences by 16
    validated = [row for row in csv_rows(tmp_path / "run") if row["val/f1"]]
    assert [row["epoch"] for row in validated] == ["0", "1", "2"]
    # Each epoch is printed once, when it ends.
    printed = [line.split() for line in outcome.out.splitlines() if f"{rows[1]['val/loss']:.4f}" in line.split()]
    assert len(printed) == 1
    assert printed[0][:4] == [f"{rows[1]['train/loss']:.4f}", "2.00", "16", f"{rows[1]['val/loss']:.4f}"]


def test_a_resumed_training_first_prints_the_rows_it_has(
    run_main: RunMain, fit_options: list[str], tmp_path: Path
) -> None:
    run_main("fit", *fit_options, "--run_dir", "run")
    outcome = run_main("fit", "--run_dir", "run", "--ckpt_path", "last", "--trainer.max_epochs", 3)
    rows = results(tmp_path / "run")["epochs"]
    lines = outcome.out.splitlines()
    first = next(index for index, line in enumerate(lines) if line.split()[:2] == ["Train", "loss"])
    steps = [line.split()[2] for line in lines[first + 1 : first + 4]]
    assert steps == ["8", "16", "24"]
    best = max(rows, key=lambda row: row["val/f1"])
    [said] = [line for line in lines if line.startswith("best.ckpt holds epoch ")]
    holds = f"best.ckpt holds epoch {best['epoch']:g} (step {best['step']})"
    assert said == f"{holds}, with F1 {best['val/f1']:.4f} on validation data"


def test_results_and_metrics_have_the_documented_keys(
    run_main: RunMain, fit_options: list[str], tmp_path: Path
) -> None:
    run_main("fit", *fit_options, "--run_dir", "run", "--trainer.log_every_n_steps", "2")
    found = results(tmp_path / "run")
    types = ("LOC", "MISC", "ORG", "PER")
    assert found["label_names"][0] == "O"
    assert set(found["label_names"]) == {"O", *(f"{prefix}-{name}" for prefix in "BI" for name in types)}
    assert (found["scheme"], found["outside_label"]) == ("iob2", "O")
    main_keys = {"epoch", "step", "train/loss", "val/loss", "val/precision", "val/recall", "val/f1", "val/accuracy"}
    type_keys = {f"val/{name}/{entity}" for name in ("precision", "recall", "f1", "support") for entity in types}
    for row in found["epochs"]:
        assert main_keys | type_keys | {"val/f1_macro", "val/f1_weighted"} <= set(row)
        assert all(isinstance(value, int | float) and math.isfinite(value) for value in row.values())
    rows = csv_rows(tmp_path / "run")
    assert {"epoch", "step", "train/loss", "lr", *main_keys, *type_keys} <= set(rows[0])
    logged = [row for row in rows if row["train/loss"]]
    assert [int(row["step"]) for row in logged] == [1, 3, 5, 7, 9, 11, 13, 15]
    assert "run_dir" not in yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())


def test_best_is_the_epoch_with_the_best_f1(trained_run: Path) -> None:
    rows = results(trained_run)["epochs"]
    f1 = [row["val/f1"] for row in rows]
    assert max(f1) > 0.8, "the run has learnt its training data; other tests rely on it"
    best = rows[f1.index(max(f1))]
    assert checkpoint(trained_run, "best")["global_step"] == best["step"]
    assert checkpoint(trained_run, "last")["global_step"] == rows[-1]["step"]


def test_train_entities_are_those_of_the_training_data(trained_run: Path, corpus: Path) -> None:
    expected: dict[str, dict[str, int]] = {}
    for part in (corpus / "train.conll").read_text(encoding="utf-8").strip().split("\n\n"):
        words, tags = zip(*(line.split() for line in part.splitlines()), strict=True)
        for entity_type, start, end in get_entities(list(tags)):
            forms = expected.setdefault(entity_type, {})
            form = " ".join(words[start : end + 1])
            forms[form] = forms.get(form, 0) + 1
    assert json.loads((trained_run / "train_entities.json").read_text(encoding="utf-8")) == expected


def test_prints_the_table_where_the_run_is_and_what_to_type_next(
    run_main: RunMain, fit_options: list[str], tmp_path: Path
) -> None:
    easy = tmp_path / "easy.conll"
    easy.write_text("Rome B-LOC\nis O\nbig O\n\nAda B-PER\nslept O\nwell O\n\n" * 100, encoding="utf-8")
    data = [part for split in ("train", "validation", "test") for part in (f"--data.{split}_file", easy)]
    outcome = run_main("fit", *fit_options, *data, "--model.learning_rate", "5e-3", "--run_dir", "my run")
    for word in ("Train loss", "Epoch", "Step", "Val loss", "Precision", "Recall", "F1", "Accuracy", "Support"):
        assert word in outcome.out
    for entity_type in ("LOC", "PER"):
        assert any(line.split()[:1] == [entity_type] for line in outcome.out.splitlines())
    assert "Saved in my run" in outcome.out
    commands = [line.strip() for line in outcome.out.splitlines() if "python -m ner_module" in line]
    assert len(commands) == 2
    words = shlex.split(commands[0])
    assert words[1:4] == ["-m", "ner_module", "test"]
    assert (tmp_path / words[0]).samefile(sys.executable) or words[0] == "python"
    run_main(*words[3:])
    echo, _, predict = commands[1].partition(" | ")
    found = run_main(*shlex.split(predict)[3:], stdin=shlex.split(echo)[1].encode())
    assert json.loads(found.out)["text"] == shlex.split(echo)[1]
    assert shlex.split(echo)[1] == "Rome is big"


def test_what_is_proposed_next_fits_the_run(run_main: RunMain, fit_options: list[str], tmp_path: Path) -> None:
    nothing_learnt = ("--trainer.max_steps", 1, "--model.learning_rate", 1e-12, "--model.decoding", "greedy")
    outcome = run_main("fit", *_without(fit_options, "--data.test_file"), *nothing_learnt, "--run_dir", "run")
    assert " test --run_dir run --data.test_file FILE" in outcome.out
    best = max(row["val/f1"] for row in json.loads((tmp_path / "run" / "results.json").read_text())["epochs"])
    assert (" predict --run_dir" in outcome.out) == (best > 0)


# ---------------------------------------------------------------------- where a run goes


def test_default_run_directory_is_named_after_the_first_config(
    run_main: RunMain, fit_options: list[str], tmp_path: Path
) -> None:
    write_config(tmp_path / "recipe.yaml", {"trainer": {"max_epochs": 5}})
    write_config(tmp_path / "overlay.yaml", {"trainer": {"max_epochs": 1}})
    run_main(
        "fit", "--config", "recipe.yaml", "--config", "overlay.yaml", *_without(fit_options, "--trainer.max_epochs")
    )
    (run,) = (tmp_path / "runs" / "recipe").iterdir()
    assert files_in(run) == SHORT_RUN_FILES
    assert len(results(run)["epochs"]) == 1, "the later config wins"


def test_a_directory_with_a_run_is_refused_and_untouched(
    run_main: RunMain, fit_options: list[str], trained_run: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained_run.rglob("*")}
    outcome = run_main("fit", *fit_options, "--run_dir", trained_run, check=False)
    assert outcome.code == 1
    (error,) = outcome.errors()
    assert str(trained_run) in error
    assert "--ckpt_path auto" in error
    assert {path: path.stat().st_mtime_ns for path in trained_run.rglob("*")} == before


def test_run_dir_and_ckpt_path_in_a_config_file_count(
    run_main: RunMain, fit_options: list[str], tmp_path: Path
) -> None:
    write_config(tmp_path / "a.yaml", {"run_dir": "from_yaml", "trainer": {"max_epochs": 1}})
    options = _without(fit_options, "--trainer.max_epochs")
    run_main("fit", "--config", "a.yaml", *options)
    assert files_in(tmp_path) == {"a.yaml", *(f"from_yaml/{name}" for name in SHORT_RUN_FILES)}
    again = run_main("fit", "--config", "a.yaml", *options, check=False)
    assert again.code == 1
    assert "from_yaml already holds a run" in again.err
    run_main("fit", "--config", "a.yaml", *options, "--run_dir", "flag")
    assert files_in(tmp_path / "flag") == SHORT_RUN_FILES, "the command line wins"
    write_config(tmp_path / "b.yaml", {"run_dir": "from_yaml", "ckpt_path": "last", "trainer": {"max_epochs": 2}})
    run_main("fit", "--config", "b.yaml", *options)
    assert [row["step"] for row in results(tmp_path / "from_yaml")["epochs"]] == [8, 16], "it went on"


@pytest.mark.parametrize("options", [["--trainer.max_epochs", "-1"], ["--model.learning_rate", "0"]])
def test_a_start_that_fails_leaves_nothing(
    run_main: RunMain, fit_options: list[str], tmp_path: Path, options: list[str]
) -> None:
    outcome = run_main("fit", *fit_options, *options, "--run_dir", "run", check=False)
    assert outcome.code == 1
    assert len(outcome.errors()) == 1
    assert "Traceback" not in outcome.err
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("left", ["save_every_minutes: 10.0\nmodel: {}\n", "\0\0\0", ""])
def test_a_directory_where_nothing_was_trained_is_free(
    left: str, run_main: RunMain, fit_options: list[str], tmp_path: Path
) -> None:
    """A crash in the first steps (out of memory, say) leaves the configuration only; the next attempt may use it."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(left, encoding="utf-8")
    run_main("fit", *fit_options, "--trainer.max_epochs", 1, "--run_dir", "run")
    assert files_in(tmp_path / "run") == SHORT_RUN_FILES
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["trainer"]["max_epochs"] == 1


# ---------------------------------------------------------------------- options


def test_validation_data_is_held_out_when_none_is_given(
    run_main: RunMain, fit_options: list[str], tmp_path: Path
) -> None:
    options = [*_without(fit_options, "--data.validation_file"), "--trainer.max_epochs", "1"]
    outcome = run_main("fit", *options, "--run_dir", "run")
    assert "12 sentences of the training data are held out; 108 are left" in outcome.err
    assert files_in(tmp_path / "run") == SHORT_RUN_FILES
    # `validate` scores the same part, by itself.
    validated = run_main("validate", "--run_dir", "run", "--ckpt_path", "last")
    assert "validate: precision" in validated.out
    row = results(tmp_path / "run")["epochs"][-1]
    again = results(tmp_path / "run")["validate"]
    same = {name: value for name, value in row.items() if name.startswith("val/")}
    assert {name: again[name] for name in same} == pytest.approx(same, abs=2e-6)
    lines = (tmp_path / "run" / "predictions" / "validation.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 12


def lr_by_step(run: Path) -> list[float]:
    return [float(row["lr"]) for row in csv_rows(run) if row["lr"]]


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
def test_learning_rate_follows_the_schedule(
    run_main: RunMain, fit_options: list[str], tmp_path: Path, kind: str
) -> None:
    """16 steps, 30 % of them warm-up (5, rounded up); reference formulas written out here."""
    run_main(
        *("fit", *fit_options, "--run_dir", "run", "--trainer.log_every_n_steps", 1),
        *("--model.lr_scheduler_type", kind, "--model.warmup_ratio", 0.3),
    )
    peak, warmup, total = 3e-3, 5, 16
    expected = []
    for step in range(total):
        progress = (step - warmup) / (total - warmup)
        after = {"linear": 1 - progress, "cosine": 0.5 * (1 + math.cos(math.pi * progress)), "constant": 1.0}[kind]
        expected.append(peak * (step / warmup if step < warmup else after))
    assert lr_by_step(tmp_path / "run") == pytest.approx(expected, rel=1e-5)


def test_accumulated_batches_make_one_step(run_main: RunMain, fit_options: list[str], tmp_path: Path) -> None:
    """Two half batches are one whole batch, in data and in gradient: rows differ by rounding alone."""
    common = ["--model.dropout", "0", "--trainer.gradient_clip_val", "null"]
    run_main("fit", *fit_options, *common, "--run_dir", "whole")
    halves = ["--data.batch_size", 8, "--trainer.accumulate_grad_batches", 2]
    run_main("fit", *fit_options, *common, *halves, "--run_dir", "halves")
    whole, parts = (results(tmp_path / name)["epochs"] for name in ("whole", "halves"))
    assert [row["step"] for row in whole] == [row["step"] for row in parts]
    for one, other in zip(whole, parts, strict=True):
        assert other["train/loss"] == pytest.approx(one["train/loss"], rel=1e-3)
        assert other["val/loss"] == pytest.approx(one["val/loss"], rel=1e-3)


def test_gradient_clipping_is_on_by_default_and_can_be_changed(
    run_main: RunMain, fit_options: list[str], tmp_path: Path
) -> None:
    one_step = [*fit_options, "--trainer.max_steps", "1", "--model.lr_scheduler_type", "constant"]
    weights = {}
    for name, options in {
        "default": [],
        "one": ["--trainer.gradient_clip_val", "1.0"],
        "tiny": ["--trainer.gradient_clip_val", "1e-9"],
    }.items():
        run_main("fit", *one_step, *options, "--run_dir", name)
        weights[name] = checkpoint(tmp_path / name, "last")["state_dict"]
    key = "model.classifier.weight"
    assert torch.equal(weights["default"][key], weights["one"][key])
    # Adam's step has the learning rate's size whatever the gradient's, until the gradient is as small as its epsilon.
    base = 3e-3
    assert (weights["default"][key] - weights["tiny"][key]).abs().max() > base / 2


def test_early_stopping_by_one_overlay(run_main: RunMain, fit_options: list[str], tmp_path: Path) -> None:
    stop = {"class_path": "lightning.pytorch.callbacks.EarlyStopping"}
    stop["init_args"] = {"monitor": "val/f1", "mode": "max", "patience": 2}
    write_config(tmp_path / "stop.yaml", {"trainer": {"callbacks+": [stop]}})
    frozen = ["--model.learning_rate", "1e-12", "--trainer.max_epochs", "30"]  # F1 stays where it is
    run_main("fit", *fit_options, *frozen, "--config", "stop.yaml", "--run_dir", "run")
    assert len(results(tmp_path / "run")["epochs"]) == 3
    assert files_in(tmp_path / "run") == RUN_FILES


def test_fast_dev_run_tries_everything_and_leaves_nothing(
    run_main: RunMain, fit_options: list[str], tmp_path: Path
) -> None:
    outcome = run_main("fit", *fit_options, "--trainer.fast_dev_run", "true")
    assert "Entity type" in outcome.out
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("precision", ["bf16-true", "16-mixed"])
def test_half_precision_on_cpu(run_main: RunMain, fit_options: list[str], tmp_path: Path, precision: str) -> None:
    options = [*fit_options, "--trainer.max_epochs", "1", "--trainer.precision", precision]
    run_main("fit", *options, "--trainer.accelerator", "cpu", "--run_dir", "run")
    assert math.isfinite(results(tmp_path / "run")["epochs"][0]["val/loss"])
    state = checkpoint(tmp_path / "run", "best")["state_dict"]
    expected = torch.bfloat16 if precision == "bf16-true" else torch.float32
    assert state["model.classifier.weight"].dtype == expected
    run_main("test", "--run_dir", "run", "--ckpt_path", "best")


@pytest.mark.parametrize("steps", [5, 8, 12])
def test_a_training_that_ends_within_an_epoch_is_validated_and_saved(
    run_main: RunMain, fit_options: list[str], tmp_path: Path, steps: int
) -> None:
    run_main("fit", *fit_options, "--trainer.max_steps", steps, "--run_dir", "run")
    rows = results(tmp_path / "run")["epochs"]
    assert [row["step"] for row in rows] == {5: [5], 8: [8], 12: [8, 12]}[steps]
    assert files_in(tmp_path / "run") == (RUN_FILES if steps == 12 else SHORT_RUN_FILES)
    run_main("test", "--run_dir", "run", "--ckpt_path", "best")


def test_validation_within_an_epoch(run_main: RunMain, fit_options: list[str], tmp_path: Path) -> None:
    run_main("fit", *fit_options, "--trainer.max_epochs", 1, "--trainer.val_check_interval", 3, "--run_dir", "run")
    rows = results(tmp_path / "run")["epochs"]
    assert [(row["epoch"], row["step"]) for row in rows] == [(0.38, 3), (0.75, 6)]


@pytest.mark.parametrize(
    "options",
    [
        ("--trainer.limit_val_batches", "0"),  # no validation: there is no best checkpoint
        ("--trainer.enable_checkpointing", "false"),
        ("--trainer.check_val_every_n_epoch", "2"),
    ],
)
def test_proposes_only_commands_that_work(
    run_main: RunMain, fit_options: list[str], tmp_path: Path, options: tuple[str, str]
) -> None:
    outcome = run_main("fit", *fit_options, "--trainer.max_epochs", 1, *options, "--run_dir", "run")
    if options[0] == "--trainer.limit_val_batches":
        assert "F1 stayed" not in outcome.err, "F1 was never measured"
    for name in set(re.findall(r"--ckpt_path (\w+)", outcome.out)):
        assert (tmp_path / "run" / "checkpoints" / f"{name}.ckpt").is_file(), outcome.out


def test_grouped_batches_train_too(run_main: RunMain, fit_options: list[str], tmp_path: Path) -> None:
    run_main("fit", *fit_options, "--data.batching", "grouped", "--run_dir", "run")
    assert [row["step"] for row in results(tmp_path / "run")["epochs"]] == [8, 16]
