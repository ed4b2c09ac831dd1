"""What label ids mean for entity metrics: the span rules of a scheme and a mode, as small lookup tables.

Every rule set that is scored here looks at two neighbouring words only and answers three questions: does the second
word *continue* the span of the first, does it *start* one, and does the step from the first to the second properly
*end* a span? The answers depend on the two prefixes and on whether the two types are the same, so a rule set is three
lists of prefix pairs, and on tensors one table of 8 x 8 x 2 entries. `metrics/functional.py` applies it.

* ``conlleval`` (default): seqeval's default rules (``seqeval.metrics.sequence_labeling.get_entities``), which are those
  of the CoNLL-2000 script `conlleval` (https://www.clips.uantwerpen.be/conll2000/chunking/output.html) extended by
  ``E-`` and ``S-``; ``L-`` and ``U-`` are read as ``E-`` and ``S-``. One rule for all schemes: any sequence has spans.
  On IOB tags it gives exactly what the script gives. On IOBES the script itself gives other numbers, because it knows
  no ``S-``: a word tagged ``S-`` starts a span there only after an outside word or another type.
* ``strict``: seqeval's ``mode="strict"`` (``seqeval.scheme``), a rule set for each scheme, under which a sequence that
  breaks the scheme has no span there. Its published peculiarities are kept, so that numbers can be compared: IOE1
  covers only some cases (its source says so), and dashes around a type are dropped (``B--X-`` has the type ``X``).
* ``flat`` labels, in either mode: each word that is not outside is one unit. They behave as if each had ``S-`` before
  it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ner_module.errors import SchemeError
from ner_module.tagging import OUTSIDE, PREFIXES, UNTYPED, check_scheme, split_tag

Mode = Literal["conlleval", "strict"]

BEGINS, STARTS, CLOSES = 1, 2, 4
"""The bits of a transition from a word to the one after it.

The second word does not continue the first; it starts a span; the first is the proper end of its span.
"""

PREFIX_BITS = 3
"""A label's code is its type's index + 1, shifted by this many bits, plus the number of its prefix; 0 is outside."""

_PREFIX_NUMBERS = {"O": 0, "B": 1, "I": 2, "E": 3, "S": 4, "L": 3, "U": 4}


class _Patterns(NamedTuple):
    """Pairs of neighbours as ``<prefix><prefix><relation of their types>``: ``=`` same, ``!`` different, ``*`` either.

    ``?`` stands for any prefix.
    """

    continues: str
    starts: str
    ends: str


# seqeval 1.2.2, seqeval/metrics/sequence_labeling.py: start_of_chunk, end_of_chunk.
_CONLLEVAL = _Patterns(
    continues="BI= II= BE= IE=", starts="?B* ?S* OI* EI* SI* OE* EE* SE* BI! II! BE! IE!", ends="??*"
)
# seqeval 1.2.2, seqeval/scheme.py: the classes IOB1, IOB2, IOE1, IOE2, IOBES and BILOU.
_BIOES = _Patterns(continues="BI= BE= II= IE=", starts="?B* ?S*", ends="S?* E?*")
_STRICT = {
    "iob1": _Patterns(continues="BI= II=", starts="OI* II! BI* IB= BB=", ends="II! IO* IB* BO* BI! BB="),
    "iob2": _Patterns(continues="BI= II=", starts="?B*", ends="IO* II! IB* BO* BI! BB*"),
    "ioe1": _Patterns(continues="II= IE=", starts="OI* II! EI* EE=", ends="II! IO* IE! EI= EE="),
    "ioe2": _Patterns(continues="IE= II=", starts="OI* OE* EI* EE* II! IE!", ends="E?*"),
    "bioes": _BIOES,
    "bilou": _BIOES,
    "flat": _CONLLEVAL,
}


class SpanRules(NamedTuple):
    """A label inventory under a scheme and a mode, ready for tensors; made by :func:`span_rules`."""

    entity_types: tuple[str, ...]
    """Names of the types, by their index."""
    codes: Tensor
    """int32 of shape ``[labels]``: what each label id means, as type index and prefix number in one integer."""
    transitions: Tensor
    """int32 of shape ``[128]``: the bits :data:`BEGINS`, :data:`STARTS`, :data:`CLOSES` for two neighbours.

    The index is ``8 * prefix of the first + prefix of the second + (64 if their types differ)``.
    """

    def to(self, device: torch.device | str) -> SpanRules:
        """The same rules with their tables on ``device``."""
        return SpanRules(self.entity_types, self.codes.to(device), self.transitions.to(device))


def span_rules(
    label_names: Sequence[str], scheme: str = "iob2", mode: Mode = "conlleval", outside_label: str | None = OUTSIDE
) -> SpanRules:
    """Compile a label inventory into the tables that :mod:`ner_module.metrics.functional` works on.

    Args:
        label_names: the label of each label id.
        scheme: one of :data:`ner_module.tagging.SCHEMES`. In ``conlleval`` mode it only tells ``flat`` apart.
        mode: ``"conlleval"`` or ``"strict"``, see the module's docstring.
        outside_label: for ``flat``, the label that is no unit; ``None`` when every word is one.

    Raises:
        SchemeError: an unknown scheme or mode, a repeated label, a label without a prefix, or in strict mode one with
            a prefix that the scheme does not write.

    >>> rules = span_rules(["O", "B-PER", "I-PER", "B-creative-work", "I-creative-work"])
    >>> rules.entity_types
    ('PER', 'creative-work')
    >>> span_rules(["O", "B", "I"]).entity_types
    ('_',)
    >>> span_rules(["O", "S-PER"], "iob2", "strict")
    Traceback (most recent call last):
    ...
    ner_module.tagging.SchemeError: the label 'S-PER' does not belong to the scheme 'iob2', which writes B- I-; name \
