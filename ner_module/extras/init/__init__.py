"""A recipe to begin with, written from what the data look like."""

from ner_module.offers import Offer

OFFER = Offer(commands={"init": "ner_module.extras.init.command:main"}, needs=("audit",))
