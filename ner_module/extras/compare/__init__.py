"""Paired significance tests between runs."""

from __future__ import annotations

from ner_module.offers import Offer

OFFER = Offer(commands={"compare": "ner_module.extras.compare.options:main"}, needs=("analysis",))
