"""Uploading a model folder to the hub, with the token of the environment or of ``hf auth login``; it is never shown."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ner_module.errors import RunError
from ner_module.hub_files import first_line, retried


def check_can_push(repo: str) -> str:
    """Whether pushing can work at all, checked before an export is made for it.

    Returns:
        The whole id ``namespace/name``.

    Raises:
        RunError: there is no token, the hub does not accept it, or cannot be reached.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise RunError(f"--push_to_hub {repo}: {first_line(error)}") from error
    if get_token() is None:
        raise RunError("--push_to_hub needs a token with write access: `hf auth login`, or set HF_TOKEN")
    with _hub_errors("the token", "check HF_TOKEN or `hf auth login`, the network and HF_HUB_OFFLINE"):
        account = retried(HfApi().whoami)
    return repo if "/" in repo else f"{account['name']}/{repo}"


def push_folder(folder: Path, repo: str, private: bool | None) -> str:
    """Have the hub validate the card, create the repository if need be, and upload.

    Returns:
        The address of the commit.

    Raises:
        RunError: the hub refuses the card, the repository or the files, or the connection broke.
    """
    from huggingface_hub import HfApi, ModelCard

    api = HfApi()
    with _hub_errors(repo, f"the folder {folder} is complete and can be uploaded again"):
        ModelCard.load(folder / "README.md").validate()
        retried(lambda: api.create_repo(repo, private=private, exist_ok=True))
        commit = retried(lambda: api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Upload the model"))
    return str(commit.commit_url)


@contextlib.contextmanager
def _hub_errors(what: str, advice: str) -> Iterator[None]:
    """Turn the errors of the hub and of its client into one line."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    try:
        yield
    except HfHubHTTPError as error:
        status, reason = error.response.status_code, error.server_message or "no reason given"
        raise RunError(f"--push_to_hub: the hub refuses {what} ({status}: {reason}); {advice}") from None
    except ValueError as error:
        raise RunError(f"--push_to_hub: the hub refuses the model card: {first_line(error)}; {advice}") from None
    except (OSError, httpx.HTTPError) as error:
        raise RunError(f"--push_to_hub: no connection to the hub ({first_line(error)}); {advice}") from None
