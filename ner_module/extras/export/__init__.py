"""A checkpoint as a folder that anyone can load."""

from ner_module.offers import Offer

OFFER = Offer(commands={"export": "ner_module.extras.export.options:main"}, needs=("card",))
