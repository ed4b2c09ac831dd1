"""What tools export, and files of further formats: made into what the core reads."""

from __future__ import annotations

from typing import Any

from ner_module.offers import Offer

OFFER = Offer(formats="ner_module.extras.formats:offered")


def offered() -> Any:
    """The ``Formats`` that this extra reads."""
    from ner_module.data.formats.adapters import Formats
    from ner_module.extras.formats.files import FILES
    from ner_module.extras.formats.offsets import CountedOffsets
    from ner_module.extras.formats.tools import adapt

    return Formats(FILES, adapt, CountedOffsets)
