"""What a command writes over, and what it says of broken models and of text that would control a terminal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_files import results

from ner_module import NERTagger
from ner_module.offers import find_offers

RunMain = Callable[..., Any]
TEXT = "Ada went to Rome.\n"


def with_extra(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(name not in find_offers(), reason=f"needs the extra {name}")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def run(trained_run: Path, corpus: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained_run, tmp_path / "run")
    (tmp_path / "in.txt").write_text(TEXT)
    (tmp_path / "data.conll").write_bytes((corpus / "test.conll").read_bytes())
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("thesis")
    (tmp_path / "notes.json").write_text('{"mine": 1}')
    (tmp_path / "link").symlink_to("notes.json")
    (tmp_path / "hard").hardlink_to(tmp_path / "in.txt")
    return tmp_path / "run"


EXPORT = ("export", "--run_dir", "run", "--data", "data.conll", "--overwrite", "--output")
AUDIT = ("audit", "--data.train_file", "data.conll", "--output")
PREDICT = ("predict", "--run_dir", "run", "--ckpt_path", "best", "--data.predict_file", "in.txt", "--output")
REPORT = ("report", "run", "--output")
CONVERT = ("convert", "--overwrite", "--to", "jsonl", "data.conll")


@pytest.mark.parametrize(
    ("command", "output"),
    [
        *(
            pytest.param(EXPORT, output, marks=with_extra("export"))
            for output in ("precious", "run", ".", "notes.json")
        ),
        *(
            pytest.param(AUDIT, output, marks=with_extra("audit"))
            for output in ("data.conll", "notes.json", "precious")
        ),
        *(pytest.param(REPORT, output, marks=with_extra("report")) for output in ("data.conll", "notes.json", "link")),
        *(pytest.param(CONVERT, output, marks=with_extra("convert")) for output in ("data.conll", "precious", "link")),
        *(
            (PREDICT, output)
            for output in ("in.txt", "notes.json", "link", "hard", "run/checkpoints/best.ckpt", "/dev/zero")
        ),
        *((PREDICT, output) for output in ["/proc/self/mem"] if Path(output).exists()),
    ],
)
def test_what_others_wrote_is_never_replaced(
    command: tuple[str, ...], output: str, run: Path, run_main: RunMain, tmp_path: Path
) -> None:
    before = tree(tmp_path)
    outcome = run_main(*command, output, check=False)
    assert outcome.code == 1
    assert len(outcome.errors()) == 1, outcome.err
    assert outcome.errors()[0].startswith(f"error: {output}")
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("command", "output"),
    [
        pytest.param(EXPORT, "exported", marks=with_extra("export")),
        pytest.param(AUDIT, "audit.json", marks=with_extra("audit")),
        pytest.param(REPORT, "page.html", marks=with_extra("report")),
        pytest.param(CONVERT, "data.jsonl", marks=with_extra("convert")),
        (PREDICT, "found.jsonl"),
    ],
)
def test_what_the_command_itself_wrote_is_replaced(
    command: tuple[str, ...], output: str, run: Path, run_main: RunMain, tmp_path: Path
) -> None:
    for _ in range(2):
        run_main(*command, output)
    if (tmp_path / output).is_dir():
        (tmp_path / output / "my-notes.txt").write_text("mine")
        assert run_main(*command, output, check=False).code == 1
        assert (tmp_path / output / "my-notes.txt").read_text() == "mine"


@pytest.fixture
def broken(run: Path, tmp_path: Path) -> Path:
    path = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    for name, tensor in checkpoint["state_dict"].items():
        if "classifier" in name:
            tensor.fill_(float("nan"))
    torch.save(checkpoint, path)
    return path


def test_a_model_with_nan_is_named(broken: Path, run_main: RunMain, tmp_path: Path, caplog: Any) -> None:
    message = "best.ckpt holds non-finite weights (model.classifier.weight): its predictions are meaningless"
    outcome = run_main(*PREDICT[:-1])
    assert message in outcome.err
    assert json.loads(outcome.out)["entities"] == []
    outcome = run_main("test", "--run_dir", "run", "--ckpt_path", "best")
    assert message in outcome.err
    assert "the loss on this data is not a finite number" in outcome.err

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    for path in (*(tmp_path / "run").glob("*.json"), tmp_path / "run" / "predictions" / "test.jsonl"):
        for line in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            json.loads(line, parse_constant=refuse)
    assert results(tmp_path / "run")["test"]["test/loss"] is None
    NERTagger.load(broken)


@with_extra("export")
def test_a_model_with_nan_is_not_exported(broken: Path, run_main: RunMain, tmp_path: Path) -> None:
    outcome = run_main(*EXPORT, "exported", check=False)
    assert outcome.code == 1
    assert "best.ckpt holds non-finite weights (model.classifier.weight)" in outcome.errors()[0]
    assert not (tmp_path / "exported").exists()


@pytest.mark.report
@pytest.mark.parametrize("name", ["[/PER]", ":smile:"])
def test_labels_and_paths_are_not_markup(
    name: str, run_main: RunMain, fit_options: list[str], corpus: Path, tmp_path: Path
) -> None:
    text = (corpus / "train.conll").read_text().replace("-PER", f"-{name}")
    (tmp_path / "data.conll").write_text(text)
    data = [f"--data.{split}_file={tmp_path / 'data.conll'}" for split in ("train", "validation", "test")]
    outcome = run_main("fit", *fit_options, *data, "--run_dir", "exp[v2]", "--trainer.max_epochs", "1")
    assert f"\n{name} " in outcome.out
    assert "--run_dir 'exp[v2]'" in outcome.out
    outcome = run_main("test", "--run_dir", "exp[v2]", "--ckpt_path", "best")
    assert "exp[v2]" in outcome.out


def test_what_controls_a_terminal_is_shown_as_text(
    run_main: RunMain, fit_options: list[str], corpus: Path, tmp_path: Path
) -> None:
    evil = "\x1b[2J\x9b31m\u202e"
    path = tmp_path / f"a{evil}b.conll"
    path.write_text((corpus / "train.conll").read_text() + f"\nEsc{evil} I-PER\nEsc O\n")
    options = [*fit_options, f"--data.train_file={path}", f"--run_dir=r{evil}", "--trainer.max_epochs", "1"]
    outcome = run_main("fit", *options)
    assert not {*evil} & {*(outcome.out + outcome.err)} - {*"[2J31m"}
    assert "\\x1b[2J\\x9b31m\\u202e" in outcome.out
    outcome = run_main("fit", *options, check=False)  # the directory is taken
    assert not {*evil} & {*outcome.err} - {*"[2J31m"}


def test_a_checkpoint_that_lightning_cannot_restore_is_one_line(run: Path, run_main: RunMain) -> None:
    path = run / "checkpoints" / "last.ckpt"
    unfit, unlike = "the checkpoint does not fit this training, or was damaged", "is not a checkpoint that `fit` wrote"
    for key, said in (("loops", unfit), ("optimizer_states", unfit), ("lr_schedulers", unlike)):
        checkpoint = torch.load(path, weights_only=True)
        good, checkpoint[key] = checkpoint[key], [{"nonsense": 1}]
        torch.save(checkpoint, path)
        outcome = run_main("fit", "--run_dir", "run", "--ckpt_path", "last", "--trainer.max_epochs", "21", check=False)
        assert outcome.code == 1
        assert len(outcome.errors()) == 1, outcome.err
        assert said in outcome.errors()[0]
        torch.save(checkpoint | {key: good}, path)


def test_predictions_do_not_control_a_terminal(run: Path, run_main: RunMain, tmp_path: Path) -> None:
    text = "Ada\x1b[2J \x9b31m went\x7f to Rome \u202e."
    (tmp_path / "in.txt").write_text(f"{text}\n", encoding="utf-8")
    outcome = run_main(*PREDICT[:-1])
    assert not {"\x1b", "\x9b", "\x7f"} & {*outcome.out}
    assert json.loads(outcome.out)["text"] == text
