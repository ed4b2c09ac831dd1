"""All that this extra reads, in one place."""

from __future__ import annotations

from ner_module.data.formats.adapters import FileFormat, Formats
from ner_module.extras.formats.brat import is_brat, read_brat
from ner_module.extras.formats.files import FILES
from ner_module.extras.formats.offsets import CountedOffsets
from ner_module.extras.formats.tools import adapt


def offered() -> Formats:
    """What this extra offers."""
    return Formats({"brat": FileFormat(is_brat, read_brat), **FILES}, adapt, CountedOffsets)
