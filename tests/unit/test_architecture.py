"""Imports point downwards: core rooms in their order, nothing from the core into the extras, no cycles.

All imports count: at the top of a module, inside functions and for type checkers.
"""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "ner_module"
MAX_LINES = 350
EXACT = {"ner_module.extras", "ner_module.__version__"}
"""What may be imported from the package itself."""

# From the ground up; a room may import those on its own floor and below.
FLOORS = (
    ("errors", "files", "tables", "tagging", "offers"),
    ("hub_files", "pretrained", "tokenizer"),
    ("data",),
    ("metrics",),
    ("model",),
    ("training",),
    ("inference",),
    ("help", "arguments", "options", "cli"),
    ("__main__", "__init__"),
)
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}
SHARED = {"after_run"}
"""What any extra may import: modules of `extras` that are no extra."""


def modules(package: Path) -> dict[str, Path]:
    """The modules of a package by their dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def nodes_of(source: str) -> tuple[ast.AST, ...]:
    """The syntax of a module; most copies below are equal."""
    return tuple(ast.walk(ast.parse(source)))


def imports_of(module: str, path: Path, known: set[str]) -> set[str]:
    """The modules of this package that a module imports, or names in a string that may be imported.

    A name that is no module, such as a class or a missing extra, counts as the module or folder that would hold it.
    """
    found = set()
    for node in nodes_of(path.read_text(encoding="utf-8")):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = module if path.name == "__init__.py" else module.rpartition(".")[0]
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            names = {f"{base}.{alias.name}" for alias in node.names}
            found |= {name if name in known | EXACT else base for name in names}
        elif isinstance(node, ast.Constant) and str(node.value).startswith("ner_module.extras"):
            found.add(str(node.value).partition(":")[0])
    # `from ner_module import __version__` needs no module but the package itself, which is there already.
    return {name for name in found if name.split(".")[0] == "ner_module"} - {module, "ner_module.__version__"}


def room_of(module: str) -> str:
    """``data`` of ``ner_module.data.words``; ``__init__`` of the package itself."""
    return [*module.split("."), "__init__"][1]


def extra_of(module: str) -> str:
    """``audit`` of ``ner_module.extras.audit.corpus``; empty for what belongs to none."""
    parts = module.split(".")
    return parts[2] if parts[1:2] == ["extras"] and len(parts) > 2 else ""


def needs_of(extra: Path) -> set[str]:
    """The extras that the ``OFFER`` of an extra names in ``needs``."""
    for node in nodes_of((extra / "__init__.py").read_text(encoding="utf-8")):
        if isinstance(node, ast.keyword) and node.arg == "needs":
            return set(ast.literal_eval(node.value))
    return set()


def problems(package: Path) -> Iterator[str]:
    """Every import of a package that points the wrong way, and every file that is too long."""
    paths = modules(package)
    imports = {module: imports_of(module, path, set(paths)) for module, path in paths.items()}
    extras = {folder.name for folder in (package / "extras").iterdir() if (folder / "__init__.py").is_file()}
    for module, imported in imports.items():
        lines = len(paths[module].read_text(encoding="utf-8").splitlines())
        if lines > MAX_LINES:
            yield f"{module} has {lines} lines"
        room, extra = room_of(module), extra_of(module)
        allowed = needs_of(package / "extras" / extra) | {extra, "", *SHARED} if extra in extras else {extra, ""}
        for name in imported:
            if room == "extras":
                if extra_of(name) not in allowed:
                    yield f"{module} imports {name}, which its needs do not name"
            elif room_of(name) == "extras":
                if module != "ner_module.offers":
                    yield f"{module} imports {name} from the core"
            elif FLOOR_OF[room_of(name)] > FLOOR_OF[room]:
                yield f"{module} imports {name} upwards"
    try:
        TopologicalSorter({name: found & paths.keys() for name, found in imports.items()}).prepare()
    except CycleError as error:
        yield f"{' <- '.join(error.args[1])} is a cycle"


def test_every_module_is_checked() -> None:
    on_disk = [name for _, _, names in os.walk(PACKAGE) for name in names if name.endswith(".py")]
    assert len(modules(PACKAGE)) == len(on_disk) > 100
    # What is neither a room of the core nor an extra has no place yet.
    assert {room_of(module) for module in modules(PACKAGE)} == FLOOR_OF.keys() | {"extras"}


def test_the_house_stands() -> None:
    assert list(problems(PACKAGE)) == []


def planted_problems(copy: Path) -> set[str]:
    return set(problems(copy)) - set(problems(PACKAGE))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("*.conll", "__pycache__")
    return Path(shutil.copytree(PACKAGE, tmp_path / "ner_module", ignore=ignored))


def test_a_bad_import_is_found_in_every_module(copy: Path) -> None:
    paths = modules(copy)
    for path in paths.values():
        with path.open("a", encoding="utf-8") as file:
            file.write("\n\ndef planted():\n    import ner_module.extras.stranger\n")
    found = [problem for problem in planted_problems(copy) if "ner_module.extras.stranger" in problem]
    assert {problem.split()[0] for problem in found} == paths.keys() - {"ner_module.offers"}


@pytest.mark.parametrize(
    ("place", "planted", "expected"),
    [
        ("data/planted.py", "import ner_module.extras.audit", "ner_module.extras.audit from the core"),
        ("data/planted.py", "from ner_module import extras", "ner_module.extras from the core"),
        ("data/planted.py", "from ..extras.audit import audit", "ner_module.extras.audit.audit from the core"),
        ("data/planted.py", "name = 'ner_module.extras.audit'", "ner_module.extras.audit from the core"),
        ("data/planted.py", "from ner_module.training import runs", "ner_module.training.runs upwards"),
        ("data/formats/planted.py", "from ...model.module import NERModule", "ner_module.model.module upwards"),
        ("metrics/planted.py", "import ner_module.model.module", "ner_module.model.module upwards"),
        ("model/planted.py", "from ner_module.training.runs import RUNS", "ner_module.training.runs upwards"),
        ("training/planted.py", "from ner_module.cli import run_command", "ner_module.cli upwards"),
        ("training/planted.py", "from ner_module.inference.tagger import NERTagger", "inference.tagger upwards"),
        ("inference/planted.py", "from ner_module import NERTagger", "ner_module upwards"),
        ("errors.py", "import ner_module.pretrained", "ner_module.pretrained upwards"),
        ("extras/doctor/planted.py", "import ner_module.extras.audit.audit", "which its needs do not name"),
        ("extras/planted.py", "import ner_module.extras.audit", "which its needs do not name"),
        ("data/planted.py", "import ner_module.data.planted_too", "is a cycle"),
        ("extras/audit/planted_too_long.py", "\n" * MAX_LINES + "None", f"has {MAX_LINES + 1} lines"),
    ],
)
def test_each_kind_of_bad_import_is_found(copy: Path, place: str, planted: str, expected: str) -> None:
    (copy / "data" / "planted_too.py").write_text("import ner_module.data.planted\n", encoding="utf-8")
    (copy / place).write_text(planted + "\n", encoding="utf-8")
    assert sum(expected in problem for problem in planted_problems(copy)) == 1


def test_what_an_extra_needs_is_allowed(copy: Path) -> None:
    planted = copy / "extras" / "report" / "planted.py"
    planted.write_text("import ner_module.extras.analysis.errors\nimport ner_module.extras.after_run\n")
    assert planted_problems(copy) == set()
