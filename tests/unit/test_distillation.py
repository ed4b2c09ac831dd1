"""``--model.distillation``: what the base model says of the words that a file leaves open."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ner_module import NERTagger
from ner_module.inference.tagger import unpack_run
from ner_module.model.distillation import Teacher
from ner_module.model.loss import sum_of_losses
from ner_module.pretrained import UNPACKED
from ner_module.tagging import IGNORE_INDEX, LabelSet

RunMain = Callable[..., Any]


def test_the_loss_is_the_cross_entropy_with_what_the_teacher_says() -> None:
    """Labels O, B-OLD, I-OLD, B-NEW, B-OTHER; the teacher knows the first three, the file annotates NEW alone."""
    torch.manual_seed(0)
    logits, teacher = torch.randn(4, 5, requires_grad=True), torch.randn(4, 5)
    teacher[:, 3:] = -torch.inf
    labels = torch.tensor([0, 3, IGNORE_INDEX, 0])
    open_labels = torch.zeros(4, 5, dtype=torch.bool)
    open_labels[0, [1, 2, 4]] = open_labels[2, 1] = True  # the last row is of a file that annotates all types
    loss = sum_of_losses(logits, {"labels": labels, "open_labels": open_labels, "teacher": teacher})
    loss.backward()

    shares = [[math.exp(value) for value in row] for row in logits.tolist()]
    taught = [math.exp(value) for value in teacher[0, :3].tolist()]
    row, total = shares[0], math.fsum(shares[0])
    of_labels = [row[0] + row[4], row[1], row[2]]  # the teacher's O stands for the type that nobody knows here, too
    expected = -math.fsum(t / math.fsum(taught) * math.log(s / total) for t, s in zip(taught, of_labels, strict=True))
    expected -= math.log(shares[1][3] / math.fsum(shares[1])) + math.log(shares[3][0] / math.fsum(shares[3]))
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
    assert logits.grad[2].abs().max() == 0


@pytest.mark.parametrize("packed", [True, False])
def test_the_teacher_is_the_base_model(packed: bool, trained_run: Path) -> None:
    unpack_run(str(trained_run))
    tagger = NERTagger.load(trained_run)
    own = [*tagger.labels.names]
    labels = LabelSet((own[0], "B-NEW", "I-NEW", *own[1:]), "iob2")
    torch.manual_seed(0)
    options = {"model_name_or_path": str(trained_run), "revision": None}
    input_ids, lengths = torch.randint(5, 50, (12,)), [7, 5]
    given = Teacher(options, labels, packed, torch.device("cpu"))(input_ids, lengths)
    assert bool((given[:, 1:3] == -torch.inf).all())
    with torch.no_grad():
        model = tagger.module.model.eval()
        alone = [model(input_ids=part[None]).logits[0] for part in input_ids.split(lengths)]
    torch.testing.assert_close(given[:, [0, *range(3, len(labels.names))]], torch.cat(alone), atol=1e-5, rtol=1e-4)


TYPES = {"new.conll": ["AND"], "train.conll": ["LOC", "MISC", "ORG", "PER"]}


@pytest.fixture
def new_type(corpus: Path, trained_run: Path, tmp_path: Path) -> list[str]:
    """Options of a training that adds a type to the trained run, from sentences where nothing else is annotated."""
    text = (corpus / "train.conll").read_text(encoding="utf-8")
    lines = [line.rpartition(" ") if line else None for line in text.split("\n")]
    rows = ["" if line is None else f"{line[0]} {'B-AND' if line[0] == 'and' else 'O'}" for line in lines]
    (tmp_path / "new.conll").write_text("\n".join(rows), encoding="utf-8")
    options = ["--model.model_name_or_path", trained_run, "--data.annotated_types", json.dumps(TYPES)]
    options += ["--data.train_file", tmp_path / "new.conll", "--data.validation_file", corpus / "train.conll"]
    return [*map(str, options), "--data.test_file", "null", "--trainer.max_epochs", "4"]


def test_what_the_base_model_knows_is_kept_and_a_run_resumes(
    new_type: list[str], fit_options: list[str], run_main: RunMain, tmp_path: Path
) -> None:
    old_f1 = {}
    for name in ("false", "true"):
        options = ["--model.distillation", name, "--run_dir", name, "--model.learning_rate", 5e-3]
        run_main("fit", *fit_options, *new_type, *options)
        old_f1[name] = json.loads((tmp_path / name / "results.json").read_text())["epochs"][-1]["val/f1"]
    assert old_f1["true"] > old_f1["false"] + 0.02

    def read(run: str, name: str = "last") -> dict[str, Any]:
        checkpoint: dict[str, Any] = torch.load(tmp_path / run / "checkpoints" / f"{name}.ckpt", weights_only=True)
        return checkpoint

    whole, previous = read("true"), read("true", "previous")
    assert whole["state_dict"].keys() == read("false")["state_dict"].keys(), "the teacher is no part of the model"
    assert previous["global_step"] < whole["global_step"]
    UNPACKED.clear()  # as in a new process
    shutil.copytree(tmp_path / "true", tmp_path / "again")
    (tmp_path / "again" / "checkpoints" / "last.ckpt").unlink()
    run_main("fit", "--run_dir", "again", "--ckpt_path", "last")
    for name, weight in read("again")["state_dict"].items():
        assert torch.equal(weight, whole["state_dict"][name]), name


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data.annotated_types", "null"], "--model.distillation needs --data.annotated_types"),
        (["--model.crf", "true"], "--model.crf true needs --model.decoding viterbi, and no distillation"),
        (["--model.model_name_or_path", None], "--model.distillation needs a base model that has the label O: name"),
    ],
)
def test_what_is_refused(
    options: list[Any], said: str, new_type: list[str], fit_options: list[str], run_main: RunMain
) -> None:
    options = [fit_options[1] if option is None else option for option in options]
    given = [*fit_options, *new_type, "--model.distillation", "true", *options, "--run_dir", "run"]
    [line] = run_main("fit", *given, check=False).errors()
    assert said in line


def test_labels_that_the_data_lack_are_named(
    new_type: list[str], fit_options: list[str], run_main: RunMain, tmp_path: Path
) -> None:
    given = [*fit_options, *new_type, "--data.validation_file", str(tmp_path / "new.conll"), "--model.distillation"]
    given += ["true", "--data.annotated_types", '["AND"]', "--run_dir", "run"]
    [line] = run_main("fit", *given, check=False).errors()
    lost = line.partition("the data have no ")[2].partition(", which the base model knows")[0].split(", ")
    assert {label for label in lost if label.startswith("B-")} == {"B-LOC", "B-MISC", "B-ORG", "B-PER"}
    option = line.rpartition("give --data.label_names '")[2].rstrip("'")
    run_main("fit", *given, "--data.label_names", option, "--trainer.max_epochs", 1)
    assert "B-LOC" in NERTagger.load(tmp_path / "run").labels.names
