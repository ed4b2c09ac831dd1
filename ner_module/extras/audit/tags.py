"""Tags that are misspelt, unknown, or in an order their scheme does not allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ner_module.data.store import StoredSplit
from ner_module.data.tag_census import suspicious_tags
from ner_module.extras.audit.corpus import Corpus, Source
from ner_module.extras.audit.spans import find_illegal, find_spans
from ner_module.extras.audit.wording import plural
from ner_module.extras.findings import Example, Finding
from ner_module.tagging import OUTSIDE, complete_label_set


def misspelt_tags(splits: Sequence[StoredSplit], declared: Sequence[str] | None, scheme: str) -> list[Finding]:
    """Every tag that is unknown or looks like a typing error; ``fit`` stops at the first that is certainly one.

    Args:
        splits: all tagged data.
        declared: the labels that the user or the dataset names; these are trusted, and others are errors.
        scheme: of the data.
    """
    counts: Counter[str] = Counter()
    places: dict[str, Any] = {}
    words: dict[str, Any] = {}
    for split in splits:
        counts.update(split.meta["tag_counts"])
        places = split.meta["first_seen"] | places
        words = split.meta["first_words"] | words
    if declared is not None:
        known = {OUTSIDE, *complete_label_set(list(declared), scheme, None)}
        return [
            Finding(
                "unknown_tag",
                "error",
                count,
                f"the tag {tag!r} ({plural(count, 'word')}) is not among the labels {', '.join(declared)}",
                Example(places[tag][0], places[tag][1], f"{words.get(tag)} {tag}"),
                "correct the tag, or add it to --data.label_names",
            )
            for tag, count in counts.items()
            if tag not in known
        ]
    return [
        Finding(
            "misspelt_tag" if suspicion.certain else "rare_tag",
            "error" if suspicion.certain else "warning",
            suspicion.count,
            suspicion.problem,
            Example(suspicion.path, suspicion.line, f"{words.get(suspicion.tag)} {suspicion.tag}"),
            suspicion.advice + (", or name all labels in --data.label_names" if suspicion.certain else ""),
        )
        for suspicion in suspicious_tags(counts, places, words, flat=scheme == "flat")
    ]


def changed_spans(sources: Mapping[str, Source]) -> list[Finding]:
    """Character spans that did not fall on words, overlapped or nested."""
    return [
        Finding(
            "changed_spans",
            "warning",
            1,
            f"not every character span could be kept as it was: {source.stored.meta['changed_spans']}",
            Example(source.stored.meta["sources"][0], None, f"{name} data"),
            "a tagger gives each whole word one type: check that what was widened or dropped is what you meant",
        )
        for name, source in sources.items()
        if source.stored.meta["changed_spans"]
    ]


def illegal_tags(corpus: Corpus) -> list[Finding]:
    """Words whose tag is not what the scheme writes there: for each file how many, and where the first one is."""
    counts: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], Example] = {}
    for chunk in corpus.chunks():
        spans = find_spans(chunk.tags, chunk.table, chunk.first_words, dropped=True)
        illegal = find_illegal(chunk.tags, chunk.table, spans, chunk.first_words, chunk.scheme)
        words = np.flatnonzero(illegal)
        if not len(words):
            continue
        sentences = chunk.sentence_of(words)
        distinct, where, each = np.unique(sentences, return_index=True, return_counts=True)
        files = corpus.file_of(distinct + chunk.first_sentence)
        for file, sentence, index, count in zip(files, distinct.tolist(), where.tolist(), each.tolist(), strict=True):
            key = file, chunk.scheme
            counts[key] += count
            if key not in first:
                word = int(words[index] - chunk.offsets[sentence])
                tag = corpus.tag(chunk.first_word + int(words[index]))
                before = (
                    "at the start" if word == 0 else f"after {corpus.tag(chunk.first_word + int(words[index]) - 1)}"
                )
                example = corpus.example(sentence + chunk.first_sentence, word, word + 1)
                first[key] = Example(example.file, example.line, f"{example.text}  has {tag} {before}")
    return [
        Finding(
            "illegal_tags",
            "warning",
            count,
            f"{plural(count, 'tag')} where {scheme.upper()} does not allow {'it' if count == 1 else 'them'}; "
            "entities are read by the conlleval rule",
            first[file, scheme],
            "correct the tags, or name another scheme with --data.source_scheme",
        )
        for (file, scheme), count in counts.items()
    ]
