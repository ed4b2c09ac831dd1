"""``python -m ner_module COMMAND``: dispatch, and one clear line for what a user can mend."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import warnings
from types import FrameType


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0, or 1 for what is wrong with data, model or run. Wrong options exit with 2, Ctrl-C with 130; a
        training that was saved on SIGTERM with 143, on SIGUSR1 with 75.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _set_up_messages()
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _end)
    from ner_module.errors import UserError
    from ner_module.offers import call, call_all, find_commands

    try:
        call_all("start")
        commands = find_commands()
        if arguments and arguments[0] in commands:
            code: int = call(commands[arguments[0]], arguments[1:])
            return code
        from ner_module.cli import run_command

        run_command(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output (`head`, say) has had enough; what Python flushes at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        # A path that cannot be written: a folder, another's, or a full disk.
        print(
            f"error: {error.filename or 'a file'}: {error.strerror}; check the path, its permissions and the disk",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt as stop:
        return getattr(stop, "exit_code", 130)
    return 0


def _end(number: int, frame: FrameType | None) -> None:
    """End at SIGTERM; for the first process of a container, for which the kernel leaves out the default action.

    A trainer that sets a handler of its own calls this one too, and decides alone.
    """
    if signal.getsignal(signal.SIGTERM) is _end:
        sys.exit(128 + number)


def _set_up_messages() -> None:
    """One line a message, from the first process only; the libraries' chatter is left out."""
    first = os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("SLURM_PROCID", "0") == "0"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("ner_module")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if first else logging.ERROR)
    logger.propagate = False
    # Advice that does not hold here: batches are cheap to assemble, and every epoch is short enough to log.
    # An empty file of text has no predictions, and says so by an empty result.
    for message in (
        ".*does not have many workers.*",
        ".*LeafSpec.*",
        ".*is smaller than the logging interval.*",
        "Total length of `DataLoader` across ranks is zero.*",
    ):
        warnings.filterwarnings("ignore", message=message)


if __name__ == "__main__":
    sys.exit(main())
