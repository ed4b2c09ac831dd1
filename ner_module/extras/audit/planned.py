"""What a command line of ``fit`` plans, read by its own parser; nothing is built or run."""

from ner_module.cli import parse_fit_options as parse_as_fit

__all__ = ["parse_as_fit"]
