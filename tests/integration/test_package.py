"""The sdist and the wheel: built as `make package` does, and used where there is no clone."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def python(*arguments: object, cwd: Path, path: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made from the sdist, so that this has all that is needed."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    python("-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (found,) = folder.glob("*.whl")
    assert len(list(folder.glob("*.tar.gz"))) == 1
    return found


def test_the_wheel_holds_the_package_and_the_sample(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "ner_module").rglob("*.py")}
    assert sources <= names
    configs = {f"ner_module/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert {"ner_module/requirements/core.txt", "ner_module/data/sample/train.conll", *configs} <= names
    others = {name.split("/")[0] for name in names} - {"ner_module"}
    assert len(others) == 1
    assert others.pop().endswith(".dist-info"), "nothing but the package and its metadata"


def test_the_wheel_works_without_a_clone(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    python("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel, cwd=tmp_path)
    where = python("-c", "import ner_module; print(ner_module.__file__)", cwd=tmp_path, path=target)
    assert Path(where.strip()).is_relative_to(target)
    assert "fit" in python("-m", "ner_module", "--help", cwd=tmp_path, path=target)
    assert "as tested" in python("-m", "ner_module", "doctor", cwd=tmp_path, path=target)
    (tmp_path / "my.conll").write_text("Ada B-PER\nslept O\n\n" * 9, encoding="utf-8")
    recipe = python("-m", "ner_module", "init", "my.conll", cwd=tmp_path, path=target)
    (tmp_path / "my.yaml").write_text(recipe, encoding="utf-8")
    shipped = ["configs/quickstart.yaml", "configs/overlays/cpu.yaml", "my.yaml"]
    named = [part for name in shipped for part in ("--config", name)]
    printed = python("-m", "ner_module", "fit", *named, "--print_config", cwd=tmp_path, path=target)
    assert "train_file: my.conll" in printed
    assert "accelerator: cpu" in printed
