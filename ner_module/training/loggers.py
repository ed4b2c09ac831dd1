"""Where loggers write, and that one training is one Weights & Biases run: through resuming, validating and testing.

The id of a W&B run is kept in ``RUN/wandb_id``. It reaches W&B through the environment, where ``wandb.init`` looks for
what it is not told: in the saved configuration it would make another training go on in this run.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_RUN_VARIABLES = ("WANDB_RUN_ID", "WANDB_NAME", "WANDB_RUN_GROUP", "WANDB_TAGS")


def set_up_loggers(trainer: Any, command: str, run_dir: Path, seed: int) -> None:
    """Let the configured loggers write into the run directory.

    ``validate`` and ``test`` go on in the training's W&B run, if it has one; there is nothing else for them to log.

    Args:
        trainer: the trainer's options; changed in place.
        command: ``fit``, ``validate``, ``test`` or ``predict``.
        run_dir: the run directory.
        seed: of the training; becomes a tag.
    """
    loggers = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
    loggers = [logger for logger in loggers if hasattr(logger, "class_path")]
    if command != "fit":
        resumes = command != "predict" and _id_file(run_dir).is_file()
        loggers = [logger for logger in loggers if resumes and _is_wandb(logger)]
        trainer.logger = loggers or False
    for logger in loggers:
        if logger.init_args.get("save_dir") in (None, "."):
            run_dir.mkdir(parents=True, exist_ok=True)
            logger.init_args.save_dir = str(run_dir)
        if _is_wandb(logger):
            _complete_environment(run_dir, seed)


def remember_wandb_run(logger: Any, run_dir: Path) -> None:
    """Keep the id of a ``WandbLogger``'s run; nothing is done for other loggers."""
    if type(logger).__name__ == "WandbLogger":
        _id_file(run_dir).write_text(f"{logger.experiment.id}\n", encoding="ascii")


@contextlib.contextmanager
def own_wandb_variables() -> Iterator[None]:
    """Put the environment's W&B variables back when a command has ended."""
    saved = {name: os.environ.get(name) for name in _RUN_VARIABLES}
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)


def _complete_environment(run_dir: Path, seed: int) -> None:
    """Id, name, group and tags of the run; what the user has set stays.

    The group is the recipe's name, so that runs of one recipe with several seeds stand together.
    """
    id_file = _id_file(run_dir)
    if id_file.is_file():
        os.environ["WANDB_RUN_ID"] = id_file.read_text(encoding="ascii").strip()
    group, name = run_dir.absolute().parts[-2:]
    os.environ.setdefault("WANDB_RUN_ID", secrets.token_hex(4))
    os.environ.setdefault("WANDB_NAME", f"{group}/{name}")
    os.environ.setdefault("WANDB_RUN_GROUP", group)
    os.environ.setdefault("WANDB_TAGS", f"seed-{seed}")


def _id_file(run_dir: Path) -> Path:
    return run_dir / "wandb_id"


def _is_wandb(logger: Any) -> bool:
    return str(logger.class_path).endswith("WandbLogger")
