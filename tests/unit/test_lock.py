"""uv.lock and its export in requirements/: complete, with hashes, in agreement with pyproject.toml and each other."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HASH = r" \\\n    --hash=sha256:[0-9a-f]{64}"


def entries(path: Path) -> list[str]:
    """The lines of a file, continued ones joined, without comments."""
    text = re.sub(r"^ *#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return re.findall(r"^(?:.*\\\n)*.*\n", text, re.MULTILINE)


def locked() -> dict[str, list[tuple[str, str]]]:
    """Each package: in which file, and in which version; two where versions differ by platform."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in FILES:
        for entry in entries(path):
            name, version = entry.split()[0].split("==")
            found.setdefault(canonicalize_name(name), []).append((path.stem, version))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_requirement_has_a_hash(path: Path) -> None:
    assert entries(path)
    for entry in entries(path):
        assert re.fullmatch(rf"[\w.-]+==[^\s;]+( ; [^\\\n]+)?({HASH})+\n", entry), entry


def test_a_package_stands_in_one_file() -> None:
    assert {path.stem for path in FILES} == {"torch", "torch-cpu", "core", "weights", "dev", "sdist", "docs"}
    found = locked()
    builds = dict(found.pop("torch"))
    assert builds == {"torch": builds["torch"], "torch-cpu": f"{builds['torch']}+cpu"}
    for name, places in found.items():
        assert len({file for file, _ in places}) == 1, name


def test_lock_and_pyproject_agree() -> None:
    project, extras = PROJECT["project"], PROJECT["project"]["optional-dependencies"]
    core, dev = {"torch", "torch-cpu", "core"}, {"torch", "core", "dev", "sdist"}
    groups = PROJECT["dependency-groups"]
    assert groups["build"] == PROJECT["build-system"]["requires"]
    asked = {"dependencies": (project["dependencies"], core), "build": (groups["build"], core)}
    asked["weights"] = (groups["weights"], {"weights"})
    asked |= {extra: (wanted, {"core", "docs"} if extra == "docs" else dev) for extra, wanted in extras.items()}
    found = locked()
    for what, (wanted, files) in asked.items():
        for requirement in map(Requirement, wanted):
            for file, version in found[canonicalize_name(requirement.name)]:
                assert file in files, f"{what}: {requirement}"
                assert requirement.specifier.contains(version, prereleases=True), f"{what}: {requirement}"


def test_the_requirements_are_those_of_uv_lock() -> None:
    """The same names, versions and hashes, all of PyPI; only PyTorch's CPU build has an index of its own."""
    wanted, found = {}, defaultdict(set)
    for package in tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]:
        if package["name"] == PROJECT["project"]["name"]:
            continue
        assert package["source"] == {"registry": "https://pypi.org/simple"}, package["name"]
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        assert all(file["url"].startswith("https://files.pythonhosted.org/") for file in files), package["name"]
        wanted[package["name"], package["version"]] = {file["hash"] for file in files}
    for entry in (entry for path in FILES if path.stem != "torch-cpu" for entry in entries(path)):
        name, version = entry.split()[0].split("==")
        found[name, version] |= set(re.findall(r"sha256:\w+", entry))
    assert found == wanted, "`make lock` writes uv.lock and exports it"


def test_uv_lock_is_what_pyproject_asks_for() -> None:
    pytest.importorskip("uv")
    command = [sys.executable, "-m", "uv", "lock", "--check", "--offline", "--default-index", "https://pypi.org/simple"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"`make lock` brings uv.lock up to date: {done.stderr}"


@pytest.mark.parametrize("place", ["Makefile", "docker/Dockerfile", ".github/workflows/ci.yml"])
def test_all_that_is_installed_is_checked(place: str) -> None:
    """Each `pip install` asks for hashes and wheels; but for this project itself, and for what has no wheel."""
    text = (ROOT / place).read_text(encoding="utf-8").replace("\\\n", " ")
    text = text.replace("$(LOCKED)", "$(PIP) --require-hashes --only-binary :all:")
    commands = re.findall(r"^(?!PIP :=).*(?:\bpip\S* .*install |\$\(PIP\)).*$", text, re.MULTILINE)
    assert len(commands) >= 2
    for command in commands:
        if "--no-index" in command:  # this project itself
            continue
        assert "--require-hashes" in command, command
        assert "--only-binary :all:" in command or command.endswith("-r requirements/sdist.txt"), command
