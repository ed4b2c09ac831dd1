"""The command line itself: help, configuration files and their precedence, exit codes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_files import files_in, learnt, results, write_config

RunMain = Callable[..., Any]
ROOT = Path(__file__).parents[2]

# DESIGN's command surface.
DATA = [
    "dataset_name",
    "dataset_config_name",
    "dataset_revision",
    "train_file",
    "validation_file",
    "test_file",
    "predict_file",
    "text_column_name",
    "label_column_name",
    "label_names",
    "source_scheme",
    "scheme",
    "outside_label",
    "max_seq_length",
    "stride",
    "label_all_tokens",
    "batch_size",
    "eval_batch_size",
    "batching",
    "num_workers",
]
MODEL = ["model_name_or_path", "revision", "learning_rate", "weight_decay", "warmup_ratio", "lr_scheduler_type"]
FILLED = ["--model.label_names", "--model.scheme", "--model.outside_label", "--data.seed", "--data.model_name_or_path"]


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_help_of_a_command(run_main: RunMain, tmp_path: Path, command: str) -> None:
    text = run_main(command, "--help").out
    for option in [*(f"--data.{name} " for name in DATA), *(f"--model.{name} " for name in MODEL)]:
        assert option in text
    for option in ("--config", "--run_dir", "--ckpt_path", "--seed_everything", "--trainer.max_epochs"):
        assert option in text
    assert ("--output" in text) == (command == "predict")
    for option in FILLED:
        assert f"{option} " not in text, "filled from elsewhere, never typed"
    assert f"python -m ner_module {command}" in text
    # Every option of ours is explained.
    for line in text.splitlines():
        if line.strip().startswith(("--data.", "--model.")):
            after = text[text.index(line) + len(line) :].splitlines()[1]
            assert after.startswith("    ") or "  " in line.strip(), line
    assert files_in(tmp_path) == set()


def test_help_without_a_command_names_all(run_main: RunMain) -> None:
    text = run_main("--help").out
    for command in ("fit", "validate", "test", "predict", "convert", "compare"):
        assert command in text


@pytest.mark.parametrize("tool", ["convert", "compare"])
def test_help_of_the_tools(run_main: RunMain, tool: str) -> None:
    assert "usage:" in run_main(tool, "--help").out


@pytest.mark.slow
def test_help_costs_less_than_a_second_on_top_of_importing_lightning(tmp_path: Path) -> None:
    """The two alternate, so that a busy machine slows both; the median of their differences counts."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def seconds(*arguments: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=tmp_path, env=environment, check=True, capture_output=True)
        return time.perf_counter() - start

    pairs = [
        (seconds("-m", "ner_module", "fit", "--help"), seconds("-c", "import lightning.pytorch")) for _ in range(5)
    ]
    scale = min(imported for _, imported in pairs)
    # Measured against the import itself, whose cost on a quiet machine is about three seconds.
    ratio = statistics.median(helped / imported for helped, imported in pairs)
    assert scale * (ratio - 1) < 1.0, pairs


# ---------------------------------------------------------------------- configuration files


def printed_config(run_main: RunMain, *arguments: object) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(run_main(*arguments, "--print_config").out)
    return loaded


def test_print_config_runs(run_main: RunMain, fit_options: list[str], tmp_path: Path) -> None:
    run_main("fit", *fit_options, "--run_dir", "one")
    text = run_main("fit", *fit_options, "--print_config").out
    (tmp_path / "printed.yaml").write_text(text, encoding="utf-8")
    run_main("fit", "--config", "printed.yaml", "--run_dir", "two")
    assert learnt(tmp_path / "one") == learnt(tmp_path / "two")
    # So does the configuration a run has saved.
    run_main("fit", "--config=one/config.yaml", "--run_dir=three")
    assert learnt(tmp_path / "three") == learnt(tmp_path / "one")
    saved = [yaml.safe_load((tmp_path / name / "config.yaml").read_text()) for name in ("one", "two", "three")]
    for config in saved:
        config["trainer"].pop("default_root_dir")
    assert saved[0] == saved[1] == saved[2]


