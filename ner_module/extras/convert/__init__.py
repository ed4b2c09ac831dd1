"""Annotated data from one format to another."""

from __future__ import annotations

from ner_module.offers import Offer

OFFER = Offer(commands={"convert": "ner_module.extras.convert.command:main"})
