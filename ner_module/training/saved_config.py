"""Reads the untrusted configuration of a run or a checkpoint: plain values only. No torch.

Lightning's CLI instantiates every class in a configuration, with any arguments. A configuration given by the user with
``--config`` may do that; one that belongs to ``--ckpt_path`` may not. Only plain values are taken from it, and the
classes in the shipped configurations, with arguments of plain types.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import yaml

from ner_module.errors import RunError

log = logging.getLogger(__name__)

_MAX_BYTES = 1 << 20
_MAX_ALIASES = 100  # a few bytes of nested aliases can expand to gigabytes

_SECTIONS = ("model", "data", "trainer")
_RUN_OPTIONS = ("seed_everything", "save_every_minutes", "save_every_steps")

# Trainer options for which jsonargparse instantiates classes; a plain value is one of Lightning's short names.
_CLASS_OPTIONS = ("logger", "callbacks", "strategy", "plugins", "profiler", "accelerator")
_SHORT_NAME = re.compile(r"[a-z0-9_]+")

_CALLBACKS, _LOGGERS, _STRATEGIES = (f"lightning.pytorch.{room}." for room in ("callbacks", "loggers", "strategies"))
# Classes that a saved configuration may use, and their permitted arguments.
_CLASSES = {
    f"{_CALLBACKS}EarlyStopping": "monitor min_delta patience verbose mode strict check_finite stopping_threshold "
    "divergence_threshold check_on_train_epoch_end log_rank_zero_only",
    f"{_CALLBACKS}LearningRateMonitor": "logging_interval log_momentum log_weight_decay",
    f"{_CALLBACKS}EMAWeightAveraging": "use_buffers decay update_every_n_steps update_starting_at_step "
    "update_starting_at_epoch",
    f"{_CALLBACKS}WeightAveraging": "use_buffers",
    f"{_LOGGERS}WandbLogger": "name offline anonymous project log_model prefix checkpoint_name tags group notes entity "
    "add_file_policy",
    f"{_LOGGERS}TensorBoardLogger": "name version log_graph default_hp_metric prefix sub_dir",
    f"{_LOGGERS}MLFlowLogger": "experiment_name run_name tags log_model prefix run_id synchronous",
    f"{_LOGGERS}CSVLogger": "name version prefix flush_logs_every_n_steps",
    f"{_STRATEGIES}DDPStrategy": "timeout find_unused_parameters static_graph gradient_as_bucket_view "
    "broadcast_buffers bucket_cap_mb start_method process_group_backend",
}
_FOLDERS = ("save_dir", "dir")  # of loggers: only ".", the run directory, is permitted


def read_config(path: Path) -> dict[str, Any]:
    """Read a configuration file as plain data.

    Raises:
        RunError: it is not a regular file, cannot be read, is too large, or is not a YAML mapping.
    """
    if not path.is_file():
        raise RunError(f"{path} is not a regular file; name a YAML file with --config")
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1).decode("utf-8")
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}; check the path given with --config") from error
    except UnicodeDecodeError as error:
        raise RunError(f"{path}: the configuration is not UTF-8; save it as UTF-8") from error
    return parse_config(text, str(path))


def parse_config(text: str, where: str) -> dict[str, Any]:
    """Parse the text of a configuration; see :func:`read_config`."""
    if len(text) > _MAX_BYTES:
        raise RunError(f"{where}: the configuration is larger than {_MAX_BYTES >> 20} MiB; it should be a page or two")
    try:
        aliases = sum(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.SafeLoader))
        if aliases > _MAX_ALIASES:
            raise RunError(f"{where}: the configuration has {aliases} aliases (*name); write their values out")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        parts = [getattr(error, name, None) for name in ("context", "problem")] if mark else [str(error)]
        problem = " ".join(" ".join(filter(None, parts)).split())
        where += f":{mark.line + 1}" if mark else ""
        raise RunError(f"{where}: invalid YAML: {problem}; correct the configuration") from error
    if not isinstance(content, dict):
        raise RunError(f"{where}: the configuration has no options; write them as `option: value`")
    return content


def plain_config(text: str, where: str, keep_all: bool) -> str:
    """The permitted part of a saved configuration, as YAML.

    Args:
        text: the configuration, as YAML.
        where: its origin, for messages.
        keep_all: whether a class that is not permitted is an error; otherwise it is left out with a warning, since
            evaluation and prediction need none.
    """
    found = parse_config(text, where)
    plain: dict[str, Any] = {name: found[name] for name in _RUN_OPTIONS if _is_plain(found.get(name, {}), 0)}
    for section in _SECTIONS:
        options = found.get(section) or {}
        if not isinstance(options, dict):  # a string would be read as the path of another file
            raise RunError(f"{where}: {section} has no options; restore the file, or name another with --config")
        plain[section] = {}
        for name, value in options.items():
            if name == "default_root_dir":  # written by earlier versions
                continue
            problem = _problem(section, name, value)
            if problem is None:
                plain[section][name] = value
                continue
            refused = f"{where}: {section}.{name} {problem}"
            if keep_all:
                advice = "if you trust it, repeat the command with --config FILE"
                raise RunError(f"{refused}, which is built only for a configuration that you name; {advice}")
            log.warning("%s and is left out; name the file with --config if it is needed", refused)
    plain["model"].setdefault("decoding", "greedy")  # earlier versions decoded greedily
    dumped: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    return dumped


def _problem(section: str, option: Any, value: Any) -> str | None:
    """Why an option is not permitted; ``None`` if it is."""
    # "callbacks+" would add a class, "logger.class_path" set one.
    if not isinstance(option, str) or not _SHORT_NAME.fullmatch(option):
        return "is no option's name"
    if section != "trainer" or option not in _CLASS_OPTIONS:
        return None if _is_plain(value, depth=2) else "holds more than plain values"
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            name = str(item.get("class_path"))
            arguments = item.get("init_args") or {}
            if name not in _CLASSES or not isinstance(arguments, dict) or set(item) - {"class_path", "init_args"}:
                return f"names {name}"
            for argument, given in arguments.items():
                known = argument in _CLASSES[name].split() or (argument in _FOLDERS and given in (".", None))
                if not (given is None or (known and _is_plain(given, depth=1))):
                    return f"names {name} with {argument}"
        elif isinstance(item, str) and not _SHORT_NAME.fullmatch(item):
            return f"names {item!r}"
        elif not _is_plain(item, depth=0):
            return f"holds {item!r}"
    return None


def _is_plain(value: Any, depth: int) -> bool:
    """Whether a value is a string or number, or a list or mapping of these that is not a class."""
    if isinstance(value, (list, dict)) and depth:
        items = value.values() if isinstance(value, dict) else value
        return "class_path" not in value and all(_is_plain(item, depth - 1) for item in items)
    return isinstance(value, (str, int, float, bool, type(None)))
