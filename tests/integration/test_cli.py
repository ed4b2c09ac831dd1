"""The command line itself: help, configuration files and their precedence, exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from run_files import files_in, learnt, results, write_config

from ner_module import __version__
from ner_module.__main__ import main
from ner_module.help import COMMANDS, CommandParser, class_options
from ner_module.offers import find_commands
from ner_module.options import build_parser
from ner_module.training.operating_points import POINT_OPTIONS

RunMain = Callable[..., Any]
ROOT = Path(__file__).parents[2]

# DESIGN's command surface.
DATA = (
    *("dataset_name", "dataset_config_name", "dataset_revision", "train_file", "validation_file", "test_file"),
    *("predict_file", "text_column_name", "label_column_name", "label_names", "source_scheme", "scheme"),
    *("outside_label", "max_seq_length", "stride", "label_all_tokens", "batch_size", "eval_batch_size", "batching"),
    "num_workers",
)
MODEL = ["model_name_or_path", "revision", "learning_rate", "weight_decay", "warmup_ratio", "lr_scheduler_type"]
FILLED = ["--model.label_names", "--model.scheme", "--model.outside_label", "--data.seed", "--data.model_name_or_path"]


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_full_help_of_a_command(run_main: RunMain, tmp_path: Path, command: str) -> None:
    text = run_main(command, "--help-all").out
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
    assert not re.search(r"``|:class:|Linked|Default: True", text), "markup of docstrings"
    assert files_in(tmp_path) == set()


def test_the_short_help_lists_options_of_the_parser(run_main: RunMain) -> None:
    """What is read from the source of the classes is what the parser knows, and the short help is part of it."""
    known = {action.dest for action in build_parser("fit")._actions}
    for section in ("model", "data"):
        links = {"data.model_name_or_path", "data.revision", "data.seed"}
        assert class_options(section).keys() == {name for name in known - links if name.startswith(f"{section}.")}
    for command in COMMANDS:
        options = re.findall(r"^  --(\S+)", run_main(command, "--help").out, re.MULTILINE)
        assert {"config", "run_dir", "ckpt_path"} < set(options)
        assert set(options) <= known | {"config", "output", "output_tags", *POINT_OPTIONS}
        assert ("output" in options) == (command == "predict")


@pytest.mark.slow
@pytest.mark.parametrize("command", [*COMMANDS, *find_commands(), ""])
def test_help_is_short_soon_there_and_imports_no_torch(tmp_path: Path, command: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "PYTHONPROFILEIMPORTTIME": "1"}
    arguments = [sys.executable, "-m", "ner_module", *([command, "--help"] if command else [])]
    seconds = []
    for _ in range(3):  # a busy machine
        start = time.perf_counter()
        done = subprocess.run(arguments, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
        seconds.append(time.perf_counter() - start)
    assert not re.search(r"\| +(torch|lightning|transformers)$", done.stderr, re.MULTILINE)
    assert done.stdout.count("\n") < 120
    wide = [line for line in done.stdout.splitlines() if len(line) > 80 and "ner_module" not in line]
    assert wide == [], "only a command may be wider than the terminal"
    assert min(seconds) < (2.0 if command else 1.0)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"]])
def test_without_a_command_all_are_named(run_main: RunMain, arguments: list[str]) -> None:
    text = run_main(*arguments).out
    for command in (*COMMANDS, *find_commands()):
        assert f"\n  {command} " in text


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["trian"], ["no command 'trian' (did you mean fit?)", "predict", "audit", "doctor"]),
        (["--run_dir", "x", "fit"], ["no command '--run_dir'", "the first argument is one of fit,"]),
        (["fit", "--data.train_file", "x"], ["no model is named: give --model.model_name_or_path NAME, or a --config"]),
        (["fit", "--config", "section.yaml"], ["section.yaml:1: there is no section 'models'; did you mean model?"]),
        (["fit", "--config", "option.yaml"], ["option.yaml:3: there is no option 'data.batchsize'; did"]),
        (["fit", "--data.label_names", "[O, NO]"], ["--data.label_names: Expected str", "NO and ON in quotes"]),
        (["fit", "--run_d", "x"], ["no option --run_d; did you mean --run_dir?"]),
        (["fit", "--ckpt", "last"], ["no option --ckpt; did you mean --ckpt_path?"]),
        (["fit", "--model.lr", "1"], ["no option --model.lr; did you mean --model.learning_rate"]),
        (["fit", "--config"], ["--config", "expected one argument"]),
        (["fit", "--model.model_name_or_path", "m", "--trainer.max_epochs", "x"], ["max_epochs:", "value: x"]),
        (["fit", "--model.model_name_or_path", "m", "--data.batch_size", "null"], ["batch_size: it cannot be null"]),
        (["fit", "--data.predict_fil", "x"], ["no option --data.predict_fil; did you mean --data.predict_file or"]),
        (["fit", "run/own.yaml"], ["'run/own.yaml' has no option before it: name one, such as --config"]),
        (["fit", "--config", "optoin.yaml"], ["optoin.yaml: there is no such file; did you mean option.yaml?"]),
        (["fit", "--config", "twice.yaml"], ["twice.yaml:2: 'model' is given twice"]),
        (["convert", "option.yaml", "section.yaml", "--over"], ["no option --over; did you mean --overwrite?"]),
        (["doctor", "--quik"], ["no option --quik; did you mean --quick?"]),
        (["report"], ["the following arguments are required: RUN"]),
        (["audit", "--config", "section.yaml"], ["section.yaml:1: there is no section 'models'; did you mean model?"]),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_is_misspelt_is_named_in_one_line(
    run_main: RunMain, tmp_path: Path, arguments: list[str], parts: list[str]
) -> None:
    (tmp_path / "section.yaml").write_text("models:\n  model_name_or_path: x\n", encoding="utf-8")
    (tmp_path / "option.yaml").write_text("model:\n  model_name_or_path: x\ndata: {batchsize: 1}\n", encoding="utf-8")
    (tmp_path / "twice.yaml").write_text("model: {model_name_or_path: x}\nmodel: {learning_rate: 1.0}\n", "utf-8")
    outcome = run_main(*arguments, check=False)
    tip, error = outcome.err.splitlines()[-2:]
    assert outcome.code == 2
    assert tip.startswith("tip: all options: ")
    assert tip.endswith(("--help", "--help-all"))
    assert error.startswith("error: ")
    for part in parts:
        assert part in error
    assert not (tmp_path / "runs").exists()


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
    assert saved[0] == saved[1] == saved[2]


def test_shipped_configurations_and_their_corpus_are_found_from_anywhere(run_main: RunMain, tmp_path: Path) -> None:
    overlay = ["--config", "configs/overlays/debug.yaml"]
    options = ["--config", "configs/quickstart.yaml", *overlay, "--model.model_name_or_path", "nowhere"]
    assert printed_config(run_main, "fit", *options)["data"]["batch_size"] == 16
    outcome = run_main("fit", *options, check=False)
    assert "sample/train.conll" not in outcome.errors()[0]
    assert "nowhere" in outcome.errors()[0]
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "quickstart.yaml").write_text("seed_everything: 7\n", encoding="utf-8")
    assert printed_config(run_main, "fit", *options)["seed_everything"] == 7, "a file that is there comes first"


@pytest.mark.parametrize("name", ["README.md", "report.html", "config.yaml"])
def test_a_run_replaces_no_file_of_somebody_else(
    run_main: RunMain, fit_options: list[str], tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("model: {}\n", encoding="utf-8")
    outcome = run_main("fit", *fit_options, "--run_dir", ".", check=False)
    assert outcome.errors() == [f"error: {name} is in the way, since a run writes one: choose another --run_dir"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_home_and_what_is_not_saved(
    run_main: RunMain, fit_options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No shell expands `--run_dir=~/x`, nor a YAML."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    options = ["--trainer.max_epochs", 1, "--trainer.enable_checkpointing", "false", "--trainer.default_root_dir", "x"]
    outcome = run_main("fit", *fit_options, "--run_dir=~/run", *options)
    assert outcome.out.endswith("run, without the model: --trainer.enable_checkpointing is false\n")
    assert "warning: --trainer.default_root_dir has no effect: --run_dir" in outcome.err
    assert (tmp_path / "home" / "run" / "results.json").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"home"}


def test_the_version(run_main: RunMain) -> None:
    assert run_main("--version").out == f"{__version__}\n"


def test_print_config_needs_and_leaves_nothing(run_main: RunMain, tmp_path: Path) -> None:
    config = printed_config(run_main, "fit", "--model.model_name_or_path", "nowhere", "--data.train_file", "nowhere")
    assert config["model"]["model_name_or_path"] == "nowhere"
    run_main("fit", "--trainer.logger.help", "lightning.pytorch.loggers.CSVLogger", check=False)
    assert list(tmp_path.iterdir()) == []


def test_precedence(run_main: RunMain, tmp_path: Path) -> None:
    """Later configurations win over earlier ones, and the command line over all, wherever it stands."""
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
    assert model("--model.learning_rate", "2", "--config", "a.yaml")["learning_rate"] == 2
    (tmp_path / "merged.yaml").write_text(
        "model: {<<: {learning_rate: 4.0}, model_name_or_path: m}\n", encoding="utf-8"
    )
    assert model("--config", "merged.yaml")["learning_rate"] == 4
    write_config(tmp_path / "m.yaml", {"model_name_or_path": "m", "learning_rate": 3.0})
    both = model("--model.learning_rate", "2", "--model", "m.yaml", "--config", "a.yaml")
    assert (both["model_name_or_path"], both["learning_rate"]) == ("m", 2)


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


def test_paths_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    parser = CommandParser("report", "")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(["~/a", "b", "--output=~/x"])
    assert (given.runs, given.output) == ([tmp_path / "a", Path("b")], tmp_path / "x")


@pytest.mark.parametrize("option", ["run_dir", "output", "data: {predict_file", "ckpt_path"])
def test_a_path_with_a_zero_byte(option: str, run_main: RunMain, trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f'{option}: "a\\0b"' + "}" * option.count("{"))
    checkpoint = ["--ckpt_path", trained_run / "checkpoints" / "best.ckpt"] if option != "ckpt_path" else []
    (tmp_path / "in.txt").write_text("Ada")
    files = ["--data.predict_file", "in.txt"] if "file" not in option else []
    configs = ["--config", trained_run / "config.yaml", "--config", "c.yaml"]
    outcome = run_main("predict", *configs, *checkpoint, *files, check=False)
    assert outcome.code == 1, outcome.err
    assert len(outcome.errors()) == 1
    assert "Traceback" not in outcome.err


def test_streams_that_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)  # as Python has it there
    assert main(["fitt"]) == 2
    assert sys.stdin.read() == ""
    assert not sys.stdout.isatty()


def test_exit_codes_and_streams_of_the_program(
    program: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """In a process of its own; that libraries add nothing to a command that runs is seen in `test_safety.py`."""
    done = program("fitt", check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    tip, error = done.stderr.splitlines()
    assert tip.startswith("tip: ")
    assert error.startswith("error: ")
    assert not list(tmp_path.iterdir())
