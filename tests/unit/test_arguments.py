"""What is read from a command line before it is parsed, and what is left of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_files import write_config

from ner_module.arguments import complete_arguments
from ner_module.errors import RunError


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("NER_MODULE_RUN_DIR", "LOCAL_RANK", "SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.setenv(name, "")  # so that what is set below is removed again
        monkeypatch.delenv(name)


def test_arguments_keep_their_order() -> None:
    """An option before a configuration is overridden by it, so neither may move."""
    arguments = ["fit", "--model.revision", "a", "-c", "b.yaml", "--x=-1", "--config=c.yaml", "--run_dir=r", "--y", "-"]
    run = complete_arguments([*arguments[:3], "--ckpt_path", "null", *arguments[3:]])
    assert run.arguments == arguments
    assert run.run_dir == Path("r")
    assert run.checkpoint is None


@pytest.mark.parametrize("option", [["-c", "recipes/tiny.yaml"], ["--config=recipes/tiny.yaml", "--config", "b.yaml"]])
def test_the_first_configuration_names_the_run(option: list[str]) -> None:
    run = complete_arguments(["fit", *option])
    assert run.run_dir is not None
    assert run.run_dir.parent == Path("runs/tiny")


def test_the_command_line_wins_over_configurations_and_the_last_value_counts(tmp_path: Path) -> None:
    for name in "ab":
        write_config(tmp_path / f"{name}.yaml", {"run_dir": name})
    configs = ["--config", "a.yaml", "--config", "b.yaml", "--config", "missing.yaml"]
    assert complete_arguments(["fit", *configs]).run_dir == Path("b")
    assert complete_arguments(["fit", "--run_dir", "c", "--run_dir=d", *configs]).run_dir == Path("d")


def test_auto_starts_anew_where_there_is_nothing_to_resume() -> None:
    run = complete_arguments(["fit", "--run_dir", "r", "--ckpt_path", "auto"])
    assert (run.arguments, run.run_dir, run.checkpoint) == (["fit", "--run_dir", "r"], Path("r"), None)
    with pytest.raises(RunError, match="`test` needs a trained model"):
        complete_arguments(["test", "--run_dir", "r", "--ckpt_path", "auto"])


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], ["fit", "--print_config"], ["fit", "--run_dir"]])
def test_nothing_is_created_for_what_does_not_run(arguments: list[str], tmp_path: Path) -> None:
    """Help, a configuration to print, and a missing value, which the full parser reports."""
    run = complete_arguments(arguments)
    assert (run.arguments, run.run_dir, run.checkpoint) == (arguments, None, None)
    assert list(tmp_path.iterdir()) == []
