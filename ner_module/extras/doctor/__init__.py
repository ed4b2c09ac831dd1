"""``python -m ner_module doctor``: can this machine train, and with what; for use before a job waits in a queue.

Each check has a status. ``error`` is what every run needs and does not have: the exit code is then 1. ``warning`` will
affect some runs, ``info`` is good to know. Things are tried rather than looked up where that is possible: a file is
written into each folder, numbers are summed over gloo and NCCL, the hub is asked.

Not here: what is wrong with the data, and whether a model fits into memory. Several machines are not tried together:
the sums run over this process alone, so they test the libraries and not the network between hosts.
"""

from __future__ import annotations

from ner_module.offers import Offer

OFFER = Offer(commands={"doctor": "ner_module.extras.doctor.command:main"}, needs=("cpu",))
