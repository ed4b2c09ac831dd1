"""The sizes of the splits; tags and spans that were repaired; entity types that are rare or missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from ner_module.extras.audit.corpus import Corpus, Sentence
from ner_module.extras.audit.findings import Example, Finding, plural

# A type with fewer mentions in training is hardly learnt; with fewer in evaluation its score says little (one mention
# is then more than 10 points of recall). Rules of thumb, not measurements.
_FEW_TO_LEARN = 20
_FEW_TO_SCORE = 10
_NAMED = 10


def split_sizes(corpus: Corpus, types: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The numbers of each split, as JSON holds them."""
    sizes = {}
    for split in corpus.splits:
        sentences = corpus.of(split)
        lengths = [len(sentence.tokens) for sentence in sentences]
        spans = list(chain.from_iterable(sentence.spans for sentence in sentences))
        mentions = Counter(span.entity_type for span in spans)
        sizes[split] = {
            "sentences": len(sentences),
            "words": sum(lengths),
            "sentences_with_entities": sum(bool(sentence.spans) for sentence in sentences),
            "entities": len(spans),
            "entities_by_type": {name: mentions[name] for name in types},
            "words_in_entities": sum(span.end - span.start for span in spans),
            "words_per_sentence": distribution(lengths),
        }
    return sizes


def distribution(lengths: Sequence[int]) -> dict[str, int]:
    """Percentiles (the nearest that occurs) and the longest.

    >>> distribution([1, 2, 3, 40])
    {'p50': 2, 'p95': 40, 'longest': 40}
    """
    p50, p95, longest = np.percentile(lengths, (50, 95, 100), method="inverted_cdf").tolist()
    return {"p50": p50, "p95": p95, "longest": longest}


def changed_spans(corpus: Corpus) -> Iterator[Finding]:
    """Character spans that did not fall on words, overlapped or nested."""
    advice = "a tagger gives each whole word one type: check what was widened or dropped"
    for name, source in corpus.sources.items():
        if changes := source.stored.meta["changed_spans"]:
            message = f"some annotated spans were changed: {changes}"
            example = Example(source.stored.meta["sources"][0], None, f"{name} data")
            yield Finding("changed_spans", "warning", 1, message, example, advice)


def illegal_tags(corpus: Corpus) -> Iterator[Finding]:
    """Words whose tag is not what the scheme writes there: for each file how many, and where the first one is."""
    cases: dict[tuple[str, str], list[Sentence]] = defaultdict(list)  # by file and scheme
    for sentence in corpus.sentences:
        if sentence.illegal:
            cases[sentence.file, sentence.source.scheme].append(sentence)
    advice = "correct the tags, or name another scheme with --data.source_scheme"
    for (_, scheme), sentences in cases.items():
        first, count = sentences[0], sum(len(sentence.illegal) for sentence in sentences)
        at = first.illegal[0]
        before = f"after {first.tags[at - 1]}" if at else "at the start"
        example = first.example(at, at + 1, f"  has {first.tags[at]} {before}")
        message = f"{plural(count, 'tag')} not allowed by {scheme.upper()}; entities are read by the conlleval rule"
        yield Finding("illegal_tags", "warning", count, message, example, advice)


def balance_findings(corpus: Corpus, mentions: Mapping[str, Mapping[str, int]]) -> Iterator[Finding]:
    """Splits without entities, types that are missing or rare; from the entities by split and type."""
    empty = [split for split, counts in mentions.items() if not any(counts.values())]
    for split in empty:
        source = corpus.sources.get(split) or corpus.sources["train"]
        message = f"the {split} data has no entity: every word is outside"
        example = Example(source.stored.meta["sources"][0], None, "no tag but the outside label")
        advice = "check --data.label_column_name and --data.outside_label"
        yield Finding("no_entities", "error" if split == "train" else "warning", 1, message, example, advice)
    train = {} if "train" in empty else mentions.get("train", {})
    if absent := {name: sum(counts[name] for counts in mentions.values()) for name in train if not train[name]}:
        message = f"{plural(len(absent), 'type does', 'types do')} not occur in the training data and cannot be learnt"
        yield _types_finding(corpus, "type_not_in_training", absent, message, "add examples, or drop the type")
    few = {name: train[name] for name in sorted(train, key=train.__getitem__) if 0 < train[name] < _FEW_TO_LEARN}
    if few:
        message = f"{plural(len(few), 'type has', 'types have')} fewer than {_FEW_TO_LEARN} of the "
        message += f"{sum(train.values()):,} training entities, too few to learn well"
        advice = "annotate more, merge with another type, or drop; correct it if it is a misspelling"
        yield _types_finding(corpus, "rare_type", few, message, advice)
    for split, counts in mentions.items():
        few = {name: count for name, count in counts.items() if count < _FEW_TO_SCORE}
        if few and split != "train" and split not in empty:
            message = f"the {split} data has fewer than {_FEW_TO_SCORE} entities of {plural(len(few), 'type')}: "
            advice = "scores of these types, and macro averages, are unreliable"
            yield Finding("few_to_score", "info", len(few), message + _listed(few), None, advice)


def _types_finding(corpus: Corpus, code: str, counts: Mapping[str, int], message: str, advice: str) -> Finding:
    """With the first entity of the first type as an example; in the training data if it is there."""
    first, sentences = next(iter(counts)), chain(corpus.of("train"), corpus.sentences)
    entities = ((sentence, span) for sentence in sentences for span in sentence.spans if span.entity_type == first)
    sentence, span = next(entities)
    example, message = sentence.example(span.start, span.end), f"{message}: {_listed(counts)}"
    return Finding(code, "warning", len(counts), message, example, advice)


def _listed(counts: Mapping[str, int]) -> str:
    shown = [f"{name} {count:,}" for name, count in list(counts.items())[:_NAMED]]
    return ", ".join(shown) + (f" and {len(counts) - _NAMED:,} more" if len(counts) > _NAMED else "")
