"""What a command may write over: only what it recognises as its own earlier output. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ner_module.errors import RunError


def check_output(
    output: Path, is_own: Callable[[Path], bool], inputs: Iterable[Path] = (), overwrite: bool | None = None
) -> None:
    """Refuse to write where something of others is, or something that the command reads.

    Args:
        output: the file or folder to write.
        is_own: whether an existing one was written by this command before.
        inputs: files and folders that the command reads, or that must stay.
        overwrite: the option of that name; ``None`` for a command without it, which replaces its own output.

    Raises:
        RunError: with the reason, in one line.
    """
    if output.is_symlink():
        raise RunError(f"{output} is a link to {output.readlink()}: name the file itself, or another --output")
    place = output.resolve()
    for path in inputs:
        # The parents of an input, too: a folder is replaced as a whole.
        if path.exists() and (place == path.resolve() or place in path.resolve().parents):
            raise RunError(f"{output} is or holds {path}, which is read: choose another output")
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output.is_file() or output.is_dir()):
        raise RunError(f"{output} is neither a file nor a folder: choose another output")
    if overwrite is False:
        raise RunError(f"{output} exists already: choose another output, or add --overwrite")
    if not is_own(output):
        raise RunError(f"{output} exists and was not written by this command: choose another output, or remove it")
