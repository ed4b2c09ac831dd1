"""What is logged about the data after a command has read it: sizes, and everything that was not taken as it was."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping

from ner_module.data.encoded import EncodingSummary
from ner_module.data.store import StoredSplit
from ner_module.tagging import OUTSIDE

log = logging.getLogger(__name__)

# Fields of EncodingSummary, and what each means to a user.
_FINDINGS = {
    "illegal_tags": "an illegal tag sequence, the first of {count:,} illegal tags; entities are read by the conlleval "
    "rule",
    "windowed_sentences": "longer than {limit} subword tokens, the first of {count:,} such sentences; split into "
    "overlapping windows, nothing is cut",
    "clipped_words": "a word longer than {limit} subword tokens, the first of {count:,} such words; the model sees its "
    "beginning",
    "words_without_subword": "a word that becomes no subword token (control or zero-width characters), the first of "
    "{count:,}; it keeps its place and is predicted as outside any entity",
}


def report_split(name: str, stored: StoredSplit, found: EncodingSummary, max_seq_length: int) -> None:
    """One line for the split, and one for each finding, with the file and line of its first case."""
    sources = stored.meta["sources"]
    shown = ", ".join(sources[:3]) + (", …" if len(sources) > 3 else "")
    log.info("%-10s %9s sentences %11s words   %s", name, f"{found.sentences:,}", f"{found.words:,}", shown)
    if stored.meta["changed_spans"]:
        log.warning("%s: %s", shown, stored.meta["changed_spans"])
    for finding, text in _FINDINGS.items():
        if count := getattr(found, finding):
            path, line = stored.origin(found.examples[finding])
            log.warning("%s:%s: %s", path, line, text.format(count=count, limit=max_seq_length))


def report_label_map(
    label_map: Mapping[str, str], found: Iterable[EncodingSummary], source_scheme: str, outside: str | None
) -> None:
    """One line for what was renamed and dropped, over all splits."""
    counts: Counter[str] = Counter()
    for summary in found:
        counts.update(summary.mapped)
    one, many = ("word", "words") if source_scheme == "flat" else ("entity", "entities")
    parts = [
        f"{source} -> {target} {counts[source]:,} {one if counts[source] == 1 else many}"
        + (" dropped" if target in (OUTSIDE, outside) else "")
        for source, target in label_map.items()
    ]
    if parts:
        log.info("label_map: %s", ", ".join(parts))


def report_context(name: str, found: EncodingSummary, context_size: int) -> None:
    """One line for how many sentences are read with their document; a warning when none is."""
    if not context_size or not found.sentences:
        return
    if found.sentences_with_context:
        message = "%-10s %9s sentences are read with up to %d subword tokens of their document"
        log.info(message, name, f"{found.sentences_with_context:,}", context_size)
    elif found.sentences > 1:
        log.warning(
            "%s: no sentence has context: the data marks no documents of several sentences that leave room in a "
            "sequence; --data.documents file makes one of each file",
            name,
        )


def report_held_out(held_out: int, sentences: int) -> None:
    """One line for the validation data that was taken from the training data."""
    left = f"{sentences - held_out:,}"
    log.info("%-10s %9s sentences of the training data are held out; %s are left", "validation", f"{held_out:,}", left)
