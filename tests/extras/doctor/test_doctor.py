"""`doctor`: what it reports is true, and what is broken is an error."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from ner_module.extras.doctor import command
from ner_module.extras.doctor.command import LIBRARIES, Check, main

ROOT = Path(__file__).parents[3]


def by_name(checks: Iterable[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_this_machine_has_no_errors(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    started = time.monotonic()
    assert main(["--json"]) == 0
    assert time.monotonic() - started < 15  # 4 s on two quiet cores
    printed = json.loads(capsys.readouterr().out)
    assert printed["ok"] is True
    found = {check["name"]: check for check in printed["checks"]}
    assert found["Python"]["value"].startswith(".".join(map(str, sys.version_info[:3])))
    listed = found["as tested"]["value"].split(", ")
    for name in LIBRARIES:
        assert name in found or f"{name} {metadata.version(name)}" in listed
    assert {check["status"] for check in printed["checks"]} <= {"ok", "warning"}
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


def test_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    for text in ("libraries", "devices", "storage", f"torch {metadata.version('torch')}"):
        assert text in out
    assert out.endswith("Ready.\n")


def test_libraries_are_the_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[\[<>=]", line)[0] for line in project["dependencies"]}
    assert set(LIBRARIES) == names
    assert names <= set(command.tested_versions())


@pytest.mark.parametrize(
    ("versions", "status", "text"),
    [
        ({"torch": "1.0.0"}, "warning", "tested with"),
        ({"torch": None}, "error", "make setup"),
    ],
)
def test_versions(versions: dict[str, str | None], status: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    true_version = metadata.version

    def version(name: str) -> str:
        found = versions.get(name, true_version(name) if name not in versions else None)
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(command.metadata, "version", version)
    (name,) = versions
    check = by_name(command.libraries())[name]
    assert check.status == status
    assert text in check.advice
    assert main(["--quick"]) == (status == "error")


def test_a_local_build_is_the_tested_version(monkeypatch: pytest.MonkeyPatch) -> None:
    tested = command.tested_versions()["torch"]
    monkeypatch.setattr(command.metadata, "version", lambda name: f"{tested}+cu128")
    assert f"torch {tested}+cu128" in by_name(command.libraries())["as tested"].value


def test_a_section_that_fails_is_an_error_and_the_others_still_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> Iterator[Check]:
        yield Check("first", "ok", "fine")
        raise RuntimeError("the second\nis broken")

    broken.__name__ = "storage"
    monkeypatch.setattr(command, "storage", broken)
    assert main(["--quick", "--json"]) == 1
    checks = json.loads(capsys.readouterr().out)["checks"]
    values = [(check["name"], check["status"], check["value"]) for check in checks if check["section"] == "storage"]
    assert values == [("first", "ok", "fine"), ("check", "error", "RuntimeError: the second is broken")]
    assert "Python" in {check["name"] for check in checks}


# ---------------------------------------------------------------------- folders


def test_a_folder_that_is_a_file_or_full_or_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command.check_folder("runs", tmp_path / "a" / "b").status in ("ok", "warning")
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    check = command.check_folder("runs", tmp_path / "file" / "runs")
    assert (check.status, "Not a directory" in check.value) == ("error", True)
    assert command.check_folder("hub cache", tmp_path / "file" / "hub", broken="warning").status == "warning"
    for free, status in ((command._LITTLE_DISK - 1, "warning"), (1 << 40, "ok")):
        usage = shutil._ntuple_diskusage(1 << 41, 0, free)  # type: ignore[attr-defined]
        monkeypatch.setattr(command.shutil, "disk_usage", lambda path, usage=usage: usage)
        assert command.check_folder("runs", tmp_path).status == status


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_a_folder_of_somebody_else() -> None:
    """As another user, in a process of its own: root may write everywhere."""
    folder = Path("/tmp") / f"doctor-{os.getpid()}"
    folder.mkdir(mode=0o755)
    code = (
        "import os\n"
        "from pathlib import Path\n"
        "from ner_module.extras.doctor.command import check_folder\n"
        "os.setgid(65534); os.setuid(65534)\n"
        f"print(check_folder('runs', Path({str(folder)!r})))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
    finally:
        folder.rmdir()
    assert done.returncode == 0, done.stderr
    assert "status='error'" in done.stdout
    assert "Permission denied" in done.stdout


def test_the_quick_check_is_quick() -> None:
    """The image's health check: no torch, in a process of its own."""
    code = (
        "import sys; from ner_module.__main__ import main\n"
        "code = main(['doctor', '--quick']); assert 'torch' not in sys.modules; sys.exit(code)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "storage" in done.stdout
    assert "devices" not in done.stdout
