"""The same integers on one, two and three processes, with uneven shards and an empty one."""

import json
from pathlib import Path

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing as mp

from ner_module.metrics.entity_scores import EntityScores

NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]
ROWS = 101
STATES = ("true_positives", "num_predicted", "num_gold", "correct_words", "num_words")


def corpus() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    target = torch.randint(0, len(NAMES), (ROWS, 20), generator=generator)
    noise = torch.randint(0, len(NAMES), (ROWS, 20), generator=generator)
    preds = torch.where(torch.rand(ROWS, 20, generator=generator) < 0.2, noise, target)
    lengths = torch.randint(0, 21, (ROWS, 1), generator=generator)
    return preds, target.masked_fill(torch.arange(20) >= lengths, -100)


def score(rank: int, shards: list[tuple[int, int]], folder: Path) -> None:
    """Score one shard in batches of 16 rows, combine, and write down what this rank sees."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=len(shards))
    (folder / f"{rank}.json").write_text(json.dumps(seen_by_one_rank(*shards[rank])))
    dist.destroy_process_group()


def seen_by_one_rank(begin: int, end: int) -> dict[str, object]:
    preds, target = corpus()
    metric = EntityScores(NAMES)
    for start in range(begin, end, 16):
        rows = slice(start, min(start + 16, end))
        metric.update(preds[rows], target[rows])
    result = {key: value.item() for key, value in metric.compute().items()}
    with metric.sync_context():
        counts = {name: getattr(metric, name).tolist() for name in STATES}
    # After compute each rank is back at its own counts and can go on.
    metric.update(preds[begin:end], target[begin:end])
    return {"result": result, "counts": counts, "doubled": metric.compute()["support/PER"].item()}


@pytest.mark.ddp
@pytest.mark.parametrize(
    "shards",
    [
        [(0, 101)],
        [(0, 51), (51, 101)],
        [(0, 7), (7, 101)],
        [(0, 101), (101, 101)],
        [(0, 34), (34, 68), (68, 101)],
        [(0, 0), (0, 16), (16, 101)],
    ],
    ids=lambda shards: "-".join(str(end - begin) for begin, end in shards),
)
def test_every_rank_sees_the_counts_of_the_whole_corpus(tmp_path, shards):
    mp.spawn(score, args=(shards, tmp_path), nprocs=len(shards))
    alone = EntityScores(NAMES)
    alone.update(*corpus())
    expected = {
        "counts": {name: getattr(alone, name).tolist() for name in STATES},
        "result": {key: value.item() for key, value in alone.compute().items()},
        "doubled": 2 * int(alone.num_gold[0]),
    }
    for rank in range(len(shards)):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == expected
