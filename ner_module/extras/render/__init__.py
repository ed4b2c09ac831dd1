"""Predictions inside their text."""

from __future__ import annotations

from ner_module.offers import Offer

OFFER = Offer(commands={"render": "ner_module.extras.render.command:main"})
