"""What is read from a command line before it is parsed, and what is left of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_files import write_config

from ner_module.arguments import complete_arguments
from ner_module.errors import RunError
from ner_module.options import read_ahead


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("NER_MODULE_RUN_DIR", "LOCAL_RANK", "SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.setenv(name, "")  # so that what is set below is removed again
        monkeypatch.delenv(name)


def test_what_is_read_ahead_keeps_its_values_and_leaves_the_rest_in_order() -> None:
    arguments = ["--model.revision", "a", "-c", "b.yaml", "--x=-1", "--data", "d.yaml", "--config=c.yaml", "--y", "-"]
    ahead, others = read_ahead(["--ckpt_path", "null", *arguments, "--run_dir=r"])
    assert {name: values for name, values in ahead.items() if values} == {
        "config": ["b.yaml", "c.yaml"],
        "data": ["d.yaml"],
        "run_dir": ["r"],
        "ckpt_path": ["null"],
    }
    assert others == ["--model.revision", "a", "--x=-1", "--y", "-"]


def test_null_withdraws_what_a_configuration_names() -> None:
    write_config(Path("a.yaml"), {"ckpt_path": "nowhere.ckpt"})
    with pytest.raises(RunError, match=r"no checkpoint nowhere\.ckpt"):
        complete_arguments(["fit", "-c", "a.yaml"])
    for nothing in ("null", ""):  # as of a shell variable that is not set
        assert complete_arguments(["fit", "-c", "a.yaml", "--ckpt_path", nothing, "--run_dir", "r"]).checkpoint is None


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
    assert (run.run_dir, run.checkpoint, run.starts_anew) == (Path("r"), None, True)
    with pytest.raises(RunError, match=r"no checkpoint r/checkpoints/best\.ckpt"):
        complete_arguments(["test", "--run_dir", "r", "--ckpt_path", "auto"])
