"""What tools export, and files of further formats: made into what the core reads."""

from __future__ import annotations

from ner_module.offers import Offer

OFFER = Offer(formats="ner_module.extras.formats.formats:offered")
