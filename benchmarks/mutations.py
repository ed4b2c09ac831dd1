"""Do the tests notice a mistake? One line of each core module is broken, and the tests are run until one of them fails.

    python benchmarks/mutations.py                  # one mistake in each module, chosen by seed
    python benchmarks/mutations.py --most 40
    python benchmarks/mutations.py --seed 1 --only data/batching.py training/

A mistake is a comparison turned around, ``and`` for ``or``, a sum for a difference, a ``not`` left out, or a number
off by one in a comparison or an index. The fast tests run that execute the line, which `pytest-cov` says; where only
other processes execute it, those that name the module, and the integration tests. What survives is printed with its
line: either a test is missing there, or the mistake changes nothing that matters, which a person decides.
"""

from __future__ import annotations

import argparse
import ast
import concurrent.futures
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import coverage

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "ner_module"
LIMIT = 1200.0
"""Seconds that the tests of a line may take; the unbroken ones take a few minutes."""
MOST_TESTS = 100
_TURNED = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: ">=",
    ast.GtE: "<",
    ast.Gt: "<=",
    ast.LtE: ">",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}


_COUNTS = (ast.Compare, ast.Subscript, ast.Slice)
"""Where a number off by one is a mistake; elsewhere most are sizes and limits, which somebody chose."""


class Mutation(NamedTuple):
    """A mistake: the file, its line, and the lines before and after."""

    path: Path
    line: int
    before: str
    after: str


def mutations_of(path: Path) -> Iterator[Mutation]:
    """Every mistake that can be made in a file; expressions that run over several lines are left alone."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    tree = ast.parse(text)
    matters = {id(part) for node in ast.walk(tree) if isinstance(node, _COUNTS) for part in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.expr) or node.lineno != node.end_lineno:
            continue
        if isinstance(node, ast.Constant) and id(node) not in matters:
            continue
        changed = _broken(node)
        if changed is None:
            continue
        line = lines[node.lineno - 1].encode()  # offsets count bytes
        new = (line[: node.col_offset] + changed.encode() + line[node.end_col_offset :]).decode()
        try:
            ast.parse("\n".join([*lines[: node.lineno - 1], new, *lines[node.lineno :]]))
        except SyntaxError:  # inside an f-string, say
            continue
        yield Mutation(path, node.lineno, lines[node.lineno - 1], new)


def _broken(node: ast.expr) -> str | None:
    """The source of an expression with a mistake in it."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        return f"{ast.unparse(node.left)} {_TURNED[type(node.ops[0])]} {ast.unparse(node.comparators[0])}"
    if isinstance(node, ast.BoolOp):
        joined = " or " if isinstance(node.op, ast.And) else " and "
        return "(" + joined.join(f"({ast.unparse(value)})" for value in node.values) + ")"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return f"({ast.unparse(node.operand)})"
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        other = "-" if isinstance(node.op, ast.Add) else "+"
        return f"({ast.unparse(node.left)} {other} {ast.unparse(node.right)})"
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return str(node.value + 1)
    return None


class Coverage:
    """Which fast tests execute each line of the package; measured once for each commit."""

    def __init__(self) -> None:
        head = ["git", "rev-parse", "HEAD"]
        commit = subprocess.run(head, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        path = ROOT / "build" / "mutations" / commit
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            command = ["-m", "pytest", "-q", "-n", "2", "--cov", "ner_module", "--cov-context", "test", "--cov-report="]
            if subprocess.run(
                [sys.executable, *command], cwd=ROOT, env={**os.environ, "COVERAGE_FILE": str(path)}
            ).returncode:
                sys.exit("without a mistake, tests fail, too; mend them first")
        data = coverage.CoverageData(str(path))
        data.read()
        self._tests = {file: data.contexts_by_lineno(file) for file in data.measured_files()}
        # Contexts are a test and its phase: "tests/unit/test_crf.py::test_loss|run".
        contexts = (context for lines in self._tests.values() for tests in lines.values() for context in tests)
        self._lines = Counter(context.rpartition("|")[0] for context in contexts)

    def tests_for(self, mutation: Mutation) -> list[str]:
        """Tests that execute the line, those that execute least else first; or, if only other processes do, its own."""
        contexts = self._tests.get(str(mutation.path), {}).get(mutation.line, [])
        tests = {context.rpartition("|")[0] for context in contexts} - {""}
        if tests:
            return sorted(tests, key=lambda test: (self._lines[test], test))[:MOST_TESTS]
        *parents, name = mutation.path.relative_to(ROOT).with_suffix("").parts
        imported = re.compile(rf"{'.'.join(parents)}(\.| import .*\b){name}\b")
        files = sorted((ROOT / "tests").rglob("test_*.py"))
        naming = [str(file.relative_to(ROOT)) for file in files if imported.search(file.read_text(encoding="utf-8"))]
        return [*naming, "tests/integration"]


def noticed_by(mutation: Mutation, tests: list[str]) -> str:
    """The first of the tests that fails on a copy of the repository with this mistake; empty where all pass."""
    with tempfile.TemporaryDirectory(prefix="ner-mutation-") as folder:
        copy = Path(folder) / "copy"
        ignored = shutil.ignore_patterns(".git", ".venv", "runs", "build", "__pycache__", ".*_cache", ".hypothesis")
        shutil.copytree(ROOT, copy, ignore=ignored)
        target = copy / mutation.path.relative_to(ROOT)
        lines = target.read_text(encoding="utf-8").splitlines()
        lines[mutation.line - 1] = mutation.after
        target.write_text("\n".join(lines) + "\n", encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        try:
            done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=LIMIT)
        except subprocess.TimeoutExpired:  # a loop without an end, say
            return "the time limit"
    if done.returncode == 0:
        return ""
    lines = done.stdout.decode(errors="replace").splitlines()
    failed = [line.split()[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    return [f"exit code {done.returncode}", *failed][-1]


def choose(seed: int, only: Sequence[str]) -> list[Mutation]:
    """One mistake for each core module that has a line to break."""
    chosen = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        if name.startswith("extras/") or (only and not any(name.startswith(part) for part in only)):
            continue
        found = list(mutations_of(path))
        if found:
            chosen.append(random.Random(f"{seed} {name}").choice(found))
    return chosen


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--most", type=int, help="this many of the modules, chosen by seed")
    parser.add_argument("--only", nargs="*", default=[], metavar="PATH", help="beginnings of paths below ner_module/")
    arguments = parser.parse_args()
    chosen = choose(arguments.seed, arguments.only)
    random.Random(arguments.seed).shuffle(chosen)  # so that the first ones are as good as any
    chosen = chosen[: arguments.most]
    measured = Coverage()
    tests = [measured.tests_for(mutation) for mutation in chosen]
    noticed = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for mutation, failed in zip(chosen, pool.map(noticed_by, chosen, tests), strict=True):
            noticed += bool(failed)
            place = f"{mutation.path.relative_to(ROOT)}:{mutation.line}"
            print(f"{'noticed ' if failed else 'SURVIVED'}  {place}  {mutation.after.strip()}  {failed}", flush=True)
    print(f"{noticed} of {len(chosen)} mistakes noticed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
