"""``--data.annotated_types``: what a word may be that its file does not annotate, in the loss and in the scores."""

from __future__ import annotations

import json
import logging
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from seqeval.metrics import f1_score, precision_score, recall_score

from ner_module import NERDataModule, NERModule
from ner_module.data.batching import Plan, TrainingSampler, training_plan
from ner_module.data.encoded import TrainingItem
from ner_module.data.partial import find_open_labels
from ner_module.errors import DataError
from ner_module.model.loss import sum_of_losses
from ner_module.tagging import IGNORE_INDEX

Make = Callable[..., NERDataModule]

BOTH = "Ann B-PER\nLee I-PER\nin O\nRome B-LOC\n\nin O\nNew B-LOC\nYork I-LOC\n"
PEOPLE = "Bob B-PER\nof O\nParis O\n\n" + "Eve B-PER\n" + "sat O\n" * 30 + "\nin O\nBonn O\n"
PLACES = "in O\nOslo B-LOC\nJim O\n"


def write(folder: Path, **files: str) -> list[str]:
    for name, text in files.items():
        (folder / f"{name}.conll").write_text(text, encoding="utf-8")
    return [str(folder / f"{name}.conll") for name in files]


@pytest.fixture
def make(tiny_model: Callable[..., Path], tmp_path: Path) -> Make:
    """A data module that is set up on three files, of which two annotate one type each."""

    def build(**options: Any) -> NERDataModule:
        files = write(tmp_path, both=BOTH, people=PEOPLE, places=PLACES)
        given = {"train_file": files, "validation_fraction": 0, "batch_size": 2, **options}
        data = NERDataModule(str(tiny_model()), **given)
        data.prepare_data()
        data.setup("fit")
        return data

    return build


PARTIAL = {"people.conll": ["PER"], "places.conll": ["LOC"]}


def words_and_allowed(data: NERDataModule, sentence: int) -> list[set[str]]:
    """What each word of a stored sentence may be, in its training batches."""
    sequences = data.encoded["train"].sequences_of(np.array([sentence]))
    batch = data._assembled("train").micro_batch(TrainingItem(sequences, 0))
    names = data.labels.names
    rows = zip(batch["labels"].tolist(), batch["open_labels"].tolist(), strict=True)
    return [
        {names[label], *(name for name, also in zip(names, is_open, strict=True) if also)}
        for label, is_open in rows
        if label != IGNORE_INDEX
    ]


LOC, PER = {"O", "B-LOC", "I-LOC"}, {"O", "B-PER", "I-PER"}


def test_words_outside_may_be_what_their_file_does_not_annotate(make: Make) -> None:
    data = make(annotated_types=PARTIAL)
    assert words_and_allowed(data, 0) == [{"B-PER"}, {"I-PER"}, {"O"}, {"B-LOC"}], "this file annotates all"
    assert words_and_allowed(data, 2) == [{"B-PER"}, LOC, LOC]
    assert words_and_allowed(data, 5) == [PER, {"B-LOC"}, PER]


@pytest.mark.parametrize(
    "changes", [{"max_seq_length": 12, "stride": 2}, {"label_all_tokens": True}, {"num_workers": 2}]
)
def test_windows_further_subwords_and_workers(make: Make, changes: dict[str, Any]) -> None:
    data = make(annotated_types=PARTIAL, **changes)
    split = data.encoded["train"]
    if "stride" in changes:
        assert split.sentence_num_sequences[3] > 1
        assert words_and_allowed(data, 3) == [{"B-PER"}, *[LOC] * 30]
    seen = 0
    for batch in data.train_dataloader():
        is_open = batch["open_labels"].any(1)
        assert bool((batch["labels"][is_open] == data.labels.outside_id).all())
        seen += int(is_open.sum())
    assert seen == 36 if "label_all_tokens" not in changes else seen > 36
    assert split.sequence_num_words.sum() == 46


def test_other_schemes_and_a_list_for_all_files(make: Make, tmp_path: Path) -> None:
    data = make(annotated_types=PARTIAL, scheme="bioes")
    assert words_and_allowed(data, 5)[0] == {"O", "B-PER", "I-PER", "E-PER", "S-PER"}
    bare = BOTH.replace("B-", "").replace("I-", "")
    files = write(tmp_path, bare=bare, some="Bob PER\nof O\nBonn O\n" + "is O\n" * 9)
    data = make(train_file=files, annotated_types={"some*": ["PER"]}, source_scheme="flat", scheme="flat")
    assert words_and_allowed(data, 2)[:3] == [{"PER"}, {"O", "LOC"}, {"O", "LOC"}]
    files = write(tmp_path, people=PEOPLE, test=BOTH)
    data = make(train_file=files[0], test_file=files[1], annotated_types={"**/people.conll": ["PER"]})
    assert words_and_allowed(data, 0) == [{"B-PER"}, LOC, LOC]


