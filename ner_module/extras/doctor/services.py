"""The hub and W&B: can they be reached, and are there tokens; never what these are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ner_module.extras.doctor.finding import Finding

HUB_TIMEOUT = 3.0
"""How long the hub is waited for, in seconds."""


def ask_hub() -> Iterator[Finding]:
    """Whether the hub, or the mirror that HF_ENDPOINT names, answers."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    if constants.HF_HUB_OFFLINE:
        yield Finding("services", "hub", "info", "offline mode (HF_HUB_OFFLINE): only what is in the cache is found")
        return
    try:
        # Whether the hub can be reached is asked without the token.
        reply = get_session().get(f"{constants.ENDPOINT}/api/models?limit=1", timeout=HUB_TIMEOUT)
    except Exception as error:
        yield no_hub(constants.ENDPOINT, type(error).__name__)
        return
    if reply.status_code >= 500:
        yield no_hub(constants.ENDPOINT, f"status {reply.status_code}")
    else:
        yield Finding("services", "hub", "ok", f"{constants.ENDPOINT} answers")


def no_hub(endpoint: str, reason: str) -> Finding:
    """The finding for a hub that does not answer."""
    advice = "models and datasets must be folders or cached, HF_HUB_OFFLINE=1 spares the waiting; a mirror: HF_ENDPOINT"
    return Finding("services", "hub", "warning", f"{endpoint} cannot be reached ({reason})", advice)


def accounts() -> Iterator[Finding]:
    """Whether there are tokens, never what they are; and what W&B would do."""
    from huggingface_hub import get_token

    yield Finding("services", "hub token", "info", "yes" if get_token() else "no; public models need none")
    mode = os.environ.get("WANDB_MODE") or "online"
    if os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1"):
        mode = "disabled"
    key = "yes" if _has_wandb_key() else "no"
    advice = "where W&B is asked for: `wandb login`, or WANDB_MODE=offline" if (mode, key) == ("online", "no") else ""
    yield Finding("services", "W&B", "info", f"mode {mode}, key: {key}", advice)


def _has_wandb_key() -> bool:
    import netrc

    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").partition("://")[2].split("/")[0]
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
