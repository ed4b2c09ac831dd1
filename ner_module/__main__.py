"""``python -m ner_module COMMAND``: dispatches to a command, and prints errors that a user can fix in one line."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import warnings
from pathlib import Path
from types import FrameType

# All other modules are imported after the working directory was removed from the start of `sys.path`.


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a failed process of a distributed job prints its error and ends here.

    Returns:
        The exit code: 0, or 1 for a problem with data, model or run. Wrong options exit with 2, Ctrl-C with 130; a
        training saved on SIGTERM with 143, on SIGUSR1 with 75.
    """
    error: BaseException | None = None
    _open_streams()
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
    except BaseException as raised:
        error, code = raised, raised.code if isinstance(raised, SystemExit) and isinstance(raised.code, int) else 1
    if code and (distributed := sys.modules.get("ner_module.training.distributed")):
        distributed.end_failed(error, code)
    if error is not None:
        raise error
    return code


def _open_streams() -> None:
    """Redirect closed standard streams to the null device; otherwise a file would get their descriptor."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def _run(arguments: list[str]) -> int:
    _set_up_messages()
    if sys.platform == "linux" and "PYTORCH_CUDA_ALLOC_CONF" not in os.environ:
        # Batches differ in size, which would fragment GPU memory.
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _exit)
    from ner_module.errors import UsageError, UserError
    from ner_module.help import answer
    from ner_module.offers import call, call_all, find_commands
    from ner_module.training.runs import launch_command

    try:
        if answer(arguments, launch_command()):
            return 0
        call_all("start")
        if place := find_commands().get(arguments[0]):
            code: int = call(place, arguments[1:])
            return code
        from ner_module.cli import run_command

        run_command(arguments)
    except UserError as error:
        if isinstance(error, UsageError):
            print(f"tip: all options: {error.tip}", file=sys.stderr)
        return _fail(str(error), 2 if isinstance(error, UsageError) else 1)
    except BrokenPipeError:
        # The reader of the output (such as `head`) has closed it: discard what Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        return _fail(f"{error.filename or 'a file'}: {error.strerror}; check the path, its permissions and the disk")
    except ValueError as error:
        if "embedded null" not in str(error):
            raise
        return _fail("a path holds a zero byte (\\0): give another one")
    except KeyboardInterrupt as stop:
        return getattr(stop, "exit_code", 130)
    return 0


def _fail(message: str, code: int = 1) -> int:
    from ner_module.errors import for_terminal

    print(for_terminal(f"error: {message}", sys.stderr), file=sys.stderr)
    return code


def _exit(number: int, frame: FrameType | None) -> None:
    """Exit on SIGTERM as the init process of a container, for which the kernel has no default action.

    A trainer that sets its own handler also calls this one, which then does nothing.
    """
    if signal.getsignal(signal.SIGTERM) is _exit:
        sys.exit(128 + number)


class _Formatter(logging.Formatter):
    """Prefixes warnings, and escapes control characters that a message quotes from data."""

    def format(self, record: logging.LogRecord) -> str:
        from ner_module.errors import for_terminal

        kind = "warning: " if record.levelno == logging.WARNING else ""
        return for_terminal(kind + record.getMessage(), sys.stderr)


def _set_up_messages() -> None:
    """Log one line per message, from the first process only, and ignore advice that does not apply here."""
    first = os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("SLURM_PROCID", "0") == "0"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logger = logging.getLogger("ner_module")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if first else logging.ERROR)
    logger.propagate = False
    # Collation is cheap, short epochs are logged at their end, and an empty input has no predictions.
    chatter = ("does not have many workers", "LeafSpec", "smaller than the logging interval", "across ranks is zero")
    warnings.filterwarnings("ignore", message=f".*({'|'.join(chatter)})")


def _import_installed_modules_first() -> None:
    """Keep files of the working directory from shadowing installed modules, as they would with ``python -m``.

    Modules there are searched last, and only if an option may name one of their classes.
    """
    here = Path.cwd()
    if sys.path and Path(sys.path[0]).resolve() == here.resolve():
        del sys.path[0]
        if any(argument.startswith(("--config", "-c", "--trainer.")) for argument in sys.argv[1:]):
            sys.path.append(str(here))


if __name__ == "__main__":
    _import_installed_modules_first()
    sys.exit(main())
