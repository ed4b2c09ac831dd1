"""What the model's tokenizer makes of the words: subword tokens, unknown ones, and the windows of long sentences."""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ner_module.data.alignment import Subwords, make_sequences
from ner_module.extras.audit.corpus import Corpus, Sentence
from ner_module.extras.audit.entities import distribution
from ner_module.extras.audit.wording import plural, share
from ner_module.extras.audit.words import count_words
from ner_module.extras.findings import Example, Finding, Severity

_FORMS_AT_ONCE = 20_000

# A share of unknown words from which the model misses too much; a rule of thumb, not a measurement.
_MANY_UNKNOWN = 0.01

_NOTHING, _CLIPPED, _UNKNOWN = "words_without_subword", "clipped_words", "unknown_words"


@dataclass(frozen=True)
class Tokenization:
    """The tokenizer, and how sentences become sequences.

    Attributes:
        tokenizer: a fast one, from :func:`ner_module.pretrained.load_tokenizer`.
        max_seq_length: subword tokens of a sequence.
        stride: subword tokens that neighbouring windows share.
    """

    tokenizer: Any
    max_seq_length: int
    stride: int


class Sequences(NamedTuple):
    """What the tokenizer makes of a corpus.

    Attributes:
        sizes: the numbers of each split, as JSON holds them.
        train_lengths: subword tokens of each training sequence, special tokens included.
        findings: what to say of words and long sentences.
    """

    sizes: dict[str, dict[str, Any]]
    train_lengths: list[int]
    findings: list[Finding]


def count_sequences(corpus: Corpus, tokenization: Tokenization) -> Sequences:
    """Encode each distinct form once, and count over all sentences."""
    tokenizer, subwords = tokenization.tokenizer, Subwords(tokenization.tokenizer)
    for start in range(0, len(corpus.forms), _FORMS_AT_ONCE):
        subwords.learn([corpus.forms[start : start + _FORMS_AT_ONCE]])
    budget = tokenization.max_seq_length - subwords.num_special

    def kinds_of(form: str) -> list[str]:
        ids = subwords[form]
        # The unknown token itself may stand in the data.
        if tokenizer.unk_token_id in ids and form != tokenizer.unk_token:
            return [_UNKNOWN]
        return [_CLIPPED] if len(ids) > budget else [] if ids else [_NOTHING]

    words, first = count_words(corpus, {form: kinds for form in corpus.forms if (kinds := kinds_of(form))})
    lengths: dict[str, list[int]] = {split: [] for split in corpus.splits}
    rows: dict[str, list[int]] = {split: [] for split in corpus.splits}
    windows = _Windows()
    for sentence in corpus.sentences:
        length = sum([len(subwords[word]) for word in sentence.tokens])
        lengths[sentence.split].append(length)
        if length <= budget:
            rows[sentence.split].append(length + subwords.num_special)
        else:
            made = make_sequences(sentence.tokens, subwords, tokenization.max_seq_length, tokenization.stride)
            rows[sentence.split] += [len(row.input_ids) for row in made]
            once = sum(min(len(subwords[word]), budget) for word in sentence.tokens)
            again = sum(len(row.input_ids) - subwords.num_special for row in made) - once
            windows.add(sentence, [row.first_word for row in made[1:]], again)
    sizes = {
        split: {
            "subwords": sum(lengths[split]),
            "subwords_per_sentence": distribution(lengths[split]),
            "unknown_words": words[_UNKNOWN, split],
            "rows": len(rows[split]),
            "windowed_sentences": windows.sentences[split],
        }
        for split in corpus.splits
    }
    totals = {kind: sum(words[kind, split] for split in corpus.splits) for kind in first}
    num_words = sum(len(sentence.tokens) for sentence in corpus.sentences)
    findings = _word_findings(totals, first, num_words, tokenization) + windows.findings(tokenization.max_seq_length)
    return Sequences(sizes, rows.get("train", []), findings)


def _word_findings(
    totals: Mapping[str, int], first: Mapping[str, Example], num_words: int, tokenization: Tokenization
) -> list[Finding]:
    tokenizer = tokenization.tokenizer
    limit = getattr(tokenizer.backend_tokenizer.model, "max_input_chars_per_word", None)  # BERT's has one
    long_words = f"; so does each word of more than {limit} characters" if limit else ""
    kinds = {
        _NOTHING: (
            "without any subword token",
            "such words stay in place and are predicted as outside any entity; remove them, or their invisible "
            "characters",
        ),
        _CLIPPED: (
            f"longer than {tokenization.max_seq_length} subword tokens; the model sees the beginning",
            "check that it is a word, not an address, an encoded file or a table",
        ),
        _UNKNOWN: (
            f"({share(totals.get(_UNKNOWN, 0), num_words)}) with something that the tokenizer has no subword token for "
            f"and reads as {tokenizer.unk_token}{long_words}",
            "choose a base model of this language and script if these words matter",
        ),
    }
    found = []
    for code, (problem, advice) in kinds.items():
        if count := totals.get(code, 0):
            severity: Severity = "info" if code == _UNKNOWN and count <= _MANY_UNKNOWN * num_words else "warning"
            found.append(Finding(code, severity, count, f"{plural(count, 'word')} {problem}", first[code], advice))
    return found


class _Windows:
    """Counts the sentences longer than a sequence."""

    def __init__(self) -> None:
        self.sentences: Counter[str] = Counter()
        self._windows = self._again = 0
        self._first: Example | None = None
        self._cut: list[Example] = []

    def add(self, sentence: Sentence, cuts: list[int], again: int) -> None:
        """Count one: the first words of its later windows, and the subword tokens that are in two of them."""
        if not cuts:  # a clipped word made room
            return
        self.sentences[sentence.split] += 1
        self._windows += len(cuts) + 1
        self._again += again
        self._first = self._first or sentence.example()
        spans = [span for span in sentence.spans if bisect(cuts, span.start) != bisect(cuts, span.end - 1)]
        self._cut += [sentence.example(span.start, span.end) for span in spans]

    def findings(self, longest: int) -> list[Finding]:
        """What to say of them."""
        found = []
        if total := self.sentences.total():
            message = (
                f"{plural(total, 'sentence is', 'sentences are')} longer than {longest} subword tokens; the model sees "
                f"{self._windows:,} overlapping windows, which share {plural(self._again, 'subword token')}; each word "
                "is predicted and scored once"
            )
            advice = "nothing is lost; a larger --data.max_seq_length or shorter sentences make fewer windows"
            found.append(Finding("windows", "info", total, message, self._first, advice))
        if count := len(self._cut):
            message = f"{plural(count, 'entity has', 'entities have')} words predicted in different windows"
            advice = "split long texts between sentences where you can"
            found.append(Finding("split_entities", "info", count, message, self._cut[0], advice))
        return found
