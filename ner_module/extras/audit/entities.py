"""The sizes of the splits, and what there is to learn and to score: entities by type; rare, missing, unseen ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ner_module.extras.audit.corpus import Corpus
from ner_module.extras.audit.wording import plural
from ner_module.extras.findings import Example, Finding, Severity

# A type with fewer mentions in training is hardly learnt; with fewer in evaluation its score says little (one mention
# is then more than 10 points of recall). Rules of thumb, not measurements.
_FEW_TO_LEARN = 20
_FEW_TO_SCORE = 10

_NAMED = 10
_PERCENTILES = (50, 95, 99)

HISTOGRAM_EDGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Lower bounds of the histogram's classes, in words or subword tokens; the last has no upper bound."""

Form = tuple[str, ...]
"""The words of an entity."""


def split_sizes(corpus: Corpus, types: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The numbers of each split, as JSON holds them."""
    forms: dict[str, Counter[tuple[Form, str]]] = {split: Counter() for split in corpus.splits}
    for sentence in corpus.sentences:
        for start, end, name in sentence.spans:
            forms[sentence.split][sentence.tokens[start:end], name] += 1
    train = forms.get("train", Counter())
    known = {form for form, _ in train}
    sizes = {}
    for split in corpus.splits:
        sentences = corpus.of(split)
        inside = [sum(end - start for start, end, _ in sentence.spans) for sentence in sentences]
        mentions, distinct = dict.fromkeys(types, 0), dict.fromkeys(types, 0)
        seen = {"same_type": 0, "other_type": 0, "unseen": 0}
        for (form, name), count in forms[split].items():
            mentions[name] += count
            distinct[name] += 1
            seen["same_type" if (form, name) in train else "other_type" if form in known else "unseen"] += count
        sizes[split] = {
            "sentences": len(sentences),
            "words": sum(len(sentence.tokens) for sentence in sentences),
            "sentences_with_entities": sum(map(bool, inside)),
            "entities": sum(mentions.values()),
            "distinct_entities": sum(distinct.values()),
            "entities_by_type": mentions,
            "distinct_entities_by_type": distinct,
            "words_in_entities": sum(inside),
            "words_per_sentence": distribution([len(sentence.tokens) for sentence in sentences]),
        }
        if split != "train" and "train" in forms:
            sizes[split]["entities_seen_in_training"] = seen
    return sizes


def distribution(lengths: Sequence[int]) -> dict[str, Any]:
    """Mean, percentiles (the nearest that occurs), longest, and a histogram over :data:`HISTOGRAM_EDGES`.

    >>> distribution([1, 2, 3, 40])["p50"], distribution([])["longest"]
    (2, 0)
    """
    ordered = np.sort(np.array(lengths, dtype=int))
    size = len(ordered)
    return {
        "mean": round(float(ordered.mean()), 2) if size else 0.0,
        **{f"p{p}": int(ordered[math.ceil(size * p / 100) - 1]) if size else 0 for p in _PERCENTILES},
        "longest": int(ordered[-1]) if size else 0,
        "histogram": np.bincount(np.digitize(ordered, HISTOGRAM_EDGES), minlength=11).tolist() if size else [],
    }


def balance_findings(corpus: Corpus, mentions: Mapping[str, Mapping[str, int]]) -> list[Finding]:
    """Types that are missing or rare, splits without entities.

    Args:
        corpus: the sentences.
        mentions: split -> type -> entities.
    """
    found = []
    empty = [split for split, counts in mentions.items() if not any(counts.values())]
    for split in empty:
        source = corpus.sources.get(split) or corpus.sources["train"]
        message = f"the {split} data has no entity: every word is outside"
        example = Example(source.stored.meta["sources"][0], None, "no tag but the outside label")
        severity: Severity = "error" if split == "train" else "warning"
        advice = "check --data.label_column_name and --data.outside_label"
        found.append(Finding("no_entities", severity, 1, message, example, advice))
    train = {} if "train" in empty else mentions.get("train", {})
    absent = {name: sum(counts[name] for counts in mentions.values()) for name in train if not train[name]}
    if absent:
        where = [split for split, counts in mentions.items() if any(counts[name] for name in absent)]
        message = (
            f"{plural(len(absent), 'type')} of the {' and '.join(where)} data {'does' if len(absent) == 1 else 'do'} "
            "not occur in the training data and cannot be learnt"
        )
        found.append(_types_finding(corpus, "type_not_in_training", message, absent, "add examples, or drop the type"))
    rarest = dict(sorted(train.items(), key=lambda item: item[1]))
    rarest = {name: count for name, count in rarest.items() if 0 < count < _FEW_TO_LEARN}
    if rarest:
        message = (
            f"{plural(len(rarest), 'type has', 'types have')} fewer than {_FEW_TO_LEARN} of the "
            f"{sum(train.values()):,} training entities, too few to learn well"
        )
        advice = "annotate more, merge with another type, or drop; correct it if it is a misspelling"
        found.append(_types_finding(corpus, "rare_type", message, rarest, advice))
    for split, counts in mentions.items():
        few = {name: count for name, count in counts.items() if count < _FEW_TO_SCORE}
        if few and split != "train" and split not in empty:
            of_types = f"{plural(len(few), 'type')}: {_listed(few)}"
            message = f"the {split} data has fewer than {_FEW_TO_SCORE} entities of {of_types}"
            advice = "do not read much into the scores of these types, nor into macro averages"
            found.append(Finding("few_to_score", "info", len(few), message, None, advice))
    return found


def _types_finding(corpus: Corpus, code: str, message: str, counts: Mapping[str, int], advice: str) -> Finding:
    """With the first entity of the first type as an example; in the training data if it is there."""
    first = next(iter(counts))
    sentences = corpus.sentences if code == "type_not_in_training" else corpus.of("train")
    places = ((sentence, span) for sentence in sentences for span in sentence.spans if span.entity_type == first)
    sentence, span = next(places)
    details = [{"type": name, "count": count} for name, count in counts.items()]
    message, example = f"{message}: {_listed(counts)}", sentence.example(span.start, span.end)
    return Finding(code, "warning", len(counts), message, example, advice, details)


def _listed(counts: Mapping[str, int]) -> str:
    """Types with their counts; the first of many.

    >>> _listed({"PER": 2, "LOC": 1})
    'PER 2, LOC 1'
    """
    shown = [f"{name} {count:,}" for name, count in list(counts.items())[:_NAMED]]
    return ", ".join(shown) + (f" and {len(counts) - _NAMED:,} more" if len(counts) > _NAMED else "")
