"""The notebook runs from its first cell to its last, and trains a tagger that finds something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CELLS = json.loads((ROOT / "docs" / "getting_started.ipynb").read_text(encoding="utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def test_it_compiles_and_holds_no_output() -> None:
    for number, code in enumerate(CODE):
        compile(code, f"cell {number}", "exec")
    assert not any(cell.get("outputs") for cell in CELLS)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_it_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("NER_MODULE_CACHE", str(tmp_path))
    names: dict[str, Any] = {}
    for number, code in enumerate(CODE):
        exec(compile(code, f"cell {number}", "exec"), names)
    assert names["scores"]["test/f1"] > 0.8
    assert {entity["type"] for entity in names["result"]["entities"]} >= {"PER"}
