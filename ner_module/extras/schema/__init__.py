"""The options of a configuration as a JSON schema, for editors."""

from ner_module.offers import Offer

OFFER = Offer(commands={"schema": "ner_module.extras.schema.command:main"})
"""See `command.py`."""
