"""A folder for what only this user may read and nobody should find later: texts to predict. No torch.

It is removed when the program ends; what a killed process left is removed by the next one.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import socket
import tempfile
from functools import cache
from pathlib import Path

from ner_module.training import cluster

_VARIABLE = "NER_MODULE_PRIVATE"
_PREFIX = f"ner-module-{socket.gethostname()}-"  # the folder for temporary files may be shared between machines


@cache
def private_folder() -> Path:
    """The folder, the same one in all processes of this command on this machine."""
    inherited = os.environ.get(_VARIABLE)  # by the processes that Lightning starts
    if inherited and Path(inherited).is_dir():
        return Path(inherited)
    _remove_left_over()
    mine = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    folder = Path(cluster.agree_on(f"private/{cluster.attempt()}", str(mine), on_node=True))
    if folder == mine:
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    else:
        mine.rmdir()
    os.environ[_VARIABLE] = str(folder)
    return folder


def _remove_left_over() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(folder.name.removeprefix(_PREFIX).partition("-")[0])
            if folder.stat().st_uid == os.getuid():
                try:
                    os.kill(pid, 0)  # is it alive?
                except ProcessLookupError:
                    shutil.rmtree(folder)
