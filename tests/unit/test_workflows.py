"""Workflows, Makefile, Dockerfile and package say the same; what linters do not look at."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def load(path: Path) -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_pinned_and_with_the_least_rights(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: (.*)", text)
    assert used
    for line in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), f"{path.name}: {line}"
    workflow = load(path)
    assert workflow["permissions"] == {}, "a job asks for what it needs"
    assert "concurrency" in workflow
    for name, job in workflow["jobs"].items():
        assert "permissions" in job, f"{path.name}: {name}"
        assert job["timeout-minutes"] <= 90
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_an_action_has_one_version() -> None:
    pins = {pin for path in WORKFLOWS for pin in re.findall(r"uses: (\S+)@(\S+)", path.read_text(encoding="utf-8"))}
    assert len(pins) == len({action for action, _ in pins})


def test_every_supported_python_is_tested() -> None:
    matrix = load(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    claimed = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: Python :: 3." in line]
    assert matrix["python"] == claimed
    assert PROJECT["requires-python"] == f">={claimed[0]}"


def test_make_targets_in_workflows_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    asked = {
        target for path in WORKFLOWS for target in re.findall(r"run: make ([\w-]+)", path.read_text(encoding="utf-8"))
    }
    assert {"check", "docs", "test", "quickstart", "package"} <= asked
    for target in asked:
        assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), target


def test_the_image_has_what_make_installs() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    ours, theirs = (
        re.search(pattern, text)[1]  # type: ignore[index]
        for pattern, text in ((r"CPU_INDEX := (.*)", makefile), (r"ARG TORCH_INDEX_URL=(.*)", dockerfile))
    )
    assert ours == theirs
    for name in ("torch", "torch-cpu", "core", "weights"):
        assert f"requirements/{name}.txt" in makefile
        assert f"!requirements/{name}.txt" in (ROOT / ".dockerignore").read_text(encoding="utf-8")
    base = re.search(r"ARG BASE_IMAGE=(.*)", dockerfile)[1]  # type: ignore[index]
    assert load(ROOT / ".github" / "workflows" / "image.yml")["env"]["BASE"] == base


def test_the_image_is_made_of_nothing_else() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*", "all is left out but what is named"
    admitted = {rule[1:] for rule in rules if rule.startswith("!")}
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    copied = {name for line in re.findall(r"^COPY (?!--from)(.*)", dockerfile, re.M) for name in line.split()[:-1]}
    assert copied == admitted
