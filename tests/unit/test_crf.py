"""The CRF against sums over all label sequences, and the way of its transitions through a run, an export and Python."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ner_module import NERTagger
from ner_module.errors import RunError
from ner_module.model.crf import CRF
from ner_module.model.decoding import decode_words
from ner_module.model.loss import sum_of_losses
from ner_module.tagging import IGNORE_INDEX, LabelSet, illegal_words

LABELS = LabelSet(("B-A", "O", "I-A", "B-B", "I-B"))
FLAT = LabelSet(("x", "y", "z"), "flat", "y")


def learnt(labels: LabelSet, seed: int = 0) -> CRF:
    crf = CRF(labels)
    torch.manual_seed(seed)
    torch.nn.init.normal_(crf.transitions)
    return crf


def all_sequences(crf: CRF, labels: LabelSet, logits: Tensor, at_ends: bool) -> Iterator[tuple[tuple[int, ...], float]]:
    """Each legal sequence of labels with its score; ``at_ends`` says whether the ends can make it illegal."""
    outside = labels.names.index(labels.outside or "")
    steps, scores = crf.transitions.tolist(), logits.tolist()
    for sequence in itertools.product(range(len(labels.names)), repeat=len(scores)):
        names = [labels.names[label] for label in sequence]
        wrong = [] if labels.scheme == "flat" else illegal_words(names, labels.scheme)
        if not wrong or (not at_ends and list(wrong) == [0]):
            path = [outside, *sequence, outside]
            score = sum(scores[place][label] for place, label in enumerate(sequence))
            yield sequence, score + sum(steps[a][b] for a, b in itertools.pairwise(path))


def log_sum(scores: Sequence[float]) -> float:
    return math.log(math.fsum(map(math.exp, scores)))


@pytest.mark.parametrize("labels", [LABELS, FLAT])
@pytest.mark.parametrize("is_open", [False, True])
def test_the_loss_is_that_of_all_sequences(labels: LabelSet, is_open: bool) -> None:
    """Three sequences, one of them without a labelled token; the second begins within an entity."""
    crf, lengths, none = learnt(labels), [6, 4, 2], IGNORE_INDEX
    own = [none, 1, 0, 2, none, 1, 2, 2, none, 1, none, none]
    logits = torch.randn(12, len(labels.names), requires_grad=True)
    batch: dict[str, Any] = {"labels": torch.tensor(own), "lengths": lengths}
    allowed = [{label} for label in own]
    if is_open:
        batch["open_labels"] = torch.zeros(12, len(labels.names), dtype=torch.bool)
        for token, label in ((1, 0), (3, 1), (5, 2), (4, 2), (9, 0)):
            batch["open_labels"][token, label] = True
            allowed[token].add(label)
    expected = 0.0
    for first, last in ((0, 6), (6, 10)):
        seen = [token for token in range(first, last) if own[token] != none]
        sequences = list(all_sequences(crf, labels, logits[seen], at_ends=False))
        fits = [s for path, s in sequences if all(x in allowed[t] for x, t in zip(path, seen, strict=True))]
        expected += log_sum([score for _, score in sequences]) - log_sum(fits)
    loss = sum_of_losses(logits, batch, crf)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad[[0, 4, 8, 10, 11]].abs().max() == 0, "tokens without a label"
    assert logits.grad.abs().max() <= 1
    assert torch.isfinite(crf.transitions.grad).all()  # type: ignore[arg-type]


def test_what_became_no_token_makes_no_loss_infinite() -> None:
    """B-A on a word that the model cannot see: the next label seems illegal, and pulls no harder than others."""
    crf, logits = learnt(LABELS), torch.randn(2, 5, requires_grad=True)
    loss = sum_of_losses(logits, {"labels": torch.tensor([1, 2]), "lengths": [2]}, crf)
    loss.backward()  # type: ignore[no-untyped-call]
    assert 50 < loss.item() < 200
    assert logits.grad is not None
    assert logits.grad.abs().max() <= 1


def test_a_process_without_sentences_has_no_loss() -> None:
    batch = {"labels": torch.zeros(0, dtype=torch.int64), "lengths": []}
    assert sum_of_losses(torch.zeros(0, 5), batch, learnt(LABELS)) == 0


@pytest.mark.parametrize("labels", [LABELS, FLAT])
def test_labels_and_probabilities_are_those_of_all_legal_sequences(labels: LabelSet) -> None:
    """Sentences of 4, 2 and 3 words; the model cannot see one in the middle of the third, which is outside."""
    crf, outside = learnt(labels), labels.names.index(labels.outside or "")
    logits = 2 * torch.randn(20, len(labels.names))
    positions = torch.tensor([[1, 3, 4, 8], [10, 11, -1, -1], [13, -1, 15, -1]])
    with torch.inference_mode():
        words = decode_words(logits, positions, labels, "viterbi", crf)
    for row, length in enumerate((4, 2, 3)):
        at = positions[row, :length]
        sequences = [
            (path, score)
            for path, score in all_sequences(crf, labels, logits[at.clamp(min=0)], at_ends=True)
            if all(label == outside for label, place in zip(path, at.tolist(), strict=True) if place < 0)
        ]
        total = log_sum([score for _, score in sequences])
        assert words.label_ids[row, :length].tolist() == list(max(sequences, key=lambda each: each[1])[0])
        for word, label in itertools.product(range(length), range(len(labels.names))):
            with_it = [score for path, score in sequences if path[word] == label]
            expected = math.exp(log_sum(with_it) - total) if with_it else 0.0
            assert words.probabilities[row, word, label].item() == pytest.approx(expected, abs=1e-5)
    chosen = words.probabilities.gather(-1, words.label_ids[..., None])[..., 0]
    assert torch.equal(words.scores, chosen.masked_fill(positions < 0, 0.0))


def test_without_learnt_transitions_the_labels_are_those_without_a_crf() -> None:
    logits, positions = torch.randn(40, 5), torch.arange(40).view(8, 5)
    plain, same = (decode_words(logits, positions, LABELS, "viterbi", crf) for crf in (None, CRF(LABELS)))
    assert torch.equal(plain.label_ids, same.label_ids)


RunMain = Callable[..., Any]


@pytest.fixture
def run_dir(run_main: RunMain, fit_options: list[str], tmp_path: Path) -> Path:
    options = ["--model.crf", "true", "--data.batch_size", 8, "--model.learning_rate", 1e-2, "--trainer.max_epochs", 12]
    more = ["--model.dropout", 0.1, "--save_every_steps", 7, "--save_every_minutes", 0]
    run_main("fit", *fit_options, *options, *more, "--run_dir", "run")
    return tmp_path / "run"


def weights(run_dir: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    return state


def test_transitions_go_wherever_the_model_goes(run_dir: Path, run_main: RunMain, tmp_path: Path) -> None:
    """Resume, prediction, Python, and an export for each library; what does not fit them is refused."""
    last = weights(run_dir)
    assert last["crf.transitions"].abs().max() > 0.01
    (run_dir / "checkpoints/last.ckpt").unlink()
    run_main("fit", "--run_dir", run_dir, "--ckpt_path", "last")
    for name, weight in weights(run_dir).items():
        assert torch.equal(weight, last[name]), name

    texts = ["Peter Blackburn met the mayor of Brussels .", "EU rejects German call to boycott British lamb ."] * 3
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    run_main("predict", "--run_dir", run_dir, "--data.predict_file", "texts.txt", "--output", "out.jsonl")
    expected = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert any(found["entities"] for found in expected)
    assert NERTagger.load(run_dir).predict(texts) == expected
    for kind in ("transformers", "onnx"):
        said = run_main("export", "--run_dir", run_dir, "--output", kind, "--format", kind).out
        assert said.count("identical") == 2
        tagger = NERTagger.load(kind if Path(kind).is_absolute() else tmp_path / kind)
        for found, wanted in zip(tagger.predict(texts), expected, strict=True):
            for entity, other in zip(found["entities"], wanted["entities"], strict=True):
                assert entity == other | {"score": pytest.approx(other["score"], abs=2e-4)}

    about = tmp_path / "transformers/ner_module.json"
    content = json.loads(about.read_text())
    del content["checksum"]
    for damage in ([[0.0]], [], None, [[float("nan")] * 9] * 9):
        about.write_text(json.dumps(content | {"transitions": damage}))
        with pytest.raises(RunError, match=r"ner_module.json is damaged \(transitions"):
            NERTagger.load(tmp_path / "transformers")

    saved = torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)
    del saved["state_dict"]["crf.transitions"]
    torch.save(saved, tmp_path / "less.ckpt")
    [line] = run_main("predict", "--ckpt_path", "less.ckpt", "--data.predict_file", "texts.txt", check=False).errors()
    assert "does not fit" in line
    assert "crf.transitions" in line


def test_a_crf_that_decoding_would_ignore_is_refused(run_main: RunMain, fit_options: list[str]) -> None:
    options = ["--model.crf", "true", "--model.decoding", "greedy"]
    [line] = run_main("fit", *fit_options, *options, "--run_dir", "run", check=False).errors()
    assert "--model.crf true needs --model.decoding viterbi" in line
