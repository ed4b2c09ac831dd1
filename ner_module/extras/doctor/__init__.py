"""Whether this machine can train, before a job waits in a queue for it."""

from ner_module.offers import Offer

OFFER = Offer(commands={"doctor": "ner_module.extras.doctor.command:main"}, needs=("cpu",))