def test_nothing_changes_without_it(make: Make) -> None:
    plain, partial = make(), make(annotated_types=PARTIAL)
    assert plain.encoded["train"].name == partial.encoded["train"].name, "one cache serves both"
    for a, b in zip(plain.train_dataloader(), partial.train_dataloader(), strict=True):
        assert b.keys() - a.keys() == {"open_labels"}
        assert a["input_ids"].tolist() == b["input_ids"].tolist()
        assert a["labels"].tolist() == b["labels"].tolist()
        assert a["labelled_in_step"] == b["labelled_in_step"]
    assert training_plan(plain.hparams, None) == training_plan(partial.hparams, None)


def test_two_processes_see_what_one_does(make: Make) -> None:
    data = make(annotated_types=PARTIAL)
    assembler, seen = data._assembled("train"), []
    for world_size in (1, 2):
        plan = Plan(2, "random", 42, world_size=world_size)
        items = [item for rank in range(world_size) for item in TrainingSampler(assembler.split, None, plan, rank)]
        batches = [assembler.micro_batch(item) for item in items if len(item.sequences)]
        parts = [zip(*(batch[name].split(batch["lengths"]) for name in ("input_ids", "open_labels")), strict=True)
                 for batch in batches]  # fmt: skip
        seen.append(sorted((ids.tolist(), is_open.tolist()) for part in parts for ids, is_open in part))
    assert seen[0] == seen[1]


def test_held_out_sentences_keep_their_files(make: Make) -> None:
    data = make(annotated_types=PARTIAL, validation_fraction=0.6)
    kinds = {}
    for batch in data.val_dataloader():
        for index, row in zip(batch["sentence_index"].tolist(), batch["unannotated"].tolist(), strict=True):
            file = Path(data.sentence_of("validation", index)[1]).stem
            kinds[file] = {name for name, out in zip(data.labels.names, row, strict=True) if out}
    expected = {"both": set(), "people": {"B-LOC", "I-LOC"}, "places": {"B-PER", "I-PER"}}
    assert len(kinds) > 1
    assert kinds == {file: expected[file] for file in kinds}


# ---------------------------------------------------------------- the loss


def test_the_loss_is_the_marginal_likelihood() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 5, requires_grad=True)
    labels = torch.tensor([0, 3, 0, IGNORE_INDEX, 0, 1])
    open_labels = torch.zeros(6, 5, dtype=torch.bool)
    open_labels[0, [1, 2]] = open_labels[4, [3, 4]] = open_labels[4, 1] = True
    expected = 0.0
    for row, label, also in zip(logits.tolist(), labels.tolist(), open_labels.tolist(), strict=True):
        if label != IGNORE_INDEX:
            may_be = {label, *(place for place, is_open in enumerate(also) if is_open)}
            total = math.fsum(map(math.exp, row))
            expected -= math.log(math.fsum(math.exp(row[place]) for place in may_be) / total)
    loss = sum_of_losses(logits, {"labels": labels, "open_labels": open_labels})
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert logits.grad is not None
    probabilities = logits.detach().softmax(-1)
    # p minus p among the labels it may have: nothing pushes on how they share.
    within = probabilities[0, :3] / probabilities[0, :3].sum()
    torch.testing.assert_close(logits.grad[0, :3], probabilities[0, :3] - within)
    assert logits.grad[3].abs().max() == 0, "what is not labelled does not count"
    whole = sum_of_losses(logits, {"labels": labels, "open_labels": torch.zeros_like(open_labels)})
    torch.testing.assert_close(whole, sum_of_losses(logits, {"labels": labels}))


def test_packed_and_padded_training_agree(make: Make, tiny_model: Callable[..., Path]) -> None:
    data = make(annotated_types=PARTIAL)
    gradients = []
    for padding in ("none", "longest"):
        torch.manual_seed(1)
        module = NERModule(str(tiny_model()), padding=padding, dropout=0.0)  # type: ignore[arg-type]
        module.set_labels(data.labels)
        module.build()
        assert module.packed == (padding == "none")
        for batch in data.train_dataloader():
            logits = module(batch["input_ids"], batch["lengths"])
            sum_of_losses(logits, batch).backward()
        gradients.append(module.model.classifier.weight.grad)
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


# ---------------------------------------------------------------- scores and files


