"""What a command line of ``fit`` plans, read by its own parser; nothing is built or run."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from ner_module.arguments import Run
from ner_module.cli import NERCLI

# What the parser has in the place of a model that is not given: it takes text only.
_NO_MODEL = ""


class _Planned(NERCLI):
    """Parses a command line as ``fit`` would, and does nothing with it."""

    def add_core_arguments_to_parser(self, parser: Any) -> None:
        """The options of ``fit``; a model may be left out."""
        super().add_core_arguments_to_parser(parser)
        for action in parser._actions:
            if action.dest == "model.model_name_or_path":
                action.required = False
                action.default = _NO_MODEL

    def _set_seed(self) -> None:
        """Nothing is drawn."""

    def before_instantiate_classes(self) -> None:
        """Nothing."""

    def instantiate_classes(self) -> None:
        """Nothing."""

    def after_instantiate_classes(self) -> None:
        """Nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def parse_as_fit(arguments: Sequence[str]) -> Any:
    """The configuration that ``fit`` would get from some arguments, as nested mappings."""
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter is intended to run from within Python.*")
    config = _Planned(Run("fit", ["fit", *arguments], None, None)).config["fit"].as_dict()
    config["data"]["model_name_or_path"] = config["data"]["model_name_or_path"] or None
    return config
