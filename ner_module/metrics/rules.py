"""What label ids mean for entity metrics: the one rule that reads spans, as two bits and a type for each label.

The rule is that of :mod:`ner_module.tagging`: seqeval's default (``seqeval.metrics.sequence_labeling.get_entities``),
which is the CoNLL-2000 script `conlleval` (https://www.clips.uantwerpen.be/conll2000/chunking/output.html) extended by
``E-`` and ``S-``; ``L-`` and ``U-`` are read as ``E-`` and ``S-``. It looks at two neighbouring words only: the second
*continues* the span of the first if it is tagged ``I-`` or ``E-``, the first is tagged ``B-`` or ``I-``, and both have
one type. Any other word that is not outside begins a span, so that any tag sequence has spans, under every scheme.

On IOB tags this gives exactly what the script gives. On IOBES the script itself gives other numbers, because it knows
no ``S-``: a word tagged ``S-`` starts a span there only after an outside word or another type.

``flat`` labels: each word that is not outside is one unit, as if each label had ``S-`` before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ner_module.errors import SchemeError
from ner_module.tagging import OUTSIDE, check_scheme, split_tag

CONTINUES, OPEN = 1, 2
"""The bits of a label: a word of it may continue the span before it; a span may go on after a word of it."""

TYPE_SHIFT = 2
"""A label's code is its type's index + 1, shifted by this many bits, plus its bits; 0 is outside."""

_BITS = {"B": OPEN, "I": OPEN | CONTINUES, "E": CONTINUES, "S": 0, "L": CONTINUES, "U": 0}


class SpanRules(NamedTuple):
    """A label inventory, ready for tensors; made by :func:`span_rules`."""

    entity_types: tuple[str, ...]
    """Names of the types, by their index."""
    codes: Tensor
    """int32 of shape ``[labels]``: what each label id means, as type index and bits in one integer."""

    def to(self, device: torch.device | str) -> SpanRules:
        """The same rules with their codes on ``device``."""
        return SpanRules(self.entity_types, self.codes.to(device))


def span_rules(label_names: Sequence[str], scheme: str = "iob2", outside_label: str | None = OUTSIDE) -> SpanRules:
    """Compile a label inventory into what :mod:`ner_module.metrics.functional` works on.

    Args:
        label_names: the label of each label id.
        scheme: one of :data:`ner_module.tagging.SCHEMES`; it only sets ``flat`` apart.
        outside_label: for ``flat``, the label that is no unit; ``None`` when every word is one.

    Raises:
        SchemeError: an unknown scheme, a repeated label, or a label without a prefix.

    >>> span_rules(["O", "B-PER", "I-PER", "B-creative-work", "I-creative-work"]).entity_types
    ('PER', 'creative-work')
    >>> span_rules(["O", "B", "I"]).entity_types
    ('_',)
    """
    check_scheme(scheme)
    repeated = [name for name, count in Counter(label_names).items() if count > 1]
    if repeated:
        raise SchemeError(f"the label {repeated[0]!r} is listed twice; each label needs one id")
    if scheme == "flat":
        parts = [(OUTSIDE, "") if name == outside_label else ("S", name) for name in label_names]
    else:
        parts = [split_tag(name) for name in label_names]
    types = tuple(dict.fromkeys(name for prefix, name in parts if prefix != OUTSIDE))
    index = {name: number for number, name in enumerate(types, 1)}
    codes = [0 if prefix == OUTSIDE else (index[name] << TYPE_SHIFT) + _BITS[prefix] for prefix, name in parts]
    return SpanRules(types, torch.tensor(codes, dtype=torch.int32))
