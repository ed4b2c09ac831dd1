"""How often a step waits for the device: never, unless it is one that is logged.

On a GPU the host runs ahead of the device, and whatever needs a value from it, or copies one to it from ordinary
memory, waits until all that was asked for before is computed. On the CPU the same calls cost nothing; here they are
counted.
"""

from __future__ import annotations

import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Outcome
from torch.utils._python_dispatch import TorchDispatchMode

from ner_module.model.module import NERModule
from ner_module.model.optimizer import clips_within_step


class Waits(TorchDispatchMode):
    """Counts what would wait for a device, by the step during which it is called."""

    READS = ("_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2", "unique_dim")

    def __init__(self) -> None:
        super().__init__()
        self.step: tuple[str, int, bool] | None = None
        self.steps: list[tuple[str, int, bool]] = []
        self.found: dict[Any, list[str]] = defaultdict(list)

    def note(self, what: str) -> None:
        frames = [frame for frame in traceback.extract_stack() if "/ner_module/" in frame.filename]
        self.found[self.step].append(f"{what} in {Path(frames[-1].filename).name}:{frames[-1].lineno}")

    def where(self, condition: Any, *others: Any) -> Any:
        """A number among the values is copied to the device."""
        if not all(isinstance(other, torch.Tensor) for other in others):
            self.note("where")
        return torch.ops.aten.where(condition, *others)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        chosen = name in ("index", "index_put_", "index_put") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if name in self.READS or chosen:
            self.note(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    """Counts from the first training batch on."""
    counter, patch = Waits(), monkeypatch.setattr

    def read(original: Any) -> Any:
        return lambda self, *args: (counter.note(original.__name__), original(self, *args))[1]

    def copy(original: Any) -> Any:
        def call(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Any:
            if device is not None and not isinstance(data, torch.Tensor):
                counter.note(f"{original.__name__}(device=)")
            return original(data, *args, device=device, **kwargs)

        return call

    def begin(stage: str) -> Any:
        def hook(self: NERModule, batch: Any, batch_idx: int, *_: Any) -> None:
            if counter.step is None:
                counter.__enter__()
                for name in ("tolist", "numpy", "cpu"):
                    patch(torch.Tensor, name, read(getattr(torch.Tensor, name)))
                patch(torch, "where", counter.where)
                for name in ("tensor", "as_tensor"):
                    patch(torch, name, copy(getattr(torch, name)))
            trainer = self.trainer
            total = trainer.num_training_batches if stage == "train" else trainer.num_val_batches[0]
            logged = stage == "train" and (trainer.global_step + 1) % trainer.log_every_n_steps == 0
            first = stage not in {name for name, *_ in counter.steps}
            # With the first batch things are found out once; after the last one the loss and scores are read.
            counter.step = (stage, len(counter.steps), logged or first or batch_idx + 1 == total)
            counter.steps.append(counter.step)

        return hook

    patch(NERModule, "on_train_batch_start", begin("train"))
    patch(NERModule, "on_validation_batch_start", begin("evaluate"))
    yield counter
    if counter.step is not None:
        counter.__exit__(None, None, None)


@pytest.mark.parametrize(
    "options",
    [
        [],
        pytest.param(["--trainer.accumulate_grad_batches", 2], marks=pytest.mark.slow),
        pytest.param(["--model.padding", "longest"], marks=pytest.mark.slow),
        pytest.param(["--trainer.precision", "bf16-mixed"], marks=pytest.mark.slow),
        pytest.param(["--model.gradient_checkpointing", "true"], marks=pytest.mark.slow),
        pytest.param(["--model.crf", "true"], marks=pytest.mark.slow),
    ],
    ids=["plain", "accumulated", "padded", "bf16", "checkpointed", "crf"],
)
def test_a_step_that_is_not_logged_never_waits(
    options: list[Any], fit_options: list[str], run_main: Callable[..., Outcome], waits: Waits
) -> None:
    quick = ["--trainer.max_epochs", 1, "--trainer.limit_train_batches", 6, "--trainer.limit_val_batches", 3]
    common = [*quick, "--trainer.log_every_n_steps", 4, "--data.eval_batch_size", 8, "--run_dir", "run"]
    clips_within_step(torch.device("cpu"))  # once, in the first step, which may not be the first batch
    run_main("fit", *fit_options, *common, *options)
    ordinary = [step for step in waits.steps if not step[-1]]
    assert {stage for stage, *_ in ordinary} == {"train", "evaluate"}
    assert {step: waits.found[step] for step in ordinary if step in waits.found} == {}
    assert waits.found, "those of the others are counted"
