"""Files from the hub, complete and verified, or one clear message.

The client of the hub leaves gaps (huggingface_hub 2.4, run against `tests/hub_server.py`): a 503 on a file's body and a
connection reset in mid-file end a download for good, wrong bytes of the right size are accepted, and a hub that is down
is asked for most of a minute before the cache is used. Here a download is retried, each file is checked against the
checksum the hub states for it, and a hub that does not answer is asked once.

Not here: what a model or a dataset is (`pretrained.py`, `data/hub.py`), and pushing (`extras/export/push.py`).
"""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from ner_module.files import sha256_of

log = logging.getLogger(__name__)

# Seconds between attempts; a hub that is being restarted answers 503 for some seconds.
_WAITS = (1, 2, 4)
_REACH_TIMEOUT = 10

_MODEL_FILES = (
    *("config.json", "ner_module.json", "README.md", "tokenizer*", "special_tokens_map.json", "added_tokens.json"),
    *("vocab*", "merges.txt", "*.model"),
)
_WEIGHTS = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")
_OLD_WEIGHTS = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
_ONNX_WEIGHTS = ("model.onnx", "model.onnx.data")

T = TypeVar("T")


class DamagedFileError(OSError):
    """A file whose bytes are not those the hub announced, even after another download."""


@lru_cache(maxsize=8)
def fetch_model(repo_id: str, revision: str | None = None) -> Path:
    """Download what loading a model needs (or find it in the cache) and return its folder.

    Weights as safetensors if there are any, else as the older ``pytorch_model.bin``, else ONNX.

    Raises:
        Exception: of huggingface_hub or its HTTP client; :class:`DamagedFileError`.
    """
    folder = _fetch(repo_id, revision, [*_MODEL_FILES, *_WEIGHTS])
    for weights in (_OLD_WEIGHTS, _ONNX_WEIGHTS):
        if not any(folder.glob("model*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
            folder = _fetch(repo_id, revision, [*_MODEL_FILES, *weights])
    return folder


def _fetch(repo_id: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    if not sys.stderr.isatty():
        disable_progress_bars()
    offline = not hub_is_reachable()

    def download() -> Path:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=patterns, local_files_only=offline))

    return _checked(download, lambda folder: [path for path in folder.rglob("*") if path.is_file()])


def fetch_dataset_files(urls: Iterable[str]) -> None:
    """Download files named ``hf://datasets/…`` into the cache, where `datasets` will find them.

    Raises:
        Exception: see :func:`fetch_model`.
    """
    from huggingface_hub import HfFileSystem, hf_hub_download

    for url in urls:
        place = HfFileSystem().resolve_path(url)

        def download(place: Any = place) -> Path:
            return Path(
                hf_hub_download(place.repo_id, place.path_in_repo, repo_type=place.repo_type, revision=place.revision)
            )

        _checked(download, lambda path: [path])


def _checked(download: Callable[[], Path], files: Callable[[Path], list[Path]]) -> Path:
    """Download until all files are right; those that are not are removed and fetched once more."""
    damaged: list[Path] = []
    for _ in range(2):
        result = retried(download)
        damaged = [path for path in files(result) if not is_intact(path)]
        if not damaged:
            return result
        for path in damaged:
            log.warning("%s is damaged (its checksum is not the hub's): downloading it again", path.name)
            path.resolve().unlink()
            path.unlink()
    raise DamagedFileError(f"the hub sent {damaged[0].name} with other bytes than it announced, twice")


def retried(attempt: Callable[[], T]) -> T:
    """Call a function that talks to the hub; again, after a moment, when the hub or the connection failed it."""
    for wait in _WAITS:
        try:
            return attempt()
        except Exception as error:
            if not _is_passing(error):
                raise
            log.warning("the hub failed (%s); trying again in %d s", first_line(error), wait)
            time.sleep(wait)
    return attempt()


def _is_passing(error: Exception) -> bool:
    """Whether another attempt may succeed: the server's fault, or a connection that broke."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    if isinstance(error, LocalEntryNotFoundError):  # says what it could not reach in its cause
        return isinstance(error.__cause__, Exception) and _is_passing(error.__cause__)
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    if isinstance(error, httpx.HTTPError):
        return True
    # A body that ended early, by huggingface_hub's own count.
    return isinstance(error, OSError) and "Consistency check failed" in str(error)


def is_intact(path: Path) -> bool:
    """Whether a file in the hub's cache has the bytes that its name there promises.

    A cached file is a link to a blob whose name is the SHA-256 of a large file or the git SHA-1 of a small one. Where
    the file system has no links nothing can be checked, and the answer is yes.
    """
    name = path.resolve().name
    if not path.is_symlink() or any(letter not in "0123456789abcdef" for letter in name):
        return True
    if len(name) == 64:
        return sha256_of(path) == name
    content = path.read_bytes() if len(name) == 40 else b""
    return len(name) != 40 or hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == name


@lru_cache(maxsize=1)
def hub_is_reachable() -> bool:
    """Whether the hub answers at all; asked once. If not, all libraries are told to use their caches at once."""
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
    """What an exception says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
