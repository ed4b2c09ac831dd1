"""What there is to learn and to score: entities by type and split, rare and missing types, seen and unseen entities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ner_module.extras.audit.corpus import Corpus
from ner_module.extras.audit.entities import Entities, sentence_at
from ner_module.extras.audit.wording import plural
from ner_module.extras.findings import Example, Finding

# A type with fewer mentions in training is hardly learnt; with fewer in evaluation its score says little (one mention
# is then more than 10 points of recall). Rules of thumb, not measurements.
_FEW_TO_LEARN = 20
_FEW_TO_SCORE = 10

_NAMED = 10


@dataclass
class Balance:
    """Entities by split.

    Attributes:
        mentions: split -> type -> entities.
        distinct: split -> type -> distinct forms.
        seen: split (but training) -> entities that training data has with the same type, with other types only, and
            not at all.
    """

    mentions: dict[str, dict[str, int]]
    distinct: dict[str, dict[str, int]]
    seen: dict[str, dict[str, int]]


def count_balance(corpus: Corpus, entities: Entities) -> Balance:
    """Count from the table of distinct entities."""
    mentions = {split: dict.fromkeys(corpus.types, 0) for split in corpus.splits}
    distinct = {split: dict.fromkeys(corpus.types, 0) for split in corpus.splits}
    shape = len(corpus.splits), max(len(corpus.types), 1)
    cells = entities.splits.astype(np.int64) * shape[1] + entities.types
    counts = np.bincount(cells, weights=entities.counts, minlength=shape[0] * shape[1]).reshape(shape)
    forms = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
    for row, split in enumerate(corpus.splits):
        for column, name in enumerate(corpus.types):
            mentions[split][name], distinct[split][name] = int(counts[row, column]), int(forms[row, column])
    return Balance(mentions, distinct, _seen(corpus, entities))


def _seen(corpus: Corpus, entities: Entities) -> dict[str, dict[str, int]]:
    if "train" not in corpus.splits:
        return {}
    train = entities.splits == corpus.splits.index("train")
    forms = np.unique(entities.hashes[train])
    with_type = np.unique(_typed(entities, train))
    found = {}
    for index, split in enumerate(corpus.splits):
        if split == "train":
            continue
        here = entities.splits == index
        counts = entities.counts[here]
        same = np.isin(_typed(entities, here), with_type)
        known = np.isin(entities.hashes[here], forms)
        found[split] = {
            "same_type": int(counts[same].sum()),
            "other_type": int(counts[known & ~same].sum()),
            "unseen": int(counts[~known].sum()),
        }
    return found


def _typed(entities: Entities, chosen: Any) -> Any:
    """One number for words and type."""
    return entities.hashes[chosen] ^ (entities.types[chosen].astype(np.uint64) + np.uint64(1)) * np.uint64(
        0x9E3779B97F4A7C15
    )


def balance_findings(corpus: Corpus, entities: Entities, balance: Balance, files: Mapping[str, str]) -> list[Finding]:
    """Types that are missing or rare, splits without entities."""
    found = []
    for split in corpus.splits:
        if not sum(balance.mentions[split].values()):
            found.append(_no_entities(split, files[split]))
    if "train" in corpus.splits and not any(finding.severity == "error" for finding in found):
        train = balance.mentions["train"]
        absent = {name: 0 for name in corpus.types if train[name] == 0}
        rare = {name: train[name] for name in corpus.types if 0 < train[name] < _FEW_TO_LEARN}
        if absent:
            found.append(_cannot_be_learnt(corpus, entities, balance, list(absent)))
        if rare:
            found.append(_rare_types(corpus, entities, rare, sum(train.values())))
    for split, mentions in balance.mentions.items():
        if split == "train" or not sum(mentions.values()):
            continue
        few = {name: count for name, count in mentions.items() if count < _FEW_TO_SCORE}
        if few:
            found.append(
                Finding(
                    "few_to_score",
                    "info",
                    len(few),
                    f"the {split} data has fewer than {_FEW_TO_SCORE} entities of {plural(len(few), 'type')}: "
                    f"{_listed(few)}",
                    None,
                    "do not read much into the scores of these types, nor into macro averages",
                )
            )
    return found


def _no_entities(split: str, file: str) -> Finding:
    return Finding(
        "no_entities",
        "error" if split == "train" else "warning",
        1,
        f"the {split} data has no entity: every word is outside",
        Example(file, None, "no tag but the outside label"),
        "check --data.label_column_name and --data.outside_label",
    )


def _first(corpus: Corpus, entities: Entities, name: str, split: str | None) -> Example | None:
    chosen = entities.types == corpus.types.index(name)
    if split is not None:
        chosen &= entities.splits == corpus.splits.index(split)
    if not chosen.any():
        return None
    rows = np.flatnonzero(chosen)
    row = int(rows[np.argmin(entities.first[rows])])
    sentence, word = sentence_at(corpus, int(entities.first[row]))
    return corpus.example(sentence, word, word + int(entities.lengths[row]))


def _cannot_be_learnt(corpus: Corpus, entities: Entities, balance: Balance, names: list[str]) -> Finding:
    totals = {name: sum(mentions[name] for mentions in balance.mentions.values()) for name in names}
    where = [split for split in corpus.splits if any(balance.mentions[split][name] for name in names)]
    return Finding(
        "type_not_in_training",
        "warning",
        len(names),
        f"{plural(len(names), 'type')} of the {' and '.join(where)} data {'does' if len(names) == 1 else 'do'} not "
        f"occur in the training data and cannot be learnt: {_listed(totals)}",
        _first(corpus, entities, names[0], None),
        "add training examples, or drop the type",
        [{"type": name, "count": count} for name, count in totals.items()],
    )


def _rare_types(corpus: Corpus, entities: Entities, counts: dict[str, int], total: int) -> Finding:
    rarest = dict(sorted(counts.items(), key=lambda item: item[1]))
    return Finding(
        "rare_type",
        "warning",
        len(counts),
        f"{plural(len(counts), 'type')} {'has' if len(counts) == 1 else 'have'} fewer than {_FEW_TO_LEARN} of the "
        f"{total:,} training entities, too few to learn well: {_listed(rarest)}",
        _first(corpus, entities, next(iter(rarest)), "train"),
        "annotate more, merge with another type, or drop; correct it if it is a misspelling",
        [{"type": name, "count": count} for name, count in rarest.items()],
    )


def _listed(counts: Mapping[str, int]) -> str:
    """Types with their counts; the first of many.

    >>> _listed({"PER": 2, "LOC": 1})
    'PER 2, LOC 1'
    """
    shown = [f"{name} {count:,}" for name, count in list(counts.items())[:_NAMED]]
    return ", ".join(shown) + (f" and {len(counts) - _NAMED:,} more" if len(counts) > _NAMED else "")
