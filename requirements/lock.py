"""Write the lock anew: ``make lock``, or ``python requirements/lock.py [--upgrade] [--upgrade-package NAME …]``.

``uv.lock`` is the lock: all that pyproject.toml names, for all platforms, with the hashes of its files. Without
``--upgrade`` the pins stay as they are wherever pyproject.toml lets them. For pip the lock is exported and split: each
package stands in one file of ``HEADS``, by what needs it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
TORCH = re.compile(r"torch$|triton$|cuda-|nvidia-")
SDISTS = {"seqeval"}
"""What has no wheel on PyPI."""

HEADS = {
    "torch": "PyTorch as PyPI has it; on Linux for CUDA.",
    "torch-cpu": "PyTorch's CPU build for Linux, from an index of its own.",
    "core": "What training needs, and what installs this project; besides torch.txt or torch-cpu.txt.",
    "dev": "What tests and benchmarks need besides core.txt.",
    "sdist": "What tests and benchmarks need that has no wheel; built with what dev.txt has.",
    "docs": "What the documentation needs besides core.txt.",
    "weights": "The quickstart's weights, as a Python package: files that are read, never imported.",
}


def uv(*arguments: str, stdin: str = "") -> str:
    """What a command of uv prints."""
    command = [sys.executable, "-m", "uv", "--quiet", "--project", str(FOLDER.parent), *arguments]
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, text=True, check=True).stdout


def export(*what: str) -> dict[str, str]:
    """The locked requirements by name, each with its hashes and the comment that says what needs it."""
    text = uv("export", "--frozen", "--no-header", "--no-emit-project", "--no-default-groups", *what)
    blocks: dict[str, str] = {}
    for block, name in re.findall(r"^(([\w.-]+).*\n(?:[ ].*\n)*)", text, re.MULTILINE):
        blocks[name] = blocks.get(name, "") + block  # two where versions differ by platform
    return blocks


def cpu_build(pin: str) -> str:
    """PyTorch's CPU build as a requirement; as it stands in torch-cpu.txt where its index cannot be reached."""
    command = ["pip", "compile", "-", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-header"]
    try:
        return uv(*command, "--no-deps", "--no-annotate", "--index-url", CPU_INDEX, stdin=f"{pin}+cpu")
    except subprocess.CalledProcessError:
        old = re.sub(r"^#.*\n", "", (FOLDER / "torch-cpu.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
        if not old.startswith(f"{pin}+cpu "):
            sys.exit(f"{CPU_INDEX} cannot be reached, and torch-cpu.txt lacks {pin}+cpu: only uv.lock was written")
        print(f"{CPU_INDEX} cannot be reached: torch-cpu.txt stays as it is", file=sys.stderr)
        return old


def main() -> None:
    """Resolve, export, split, write."""
    uv("lock", *sys.argv[1:])
    wanted = {"weights": ("--only-group", "weights"), "core": ("--group", "build"), "docs": ("--extra", "docs")}
    names = {part: set(export(*what)) for part, what in wanted.items()}
    blocks = export("--all-extras", "--all-groups")
    parts = dict.fromkeys(HEADS, "")
    for name, block in blocks.items():
        part = next((part for part in names if name in names[part]), "dev")
        parts["torch" if TORCH.match(name) else "sdist" if name in SDISTS else part] += block
    parts["torch-cpu"] = cpu_build(blocks["torch"].split()[0])
    for part, text in parts.items():
        (FOLDER / f"{part}.txt").write_text(f"# {HEADS[part]}\n# Written by `make lock`.\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
