"""``python -m ner_module doctor``: can this machine train; for use before a job waits in a queue."""

from __future__ import annotations

from ner_module.offers import Offer

OFFER = Offer(commands={"doctor": "ner_module.extras.doctor.command:main"}, needs=("cpu",))
