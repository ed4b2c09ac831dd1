"""Write the lock anew: ``make lock``, or ``python requirements/lock.py [--upgrade] [--upgrade-package NAME …]``.

uv resolves everything that pyproject.toml names, at once and for all platforms, with every hash of every version; the
result is split by what needs it:

* ``torch.txt``: PyTorch as PyPI has it, on Linux with the CUDA packages; ``torch-cpu.txt``: its CPU build for Linux;
* ``core.txt``: what training needs, and what installs this project itself; ``docs.txt``: what the documentation needs;
* ``dev.txt``: what tests and benchmarks need; ``sdist.txt``: likewise, but published without a wheel.

Each package stands in one file only. Without ``--upgrade`` the pins stay as they are wherever pyproject.toml lets them.
``weights.txt`` is written by hand.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

FOLDER = Path(__file__).parent
PROJECT = FOLDER.parent / "pyproject.toml"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
TORCH = re.compile(r"torch$|triton$|cuda-|nvidia-")
SDISTS = {"seqeval": ["setuptools-scm"]}
"""What has no wheel on PyPI, with what it asks for while it is built."""

HEADS = {
    "torch": "PyTorch as PyPI has it; on Linux for CUDA.",
    "torch-cpu": "PyTorch's CPU build for Linux, from an index of its own.",
    "core": "What training needs, and what installs this project; besides torch.txt or torch-cpu.txt.",
    "dev": "What tests and benchmarks need besides core.txt.",
    "sdist": "What tests and benchmarks need that has no wheel; built with what dev.txt has.",
    "docs": "What the documentation needs besides core.txt.",
}


def name_of(requirement: str) -> str:
    """The normalised name that a requirement starts with."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def resolve(*arguments: str, requirements: str) -> str:
    """What ``uv pip compile`` makes of the requirements, for all platforms."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "-", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-header", "--quiet", *arguments]
    return subprocess.run(command, input=requirements, stdout=subprocess.PIPE, text=True, check=True).stdout


def blocks_of(text: str) -> dict[str, str]:
    """The requirements of a lock by name, each with its hashes and the comment that says what needs it."""
    blocks: dict[str, str] = {}
    for block in re.findall(r"^\w.*\n(?:[ ].*\n)*", text, re.MULTILINE):  # two where versions differ by platform
        blocks[name_of(block)] = blocks.get(name_of(block), "") + block
    return blocks


def closure(roots: Iterable[str], blocks: dict[str, str]) -> set[str]:
    """The roots and all they need; the comments `# via …` say what each is needed by."""
    needs: dict[str, set[str]] = {}
    for name, block in blocks.items():
        for parent in re.findall(r"^    #(?: via)? +([\w.-]+)", block, re.MULTILINE):
            needs.setdefault(name_of(parent), set()).add(name)
    found, left = set(), set(roots)
    while left:
        found |= left
        left = set().union(*(needs.get(name, set()) for name in left)) - found
    return found


def cpu_build(pin: str) -> str:
    """PyTorch's CPU build as a requirement; as it stands in the lock where its index cannot be reached."""
    old = blocks_of((FOLDER / "torch-cpu.txt").read_text(encoding="utf-8"))["torch"]
    try:
        return resolve("--no-deps", "--no-annotate", "--index-url", CPU_INDEX, requirements=f"{pin}+cpu")
    except subprocess.CalledProcessError:
        if not old.startswith(f"{pin}+cpu "):
            sys.exit(f"{CPU_INDEX} cannot be reached, and the lock has no hashes of {pin}+cpu: it stays as it is")
        print(f"{CPU_INDEX} cannot be reached: torch-cpu.txt stays as it is", file=sys.stderr)
        return old


def main() -> None:
    """Resolve, split, write."""
    settings = tomllib.loads(PROJECT.read_text(encoding="utf-8"))
    project, build = settings["project"], settings["build-system"]["requires"]
    extras = project["optional-dependencies"]
    old = "".join((FOLDER / f"{part}.txt").read_text(encoding="utf-8") for part in HEADS if part != "torch-cpu")
    everything = [*project["dependencies"], *build, *chain(*extras.values()), *chain(*SDISTS.values())]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "lock.txt"  # uv keeps to the versions, and hashes, that it finds where it is to write
        output.write_text("".join(f"{line}\n" for line in re.findall(r"^[^#\s][^\n\\]*", old, re.M)), encoding="utf-8")
        resolve("--output-file", str(output), *sys.argv[1:], requirements="\n".join(everything))
        blocks = blocks_of(output.read_text(encoding="utf-8"))

    core = closure(map(name_of, [*project["dependencies"], *build]), blocks)
    docs = closure(map(name_of, extras["docs"]), blocks) - core
    parts: dict[str, str] = dict.fromkeys(HEADS, "")
    for name, block in sorted(blocks.items()):
        part = "core" if name in core else "docs" if name in docs else "dev"
        parts["torch" if TORCH.match(name) else "sdist" if name in SDISTS else part] += block
    parts["torch-cpu"] = cpu_build(blocks["torch"].split()[0])
    for part, text in parts.items():
        (FOLDER / f"{part}.txt").write_text(f"# {HEADS[part]}\n# Written by `make lock`.\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
