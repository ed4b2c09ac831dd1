"""What is left when extras are deleted is a trainer: the package is copied without them, and used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from run_files import json_lines, results

ROOT = Path(__file__).parents[2]
EXTRAS = sorted(path.parent.name for path in ROOT.glob("ner_module/extras/*/__init__.py"))
CORE_TESTS = ("tagging", "batching", "module", "decoding", "runs", "checkpoint_files")

# All in one process: importing torch takes seconds. Prints what `predict` wrote and what the tagger finds.
SCRIPT = """
import sys
from pathlib import Path
import ner_module
from ner_module.__main__ import main
assert Path(ner_module.__file__).is_relative_to(Path(sys.argv[1])), ner_module.__file__
assert main(["fit", *sys.argv[2:], "--run_dir", "run"]) == 0
assert main(["test", "--run_dir", "run", "--ckpt_path", "best"]) == 0
Path("text.txt").write_text("Anna met Ben.")
predict = ["predict", "--run_dir", "run", "--ckpt_path", "last", "--data.predict_file", "text.txt"]
assert main([*predict, "--output", "out.jsonl"]) == 0
assert main([*predict, "--precision", "0.9"]) == 1  # nothing chooses, or nothing was measured
task = '[{"data": {"text": "Anna"}, "annotations": [{"result": []}]}]'
Path("task.json").write_text(task)
if "ner_module.extras.formats" not in sys.modules:
    assert main(["fit", *sys.argv[2:], "--data.train_file", "task.json", "--run_dir", "none"]) == 1
found = ner_module.NERTagger.load("run/checkpoints/last.ckpt").predict(["Anna met Ben."])
assert found[0]["text"] == "Anna met Ben."
print("imported:", *[name for name in sys.modules if name.startswith("ner_module.extras")])
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package; the folder that holds it."""
    shutil.copytree(ROOT / "ner_module", tmp_path / "copy" / "ner_module", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "copy"


def python(package: Path, cache: Path, *arguments: object) -> str:
    """Run Python with the copied package; its output."""
    variables = {"PYTHONPATH": str(package), "NER_MODULE_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=package,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_without_any(package: Path, cache: Path, fit_options: list[str]) -> None:
    shutil.rmtree(package / "ner_module" / "extras")
    out = python(package, cache, "-c", SCRIPT, package, *fit_options)
    assert out.splitlines()[-1] == "imported:"
    assert len(results(package / "run")["epochs"]) == 2
    assert "test/f1" in results(package / "run")["test"]
    (row,) = json_lines((package / "out.jsonl").read_text(encoding="utf-8"))
    assert row["text"] == "Anna met Ben."
    files = {str(path.relative_to(package / "run")) for path in (package / "run").rglob("*") if path.is_file()}
    assert files == {
        *("config.yaml", "metrics.csv", "results.json", "train_entities.json", "predictions/test.jsonl"),
        *(f"checkpoints/{name}.ckpt" for name in ("best", "last", "previous")),
    }


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_the_core_s_tests_pass_without_any(package: Path, cache: Path) -> None:
    shutil.rmtree(package / "ner_module" / "extras")
    tests = shutil.copytree(ROOT / "tests", package / "tests", ignore=shutil.ignore_patterns("extras", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", package)
    files = [tests / "unit" / f"test_{name}.py" for name in CORE_TESTS]
    out = python(
        package, cache, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, tests / "integration/test_fit.py"
    )
    assert " passed" in out


@pytest.mark.slow
@pytest.mark.parametrize("extra", EXTRAS)
def test_without_one(package: Path, cache: Path, fit_options: list[str], extra: str) -> None:
    shutil.rmtree(package / "ner_module" / "extras" / extra)
    out = python(package, cache, "-c", SCRIPT, package, *fit_options)
    assert f"ner_module.extras.{extra}" not in out.splitlines()[-1].split()
    assert len(results(package / "run")["epochs"]) == 2
