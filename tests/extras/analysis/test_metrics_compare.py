"""`compare` and the report of a run, from files to tables."""

import io
import json
import random
from pathlib import Path

import pytest
from rich.console import Console
from seqeval.metrics import f1_score
from test_metrics_references import random_spans

from ner_module.errors import DataError, UsageError
from ner_module.extras.analysis import main
from ner_module.extras.analysis.analysis import analyse
from ner_module.extras.analysis.tables import analysis_tables
from ner_module.tagging import Span, convert_tags, spans_to_tags

Rows = list[tuple[list[str], list[str]]]


def write_run(path: Path, rows: Rows, split: str = "test", scores: bool = True, results: object = None) -> Path:
    """A run directory with gold and predicted tags of made-up words."""
    (path / "predictions").mkdir(parents=True)
    if results is not None:
        (path / "results.json").write_text(json.dumps(results))
    with (path / "predictions" / f"{split}.jsonl").open("w", encoding="utf-8") as file:
        for gold, predicted in rows:
            row = {"tokens": [f"w{i % 7}" for i in range(len(gold))], "gold_tags": gold, "predicted_tags": predicted}
            if scores:
                row["scores"] = [0.75] * len(gold)
            file.write(json.dumps(row) + "\n")
    return path


def random_rows(noise: float, seed: int, scheme: str = "iob2", num_sequences: int = 300) -> Rows:
    """The same gold tags for every seed, predictions with some of them replaced."""
    gold_rng, rng = random.Random("gold"), random.Random(seed)
    rows = []
    for _ in range(num_sequences):
        length = gold_rng.randint(0, 20)
        gold = spans_to_tags(random_spans(gold_rng, ["PER", "LOC"], length), length)
        predicted = [rng.choice(["O", "B-PER", "I-LOC"]) if rng.random() < noise else tag for tag in gold]
        rows.append((convert_tags(gold, "iob2", scheme), convert_tags(predicted, "iob2", scheme)))
    return rows


def numbers_after(text: str, label: str) -> list[str]:
    line = next(line for line in text.splitlines() if label in line)
    return line.split(label, 1)[1].split()


def test_two_runs(tmp_path, capsys):
    rows_a, rows_b = random_rows(0.02, 1), random_rows(0.3, 2)
    a, b = write_run(tmp_path / "a", rows_a), write_run(tmp_path / "b", rows_b)
    assert main([str(a), "--against", str(b), "--resamples", "500"]) == 0
    text = capsys.readouterr().out
    f1_a, f1_b = (f1_score([gold for gold, _ in rows], [p for _, p in rows]) for rows in (rows_a, rows_b))
    assert f"{f1_a:.4f}" in text
    assert f"{f1_b:.4f}" in text
    assert numbers_after(text, "A minus B  ")[0] == f"{f1_a - f1_b:+.4f}"
    assert numbers_after(text, "paired bootstrap") == ["0.0020"]
    assert numbers_after(text, "t-test")[:1] == ["n/a"]
    assert "300 sentences" in text
    assert {"PER", "LOC"} <= set(text.split())


def test_the_same_seed_gives_the_same_text(tmp_path, capsys):
    a, b = write_run(tmp_path / "a", random_rows(0.1, 1)), write_run(tmp_path / "b", random_rows(0.12, 2))
    texts = []
    for seed in (0, 0, 1):
        main([str(a), "--against", str(b), "--resamples", "200", "--seed", str(seed)])
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


def test_several_seeds_on_each_side(tmp_path, capsys):
    runs = [write_run(tmp_path / f"run{seed}", random_rows(0.1 + 0.1 * (seed > 3), seed)) for seed in range(1, 6)]
    code = main([*map(str, runs[:3]), "--against", *map(str, runs[3:]), "--resamples", "200"])
    text = capsys.readouterr().out
    assert code == 0
    assert "A  mean, deviation of 3" in text
    assert "B  mean, deviation of 2" in text
    assert 0 < float(numbers_after(text, "t-test")[0]) < 0.1
    assert numbers_after(text, "paired bootstrap") == ["0.0050"]


def test_a_run_against_itself(tmp_path, capsys):
    a = write_run(tmp_path / "a", random_rows(0.1, 1))
    assert main([str(a), "--against", str(a), "--resamples", "100"]) == 0
    text = capsys.readouterr().out
    assert numbers_after(text, "A minus B  ")[0] == "+0.0000"
    assert numbers_after(text, "paired bootstrap") == ["1.0000"]


def test_schemes_may_differ_and_files_may_stand_alone(tmp_path, capsys):
    a = write_run(tmp_path / "a", random_rows(0.1, 1), results={"scheme": "iob2", "outside_label": "O"})
    b = write_run(tmp_path / "b", random_rows(0.1, 1, "bilou"), scores=False)
    main([str(a), "--against", str(b / "predictions" / "test.jsonl"), "--resamples", "10"])
    text = capsys.readouterr().out
    assert numbers_after(text, "A minus B  ")[0] == "+0.0000"
    assert {"PER", "LOC"} <= set(text.split())


@pytest.mark.parametrize(("outside", "f1", "gold"), [(None, 0.5, 2), ("O", 2 / 3, 1)])
def test_flat_labels_are_read_as_the_run_says(tmp_path, capsys, outside, f1, gold):
    rows = [(["NOUN", "O"], ["NOUN", "NOUN"])]
    a = write_run(tmp_path / "a", rows, results={"scheme": "flat", "outside_label": outside})
    main([str(a), "--against", str(a), "--resamples", "10"])
    text = capsys.readouterr().out
    assert f"{f1:.4f}" in text
    assert f"1 sentences, {gold} gold entities" in text


