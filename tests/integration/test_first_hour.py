"""What a newcomer runs into: options and callbacks that cannot do what they say, and a training that ends early."""

from __future__ import annotations

import json
import logging
import re
import shutil
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Timer
from run_files import checkpoint, conll_sentences, results, write_config

from ner_module import NERDataModule, NERModule
from ner_module.data.preparation import sequence_limits
from ner_module.errors import PretrainedError, RunError
from ner_module.inference.model_folder import save_model_folder
from ner_module.inference.tagger import NERTagger
from ner_module.pretrained import load_config
from ner_module.training.checkpoints import read_checkpoint

RunMain = Callable[..., Any]
DOCS = Path(__file__).parents[2] / "docs" / "extending.md"
CALLBACKS = "lightning.pytorch.callbacks."

FREEZING = """
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import BaseFinetuning


class Fine(BaseFinetuning):
    def freeze_before_training(self, pl_module):
        self.freeze(pl_module.model.base_model)

    def finetune_function(self, pl_module, epoch, optimizer):
        pass


class Broken(Callback):
    def on_train_start(self, trainer, pl_module):
        pl_module.trunk.eval()


class BrokenAtOnce(Callback):
    def __init__(self):
        raise KeyError("oh")
"""


@pytest.fixture
def fit(run_main: RunMain, fit_options: list[str], tmp_path: Path) -> RunMain:
    """``fit("run", options…)`` of two epochs of eight steps; with a mapping, that configuration comes first."""

    def run(run_dir: str, *options: object, config: dict[str, Any] | None = None, check: bool = True) -> Any:
        named = [] if config is None else ["--config", write_config(tmp_path / "named.yaml", config)]
        return run_main("fit", *named, *fit_options, "--run_dir", run_dir, *options, check=check)

    return run


def with_callback(name: str, **arguments: Any) -> dict[str, Any]:
    return {"trainer": {"callbacks+": {"class_path": name, "init_args": arguments}}}


def steps(run: Path) -> list[float]:
    return [row["step"] for row in results(run)["epochs"]]


