"""The recipe that suits these data best, found in the time there is: a search over the options of ``fit``."""

from ner_module.offers import Offer

OFFER = Offer(commands={"tune": "ner_module.extras.tune.command:main"}, needs=("analysis",))
