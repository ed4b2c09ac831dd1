"""What the model's tokenizer makes of the words: subword tokens, unknown ones, and the windows of long sentences."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ner_module.data.alignment import Subwords, make_sequences
from ner_module.extras.audit.corpus import Corpus, Sentence
from ner_module.extras.audit.entities import distribution
from ner_module.extras.audit.wording import plural, share
from ner_module.extras.audit.words import count_words, word_findings
from ner_module.extras.findings import Example, Finding

_FORMS_AT_ONCE = 20_000

# A share of unknown words from which the model misses too much; a rule of thumb, not a measurement.
_MANY_UNKNOWN = 0.01

_NOTHING, _CLIPPED, _UNKNOWN = "words_without_subword", "clipped_words", "unknown_words"


class Tokenization(NamedTuple):
    """A fast tokenizer, and how many subword tokens a sequence has and neighbouring windows share at most."""

    tokenizer: Any
    max_seq_length: int
    stride: int


class Sequences(NamedTuple):
    """What the tokenizer makes of a corpus: numbers of each split, lengths of the training sequences, findings."""

    sizes: dict[str, dict[str, Any]]
    train_lengths: list[int]
    findings: list[Finding]


class _Windowed(NamedTuple):
    """A sentence in several windows: the first words of the later ones, and how many subword tokens are in two."""

    sentence: Sentence
    cuts: list[int]
    repeated: int


def count_sequences(corpus: Corpus, tokenization: Tokenization) -> Sequences:
    """Encode each distinct form once, and count over all sentences."""
    tokenizer, longest, stride = tokenization
    subwords = Subwords(tokenizer)
    for start in range(0, len(corpus.forms), _FORMS_AT_ONCE):
        subwords.cache([corpus.forms[start : start + _FORMS_AT_ONCE]])
    special = subwords.num_special
    budget = longest - special

    def kind_of(form: str) -> str | None:
        ids = subwords[form]
        # The unknown token itself may stand in the data.
        if tokenizer.unk_token_id in ids and form != tokenizer.unk_token:
            return _UNKNOWN
        return _CLIPPED if len(ids) > budget else None if ids else _NOTHING

    words, first = count_words(corpus, {form: [kind] for form in corpus.forms if (kind := kind_of(form))})
    lengths: dict[str, list[int]] = {split: [] for split in corpus.splits}
    rows: dict[str, list[int]] = {split: [] for split in corpus.splits}
    windowed: list[_Windowed] = []
    for sentence in corpus.sentences:
        length = sum([len(subwords[word]) for word in sentence.tokens])
        lengths[sentence.split].append(length)
        if length <= budget:
            rows[sentence.split].append(length + special)
            continue
        made = make_sequences(sentence.tokens, subwords, longest, stride)
        rows[sentence.split] += [len(row.input_ids) for row in made]
        if len(made) > 1:  # else a clipped word made room
            once = sum(min(len(subwords[word]), budget) for word in sentence.tokens)
            repeated = sum(len(row.input_ids) - special for row in made) - once
            windowed.append(_Windowed(sentence, [row.first_word for row in made[1:]], repeated))
    sizes = {
        split: {
            "subwords": sum(lengths[split]),
            "subwords_per_sentence": distribution(lengths[split]),
            "unknown_words": words[_UNKNOWN, split],
            "rows": len(rows[split]),
            "windowed_sentences": sum(window.sentence.split == split for window in windowed),
        }
        for split in corpus.splits
    }
    totals = {kind: sum(words[kind, split] for split in corpus.splits) for kind in first}
    num_words = sum(len(sentence.tokens) for sentence in corpus.sentences)
    findings = _word_findings(totals, first, num_words, tokenization) + _window_findings(windowed, longest)
    return Sequences(sizes, rows.get("train", []), findings)


def _word_findings(
    totals: Mapping[str, int], first: Mapping[str, Example], num_words: int, tokenization: Tokenization
) -> list[Finding]:
    tokenizer = tokenization.tokenizer
    limit = getattr(tokenizer.backend_tokenizer.model, "max_input_chars_per_word", None)  # BERT's has one
    long_words = f"; so does each word of more than {limit} characters" if limit else ""
    unknown = totals.get(_UNKNOWN, 0)
    kinds = {
        _NOTHING: (
            "without any subword token",
            "they stay in place and are predicted as outside any entity; remove them, or their invisible characters",
        ),
        _CLIPPED: (
            f"longer than {tokenization.max_seq_length} subword tokens; the model sees the beginning",
            "check that it is a word, not an address, an encoded file or a table",
        ),
        _UNKNOWN: (
            f"({share(unknown, num_words)}) with something that becomes {tokenizer.unk_token}{long_words}",
            "choose a base model of this language and script if these words matter",
        ),
    }
    return word_findings(kinds, totals, first, mild=_UNKNOWN if unknown <= _MANY_UNKNOWN * num_words else "")


def _window_findings(windowed: Sequence[_Windowed], longest: int) -> list[Finding]:
    if not windowed:
        return []
    count, windows = len(windowed), sum(len(cuts) + 1 for _, cuts, _ in windowed)
    message = (
        f"{plural(count, 'sentence is', 'sentences are')} longer than {longest} subword tokens and split into "
        f"{windows:,} overlapping windows, which share {plural(sum(w.repeated for w in windowed), 'subword token')}; "
        "each word is predicted and scored once"
    )
    advice = "nothing is lost; a larger --data.max_seq_length or shorter sentences make fewer windows"
    found = [Finding("windows", "info", count, message, windowed[0].sentence.example(), advice)]
    split = [
        (sentence, span)
        for sentence, cuts, _ in windowed
        for span in sentence.spans
        if bisect(cuts, span.start) != bisect(cuts, span.end - 1)
    ]
    if split:
        sentence, span = split[0]
        message = f"{plural(len(split), 'entity has', 'entities have')} words predicted in different windows"
        advice, example = "split long texts between sentences where you can", sentence.example(span.start, span.end)
        found.append(Finding("split_entities", "info", len(split), message, example, advice))
    return found
