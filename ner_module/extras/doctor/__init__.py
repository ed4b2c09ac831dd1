"""``python -m ner_module doctor``: can this machine train, and with what; for use before a job waits in a queue.

Not here: what is wrong with the data, and whether a model fits into memory. The sums over gloo and NCCL run over this
process alone: they test the libraries, not the network between hosts.
"""

from __future__ import annotations

from ner_module.offers import Offer

OFFER = Offer(commands={"doctor": "ner_module.extras.doctor.command:main"}, needs=("cpu",))
