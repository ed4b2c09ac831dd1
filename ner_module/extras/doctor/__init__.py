"""Check whether this machine is ready to train."""

from ner_module.offers import Offer

OFFER = Offer(commands={"doctor": "ner_module.extras.doctor.command:main"}, needs=("cpu",))
