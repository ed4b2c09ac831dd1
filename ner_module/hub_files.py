"""Verified downloads from the hub, or one clear message.

This adds what huggingface_hub 2.4 lacks (tested against `tests/hub_server.py`): retries after a 503 on a file's body or
a connection reset in mid-file, checksum verification, and immediate use of the cache when the hub is down.

Not here: loading models (`pretrained.py`) and datasets (`data/hub.py`).
"""

from __future__ import annotations

import hashlib
import logging
import re
import sys
import time
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

from ner_module.files import sha256_of

log = logging.getLogger(__name__)

_WAITS = (1, 2, 4)  # seconds between attempts; a restarting hub answers 503 for a few seconds
_REACH_TIMEOUT = 10  # seconds

_MODEL_FILES = (
    *("config.json", "ner_module.json", "README.md", "tokenizer*", "*.jinja", "special_tokens_map.json"),
    *("added_tokens.json", "vocab*", "merges.txt", "*.model"),
)
_WEIGHTS = (
    ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json"),
    ("pytorch_model*.bin", "pytorch_model.bin.index.json"),
    ("model.onnx", "model.onnx.data"),
)

T = TypeVar("T")


@lru_cache(maxsize=8)
def fetch_model(repo_id: str, revision: str | None = None) -> Path:
    """Download the files of a model (or find them in the cache) and return their folder.

    Weights are safetensors if available, else ``pytorch_model.bin``, else ONNX. Raises the exceptions of
    huggingface_hub and its HTTP client, or an ``OSError`` for a damaged file.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    if not sys.stderr.isatty():
        disable_progress_bars()
    fetch = partial(snapshot_download, repo_id, revision=revision, local_files_only=not hub_is_reachable())
    for weights in _WEIGHTS:
        folder = _checked(partial(fetch, allow_patterns=[*_MODEL_FILES, *weights]))
        if any(folder.glob("model*.safetensors")) or any(folder.glob("pytorch_model*.bin")):
            break
    return folder


def fetch_dataset_files(urls: Iterable[str]) -> None:
    """Download ``hf://datasets/…`` files into the cache, where `datasets` finds them."""
    from huggingface_hub import HfFileSystem, hf_hub_download

    for url in urls:
        place: Any = HfFileSystem().resolve_path(url)
        options = {"repo_type": place.repo_type, "revision": place.revision}
        _checked(partial(hf_hub_download, place.repo_id, place.path_in_repo, **options))


def _checked(download: Callable[[], str]) -> Path:
    """Download a file or folder; damaged files are removed and downloaded once more."""
    for _ in range(2):
        result = Path(retried(download))
        files = [result] if result.is_file() else [path for path in result.rglob("*") if path.is_file()]
        damaged = [path for path in files if not is_intact(path)]
        if not damaged:
            break
        for path in damaged:
            log.warning("%s is damaged (its checksum is not the hub's): downloading it again", path.name)
            path.resolve().unlink()
            path.unlink()
    else:
        raise OSError(f"the hub sent {damaged[0].name} with other bytes than it announced, twice")
    return result


def retried(attempt: Callable[[], T]) -> T:
    """Call a function that accesses the hub; retry with back-off if the hub or the connection failed."""
    for wait in _WAITS:
        try:
            return attempt()
        except Exception as error:
            if not _is_transient(error):
                raise
            log.warning("the hub failed (%s); trying again in %d s", first_line(error), wait)
            time.sleep(wait)
    return attempt()


def _is_transient(error: Exception) -> bool:
    """Whether an error is transient: a server error or a broken connection."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    if isinstance(error, LocalEntryNotFoundError):  # its cause is the network error
        return isinstance(error.__cause__, Exception) and _is_transient(error.__cause__)
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    if isinstance(error, httpx.HTTPError):
        return True
    # huggingface_hub found a truncated body.
    return isinstance(error, OSError) and "Consistency check failed" in str(error)


def is_intact(path: Path) -> bool:
    """Whether a file in the hub's cache matches its checksum; true if none is known.

    A cached file is a link to a blob named by its SHA-256 (large files) or its git SHA-1 (small ones).
    """
    name = path.resolve().name if path.is_symlink() else ""
    if re.fullmatch("[0-9a-f]{64}", name):
        return sha256_of(path) == name
    if re.fullmatch("[0-9a-f]{40}", name):
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == name
    return True


@lru_cache(maxsize=1)
def hub_is_reachable() -> bool:
    """Whether the hub answers, checked once. If not, all libraries are set to offline mode."""
    import huggingface_hub
    from huggingface_hub.utils import get_session, httpx  # type: ignore[attr-defined]

    if huggingface_hub.constants.is_offline_mode():
        return False
    try:
        get_session().head(huggingface_hub.constants.ENDPOINT, timeout=_REACH_TIMEOUT)
    except (httpx.HTTPError, OSError) as error:
        message = "the hub (%s) cannot be reached (%s): using what is in the cache"
        log.warning(message, huggingface_hub.constants.ENDPOINT, first_line(error))
        import datasets

        huggingface_hub.constants.HF_HUB_OFFLINE = True
        datasets.config.HF_HUB_OFFLINE = True
        return False
    return True


def first_line(error: BaseException) -> str:
    """The first line of an exception's message; its class name if there is none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
