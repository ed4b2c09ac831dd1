"""`EntityScores` against seqeval's reports, and as a citizen of torchmetrics and torch."""

import pickle
import warnings

import pytest
import torch
from seqeval.metrics import accuracy_score, classification_report
from test_metrics_references import random_corpora, to_ids
from torch import nn
from torchmetrics import MetricCollection

from ner_module import EntityScores
from ner_module.errors import SchemeError

NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
GOLD = torch.tensor([[1, 2, 0, 3], [3, 0, -100, -100]])
PREDICTED = torch.tensor([[1, 2, 0, 1], [3, 4, 2, 2]])


def as_floats(result: dict[str, torch.Tensor]) -> dict[str, float]:
    return {key: float(value) for key, value in result.items()}


def states(metric: EntityScores) -> list[list[int]]:
    names = ("true_positives", "num_predicted", "num_gold", "correct_words", "num_words")
    return [getattr(metric, name).tolist() for name in names]


def readable(rows: list[list[str]]) -> list[list[str]]:
    return [[{"L": "E", "U": "S"}.get(tag[0], tag[0]) + tag[1:] for tag in row] for row in rows]


@pytest.mark.parametrize("scheme", ["iob1", "iob2", "bilou"])
def test_every_number_equals_seqevals_report(scheme):
    for labels, gold, predicted in random_corpora(scheme, 1000):
        metric = EntityScores(labels, scheme)
        for start in range(0, len(gold), 64):  # the last batch is smaller
            rows = slice(start, start + 64)
            metric.update(to_ids(predicted[rows], labels), to_ids(gold[rows], labels))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = classification_report(readable(gold), readable(predicted), output_dict=True)
        expected = {"accuracy": accuracy_score(gold, predicted)}
        for average, suffix in (("micro avg", ""), ("macro avg", "_macro"), ("weighted avg", "_weighted")):
            row = report.pop(average)
            expected |= {f"{ours}{suffix}": row[theirs] for ours, theirs in KEYS}
        for name, row in report.items():
            expected |= {f"{ours}/{name}": row[theirs] for ours, theirs in KEYS} | {f"support/{name}": row["support"]}
        result = as_floats(metric.compute())
        assert {key: result[key] for key in expected} == pytest.approx(expected, abs=1e-6)
        assert all(result[key] == 0 for key in result.keys() - expected.keys())


KEYS = (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score"))


def test_a_case_worked_by_hand():
    metric = EntityScores(NAMES)
    metric.update(PREDICTED, GOLD)
    # Gold: PER(0,2) LOC(3,4) | LOC(0,1). Predicted: PER(0,2) PER(3,4) | LOC(0,2), its end behind the mask: LOC(0,2).
    result = metric.compute()
    assert as_floats(result) == pytest.approx(
        {
            "precision": 1 / 3,
            "recall": 1 / 3,
            "f1": 1 / 3,
            "accuracy": 4 / 6,
            "precision_macro": 0.25,
            "recall_macro": 0.5,
            "f1_macro": 1 / 3,
            "precision_weighted": 1 / 6,
            "recall_weighted": 1 / 3,
            "f1_weighted": 2 / 9,
            "precision/PER": 0.5,
            "recall/PER": 1.0,
            "f1/PER": 2 / 3,
            "support/PER": 1,
            "precision/LOC": 0.0,
            "recall/LOC": 0.0,
            "f1/LOC": 0.0,
            "support/LOC": 2,
        }
    )


def test_types_that_never_occur_do_not_lower_the_macro_average():
    metric = EntityScores([*NAMES, "B-ORG", "I-ORG"])
    metric.update(GOLD.clamp(min=0), GOLD)
    result = as_floats(metric.compute())
    assert result["f1_macro"] == 1.0
    assert result["f1/ORG"] == 0.0


@pytest.mark.parametrize("target", [torch.zeros(2, 3, dtype=torch.int64), torch.full((2, 3), -100)])
def test_all_outside_and_all_masked(target):
    metric = EntityScores(NAMES)
    metric.update(torch.zeros(2, 3, dtype=torch.int64), target)
    result = as_floats(metric.compute())
    assert result.pop("accuracy") == float((target == 0).all())
    assert set(result.values()) == {0.0}


@pytest.mark.parametrize("shape", [(0, 4), (3, 0)])
def test_empty_batches_change_nothing(shape):
    metric = EntityScores(NAMES)
    metric.update(PREDICTED, GOLD)
    before = states(metric)
    metric.update(torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64))
    assert states(metric) == before


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_counts_stay_integers(dtype):
    metric = EntityScores(NAMES).to(dtype)
    metric.set_dtype(dtype)
    metric.update(PREDICTED, GOLD)
    assert metric.true_positives.dtype == torch.int64


