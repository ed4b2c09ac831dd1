"""``benchmarks/gpu.py``: the models and lengths that it is about, and that it runs to its end, here without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

# What needs a package that few have.
MAY_BE_ABSENT = {"Trainer bf16 flattened, flash attention, 16"}


@pytest.mark.parametrize(
    ("shape", "millions"),  # published: 110 and 22.7; 149 and 184 by their authors' model cards
    [("BERT-base", (107, 109)), ("MiniLM", (22, 23)), ("ModernBERT-base", (148, 150)), ("DeBERTa-v3-base", (182, 185))],
)
def test_models_have_their_published_shape(shape: str, millions: tuple[int, int]) -> None:
    from gpu_cases.made_up import LABELS, build

    model = build(shape, False, torch.device("meta"))
    assert millions[0] < sum(p.numel() for p in model.parameters()) / 1e6 < millions[1]
    assert model.config.num_labels == len(LABELS) == 9


def test_text_is_as_long_as_the_table_says(tmp_path: Path) -> None:
    from gpu_cases.made_up import LABELS, batches, tokenizer, write_corpus
    from lengths import lengths_of
    from trainer_baseline import read_columns

    assert len(lengths_of("conll2003")) == 14_041
    bundled = ROOT / "ner_module" / "data" / "sample" / "train.conll"
    assert len(lengths_of("sample")) == len(list(read_columns(bundled)))
    corpus = write_corpus("conll2003", 200, tmp_path)
    sentences = list(read_columns(corpus.train))
    encoded = tokenizer()([row["tokens"] for row in sentences], is_split_into_words=True)["input_ids"]
    assert [len(row["tokens"]) + 2 for row in sentences] == [len(ids) for ids in encoded]
    assert set(map(len, encoded)) <= set(lengths_of("conll2003").tolist())
    assert {tag for row in sentences for tag in row["tags"]} == set(LABELS)
    assert all(3_900 < sum(lengths) <= 4_096 for lengths in batches("conll2003", 0, 4_096, 5))


@pytest.mark.slow
def test_a_case_that_fails_and_one_that_takes_too_long_are_recorded(tmp_path: Path) -> None:
    from gpu import run_case

    (tmp_path / "machine.json").write_text('{"before": 1}', encoding="utf-8")
    stopped = run_case("machine", True, tmp_path, 0.5)
    assert stopped["status"] == "timeout"
    assert stopped["found"] == {"before": 1}
    failed = run_case("x", True, tmp_path, 60)
    assert failed["status"] == "failed"
    assert any("invalid choice: 'x'" in line for line in failed["output"])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_case_runs_to_its_end(tmp_path: Path) -> None:
    from gpu import CASES, not_measured

    output = tmp_path / "gpu.json"
    command = [sys.executable, "benchmarks/gpu.py", "--small", "--minutes", "55", "--output", str(output)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    found = json.loads(output.read_text(encoding="utf-8"))
    assert {name: case["status"] for name, case in found["cases"].items()} == dict.fromkeys(CASES, "ok"), done.stdout
    errors = {name for case in found["cases"].values() for name in not_measured(case)}
    assert errors <= MAY_BE_ABSENT
    of = {name: case["found"] for name, case in found["cases"].items()}
    assert of["machine"]["peak_bf16"]["tflops"] > 0
    assert of["families"]["deberta-v2"]["fp32 blocks"]["gradients"] < 1e-5
    assert of["families"]["self-check"]["problem"] is None
    assert of["waits"]["waits"]["steps"] == 4
    assert of["training DeBERTa-v3-base"]["bf16 16 none"]["busy_share"] > 0
    assert of["peers"]["ours bf16, 16"]["step_ms"] > 0
    assert of["peers"]["Trainer, 16"]["step_ms"] > 0
    assert of["prediction"]["lines_changed_by_padding"] == 0
    assert of["quickstart"]["unset"]["throughput"]["step_ms"] > 0
    assert of["start-up and workers"]["start_up"]["first step"] > 0
    assert of["processes"]["out_of_memory"]["exit_code"] != 0
    assert of["gpu tests"]["tests"]["number"] == 2
