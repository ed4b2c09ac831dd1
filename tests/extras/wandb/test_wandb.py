"""Weights & Biases, offline: what a run stored is read back with W&B's own reader, record by record."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from run_files import RUN_FILES, SHORT_RUN_FILES, csv_rows, files_in, results, write_config

pytestmark = pytest.mark.slow  # its service takes seconds to start

RunMain = Callable[..., Any]


def end_run() -> None:
    wandb.finish()
    wandb.teardown()


@pytest.fixture(autouse=True)
def no_run_of_another_test(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process of its own ends its run when it exits; here that is done by hand, environment included."""
    home = tmp_path_factory.mktemp("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(home / name.lower()))
    end_run()
    yield
    end_run()


@pytest.fixture
def logger(tmp_path: Path) -> Path:
    chosen = {"class_path": "lightning.pytorch.loggers.WandbLogger", "init_args": {"project": "ner"}}
    return write_config(tmp_path / "logger.yaml", {"trainer": {"logger": chosen}})


@pytest.fixture
def fit(run_main: RunMain, logger: Path, fit_options: list[str]) -> Callable[..., Any]:
    def run(*options: object) -> Any:
        common = ("--trainer.log_every_n_steps", 2, "--data.batch_size", 8)
        outcome = run_main("fit", "--config", logger, *fit_options, *common, *options)
        end_run()
        return outcome

    return run


def stored(run: Path) -> list[dict[str, list[dict[str, Any]]]]:
    """For each offline folder of a run directory, in order of time, its records by type."""
    found = []
    for folder in sorted((run / "wandb").glob("offline-run-*")):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        records: dict[str, list[dict[str, Any]]] = {}
        for line in done.stdout.splitlines():
            record = json.loads(line)
            records.setdefault(record["type"], []).append(record[record["type"]])
        found.append(records)
    return found


def summary_of(records: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for record in records["summary"]:
        merged |= record["update"]
    return merged


def table(run: Path, key: str) -> list[dict[str, Any]]:
    """The rows of the newest table of that name."""
    *_, path = sorted((run / "wandb").glob(f"offline-run-*/files/media/table/{key}_*.table.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]


def test_everything_of_a_training_is_stored(fit: Callable[..., Any], tmp_path: Path) -> None:
    fit("--run_dir", "group/run", "--seed_everything", 7, "--trainer.logger.log_model", "true")
    run = tmp_path / "group" / "run"
    files = files_in(run)
    assert files >= RUN_FILES
    assert all(file in RUN_FILES | {"wandb_id"} or file.startswith("wandb/") for file in files)
    assert not (tmp_path / "wandb").exists()
    (records,) = stored(run)

    about = records["run"][0]
    assert (about["display_name"], about["run_group"], about["tags"]) == ("logger/run", "logger", ["seed-7"]), (
        "of the first configuration"
    )
    assert about["run_id"] == (run / "wandb_id").read_text().strip()

    # Every value of metrics.csv, at its step.
    logged: dict[tuple[str, int], float] = {}
    for record in records["history"]:
        item = record["item"]
        logged |= {(name, item.get("trainer/global_step")): value for name, value in item.items()}
    rows = csv_rows(run)
    compared = 0
    for row in rows:
        for name, cell in row.items():
            if cell and name not in ("step", "epoch"):
                assert logged[name, int(row["step"])] == pytest.approx(float(cell)), (name, row["step"])
                compared += 1
    assert compared > 50
    assert "train/grad_norm" in rows[0]

    axes = {record.get("name") or record.get("glob_name"): record for record in records["metric"]}
    assert axes["train/*"]["step_metric"] == axes["lr"]["step_metric"] == "trainer/global_step"
    assert axes["val/*"]["step_metric"] == "epoch"

    found = results(run)
    best = max(found["epochs"], key=lambda row: row["val/f1"])
    summary = summary_of(records)
    for name, value in best.items():
        if name.startswith("val/"):
            assert summary[name] == pytest.approx(value, abs=1e-5), "the best epoch's, not the last one's"
    assert summary["best/step"] == best["step"]

    config: dict[str, Any] = {}
    for record in records["config"]:
        config |= record["update"]
    assert config["model"]["learning_rate"] == 3e-3
    assert config["data_fingerprints"]["train"]["sha256"] == found["environment"]["data"]["train"]["sha256"]
    assert set(config["code"]) == {"commit", "dirty"}

    assert summary["health"] == [finding["code"] for finding in found["health"]]

    findings = json.loads((run / "audit.json").read_text(encoding="utf-8"))["findings"]
    assert findings
    severities = [finding["severity"] for finding in findings]
    assert summary["audit"] == {name: severities.count(name) for name in ("error", "warning", "info")}

    (model,) = [record for record in records["artifact"] if record["type"] == "model"]
    assert set(model["aliases"]) == {"best", "latest"}
    assert {entry["path"] for entry in model["manifest"]["contents"]} == {"best.ckpt", "config.yaml"}
    size = next(entry["size"] for entry in model["manifest"]["contents"] if entry["path"] == "best.ckpt")
    assert int(size) < 0.6 * (run / "checkpoints" / "best.ckpt").stat().st_size, "without the optimiser's state"


def test_resumed_and_tested_it_stays_one_run(fit: Callable[..., Any], run_main: RunMain, tmp_path: Path) -> None:
    fit("--trainer.max_epochs", 1, "--run_dir", "run")
    run_main("fit", "--run_dir", "run", "--ckpt_path", "last", "--trainer.max_epochs", 2)
    end_run()
    run_main("test", "--run_dir", "run", "--ckpt_path", "best")
    end_run()
    before = files_in(tmp_path)
    run_main("predict", "--run_dir", "run", "--ckpt_path", "best", "--data.predict_file", "-", stdin=b"Anna\n")
    assert files_in(tmp_path) == before, "predict logs nothing"
    run = tmp_path / "run"
    parts = stored(run)
    artifacts = [artifact for part in parts for artifact in part.get("artifact", [])]
    assert all(artifact["type"] == "run_table" for artifact in artifacts), "log_model asks for no model"
    assert len(parts) == 3
    assert {part["run"][0]["run_id"] for part in parts} == {(run / "wandb_id").read_text().strip()}
    steps = [
        record["item"]["trainer/global_step"]
        for part in parts[:2]
        for record in part["history"]
        if "lr" in record["item"]
    ]
    assert steps == sorted(steps) == [int(row["step"]) for row in csv_rows(run) if row["lr"]]

    scores = results(run)["test"]
    summary = summary_of(parts[2])
    for name, value in scores.items():
        assert summary[name] == pytest.approx(value, abs=1e-5), name
    errors = [json.loads(line) for line in (run / "predictions" / "test_errors.jsonl").open(encoding="utf-8")]
    rows = table(run, "test/errors")
    assert [(row["sentence"], row["error"]) for row in rows] == [(e["sentence"], e["error"]) for e in errors][:500]
    confusion = table(run, "test/confusion")
    gold = sum(row["count"] for row in confusion if row["gold"] != "no entity")
    assert gold == sum(value for name, value in scores.items() if name.startswith("test/support/"))


def test_another_training_from_the_saved_configuration_is_another_run(
    fit: Callable[..., Any], run_main: RunMain, tmp_path: Path
) -> None:
    fit("--trainer.max_epochs", 1, "--run_dir", "first")
    saved = yaml.safe_load((tmp_path / "first" / "config.yaml").read_text())["trainer"]["logger"]["init_args"]
    assert (saved["id"], saved["name"], saved["save_dir"]) == (None, None, ".")
    run_main("fit", "--config", "first/config.yaml", "--run_dir", "second")
    end_run()
    first, second = ((tmp_path / name / "wandb_id").read_text() for name in ("first", "second"))
    assert first != second
    assert len(stored(tmp_path / "second")) == 1


def test_without_wandb_nothing_of_it_is_left(run_main: RunMain, fit_options: list[str], tmp_path: Path) -> None:
    run_main("fit", *fit_options, "--trainer.max_epochs", 1, "--run_dir", "run")
    assert files_in(tmp_path / "run") == SHORT_RUN_FILES
