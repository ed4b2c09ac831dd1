"""Convert annotated data between formats."""

from ner_module.offers import Offer

OFFER = Offer(commands={"convert": "ner_module.extras.convert.command:main"})