the right scheme, or score with mode='conlleval'
    """
    check_scheme(scheme)
    if mode not in get_args(Mode):
        raise SchemeError(f"unknown mode {mode!r}; known: {', '.join(get_args(Mode))}")
    repeated = [name for name, count in Counter(label_names).items() if count > 1]
    if repeated:
        raise SchemeError(f"the label {repeated[0]!r} is listed twice; each label needs one id")
    parts = [_parse_label(name, scheme, mode, outside_label) for name in label_names]
    type_index = {name: index for index, name in enumerate(dict.fromkeys(name for prefix, name in parts if prefix))}
    codes = [(type_index[name] + 1 << PREFIX_BITS) + prefix if prefix else 0 for prefix, name in parts]
    patterns = _STRICT[scheme] if mode == "strict" else _CONLLEVAL
    return SpanRules(tuple(type_index), torch.tensor(codes, dtype=torch.int32), _transition_table(patterns))


def _parse_label(name: str, scheme: str, mode: Mode, outside_label: str | None) -> tuple[int, str]:
    """Prefix number and type of one label; prefix 0 is outside."""
    if scheme == "flat":
        return (0, "") if name == outside_label else (_PREFIX_NUMBERS["S"], name)
    prefix, entity_type = split_tag(name)
    if mode == "strict" and prefix != OUTSIDE:
        if prefix not in PREFIXES[scheme]:
            raise SchemeError(
                f"the label {name!r} does not belong to the scheme {scheme!r}, which writes "
                f"{' '.join(letter + '-' for letter in PREFIXES[scheme])}; name the right scheme, or score with "
                "mode='conlleval'"
            )
        entity_type = entity_type.strip("-") or UNTYPED
    return _PREFIX_NUMBERS[prefix], entity_type


def _transition_table(patterns: _Patterns) -> Tensor:
    """Spell out the patterns for every pair of prefixes and both relations of types."""
    continues, starts, ends = (set(_spell_out(listed)) for listed in patterns)
    table = torch.zeros(128, dtype=torch.int32)
    for index in range(128):
        table[index] = BEGINS * (index not in continues) + STARTS * (index in starts)
        table[index] += CLOSES * (index in ends and index not in continues)
    return table


def _spell_out(listed: str) -> Iterator[int]:
    """Indices into the table of the pairs that patterns stand for."""
    for first, second, relation in map(tuple, listed.split()):
        for i in range(5) if first == "?" else (_PREFIX_NUMBERS[first],):
            for j in range(5) if second == "?" else (_PREFIX_NUMBERS[second],):
                for different in {"=": (0,), "!": (1,), "*": (0, 1)}[relation]:
                    yield 8 * i + j + 64 * different
