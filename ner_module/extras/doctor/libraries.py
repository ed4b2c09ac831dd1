"""Are the libraries there, and are they the tested ones."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import ner_module
from ner_module.extras.doctor.finding import Finding

LIBRARIES = (
    *("torch", "lightning", "jsonargparse", "transformers", "tokenizers", "safetensors", "datasets"),
    *("huggingface-hub", "torchmetrics", "wandb", "numpy", "pyarrow", "pyyaml", "regex", "rich"),
    *("jinja2", "matplotlib"),
)
"""What every run imports: the dependencies in pyproject.toml."""

# https://github.com/Lightning-AI/pytorch-lightning/security/advisories: stolen releases, pulled from PyPI.
_COMPROMISED = {"lightning": ("2.6.2", "2.6.3"), "pytorch-lightning": ("2.6.2", "2.6.3")}


def tested_versions() -> dict[str, str]:
    """The versions in constraints.txt, by normalised name; empty where the file did not come along."""
    package = Path(ner_module.__file__).parent
    for folder in (package.parent, package):  # a clone, or an installed wheel
        if (folder / "constraints.txt").is_file():
            text = (folder / "constraints.txt").read_text(encoding="utf-8")
            lines = (line.partition("==") for line in text.splitlines())
            return {_normalised(name): version.strip() for name, equals, version in lines if equals and name[0] != "#"}
    return {}


def _normalised(name: str) -> str:
    return name.strip().lower().replace("_", "-")


def libraries() -> Iterator[Finding]:
    """Python and each of :data:`LIBRARIES`, beside the versions that were tested; nothing is imported."""
    version = platform.python_version()
    yield (
        Finding("libraries", "Python", "ok", f"{version}, {platform.system()} {platform.machine()}")
        if sys.version_info >= (3, 11)
        else Finding("libraries", "Python", "error", version, "use Python 3.11 or newer")
    )
    yield Finding("libraries", "ner_module", "ok", ner_module.__version__)
    tested = tested_versions()
    for name in LIBRARIES:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            advice = "install the project: `make setup`, or `pip install -c constraints.txt -e .`"
            yield Finding("libraries", name, "error", "not installed", advice)
            continue
        expected = tested.get(name)
        if found in _COMPROMISED.get(name, ()):
            advice = "a compromised release: install another at once, and change every secret this machine knew"
            yield Finding("libraries", name, "error", found, advice)
        elif expected and found.partition("+")[0] != expected:
            advice = f"tested with {expected}: `pip install {name}=={expected}`"
            yield Finding("libraries", name, "warning", found, advice)
        else:
            yield Finding("libraries", name, "ok", found)
