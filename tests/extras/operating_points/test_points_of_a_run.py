"""From `validate` to `predict`, `NERTagger` and `export`: the same points, measured on validation data alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_files import conll_sentences
from seqeval.metrics.sequence_labeling import get_entities

from ner_module import NERTagger
from ner_module.errors import RunError
from ner_module.extras.analysis.analysis import calibration_error, reliability
from ner_module.extras.operating_points.callback import fit_calibration
from ner_module.extras.operating_points.point import calibrated

RunMain = Callable[..., Any]
Found = set[tuple[int, str, int, int]]


@pytest.fixture(scope="module")
def run(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose model finds two thirds of its validation data and misses most of the rest; `validate` was run."""
    from conftest import run_in_process

    folder = tmp_path_factory.mktemp("points")
    shutil.copytree(trained_run, folder / "run")
    shutil.copy(trained_run.parent / "mixed.conll", folder / "held_out.conll")
    arguments = ["validate", "--run_dir", "run", "--data.validation_file", "held_out.conll"]
    done = run_in_process(arguments, folder, tmp_path_factory.getbasetemp() / "cache")
    assert done.code == 0, done.err
    assert "Operating points on validation data" in done.out
    return folder / "run"


@pytest.fixture(scope="module")
def points(run: Path) -> dict[str, Any]:
    return json.loads((run / "operating_points.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def held_out(run: Path) -> tuple[list[list[str]], Found]:
    """The words of the validation data, and the entities that seqeval reads in them."""
    sentences = conll_sentences(run.parent / "held_out.conll")
    gold = {
        (row, name, start, end + 1)
        for row, (_, tags) in enumerate(sentences)
        for name, start, end in get_entities(tags)
    }
    return [words for words, _ in sentences], gold


def entities(results: list[dict[str, Any]], key: str = "entities") -> dict[tuple[int, str, int, int], float]:
    return {
        (row, each["type"], each["start"], each["end"]): each["score"]
        for row, result in enumerate(results)
        for each in result[key]
    }


def test_the_scores_are_those_that_the_tagger_writes(run: Path, points: dict[str, Any], held_out: Any) -> None:
    words, gold = held_out
    found = entities(NERTagger.load(run).set_point(calibrated=True).predict(words))
    assert points["types"].keys() == {name for _, name, *_ in gold}
    for name, of_type in points["types"].items():
        scored = [(score, place in gold) for place, score in found.items() if place[1] == name]
        assert of_type["right"] == sorted(score for score, right in scored if right)
        assert of_type["wrong"] == sorted(score for score, right in scored if not right)
        assert of_type["gold"] == sum(map(len, of_type["candidates"])) == sum(place[1] == name for place in gold)
    assert sum(len(of_type["wrong"]) for of_type in points["types"].values()) > 5


def test_a_precision_is_reached_by_dropping(run: Path, held_out: Any) -> None:
    words, gold = held_out
    tagger = NERTagger.load(run)
    as_found = entities(tagger.predict(words))
    kept = entities(tagger.set_point(precision=0.95).predict(words))
    assert 0 < len(kept) < len(as_found)
    assert kept.keys() < as_found.keys(), "nothing is found that was not, nothing has another type"
    for name in {place[1] for place in kept}:
        of_type = [place for place in kept if place[1] == name]
        assert len(gold.intersection(of_type)) / len(of_type) >= 0.95
    assert entities(tagger.set_point().predict(words)) == as_found


def test_candidates_hold_the_share_that_was_asked_for(run: Path, held_out: Any) -> None:
    words, gold = held_out
    tagger = NERTagger.load(run).set_point(candidates=0.8)
    results = tagger.predict(words)
    assert [result["entities"] for result in results] == [
        each["entities"] for each in NERTagger.load(run).predict(words)
    ]
    found, listed = entities(results, "candidates"), tagger.point.candidates
    bounded = [name for name, bound in listed.items() if bound <= 1]
    assert bounded
    for name in bounded:
        annotated = {place for place in gold if place[1] == name}
        assert len(annotated & found.keys()) >= 0.8 * len(annotated)
        assert min(score for place, score in found.items() if place[1] == name) >= round(listed[name], 4)
    assert {place[1] for place in found} == set(bounded)
    entity = next(each for result in results for each in result["candidates"])
    assert entity.keys() == {"type", "text", "start", "end", "score"}


def test_off_the_figures_are_as_before(run: Path, trained_run: Path, run_main: RunMain, held_out: Any) -> None:
    """A run that was measured predicts byte for byte what one that was not predicts."""
    text = "\n".join(" ".join(words) for words in held_out[0]).encode()
    assert not (trained_run / "operating_points.json").exists()
    ask = ("--ckpt_path", "best", "--data.predict_file", "-")
    measured, other = (run_main("predict", "--run_dir", each, *ask, stdin=text).out for each in (run, trained_run))
    assert measured == other


def test_the_command_line_and_windows_and_batches(run: Path, run_main: RunMain, held_out: Any, tmp_path: Path) -> None:
    words = [*held_out[0], [word for words in held_out[0][:20] for word in words]]  # the last one in several windows
    rows = [{"id": f"row {number}", "tokens": each} for number, each in enumerate(words)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ask = ("--run_dir", run, "--data.predict_file", "in.jsonl", "--f_beta", "0.5", "--threshold", "PER=0.9")
    done = run_main("predict", *ask, "--candidates", "0.8", "--output_tags", "true")
    found = [json.loads(line) for line in done.out.splitlines()]
    point = {"f_beta": 0.5, "threshold": {"PER": 0.9}, "candidates": 0.8}
    expected = NERTagger.load(run).set_point(**point).predict(words, batch_size=3, output_tags=True)
    assert [list(row) for row in found] == [["id", "tokens", "entities", "candidates", "word_tags"]] * len(words)
    assert [row.pop("id") for row in found] == [row["id"] for row in rows]
    for key in ("entities", "candidates"):
        mine, other = entities(found, key), entities(expected, key)
        assert mine.keys() == other.keys()
        assert list(mine.values()) == pytest.approx(list(other.values()), abs=2e-4)
    assert "threshold  LOC 0." in done.err
    assert "threshold  PER" not in done.err, "that was given"
    assert min(score for place, score in entities(found).items() if place[1] == "PER") >= 0.9


@pytest.mark.ddp
def test_several_processes_measure_and_predict_the_same(run: Path, points: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(run.parent, tmp_path / "copy")
    predicted = []
    for devices in ("1", "2"):
        for command in (
            ["validate", "--data.validation_file", "held_out.conll", "--data.eval_batch_size", "1"],
            ["predict", "--data.predict_file", "held_out.conll", "--f_beta", "1", "--candidates", "0.8"],
        ):
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "ner_module", *command, "--run_dir", "run"),
                    *("--trainer.accelerator", "cpu", "--trainer.devices", devices),
                ],
                cwd=tmp_path / "copy",
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"},
                capture_output=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr.decode()
        found = json.loads((tmp_path / "copy/run/operating_points.json").read_text(encoding="utf-8"))
        assert {name: each["gold"] for name, each in found["types"].items()} == {
            name: each["gold"] for name, each in points["types"].items()
        }
        predicted.append((found["types"], done.stdout))
    assert predicted[0] == predicted[1]


@pytest.mark.parametrize("kind", ["transformers", "onnx"])
def test_an_export_takes_them_along(
    kind: str, run: Path, points: dict[str, Any], run_main: RunMain, held_out: Any, tmp_path: Path
) -> None:
    run_main("export", "--run_dir", run, "--output", "model", "--format", kind, "--data", run.parent / "held_out.conll")
    points = {name: value for name, value in points.items() if name != "checksum"}
    tagger = NERTagger.load(tmp_path / "model").set_point(precision=0.95, candidates=0.8)
    assert tagger.operating_points == points
    expected = NERTagger.load(run).set_point(precision=0.95, candidates=0.8).predict(held_out[0])
    for key in ("entities", "candidates"):
        assert entities(tagger.predict(held_out[0]), key).keys() == entities(expected, key).keys()
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "## Operating points" in card
    assert "drops, and never relabels" in card


@pytest.mark.report
def test_report_and_card_show_them(run: Path, run_main: RunMain, tmp_path: Path) -> None:
    run_main("report", run, "--output", tmp_path / "page.html")
    assert "Operating points on validation data" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "## Operating points" in (run / "README.md").read_text(encoding="utf-8")


def test_they_are_of_one_checkpoint(run: Path, run_main: RunMain, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    ask = ("predict", "--run_dir", "run", "--data.predict_file", "-", "--precision", "0.9")
    assert run_main(*ask).code == 0
    best, last = (tmp_path / "run" / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    shutil.copy(last, best)
    outcome = run_main(*ask, check=False)
    assert outcome.code == 1
    assert "are of another checkpoint than" in outcome.err
    assert "validate --model.decoding viterbi` measures them" in outcome.errors()[0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"temperature": 0.0}, "temperature: input should be greater than 0"),
        ({"types": {"PER": {"gold": 1, "right": [2.0], "wrong": [], "candidates": []}}}, "types.PER.right.0"),
        ({"checkpoint": None}, "checkpoint: "),
    ],
)
def test_an_edited_file_is_refused(change: dict[str, Any], problem: str, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "operating_points.json"
    content = json.loads(path.read_text(encoding="utf-8")) | change
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="does not match its checksum"):
        NERTagger.load(tmp_path / "run").set_point(calibrated=True)
    del content["checksum"]
    path.write_text(json.dumps(content), encoding="utf-8")
    tagger = NERTagger.load(tmp_path / "run")
    with pytest.raises(RunError, match=problem):
        tagger.set_point(calibrated=True)
    assert tagger.set_point(threshold=0.5).predict("Anna met Ben.")


def test_never_of_test_data(run: Path, run_main: RunMain, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "operating_points.json").unlink()
    run_main("test", "--run_dir", "run")
    tested = next(
        line for line in (run / "config.yaml").read_text(encoding="utf-8").splitlines() if "test_file" in line
    )
    done = run_main("validate", "--run_dir", "run", "--data.validation_file", tested.partition(": ")[2])
    assert "no operating points: these are test data" in done.err
    assert not (tmp_path / "run" / "operating_points.json").exists()


def test_a_known_calibration_is_learned_again() -> None:
    random = np.random.default_rng(0)
    scores = random.beta(4, 1, 4000)
    right = random.random(4000) < [calibrated(score, 2.0, -0.5) for score in scores]
    pairs = list(zip(scores.tolist(), right.tolist(), strict=True))
    temperature, offset = fit_calibration(pairs)
    assert temperature == pytest.approx(2.0, rel=0.15)
    assert offset == pytest.approx(-0.5, abs=0.15)
    before, after = (
        calibration_error(reliability([(change(score), hit) for score, hit in pairs]))
        for change in (float, lambda score: calibrated(score, temperature, offset))
    )
    assert after < before / 4
    assert fit_calibration(pairs[:19]) == (1.0, 0.0)


@pytest.mark.parametrize("right", [True, False])
def test_a_calibration_of_one_outcome_is_finite(right: bool) -> None:
    temperature, offset = fit_calibration([(score / 100, right) for score in range(50, 100)])
    assert temperature > 0
    assert np.isfinite([temperature, offset]).all()
