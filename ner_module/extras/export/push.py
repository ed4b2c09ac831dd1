"""A model folder to the hub. The token is the one of the environment or of ``hf auth login``; it is never shown."""

from __future__ import annotations

from pathlib import Path

from ner_module.errors import RunError
from ner_module.hub_files import first_line, retried


def check_can_push(repo: str) -> str:
    """Whether pushing can work at all, before an export is made for it; returns the whole id ``namespace/name``.

    Raises:
        RunError: there is no token, the hub does not know it, or nobody can be asked.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.constants import is_offline_mode
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils import httpx, validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise RunError(f"--push_to_hub {repo}: {first_line(error)}") from error
    if is_offline_mode():
        raise RunError("--push_to_hub: HF_HUB_OFFLINE is set, so the hub is not asked; unset it")
    if get_token() is None:
        raise RunError("--push_to_hub needs a token with write access: `hf auth login`, or set HF_TOKEN")
    try:
        account = retried(HfApi().whoami)
    except HfHubHTTPError as error:
        raise RunError(
            f"--push_to_hub: the hub refuses the token ({error.response.status_code}): log in again"
        ) from None
    except (OSError, httpx.HTTPError) as error:
        raise RunError(f"--push_to_hub: the hub cannot be reached ({first_line(error)})") from None
    return repo if "/" in repo else f"{account['name']}/{repo}"


def push_folder(folder: Path, repo: str, private: bool | None) -> str:
    """Let the hub check the card, make the repository if need be, and upload; returns the address of the commit.

    Raises:
        RunError: the hub refuses the card, the repository or the files, or the connection broke.
    """
    from huggingface_hub import HfApi, ModelCard
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    api = HfApi()
    try:
        ModelCard.load(folder / "README.md").validate()
        retried(lambda: api.create_repo(repo, private=private, exist_ok=True))
        commit = retried(lambda: api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Upload the model"))
    except HfHubHTTPError as error:
        status, reason = error.response.status_code, error.server_message or "no reason given"
        raise RunError(
            f"the hub refuses to take {repo} ({status}: {reason}); the folder {folder} is complete"
        ) from None
    except ValueError as error:
        raise RunError(
            f"the hub refuses the model card: {first_line(error)}; the folder {folder} is complete"
        ) from None
    except (OSError, httpx.HTTPError) as error:
        raise RunError(
            f"the connection to the hub broke ({first_line(error)}); the folder {folder} is complete: push again"
        ) from None
    return str(commit.commit_url)
