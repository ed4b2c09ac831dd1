"""`predict` and NERTagger: the same entities, one object per input line, in input order."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_files import conll_sentences, files_in, json_lines
from seqeval.metrics.sequence_labeling import get_entities

from ner_module import NERModule, NERTagger
from ner_module.data import datamodule
from ner_module.errors import RunError
from ner_module.training import predictions
from ner_module.training.resumable_file import ResumableFile

RunMain = Callable[..., Any]

LINES = [
    "",
    "Anna met Ben in Lincoln.",
    "   ",
    "😀 Ben 👩‍👩‍👧 saw 東京 and 日本, José's café.",
    "a\tb \u00a0 c\u200bd\u2028e\x0bf",
    "\u200b",
    "ÀÉÎ " * 90,  # more than one window
    'quote " and \\ backslash',
    "no newline at the end",
]


@pytest.fixture(scope="module")
def tagger(trained_run: Path) -> NERTagger:
    return NERTagger.load(trained_run)


@pytest.fixture(scope="module")
def known_lines(corpus: Path) -> list[str]:
    """Sentences the model has learnt by heart, as raw text."""
    return [" ".join(words) for words, _ in conll_sentences(corpus / "train.conll")]


def predict(run_main: RunMain, run: Path, *options: object, **more: Any) -> list[dict[str, Any]]:
    outcome = run_main("predict", "--run_dir", run, "--ckpt_path", "best", *options, **more)
    return json_lines(outcome.out)


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Equal but for the score's last digit: batches of other widths are computed in another order."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        scores = [[entity.pop("score") for entity in row["entities"]] for row in (one, other)]
        assert one == other
        assert scores[0] == pytest.approx(scores[1], abs=2e-4)


def test_raw_text(run_main: RunMain, trained_run: Path, tmp_path: Path, known_lines: list[str]) -> None:
    lines = [*LINES[:-1], *known_lines, LINES[-1]]
    (tmp_path / "text.txt").write_bytes("\r\n".join(lines).encode())
    rows = predict(run_main, trained_run, "--data.predict_file", "text.txt")
    assert [row["text"] for row in rows] == lines
    assert sum(len(row["entities"]) for row in rows) > 100
    for row in rows:
        assert list(row) == ["text", "entities"]
        places = [(entity["start"], entity["end"]) for entity in row["entities"]]
        assert places == sorted(places)
        for entity in row["entities"]:
            assert list(entity) == ["type", "text", "start", "end", "score"]
            assert entity["type"] in {"LOC", "MISC", "ORG", "PER"}
            assert row["text"][entity["start"] : entity["end"]] == entity["text"] != ""
            assert entity["text"].strip() == entity["text"]
            assert 0 < entity["score"] <= 1
            assert entity["score"] == round(entity["score"], 4)


def test_finds_what_it_has_learnt(run_main: RunMain, trained_run: Path, corpus: Path) -> None:
    """On its own training sentences, given as words, nearly every entity is found where it is."""
    rows = predict(run_main, trained_run, "--data.predict_file", corpus / "train.conll")
    gold = conll_sentences(corpus / "train.conll")
    assert [row["tokens"] for row in rows] == [words for words, _ in gold]
    expected = {
        (index, kind, start, end + 1) for index, (_, tags) in enumerate(gold) for kind, start, end in get_entities(tags)
    }
    found = {
        (index, entity["type"], entity["start"], entity["end"])
        for index, row in enumerate(rows)
        for entity in row["entities"]
    }
    assert len(found & expected) > 0.8 * len(expected)
    for row in rows:
        for entity in row["entities"]:
            assert entity["text"] == " ".join(row["tokens"][entity["start"] : entity["end"]])


def test_tokens_and_texts_as_jsonl(run_main: RunMain, trained_run: Path, tmp_path: Path) -> None:
    rows = [
        {"tokens": ["Anna", "met", "Ben"]},
        {"tokens": []},
        {"id": 7, "tokens": ["\u200b", "Ben", ""]},
        {"text": "Anna met Ben."},
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (tmp_path / "rows.jsonl").write_text("\n".join([*lines[:2], "", *lines[2:]]) + "\n", encoding="utf-8")
    found = predict(run_main, trained_run, "--data.predict_file", "rows.jsonl")
    assert [row.get("tokens", row.get("text")) for row in found] == [
        ["Anna", "met", "Ben"],
        [],
        "",
        ["\u200b", "Ben", ""],
        "Anna met Ben.",
    ]


def test_standard_input(run_main: RunMain, trained_run: Path, tmp_path: Path, known_lines: list[str]) -> None:
    text = "\n".join(known_lines[:20])
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    expected = predict(run_main, trained_run, "--data.predict_file", "text.txt")
    for spelling in (["--data.predict_file", "-"], ["--data.predict_file=-"]):
        assert predict(run_main, trained_run, *spelling, stdin=text.encode()) == expected
    assert files_in(tmp_path) == {"text.txt"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 0), ("\n", 1), ("one", 1), ("one\n", 1), ("one\n\n", 2), ("\r\n\r\n", 2), ("\ufeffone\n", 1)],
)
def test_one_line_out_for_each_line_in(run_main: RunMain, trained_run: Path, text: str, expected: int) -> None:
    rows = predict(run_main, trained_run, "--data.predict_file", "-", stdin=text.encode())
    assert len(rows) == expected
    assert not rows or rows[0]["text"] in ("", "one")


def test_output_file_is_what_standard_output_would_be(
    run_main: RunMain, trained_run: Path, tmp_path: Path, known_lines: list[str]
) -> None:
    (tmp_path / "text.txt").write_text("\n".join(known_lines), encoding="utf-8")
    options = ["predict", "--run_dir", trained_run, "--ckpt_path", "best", "--data.predict_file", "text.txt"]
    printed = run_main(*options).out
    assert run_main(*options, "--output", "new/folder/out.jsonl").out == ""
    assert (tmp_path / "new" / "folder" / "out.jsonl").read_bytes() == printed.encode()
    (tmp_path / "text.txt").write_text("", encoding="utf-8")
    run_main(*options, "--output", "new/folder/out.jsonl")
    assert (tmp_path / "new" / "folder" / "out.jsonl").read_bytes() == b"", "no line in, no line out"


def test_a_pipe_as_output_gets_what_standard_output_would(run_main: RunMain, trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("Anna\nBerlin\n", encoding="utf-8")
    options = ["predict", "--run_dir", trained_run, "--data.predict_file", "text.txt"]
    os.mkfifo(tmp_path / "pipe")
    end = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    run_main(*options, "--output", "pipe")
    assert os.read(end, 1 << 16) == run_main(*options).out.encode()
    os.close(end)


def test_prediction_leaves_nothing_but_its_output(run_main: RunMain, trained_run: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained_run.rglob("*")}
    (tmp_path / "text.txt").write_text("Anna\n", encoding="utf-8")
    predict(run_main, trained_run, "--data.predict_file", "text.txt")
    assert files_in(tmp_path) == {"text.txt"}
    assert {path: path.stat().st_mtime_ns for path in trained_run.rglob("*")} == before


def test_several_files_in_the_order_given(run_main: RunMain, trained_run: Path, tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.txt").write_text(f"this is {name}\n", encoding="utf-8")
    rows = predict(run_main, trained_run, "--data.predict_file", "[b.txt, a.txt]")
    assert [row["text"] for row in rows] == ["this is b", "this is a"]
    rows = predict(run_main, trained_run, "--data.predict_file", "*.txt")
    assert [row["text"] for row in rows] == ["this is a", "this is b"]


@pytest.mark.parametrize("size", [1, 7])
def test_batch_size_changes_nothing(
    run_main: RunMain, trained_run: Path, tmp_path: Path, tagger: NERTagger, known_lines: list[str], size: int
) -> None:
    lines = [*known_lines[:40], *LINES]
    random.Random(0).shuffle(lines)
    text = "\n".join(lines).encode()
    rows = predict(run_main, trained_run, "--data.predict_file", "-", "--data.eval_batch_size", size, stdin=text)
    assert_same(rows, tagger.predict(lines))
    assert_same(tagger.predict(lines, batch_size=size), tagger.predict(lines))


@pytest.mark.slow
def test_order_survives_long_inputs(run_main: RunMain, trained_run: Path, tagger: NERTagger) -> None:
    """Longer than the stretch within which sentences are sorted (10,000)."""
    lines = [f"{'word ' * (index % 7)}{index}" for index in range(10_050)]
    rows = predict(run_main, trained_run, "--data.predict_file", "-", stdin="\n".join(lines).encode())
    assert [row["text"] for row in rows] == lines


@pytest.fixture
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> int:
    """Sort, write and resume by 16 sentences instead of 10,000."""
    for module in (datamodule, predictions):
        monkeypatch.setattr(module, "LOOK_AHEAD", 16)
    return 16


@pytest.mark.parametrize(("lines", "workers"), [(0, 0), (1, 0), (16, 0), (17, 0), (75, 0), (75, 2)])
def test_stretches_change_nothing(
    run_main: RunMain, trained_run: Path, tagger: NERTagger, known_lines: list[str], short_stretches: int,
    lines: int, workers: int,
) -> None:  # fmt: skip
    text = "\n".join(known_lines[:lines])
    options = ["--data.predict_file", "-", "--data.num_workers", workers]
    assert_same(predict(run_main, trained_run, *options, stdin=text.encode()), tagger.predict(known_lines[:lines]))


@pytest.mark.parametrize("stretches", [1, 4])
def test_an_interrupted_prediction_goes_on_and_ends_with_the_same_bytes(
    run_main: RunMain, trained_run: Path, tmp_path: Path, known_lines: list[str], short_stretches: int,
    monkeypatch: pytest.MonkeyPatch, stretches: int,
) -> None:  # fmt: skip
    (tmp_path / "text.txt").write_text("\n".join(known_lines[:75]), encoding="utf-8")
    options = [
        *("predict", "--run_dir", trained_run, "--ckpt_path", "best", "--data.predict_file", "text.txt"),
        *("--data.eval_batch_size", 5, "--output"),
    ]
    run_main(*options, "whole.jsonl")
    write = ResumableFile.write
    calls = 0

    def interrupted(self: ResumableFile, lines: list[str], items: int) -> None:
        nonlocal calls
        calls += 1
        if calls > stretches:
            raise KeyboardInterrupt
        write(self, lines, items)

    with monkeypatch.context() as patch:
        patch.setattr(ResumableFile, "write", interrupted)
        outcome = run_main(*options, "out.jsonl", check=False)
    assert outcome.code == 130
    assert f"{16 * stretches} sentences are in out.jsonl.part; the same command resumes from there" in outcome.err
    assert not (tmp_path / "out.jsonl").exists()
    tagged: list[int] = []
    step = NERModule.predict_step

    def counted(self: NERModule, batch: dict[str, Any], batch_idx: int) -> Any:
        tagged.extend(batch["sentence_index"].tolist())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(NERModule, "predict_step", counted)
    outcome = run_main(*options, "out.jsonl")
    assert f"resumes after sentence {16 * stretches} of 75" in outcome.err
    assert sorted(tagged) == list(range(16 * stretches, 75)), "only what was missing is computed"
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not list(tmp_path.glob("*.part*"))


def test_an_attempt_with_other_text_or_options_starts_anew(
    run_main: RunMain, trained_run: Path, tmp_path: Path, known_lines: list[str], short_stretches: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "text.txt").write_text("\n".join(known_lines[:40]), encoding="utf-8")
    options = [
        *("predict", "--run_dir", trained_run, "--ckpt_path", "best", "--data.predict_file", "text.txt"),
        *("--output", "out.jsonl"),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(ResumableFile, "finish", lambda self: self.close())  # killed before the last rename
        run_main(*options)
    note = (tmp_path / "out.jsonl.part.json").read_bytes()
    part = (tmp_path / "out.jsonl.part").read_bytes()
    changes: dict[str, Callable[[], Any]] = {
        "text": lambda: (tmp_path / "text.txt").write_text("\n".join(known_lines[:39]), encoding="utf-8"),
        "batch": lambda: options.extend(["--data.eval_batch_size", "3"]),
        "checkpoint": lambda: options.__setitem__(4, "last"),
    }
    for name, change in changes.items():
        (tmp_path / "out.jsonl.part.json").write_bytes(note)
        (tmp_path / "out.jsonl.part").write_bytes(part)
        change()
        assert "resumes" not in run_main(*options).err, name
        assert not (tmp_path / "out.jsonl.part").exists()


@pytest.mark.ddp
def test_several_processes_write_the_same_bytes(trained_run: Path, tmp_path: Path, known_lines: list[str]) -> None:
    """More than one stretch, so that the processes meet more than once; one line less than a whole batch."""
    lines = [f"{index} {known_lines[index % len(known_lines)]}"[: 20 + index % 50] for index in range(10_049)]
    (tmp_path / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    written = []
    for devices in ("1", "2", "3"):
        process = subprocess.run(
            [
                *(sys.executable, "-m", "ner_module", "predict", "--run_dir", str(trained_run), "--ckpt_path", "best"),
                *("--data.predict_file", "text.txt", "--output", f"{devices}.jsonl", "--trainer.accelerator", "cpu"),
                *("--trainer.devices", devices),
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr.decode()
        written.append((tmp_path / f"{devices}.jsonl").read_bytes())
    assert len(written[0].splitlines()) == len(lines)
    assert written[0] == written[1] == written[2]


def test_a_limited_prediction_says_that_it_is_not_whole(
    run_main: RunMain, trained_run: Path, known_lines: list[str]
) -> None:
    outcome = run_main(
        *("predict", "--run_dir", trained_run, "--ckpt_path", "best", "--data.predict_file", "-"),
        *("--data.eval_batch_size", 8, "--trainer.limit_predict_batches", 2),
        stdin="\n".join(known_lines).encode(),
    )
    rows = json_lines(outcome.out)
    assert len(rows) == 16
    positions = [known_lines.index(row["text"]) for row in rows]
    assert positions == sorted(positions)
    assert f"only 16 of {len(known_lines)} sentences" in outcome.err


@pytest.mark.slow
def test_a_closed_pipe_is_no_error(trained_run: Path, tmp_path: Path) -> None:
    """`predict … | head -1`."""
    (tmp_path / "text.txt").write_text("Anna met Ben in Lincoln.\n" * 5000, encoding="utf-8")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "ner_module", "predict", "--run_dir", str(trained_run), "--ckpt_path", "best"),
            *("--data.predict_file", "text.txt"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["text"] == "Anna met Ben in Lincoln."
    process.stdout.close()
    error = process.stderr.read().decode()
    process.stderr.close()
    process.wait(60)
    assert "Traceback" not in error, error
    assert "Exception" not in error, error


@pytest.mark.parametrize("output", ["text.txt/out.jsonl", "folder"])
def test_an_output_that_cannot_be_written(run_main: RunMain, trained_run: Path, tmp_path: Path, output: str) -> None:
    (tmp_path / "text.txt").write_text("Anna\n", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    options = ["--run_dir", trained_run, "--ckpt_path", "best", "--data.predict_file", "text.txt", "--output", output]
    outcome = run_main("predict", *options, check=False)
    assert outcome.code == 1
    (error,) = outcome.errors()
    assert output.partition("/")[0] in error
    assert "Traceback" not in outcome.err


# ---------------------------------------------------------------------- NERTagger


def test_tagger_gives_what_predict_writes(
    run_main: RunMain, trained_run: Path, tagger: NERTagger, known_lines: list[str], tmp_path: Path
) -> None:
    lines = [*LINES, *known_lines]
    rows = predict(run_main, trained_run, "--data.predict_file", "-", stdin="\n".join(lines).encode())
    assert_same(rows, tagger.predict(lines))
    words = [line.split() for line in known_lines[:30]]
    (tmp_path / "words.jsonl").write_text("\n".join(json.dumps({"tokens": row}) for row in words), encoding="utf-8")
    rows = predict(run_main, trained_run, "--data.predict_file", "words.jsonl")
    assert_same(rows, tagger.predict(words))


@pytest.mark.parametrize("words", [False, True])
def test_tags_and_probabilities_of_each_word(
    words: bool, run_main: RunMain, trained_run: Path, tagger: NERTagger, tmp_path: Path, known_lines: list[str]
) -> None:
    """What `--output_tags` adds: the same entities, and for each word its tag and its three likeliest labels."""
    texts: list[Any] = [line.split() for line in known_lines[:20]] if words else known_lines[:20]
    rows = [{"tokens" if words else "text": text} for text in texts]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = ["--run_dir", trained_run, "--ckpt_path", "best", "--data.predict_file", tmp_path / "in.jsonl"]
    found = json_lines(run_main("predict", *options, "--output_tags", "true").out)
    plain = json_lines(run_main("predict", *options).out)
    assert [{name: row[name] for name in row if name != "word_tags"} for row in found] == plain
    assert any(row["entities"] for row in plain)
    names = tagger.labels.names
    for text, row in zip(texts, found, strict=True):
        tags = [word["tag"] for word in row["word_tags"]]
        spans = tagger.labels.spans(tags)
        assert [entity["type"] for entity in row["entities"]] == [span.entity_type for span in spans]
        for place, word in enumerate(row["word_tags"]):
            assert word["text"] == (text[place] if words else text[word["start"] : word["end"]])
            assert set(word["probabilities"]) <= set(names)
            assert len(word["probabilities"]) == 3
            values = list(word["probabilities"].values())
            assert values == sorted(values, reverse=True)
            assert 0 <= sum(values) <= 1.0002
            assert word["probabilities"].get(word["tag"], word["score"]) == word["score"]
        for entity, (start, end, _) in zip(row["entities"], spans, strict=True):
            mean = sum(word["score"] for word in row["word_tags"][start:end]) / (end - start)
            assert entity["score"] == pytest.approx(mean, abs=1e-4)
    again = tagger.predict(texts, output_tags=True)
    assert [[word["tag"] for word in row["word_tags"]] for row in again] == [
        [word["tag"] for word in row["word_tags"]] for row in found
    ]
    unseen = tagger.predict([["\u200b"]], output_tags=True)[0]["word_tags"][0]
    assert (unseen["tag"], unseen["score"], set(unseen["probabilities"].values())) == ("O", 0.0, {0.0})


def test_tagger_loads_a_run_or_a_checkpoint_file(
    trained_run: Path, tagger: NERTagger, known_lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = tagger.predict(known_lines[:10])
    (tmp_path / "model.ckpt").write_bytes((trained_run / "checkpoints" / "best.ckpt").read_bytes())
    monkeypatch.chdir(tmp_path)
    for path in (str(trained_run), trained_run / "checkpoints" / "best.ckpt", "model.ckpt"):
        assert NERTagger.load(path).predict(known_lines[:10]) == expected
    assert files_in(tmp_path) == {"model.ckpt"}, "nothing is written"


def test_tagger_on_nothing_and_on_little(tagger: NERTagger) -> None:
    assert tagger.predict([]) == []
    assert tagger.predict([""]) == [{"text": "", "entities": []}]
    assert tagger.predict([[]]) == [{"tokens": [], "entities": []}]
    assert tagger.predict(["\u200b", "", " "]) == [{"text": text, "entities": []} for text in ("\u200b", "", " ")]
    (row,) = tagger.predict([["Anna", "", "\u200b", "Ben"]])
    assert row["tokens"] == ["Anna", "", "\u200b", "Ben"]


def test_tagger_has_dropout_off(tagger: NERTagger, known_lines: list[str]) -> None:
    assert not tagger.module.training
    assert tagger.predict(known_lines) == tagger.predict(known_lines)


@pytest.mark.parametrize("path", ["nowhere", "nowhere.ckpt", "."])
def test_tagger_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"no checkpoint"):
        NERTagger.load(path)


def test_texts_are_left_nowhere_also_on_sigterm(trained_run: Path, tmp_path: Path) -> None:
    """Neither in the temporary folder nor in the cache, which others may read."""
    scratch, cache = tmp_path / "tmp", tmp_path / "cache"
    scratch.mkdir()
    variables = {"PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(scratch), "NER_MODULE_CACHE": str(cache)}
    command = [sys.executable, "-m", "ner_module", "predict", "--run_dir", str(trained_run), "--ckpt_path", "best"]
    process = subprocess.Popen(
        [*command, "--data.predict_file", "-"],
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"My secret is in Rome.\n" * 20_000)
    process.stdin.close()
    process.stdout.readline()
    folders = list(scratch.glob("ner-module-*"))
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700]
    process.terminate()
    process.stdout.read()
    assert process.wait(timeout=60) == 143
    assert list(scratch.rglob("*")) == []
    assert not cache.exists()


def test_the_id_of_an_input_is_in_its_output(run_main: RunMain, trained_run: Path, tmp_path: Path) -> None:
    """Of records of any kind, a number as a number; a line of raw text has none."""
    studio = {"id": 12, "data": {"text": "Anna met Ben."}, "predictions": [{"result": []}]}
    rows = [{"id": 7, "tokens": ["Anna"]}, {"id": "7", "text": "Anna"}, {"text": "Anna"}, {"id": None, "text": ""}]
    lines = [json.dumps(row) for row in [*rows, {"id": [1], "text": "Anna"}, {"id": True, "text": "Anna"}, studio]]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found = predict(run_main, trained_run, "--data.predict_file", "rows.jsonl")
    assert [row.get("id") for row in found] == [7, "7", None, None, None, None, 12]
    assert [next(iter(row)) for row in found[:3]] == ["id", "id", "text"]
    (tmp_path / "rows.csv").write_text('ID,text\na-1,"Anna, Ben"\n07,Ben\n,Ben\n', encoding="utf-8")
    found = predict(run_main, trained_run, "--data.predict_file", "rows.csv")
    assert [row.get("id") for row in found] == ["a-1", "07", ""]
    tagged = {"id": 7, "tokens": ["Anna"], "tags": ["O"]}
    (tmp_path / "tagged.jsonl").write_text(json.dumps(tagged), encoding="utf-8")
    assert predict(run_main, trained_run, "--data.predict_file", "tagged.jsonl")[0]["id"] == 7
