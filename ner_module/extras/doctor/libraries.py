"""Are the libraries installed, in the versions this project was tested with."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import ner_module
from ner_module.extras.doctor.check import Check

LIBRARIES = (
    *("torch", "lightning", "jsonargparse", "transformers", "tokenizers", "safetensors", "datasets"),
    *("huggingface-hub", "torchmetrics", "wandb", "numpy", "pyarrow", "pyyaml", "regex", "rich"),
    *("jinja2", "matplotlib", "scipy"),
)
"""The dependencies in pyproject.toml."""

# https://github.com/Lightning-AI/pytorch-lightning/security/advisories: stolen releases, pulled from PyPI.
_COMPROMISED = {("lightning", "2.6.2"), ("lightning", "2.6.3")}


def tested_versions() -> dict[str, str]:
    """The versions in constraints.txt by name; empty where there is no such file."""
    package = Path(ner_module.__file__).parent
    for path in (package.parent / "constraints.txt", package / "constraints.txt"):  # a clone, or an installed wheel
        if path.is_file():
            pins = re.findall(r"^([\w.-]+)==(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
            return {name.lower().replace("_", "-"): version for name, version in pins}
    return {}


def libraries() -> Iterator[Check]:
    """Python and each of :data:`LIBRARIES`, compared with the tested versions; nothing is imported."""
    version = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    old = sys.version_info < (3, 11)
    yield Check("libraries", "Python", "error" if old else "ok", version, "use Python 3.11 or newer" if old else "")
    yield Check("libraries", "ner_module", "ok", ner_module.__version__)
    tested = tested_versions()
    for name in LIBRARIES:
        status, advice = "ok", ""
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            status, found = "error", "not installed"
            advice = "install the project: `make setup`, or `pip install -c constraints.txt -e .`"
        else:
            if (name, found) in _COMPROMISED:
                status = "error"
                advice = "a compromised release: install another at once, and change every secret this machine knew"
            elif found.partition("+")[0] != tested.get(name, found.partition("+")[0]):
                status, advice = "warning", f"tested with {tested[name]}: `pip install {name}=={tested[name]}`"
        yield Check("libraries", name, status, found, advice)
