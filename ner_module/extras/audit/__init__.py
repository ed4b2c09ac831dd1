"""What is wrong with a dataset, and with a training planned on it, before a GPU hour is spent."""

from ner_module.offers import Offer

OFFER = Offer(
    commands={"audit": "ner_module.extras.audit.command:main"},
    callbacks="ner_module.extras.audit.audit:callbacks",
)