def test_evaluation_counts_what_each_file_annotates(
    run_main: Callable[..., Any], trained_run: Path, tmp_path: Path
) -> None:
    """Half of the test data loses its places: those that are predicted there are no mistakes, nor found."""
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    text = Path(yaml.safe_load((run / "config.yaml").read_text())["data"]["test_file"]).read_text(encoding="utf-8")
    sentences = [part for part in text.split("\n\n") if part.strip()]
    placeless = re.compile("^(.*) .-LOC$", re.MULTILINE)
    without = [placeless.sub(r"\1 O", part) for part in sentences[::2]]
    files = write(tmp_path, some="\n\n".join(without), whole="\n\n".join(sentences[1::2]))
    options = ["--run_dir", "run", "--ckpt_path", "last", "--data.test_file", json.dumps(files)]
    tags: dict[str, list[dict[str, Any]]] = {}
    for name, more in (("off", []), ("on", ["--data.annotated_types", '{"some.conll": [PER, ORG, MISC]}'])):
        run_main("test", *options, *more)
        lines = (run / "predictions" / "test.jsonl").read_text(encoding="utf-8").splitlines()
        tags[name] = list(map(json.loads, lines))
        results = json.loads((run / "results.json").read_text())["test"]
        gold, predicted = ([row[side] for row in tags[name]] for side in ("gold_tags", "predicted_tags"))
        for key, score in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
            assert results[f"test/{key}"] == pytest.approx(score(gold, predicted), abs=1e-6)
    changed = 0
    for off, on in zip(tags["off"], tags["on"], strict=True):
        assert off["gold_tags"] == on["gold_tags"]
        in_some = Path(on["file"]).name == "some.conll"
        for a, b, before, after in zip(
            off["predicted_tags"], on["predicted_tags"], off["scores"], on["scores"], strict=True
        ):
            is_out = in_some and a.endswith("-LOC")
            changed += is_out
            assert b in ("O", a) if in_some and not is_out else b == ("O" if is_out else a)
            assert after >= before - 1e-4 if in_some and a == "O" else is_out or b == "O" or after == before
    assert changed > 5
    run_main("audit", *options, *more, "--split", "test", "--output", "suspects.jsonl")
    suspects = [json.loads(line) for line in (tmp_path / "suspects.jsonl").read_text(encoding="utf-8").splitlines()]
    types: dict[str, set[str]] = {"some": set(), "whole": set()}
    for suspect in suspects:
        types[Path(suspect["file"]).stem] |= {entity["type"] for entity in suspect["gold"] + suspect["predicted"]}
    assert types["whole"] - types["some"] == {"LOC"}


def test_a_run_trains_and_resumes_with_it(run_main: Callable[..., Any], fit_options: list[str], tmp_path: Path) -> None:
    files = write(tmp_path, both=BOTH * 4, people=PEOPLE)
    options = [*fit_options, "--data.train_file", json.dumps(files), "--data.validation_file", files[0]]
    given = ["--data.test_file", "null", "--data.annotated_types", '{"people.conll": ["PER"]}', "--run_dir", "run"]
    first = run_main("fit", *options, *given, "--trainer.max_epochs", 1)
    assert "people.conll: outside words may be LOC" in first.err
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["data"]["annotated_types"] == {
        "people.conll": ["PER"]
    }
    again = run_main("fit", "--run_dir", "run", "--ckpt_path", "last", "--trainer.max_epochs", 2)
    assert "people.conll: outside words may be LOC" in again.err


# ---------------------------------------------------------------- what is refused, and what is said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"people.conll": ["PRE"]}, "--data.annotated_types: no entity has the type 'PRE'; the types are LOC, PER"),
        (["PER"], r"both.conll:4: an entity of LOC, which --data.annotated_types does not name; name"),
        ({"places.conll": ["PER"]}, r"places.conll:2: an entity of LOC, which"),
    ],
)
def test_what_is_refused(make: Make, given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(annotated_types=given)


@pytest.mark.parametrize("pattern", ["poeple.conll", "", "*/nowhere/*"])
def test_a_training_refuses_files_that_do_not_exist(
    pattern: str, run_main: Callable[..., Any], fit_options: list[str]
) -> None:
    types = json.dumps({pattern: ["PER"], "**/train.conll": ["LOC", "MISC", "ORG", "PER"]})
    [said] = run_main("fit", *fit_options, "--data.annotated_types", types, check=False).errors()
    assert said.startswith(f"error: --data.annotated_types: no file is {pattern!r}; the files are ")
    assert said.count(".conll") >= 3


def test_labels_without_outside_are_refused(make: Make, tmp_path: Path) -> None:
    files = write(tmp_path, pos="a DT\ncat NN\nsat VB\n")
    with pytest.raises(DataError, match="the labels have no outside label"):
        make(train_file=files, annotated_types=["DT"])


def test_files_that_lack_types_are_named_with_the_option(make: Make, tmp_path: Path, caplog: Any) -> None:
    files = write(
        tmp_path, persons=BOTH.replace("B-LOC", "O").replace("I-LOC", "O") * 9, spots=PLACES * 20, all=BOTH * 9
    )
    data = make(train_file=files)
    caplog.clear()
    given = data.tags.splits, data.encoded, data.labels, True
    with caplog.at_level(logging.WARNING):
        assert find_open_labels(None, *given) == {}
    [said] = caplog.messages
    persons, spots, _ = files
    assert f"{persons} has no LOC; {spots} has no PER, which other training files have; if" in said
    caplog.clear()
    written = json.loads(said.partition("--data.annotated_types '")[2].partition("'")[0])
    assert written == {persons: ["PER"], spots: ["LOC"]}
    data = make(train_file=[files[2], *write(tmp_path, few="a O\n")])
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert set(find_open_labels(written, *given)) == {"train"}
        assert find_open_labels({}, *given) == {}, "which says that all annotate all"
        assert find_open_labels(None, data.tags.splits, data.encoded, data.labels, True) == {}, "too few words to tell"
    assert not caplog.messages
