"""The hub and W&B: can they be reached, and are there tokens; never the tokens themselves."""

from __future__ import annotations

import netrc
import os
from collections.abc import Iterator

from ner_module.extras.doctor.check import Check

HUB_TIMEOUT = 3.0
"""How long to wait for the hub, in seconds."""


def ask_hub() -> Iterator[Check]:
    """Whether the hub, or the mirror that HF_ENDPOINT names, answers; asked without the token."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    if constants.HF_HUB_OFFLINE:
        yield Check("services", "hub", "info", "offline mode (HF_HUB_OFFLINE): only the cache is used")
        return
    try:
        status = get_session().get(f"{constants.ENDPOINT}/api/models?limit=1", timeout=HUB_TIMEOUT).status_code
    except Exception as error:
        yield no_hub(type(error).__name__)
    else:
        good = Check("services", "hub", "ok", f"{constants.ENDPOINT} answers")
        yield no_hub(f"status {status}") if status >= 500 else good


def no_hub(reason: str) -> Check:
    """The check of a hub that does not answer."""
    from huggingface_hub import constants

    text = f"{constants.ENDPOINT} cannot be reached ({reason})"
    advice = "use folders or the cache, and set HF_HUB_OFFLINE=1 to avoid timeouts; or set HF_ENDPOINT to a mirror"
    return Check("services", "hub", "warning", text, advice)


def accounts() -> Iterator[Check]:
    """Whether there are tokens, and the mode of W&B."""
    from huggingface_hub import get_token

    yield Check("services", "hub token", "info", "yes" if get_token() else "no; public models need none")
    disabled = os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1")
    mode = "disabled" if disabled else os.environ.get("WANDB_MODE") or "online"
    key = "yes" if os.environ.get("WANDB_API_KEY") or _in_netrc() else "no"
    advice = "for W&B: `wandb login`, or WANDB_MODE=offline" if (mode, key) == ("online", "no") else ""
    yield Check("services", "W&B", "info", f"mode {mode}, key: {key}", advice)


def _in_netrc() -> bool:
    """Whether ``wandb login`` has left a key."""
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").partition("://")[2].split("/")[0]
    try:
        return netrc.netrc(os.environ.get("NETRC") or None).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