def test_batches_do_not_matter():
    """One batch, rows one by one, padding of any width: the same integers. An average of batch scores would differ."""
    labels, gold, predicted = next(random_corpora("iob2", 500))
    whole, parts = EntityScores(labels), EntityScores(labels)
    whole.update(to_ids(predicted, labels), to_ids(gold, labels))
    for g, p in zip(gold, predicted, strict=True):
        parts.update(to_ids([p], labels), to_ids([g], labels))
    assert states(whole) == states(parts)


def test_forward_gives_the_batch_and_keeps_the_total():
    metric = EntityScores(NAMES)
    first = metric(PREDICTED[:1], GOLD[:1])
    second = metric(PREDICTED[1:], GOLD[1:])
    assert float(first["f1"]) == 0.5
    assert float(second["f1"]) == 0.0
    assert float(metric.compute()["f1"]) == pytest.approx(1 / 3)
    metric.reset()
    assert states(metric) == [[0, 0], [0, 0], [0, 0], 0, 0]


def test_clone_pickle_and_state_dict():
    metric = EntityScores(NAMES)
    metric.update(PREDICTED, GOLD)
    for other in (metric.clone(), pickle.loads(pickle.dumps(metric))):
        assert as_floats(other.compute()) == as_floats(metric.compute())
        other.update(PREDICTED, GOLD)
        assert states(other) != states(metric)
    assert metric.state_dict() == {}
    metric.persistent(True)
    restored = EntityScores(NAMES)
    restored.load_state_dict(metric.state_dict(), strict=False)
    assert states(restored) == states(metric)


def test_merge_state_adds_counts():
    one, other, both = (EntityScores(NAMES) for _ in range(3))
    one.update(PREDICTED[:1], GOLD[:1])
    other.update(PREDICTED[1:], GOLD[1:])
    both.update(PREDICTED, GOLD)
    one.merge_state(other)
    assert states(one) == states(both)
    assert as_floats(one.compute()) == as_floats(both.compute())


def test_equal_metrics_in_a_collection_share_their_counts():
    collection = MetricCollection({"a": EntityScores(NAMES), "b": EntityScores(NAMES)})
    for _ in range(2):
        collection.update(PREDICTED, GOLD)
    assert len(collection.compute_groups) == 1
    result = collection.compute()
    assert float(result["a_f1"]) == float(result["b_f1"]) == pytest.approx(1 / 3)
    alone = MetricCollection([EntityScores(NAMES)])
    assert set(alone(PREDICTED, GOLD)) >= {"f1", "f1/PER", "support/LOC"}


class TaggerWithMetric(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, len(NAMES))
        self.metric = EntityScores(NAMES)

    def forward(self, hidden: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        logits = self.head(hidden)
        self.metric.update(logits.argmax(-1), target)
        return logits


@pytest.mark.slow
def test_inside_a_compiled_module():
    torch.manual_seed(0)
    plain = TaggerWithMetric()
    compiled = TaggerWithMetric()
    compiled.load_state_dict(plain.state_dict())
    run = torch.compile(compiled)
    for _ in range(3):
        hidden, target = torch.randn(4, 6, 8), torch.randint(0, 5, (4, 6))
        torch.testing.assert_close(run(hidden, target), plain(hidden, target))
    assert states(compiled.metric) == states(plain.metric)
    assert states(plain.metric)[4] == 72


def test_state_size_does_not_grow_and_update_reads_nothing():
    metric = EntityScores(NAMES).to("meta")
    sizes = set()
    for rows in (1, 50):
        ids = torch.zeros(rows, 7, dtype=torch.int64, device="meta")
        metric.update(ids, ids)
        sizes.add(sum(getattr(metric, name).numel() for name in metric._defaults))
    assert len(sizes) == 1


@pytest.mark.gpu
def test_on_a_gpu_without_waiting_for_it():
    labels, gold, predicted = next(random_corpora("iob1", 500))
    on_cpu, on_gpu = EntityScores(labels, "iob1"), EntityScores(labels, "iob1").cuda()
    gold_ids, predicted_ids = to_ids(gold, labels), to_ids(predicted, labels)
    on_cpu.update(predicted_ids, gold_ids)
    gold_ids, predicted_ids = gold_ids.cuda(), predicted_ids.cuda()
    on_gpu.update(predicted_ids, gold_ids)
    on_gpu.reset()
    torch.cuda.set_sync_debug_mode("error")
    try:
        on_gpu.update(predicted_ids, gold_ids)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert states(on_gpu) == states(on_cpu)
    assert as_floats(on_gpu.compute()) == pytest.approx(as_floats(on_cpu.compute()))


def test_wrong_input_is_named():
    metric = EntityScores(NAMES)
    with pytest.raises(ValueError, match=r"integers, not torch\.float32"):
        metric.update(PREDICTED.float(), GOLD)
    with pytest.raises(ValueError, match="must have one shape"):
        metric.update(PREDICTED[:1], GOLD)
    with pytest.raises(SchemeError, match="unknown tagging scheme"):
        EntityScores(NAMES, "iobes")
