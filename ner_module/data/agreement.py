"""Checks that all processes train on the same data with the same labels; otherwise all end with one error."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from typing import Any

from torch import distributed as dist

from ner_module.errors import RunError, UserError


def several_processes() -> bool:
    """Whether this process is in a group of several."""
    return bool(dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


def check_agreement(problem: UserError | None, seen: Mapping[str, Any]) -> None:
    """Compare the values of ``seen`` (named as in an error) in all processes; if one has a problem, all end.

    Raises:
        UserError: the problem, in the first process that has one; the others exit without a message.
        RunError: in the first process, if its values differ from another's.
    """
    if several_processes():
        everywhere: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everywhere, (problem is not None, socket.gethostname(), dict(seen)))
        failed = [rank for rank, (has_problem, _, _) in enumerate(everywhere) if has_problem]
        _, first_host, expected = everywhere[0]
        for rank, (_, host, other) in enumerate(everywhere) if not failed else ():
            if differs := [what for what in expected if other.get(what) != expected[what]]:
                failed = [0]
                problem = RunError(
                    f"process {rank} on {host} has other {' and '.join(differs)} than the first process on "
                    f"{first_host}: give all machines the same files, models and versions"
                )
                break
        if failed and dist.get_rank() != failed[0]:
            sys.exit(1)
    if problem is not None:
        raise problem
