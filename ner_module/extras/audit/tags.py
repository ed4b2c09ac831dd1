"""Tags that are misspelt, unknown, or in an order their scheme does not allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ner_module.data.store import StoredSplit
from ner_module.data.tag_census import suspicious_tags
from ner_module.extras.audit.corpus import Corpus, Source
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
            f"not every character span could be stored as it was: {source.stored.meta['changed_spans']}",
            Example(source.stored.meta["sources"][0], None, f"{name} data"),
            "a tagger gives each whole word one type: check that what was widened or dropped is what you meant",
        )
        for name, source in sources.items()
        if source.stored.meta["changed_spans"]
    ]


def illegal_tags(corpus: Corpus) -> list[Finding]:
    """Words whose tag is not what the scheme writes there: for each file how many, and where the first one is."""
    counts: Counter[tuple[str, str]] = Counter()  # by file and scheme
    first: dict[tuple[str, str], Example] = {}
    for sentence in corpus.sentences:
        if illegal := sentence.annotation.illegal:
            key = sentence.source.stored.origin(sentence.number)[0], sentence.source.scheme
            counts[key] += len(illegal)
            if key not in first:
                at, tags = illegal[0], sentence.tags
                before = f"after {tags[at - 1]}" if at else "at the start"
                first[key] = sentence.example(at, at + 1, f"  has {tags[at]} {before}")
    advice = "correct the tags, or name another scheme with --data.source_scheme"
    found = []
    for (file, scheme), count in counts.items():
        message = f"{plural(count, 'tag')} not allowed by {scheme.upper()}; entities are read by the conlleval rule"
        found.append(Finding("illegal_tags", "warning", count, message, first[file, scheme], advice))
    return found