# ---------------------------------------------------------------------- refused before training


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--data.validation_file", "null", "--trainer.limit_val_batches", 0], "--trainer.limit_val_batches"),
        (["--data.validation_file", "null", "--data.validation_fraction", 0], "--data.validation_fraction"),
        (["--data.dataset_name", "hub", "--data.validation_fraction", 0], "--data.validation_fraction"),
        (["--trainer.check_val_every_n_epoch", 3], "--trainer.check_val_every_n_epoch"),
        (["--data.label_map", "{PER: O}"], "the types are LOC, MISC, ORG"),
    ],
    ids=["no batch", "no sentence", "a dataset without the split", "a training that ends before", "no such type"],
)
def test_no_validations_are_watched(fit: RunMain, corpus: Path, tmp_path: Path, options: list[Any], named: str) -> None:
    if "hub" in options:
        (tmp_path / "hub").mkdir()
        rows = [{"tokens": tokens, "ner_tags": tags} for tokens, tags in conll_sentences(corpus / "train.conll")]
        (tmp_path / "hub" / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        options += [part for split in ("train", "validation", "test") for part in (f"--data.{split}_file", "null")]
    stop = with_callback(f"{CALLBACKS}EarlyStopping", monitor="val/f1/PER", mode="max")
    outcome = fit("run", *options, config=stop, check=False)
    [error] = outcome.errors()
    assert re.search(r"monitors val/f1/PER, (and nothing is validated|but the data have no such entity)", error)
    assert named in error
    assert not (tmp_path / "run").exists()
    assert "Epoch" not in outcome.out


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--trainer.max_steps", "0"], ["--trainer.max_steps: it is 0"]),
        (["--trainer.strategy", "ddp_spawn", "--trainer.devices", "2"], ["ddp_spawn", "give ddp", "torchrun"]),
        ({"StochasticWeightAveraging": {"swa_lrs": 1e-5}}, ["StochasticWeightAveraging", "WeightAveraging or EMA"]),
        ({"Timer": {"duration": "00:00:10:00"}}, ["Timer", "--trainer.max_time"]),
        ({"EarlyStopping": {"monitor": "val/f1", "mode": "maximum"}}, ["EarlyStopping", "min, max, got maximum"]),
        ({"ModelCheckpoint": {"every_n_epochs": 1, "every_n_train_steps": 1}}, ["ModelCheckpoint", "exclusive"]),
        ({"LearningRateMonitor": {"logging_interval": "hour"}}, ["LearningRateMonitor", "logging_interval"]),
        ({"DeviceStatsMonitor": {"cpu_stats": "x"}}, ["callbacks", "cpu_stats"]),
        ({"RichProgressBar": {"theme": "unknown"}}, ["callbacks", "theme"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, (list, dict)) else None,
)  # fmt: skip
def test_what_would_do_nothing_or_fail_late_is_refused_by_name(
    fit: RunMain, tmp_path: Path, options: list[str] | dict[str, Any], parts: list[str]
) -> None:
    config = None
    if isinstance(options, dict):
        [(name, arguments)] = options.items()
        config, options = with_callback(CALLBACKS + name, **arguments), []
    outcome = fit("run", *options, config=config, check=False)
    assert outcome.code in (1, 2)
    assert "Traceback" not in outcome.err
    [error] = outcome.errors()
    assert outcome.err.endswith(f"{error}\n")
    for part in parts:
        assert part in error
    assert not (tmp_path / "run").exists()


def test_errors_of_own_callbacks_name_their_line(fit: RunMain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "own_callbacks", raising=False)
    (tmp_path / "own_callbacks.py").write_text(FREEZING, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for name, said in (("Broken", "AttributeError: 'NERModule' object has no"), ("BrokenAtOnce", "KeyError: 'oh'")):
        outcome = fit(name, config=with_callback(f"own_callbacks.{name}"), check=False)
        line = 1 + next(n for n, line in enumerate(FREEZING.splitlines()) if line.strip().startswith(
            "pl_module.trunk" if name == "Broken" else "raise"))  # fmt: skip
        assert outcome.code == 1
        assert outcome.errors()[0].startswith(f"error: {name} ({tmp_path}/own_callbacks.py:{line}): {said}")
        assert "Traceback" not in outcome.err


def test_a_missing_package_of_a_logger_is_one_line(fit: RunMain, tmp_path: Path) -> None:
    logger = {"class_path": "lightning.pytorch.loggers.CometLogger"}
    outcome = fit("run", config={"trainer": {"logger": logger}}, check=False)
    assert outcome.code == 1
    assert "CometLogger" in outcome.errors()[0]
    assert "comet" in outcome.errors()[0]
    assert "Traceback" not in outcome.err


# ---------------------------------------------------------------------- callbacks that work


@pytest.mark.parametrize("name", ["freezing.FreezeEncoder", pytest.param("own_callbacks.Fine", marks=pytest.mark.slow)])
def test_what_is_frozen_in_setup_does_not_move(
    fit: RunMain, tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from transformers import AutoModel

    monkeypatch.delitem(sys.modules, "own_callbacks", raising=False)
    (tmp_path / "own_callbacks.py").write_text(FREEZING, encoding="utf-8")
    [code] = re.findall(r"```python\n(# freezing.py\n.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "freezing.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    fit("run", config=with_callback(name))
    trained = checkpoint(tmp_path / "run", "last")["state_dict"]
    base = AutoModel.from_pretrained(tiny_model()).state_dict()
    common = [key for key in base if f"model.bert.{key}" in trained]
    assert len(common) > 20
    assert all(torch.equal(base[key], trained[f"model.bert.{key}"]) for key in common)


@pytest.mark.slow
def test_averaged_weights_are_saved_and_resumed(fit: RunMain, run_main: RunMain, tmp_path: Path) -> None:
    [text] = re.findall(r"```yaml\n(trainer:\n  callbacks.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    fit("run", config=yaml.safe_load(text))
    saved = checkpoint(tmp_path / "run", "last")
    names = saved["state_dict"].keys() & saved["current_model_state"].keys()
    assert any(not torch.equal(saved["state_dict"][name], saved["current_model_state"][name]) for name in names)
    outcome = run_main("fit", "--run_dir", "run", "--ckpt_path", "last", "--trainer.max_epochs", 3)
    assert steps(tmp_path / "run") == [8, 16, 24]
    assert "configure_model" not in outcome.err


def test_a_named_bar_replaces_the_built_in_one(fit: RunMain) -> None:
    options = ["--trainer.enable_progress_bar", "false", "--trainer.max_epochs", 1]
    outcome = fit("run", *options, config=with_callback(f"{CALLBACKS}TQDMProgressBar"))
    assert "8/8" in outcome.err + outcome.out


def test_what_lightning_has_to_say_is_seen(fit: RunMain, tmp_path: Path) -> None:
    """The summary of a model, a profile; and not what it says of every run."""
    options = ["--trainer.profiler", "simple", "--trainer.max_epochs", 1, "--trainer.log_every_n_steps", 0]
    outcome = fit("run", *options, config=with_callback(f"{CALLBACKS}ModelSummary"))
    assert "Trainable params" in outcome.err
    assert "profile    run/fit-profile.txt\n" in outcome.err
    assert "run_training_batch" in (tmp_path / "run" / "fit-profile.txt").read_text(encoding="utf-8")
    assert "GPU available" not in outcome.err
    assert "stopped" not in outcome.err


LOGGERS = """
from pathlib import Path

from lightning.pytorch.loggers import Logger


class Tree(Logger):
    \"\"\"A file for each metric, as MLflow's file store has them.\"\"\"

    name, version = "tree", "1"

    def __init__(self, save_dir: str = "."):
        super().__init__()
        self._folder = Path(save_dir) / "tree"

    def log_metrics(self, metrics, step=None):
        for name, value in metrics.items():
            (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (self._folder / name).open("a") as file:
                file.write(f"{step} {value}\\n")

    def log_hyperparams(self, params, *args, **kwargs):
        pass


class Full(Tree):
    def __init__(self):
        super().__init__("nowhere")

    def log_metrics(self, metrics, step=None):
        raise OSError("no space left")
"""


@pytest.mark.parametrize("name", ["Tree", "Full"])
def test_any_logger_can_hold_the_names_and_none_ends_a_training(
    fit: RunMain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delitem(sys.modules, "own_loggers", raising=False)
    (tmp_path / "own_loggers.py").write_text(LOGGERS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    outcome = fit(
        "run", "--trainer.max_epochs", 1, config={"trainer": {"logger": {"class_path": f"own_loggers.{name}"}}}
    )
    assert steps(tmp_path / "run") == [8]
    if name == "Full":
        failed = "Full failed (OSError: no space left): nothing more is logged there, and training continues\n"
        assert outcome.err.count(failed) == 1
    else:
        assert "failed" not in outcome.err
        found = {str(path.relative_to(tmp_path / "run" / "tree")) for path in (tmp_path / "run" / "tree").rglob("*")}
        assert {"val/f1", "val/f1.PER", "val/f1_macro"} <= found


# ---------------------------------------------------------------------- a training that ends early


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        pytest.param(["--trainer.max_steps", 3],
         ["--trainer.max_steps", -1], "--trainer.max_steps 3 are done", marks=pytest.mark.slow),
        pytest.param(["--trainer.max_steps", 12, "--trainer.val_check_interval", 4],
         ["--trainer.max_steps", -1], "--trainer.max_steps 12 are done", marks=pytest.mark.slow),
        (["--trainer.max_time", "00:00:00:20"], ["--trainer.max_time", "null"], "--trainer.max_time is reached"),
    ],
    ids=["steps", "steps where a validation is due", "time"],
)  # fmt: skip
def test_a_training_cut_short_says_why_and_goes_on_as_if_it_had_not_been(
    fit: RunMain,
    run_main: RunMain,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: list[Any],
    then: list[Any],
    said: str,
) -> None:
    """All validations, all steps, and no trace of the end in between; the same numbers where the schedule is one."""
    seconds = count(step=2)  # at each look at the clock
    monkeypatch.setattr(Timer, "time_elapsed", lambda *_: float(next(seconds)))
    same = [*first[2:], "--model.lr_scheduler_type", "constant"]
    fit("whole", *same)
    cut = fit("cut", *first, *same)
    reason = results(tmp_path / "cut")["stopped"]
    assert reason.startswith(said)
    assert f"stopped: {reason}" in cut.out
    outcome = run_main("fit", "--run_dir", "cut", "--ckpt_path", "last", *then)
    assert "checkpoint cut/checkpoints/last.ckpt (epoch " in outcome.err
    assert results(tmp_path / "cut")["epochs"] == results(tmp_path / "whole")["epochs"]
    assert "stopped" not in results(tmp_path / "cut")
    weights = [checkpoint(tmp_path / name, "last")["state_dict"] for name in ("whole", "cut")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_whole_epochs_are_continued_up_to_a_number_of_steps(fit: RunMain, run_main: RunMain, tmp_path: Path) -> None:
    fit("run", "--trainer.max_epochs", 1)
    run_main("fit", "--run_dir", "run", "--ckpt_path", "last", "--trainer.max_epochs", 2, "--trainer.max_steps", 10)
    assert [(row["epoch"], row["step"]) for row in results(tmp_path / "run")["epochs"]] == [(1.0, 8), (1.25, 10)]


@pytest.mark.report
@pytest.mark.parametrize("interval", [1.0, pytest.param(3, marks=pytest.mark.slow)])
def test_early_stopping_says_so_and_can_be_continued(
    fit: RunMain, run_main: RunMain, tmp_path: Path, interval: float
) -> None:
    stop = with_callback(f"{CALLBACKS}EarlyStopping", monitor="val/f1", mode="max", patience=1)
    options = ["--model.learning_rate", 1e-9, "--trainer.max_epochs", 6, "--trainer.val_check_interval", interval]
    outcome = fit("run", *options, config=stop)
    reason = "val/f1 has not risen for 1 validation (early stopping)"
    assert results(tmp_path / "run")["stopped"] == reason
    assert f"stopped: {reason}" in outcome.out
    assert steps(tmp_path / "run") == ([8, 16] if interval == 1.0 else [3, 6])
    report = tmp_path / "run" / "report.html"
    assert not report.is_file() or reason in report.read_text(encoding="utf-8")
    without = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text(encoding="utf-8"))
    without["trainer"]["callbacks"] = None
    config = write_config(tmp_path / "without.yaml", without)
    shutil.rmtree(tmp_path / "run" / "predictions", ignore_errors=True)
    run_main("fit", "--config", config, "--run_dir", "run", "--ckpt_path", "last", "--trainer.max_epochs", 3)
    assert steps(tmp_path / "run") == ([8, 16, 24] if interval == 1.0 else [3, 6, 11, 14, 19, 22])


def test_no_training_resumes_from_weights_only(fit: RunMain, tmp_path: Path) -> None:
    weights = {"save_weights_only": True, "dirpath": "kept", "filename": "w"}
    fit("run", "--trainer.max_epochs", 1, config=with_callback(f"{CALLBACKS}ModelCheckpoint", **weights))
    outcome = fit("other", "--ckpt_path", "kept/w.ckpt", config={"seed_everything": 42}, check=False)
    assert outcome.code == 1
    assert "kept/w.ckpt cannot be resumed: it has only weights" in outcome.errors()[0]
    assert "--model.model_name_or_path" in outcome.errors()[0]


# ---------------------------------------------------------------------- without validation data


@pytest.mark.parametrize("least", ["min_epochs", "min_steps"])
def test_the_last_step_is_validated_whatever_should_have_been_the_least(
    fit: RunMain, tmp_path: Path, least: str
) -> None:
    fit("run", "--trainer.max_steps", 3, f"--trainer.{least}", {"min_epochs": 1, "min_steps": 9}[least])
    assert steps(tmp_path / "run") == [3]


def test_a_training_without_a_validation_says_so(fit: RunMain) -> None:
    options = ["--trainer.max_epochs", 1, "--trainer.check_val_every_n_epoch", 2, "--trainer.limit_train_batches", 1]
    assert "training ended before a validation: nothing was scored; last.ckpt is" in fit("run", *options).out


def test_the_last_model_for_production_is_trained_on_everything(
    fit: RunMain, run_main: RunMain, corpus: Path, tmp_path: Path
) -> None:
    """Rows of the training loss, `last.ckpt`, and a card that says that nothing was scored; and what can be tagged."""
    options = ["--data.validation_file", "null", "--data.validation_fraction", 0, "--data.test_file", "null"]
    outcome = fit("run", *options, "--trainer.max_epochs", 1)
    assert "train            120 sentences" in outcome.err
    assert "no validation data: nothing was scored" in outcome.out
    run_main("fit", "--run_dir", "run", "--ckpt_path", "last", "--trainer.max_epochs", 2)
    rows = results(tmp_path / "run")["epochs"]
    assert [(row["epoch"], row["step"], set(row)) for row in rows] == [
        (1.0, 8, {"epoch", "step", "train/loss"}),
        (2.0, 16, {"epoch", "step", "train/loss"}),
    ]
    assert [path.name for path in sorted((tmp_path / "run" / "checkpoints").iterdir())] == [
        "last.ckpt",
        "previous.ckpt",
    ]
    card = tmp_path / "run" / "README.md"
    assert not card.is_file() or "Nothing was scored" in card.read_text(encoding="utf-8")
    outcome = run_main("test", "--run_dir", "run", check=False)
    assert "no checkpoint run/checkpoints/best.ckpt: there are" in outcome.errors()[0] or "none" in outcome.errors()[0]
    run_main("test", "--run_dir", "run", "--ckpt_path", "last", "--data.test_file", corpus / "test.conll")

    tagger = NERTagger.load(tmp_path / "run")
    [found] = tagger.predict("Ada met Bob.")
    assert found == tagger.predict(["Ada met Bob."])[0]
    assert found["text"] == "Ada met Bob."
    for wrong, said in (
        ({"text": "Ada"}, "texts has the type dict"),
        (None, "texts has the type NoneType"),
        (b"Ada", "texts has the type bytes"),
        (pandas.DataFrame({"text": ["Ada"]}), "texts has the type DataFrame"),
        ([{"text": "Ada"}], "text 0 is neither a string nor a list of words, but {'text': 'Ada'} (dict)"),
        (["Ada", None], "text 1 is neither a string nor a list of words, but None (NoneType)"),
        (["Ada", float("nan")], "text 1 is neither a string nor a list of words, but nan (float)"),
        ([["Ada"], ["Bob", None]], "word 1 of text 1 is no string, but None (NoneType)"),
    ):
        with pytest.raises(TypeError, match=re.escape(said)):
            tagger.predict(wrong)  # type: ignore[arg-type]
    [numpy] = tagger.predict(np.array(["Ada met Bob."]))  # type: ignore[arg-type]
    assert numpy == found
    assert type(numpy["text"]) is str
    with pytest.raises(ValueError, match="batch_size is 0: give at least 1"):
        tagger.predict(["Ada"], batch_size=0)
    with pytest.raises(ValueError, match="text 1 contains a lone surrogate"):
        tagger.predict(["Ada", "\ud83d Bob"])


def test_what_a_notebook_gives_is_in_the_checkpoint_as_plain_values(
    tiny_model: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    files = {f"{split}_file": corpus / f"{split}.conll" for split in ("train", "validation")}
    names = ("O", *(f"{prefix}-{kind}" for kind in ("LOC", "MISC", "ORG", "PER") for prefix in "BI"))
    given: dict[str, Any] = {**files, "test_file": (corpus / "test.conll",), "batch_size": np.int64(60)}
    data = NERDataModule(tiny_model(), label_names=names, **given)  # type: ignore[arg-type]
    module = NERModule(tiny_model(), learning_rate=np.float64(1e-3))  # type: ignore[arg-type]
    trainer = Trainer(accelerator="cpu", max_epochs=1, default_root_dir=tmp_path, logger=False)
    trainer.fit(module, datamodule=data)
    saved = Path(trainer.checkpoint_callback.best_model_path)  # type: ignore[union-attr]
    assert NERTagger.load(saved).labels.names == names
    options = read_checkpoint(saved)["datamodule_hyper_parameters"]
    assert (options["train_file"], options["batch_size"]) == (str(files["train_file"]), 60)


@pytest.mark.parametrize(
    ("make", "argument", "known"),
    [
        (NERModule, {"decoding": "beam"}, "greedy"),
        (NERModule, {"padding": "max"}, "longest"),
        (NERModule, {"freeze": "all"}, "encoder"),
        (NERModule, {"lr_scheduler_type": "cosin"}, "cosine"),
        (NERDataModule, {"batching": "sorted"}, "grouped"),
        (NERDataModule, {"documents": "all"}, "file"),
        (NERDataModule, {"source_scheme": "BIO"}, "iob2"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, dict) else "",
)
def test_a_choice_that_there_is_not_is_refused_from_python_too(make: Any, argument: dict[str, str], known: str) -> None:
    [(name, value)] = argument.items()
    section = {NERModule: "model", NERDataModule: "data"}[make]
    with pytest.raises(RunError, match=rf"^--{section}.{name}: it is '{value}'; give one of .*\b{known}\b"):
        make("base/model", **argument)


def test_an_exported_file_can_be_read_by_those_who_can_read_its_folder(trained_run: Path, tmp_path: Path) -> None:
    save_model_folder(NERTagger.load(trained_run).module, NERTagger.load(trained_run).data, tmp_path / "model")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()}
    assert modes["model.safetensors"] == modes["config.json"] != 0o600


@pytest.mark.parametrize("family", ["gpt2", "xlnet"])
@pytest.mark.slow
def test_models_without_padding_or_limit_are_trained_and_exported(
    fit: RunMain, run_main: RunMain, tmp_path: Path, corpus: Path, family: str
) -> None:
    from tiny_models import _byte_level_bpe
    from transformers import AutoModel, GPT2Config, PreTrainedTokenizerFast, XLNetConfig

    end = "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_byte_level_bpe([end], 480), unk_token=end, eos_token=end, model_max_length=64
    )
    if family == "gpt2":
        config = GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=2)
    else:
        config = XLNetConfig(vocab_size=len(tokenizer), d_model=32, n_layer=2, n_head=2, d_inner=64)
    for part in (AutoModel.from_config(config), tokenizer):
        part.save_pretrained(tmp_path / family)
    fit("run", "--model.model_name_or_path", tmp_path / family, "--trainer.max_epochs", 1)
    run_main("export", "--run_dir", "run", "--output", "out", "--data", corpus / "test.conll")


def test_an_adapter_and_a_layout_model_are_named_for_what_they_are(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}', encoding="utf-8")
    with pytest.raises(PretrainedError, match=r"holds an adapter \(LoRA\) of org/base, not a model: merge it first"):
        load_config(str(tmp_path))
    options = SimpleNamespace(model_name_or_path="a", max_seq_length=None, stride=None, context_size=0)
    config = SimpleNamespace(max_2d_position_embeddings=9, max_position_embeddings=-1)
    logger = logging.getLogger("ner_module")
    logger.addHandler(caplog.handler)
    assert sequence_limits(options, config, SimpleNamespace(model_max_length=64)) == (64, 16)
    logger.removeHandler(caplog.handler)
    assert "a reads positions on the page (boxes, bboxes), which are not used here" in caplog.text