def test_print_config_needs_and_leaves_nothing(run_main: RunMain, tmp_path: Path) -> None:
    config = printed_config(run_main, "fit", "--model.model_name_or_path", "nowhere", "--data.train_file", "nowhere")
    assert config["model"]["model_name_or_path"] == "nowhere"
    assert files_in(tmp_path) == set()
    assert not (tmp_path / "runs").exists()


def test_precedence(run_main: RunMain, tmp_path: Path) -> None:
    """Later configurations win over earlier ones, and the command line over those it stands behind."""
    write_config(tmp_path / "a.yaml", {"model": {"model_name_or_path": "a", "learning_rate": 1.0}})
    write_config(tmp_path / "b.yaml", {"model": {"model_name_or_path": "b"}})

    def model(*arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = printed_config(run_main, "fit", *arguments)["model"]
        return found

    assert model("--config", "a.yaml")["learning_rate"] == 1.0
    assert model("--config=a.yaml")["model_name_or_path"] == "a"
    assert model("-c", "a.yaml")["model_name_or_path"] == "a"
    both = model("--config", "a.yaml", "--config", "b.yaml")
    assert (both["model_name_or_path"], both["learning_rate"]) == ("b", 1.0)
    assert model("--config", "a.yaml", "--model.learning_rate", "2")["learning_rate"] == 2
    # As Lightning's: a flag before a configuration is overridden by it, so flags go last.
    assert model("--model.learning_rate", "2", "--config", "a.yaml")["learning_rate"] == 1.0


def test_lists_and_callbacks(run_main: RunMain, tmp_path: Path) -> None:
    """Lists are replaced; ``callbacks+`` appends."""
    base = {"model": {"model_name_or_path": "m"}, "data": {"train_file": ["a", "b"]}}
    monitor = {"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"}
    stop = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val/f1"}}
    write_config(tmp_path / "a.yaml", base | {"trainer": {"callbacks": [monitor]}})
    write_config(tmp_path / "b.yaml", {"data": {"train_file": ["c"]}, "trainer": {"callbacks+": [stop]}})
    config = printed_config(run_main, "fit", "--config", "a.yaml", "--config", "b.yaml")
    assert config["data"]["train_file"] == ["c"]
    assert [callback["class_path"].rpartition(".")[2] for callback in config["trainer"]["callbacks"]] == [
        "LearningRateMonitor",
        "EarlyStopping",
    ]


@pytest.mark.parametrize("name", ["NO", "1", "null"])
def test_type_names_that_yaml_takes_for_something_else(
    run_main: RunMain, fit_options: list[str], tmp_path: Path, name: str
) -> None:
    """Quoted in a configuration they are strings; in data files they are never anything else."""
    (tmp_path / "data.conll").write_text(f"Oslo B-{name}\nis O\n\n" * 20, encoding="utf-8")
    data = {"train_file": "data.conll", "label_names": ["O", f"B-{name}", f"I-{name}"]}
    config = write_config(tmp_path / "c.yaml", {"data": data, "trainer": {"max_epochs": 1}})
    run_main("fit", "--config", config, *fit_options[:2], "--run_dir", "run")
    assert f"val/f1/{name}" in results(tmp_path / "run")["epochs"][0]
    run_main("validate", "--run_dir", "run", "--ckpt_path", "best")


def test_linked_options_in_a_configuration_are_told_apart(run_main: RunMain, tmp_path: Path) -> None:
    """``data.seed`` follows ``seed_everything``: printed once, as what is typed."""
    config = printed_config(run_main, "fit", "--model.model_name_or_path", "m", "--seed_everything", "7")
    assert config["seed_everything"] == 7
    assert "seed" not in config["data"]
    assert "model_name_or_path" not in config["data"]


def test_exit_codes_and_streams_of_the_program(
    program: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """In a process of its own: nothing is printed around the error, and nothing of the libraries."""
    done = program("fit", "--model.model_name_or_path", "nowhere", "--data.train_file", "nowhere", check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    *before, error = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert all(line.startswith("run ") for line in before), done.stderr
    assert not list(tmp_path.iterdir())