def test_validation_predictions(tmp_path, capsys):
    a = write_run(tmp_path / "a", random_rows(0.1, 1), split="validation")
    assert main([str(a), "--against", str(a), "--split", "validation", "--resamples", "10"]) == 0
    capsys.readouterr()
    with pytest.raises(DataError, match=r"test\.jsonl: the predictions cannot be read"):
        main([str(a), "--against", str(a)])


def test_runs_on_other_data_are_refused(tmp_path):
    rows = random_rows(0.1, 1, num_sequences=20)
    a = write_run(tmp_path / "a", rows)
    with pytest.raises(DataError, match=r"it holds 19 sentences and .* 20"):
        main([str(a), "--against", str(write_run(tmp_path / "shorter", rows[:-1]))])
    other_gold = [*rows[:4], (["B-PER"] * len(rows[4][0]), rows[4][1]), *rows[5:]]
    with pytest.raises(DataError, match=r"other_gold:5: other gold entities than in .*a;"):
        main([str(a), "--against", str(write_run(tmp_path / "other_gold", other_gold))])
    other_words = [(gold[:1], predicted[:1]) for gold, predicted in rows]
    with pytest.raises(DataError, match="other words than in"):
        main([str(a), "--against", str(write_run(tmp_path / "words", other_words))])


def test_a_damaged_results_file_is_named(tmp_path):
    a = write_run(tmp_path / "a", random_rows(0.1, 1))
    (a / "results.json").write_text("{")
    with pytest.raises(DataError, match=r"results\.json: the file is damaged"):
        main([str(a), "--against", str(a)])


@pytest.mark.parametrize("arguments", [[], ["a"], ["a", "--against"], ["a", "--against", "b", "--resamples", "0"]])
def test_wrong_options_are_refused(arguments):
    with pytest.raises(UsageError) as error:
        main(arguments)
    assert error.value.tip == "python -m ner_module compare --help"


def rendered(tables) -> str:
    console = Console(file=io.StringIO(), width=100)
    for table in tables:
        console.print(table)
    return console.file.getvalue()


def test_report_of_a_run(tmp_path):
    rows = [
        (["B-PER", "I-PER", "O", "B-LOC"], ["B-PER", "I-PER", "O", "B-PER"]),
        (["B-LOC", "I-LOC", "O", "O"], ["B-LOC", "O", "O", "B-LOC"]),
    ]
    run = write_run(tmp_path / "a", rows)
    train = run / "train_entities.json"
    train.write_text(json.dumps({"PER": {"w0 w1": 3}, "LOC": {"w3": 1}}))
    report = analyse(run, "test")
    assert report.micro == (1, 4, 3)
    assert report.f1.value == pytest.approx(2 / 7)
    assert {name: tuple(scores) for name, (scores, _) in report.by_type.items()} == {"LOC": (0, 2, 2), "PER": (1, 2, 1)}
    assert report.by_training["seen with this type"] == (1, 2, 2)  # PER w0 w1; LOC w3, twice
    assert report.overlap["partial"].scores == pytest.approx([2.5 / 4, 2.5 / 3, 5 / 7])
    numbers = report.numbers()
    assert numbers["f1_seen"] == pytest.approx(0.5)
    assert numbers["f1_unseen"] == 0.0
    assert numbers["calibration_error"] == pytest.approx(0.5)
    assert numbers["f1_low"] <= report.f1.value <= numbers["f1_high"]
    assert (numbers["f1_boundary"], numbers["f1_type"]) == pytest.approx((4 / 7, 4 / 7))
    assert [(record["sentence"], record["error"]) for record in report.errors] == [
        (1, "wrong type"),
        (2, "wrong boundary"),
        (2, "spurious"),
    ]
    text = rendered(table.for_terminal() for table in analysis_tables(report))
    for title in (
        "Entities by type",
        "Entity outcomes",
        "Confusion of types",
        "Partial matches",
    ):
        assert title in text
    assert numbers_after(text, "all (micro)")[:3] == ["0.2500", "0.3333", "0.2857"]


def test_report_without_scores_and_training_entities(tmp_path):
    run = write_run(tmp_path / "a", [(["O"], ["O"]), ([], [])], scores=False)
    report = analyse(run, "test")
    assert report.numbers() == {"f1_low": 0, "f1_high": 0, "f1_partial": 0, "f1_type": 0, "f1_boundary": 0}
    assert report.errors == []
    assert "all (micro)" in rendered(table.for_terminal() for table in analysis_tables(report))


def test_types_that_look_like_markup_and_many_types(tmp_path):
    names = ["[bold]", ":fox:", *(f"T{i}" for i in range(12))]
    rows = [([f"B-{name}"] * (20 - i), [f"B-{name}"] * (20 - i)) for i, name in enumerate(names)]
    run = write_run(tmp_path / "[red]run", rows)
    report = analyse(run, "test")
    text = rendered(table.for_terminal() for table in analysis_tables(report))
    assert "[bold]" in text
    assert ":fox:" in text
    assert "other types" in text
    assert report.pairings[0][0] == (Span(0, 1, "[bold]"), Span(0, 1, "[bold]"))
