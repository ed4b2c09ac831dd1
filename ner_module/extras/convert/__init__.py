"""Annotated data from one format to another."""

from ner_module.offers import Offer

OFFER = Offer(commands={"convert": "ner_module.extras.convert.command:main"})
