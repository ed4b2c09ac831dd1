"""The only interface between the core and its extras: what each folder under ``extras/`` offers.

The core never names an extra. An extra is a folder in ``ner_module/extras`` whose ``__init__.py`` imports nothing heavy
and declares a module-level :class:`Offer` named ``OFFER``. Deleting the folder removes the offer.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from graphlib import TopologicalSorter
from typing import Any

_EXTRAS = "ner_module.extras"


@dataclass(frozen=True)
class Offer:
    """What an extra adds; functions are given as ``package.module:function`` and imported when called.

    Attributes:
        commands: ``python -m ner_module NAME`` -> ``main(arguments) -> exit code``.
        callbacks: a function from a :class:`~ner_module.training.runs.Run` to the callbacks it adds to that run.
        model: a function called with each transformers model once it is built; it may change how the model computes,
            never its results.
        start: a function without arguments, called before torch is imported.
        formats: a function without arguments that returns further formats: the ``Formats`` of
            `data/formats/adapters.py`.
        point: a function that chooses an operating point; called by `training/operating_points.py`.
        needs: extras that this one imports; if one is missing, this one is disabled.
        after: extras whose callbacks run before this one's, if installed.
    """

    commands: Mapping[str, str] = field(default_factory=dict)
    callbacks: str | None = None
    model: str | None = None
    start: str | None = None
    formats: str | None = None
    point: str | None = None
    needs: Sequence[str] = ()
    after: Sequence[str] = ()


@cache
def find_offers() -> dict[str, Offer]:
    """The offers by name of their extra, in the order in which their callbacks run."""
    if importlib.util.find_spec(_EXTRAS) is None:
        return {}
    folders = importlib.import_module(_EXTRAS).__path__
    names = sorted(module.name for module in pkgutil.iter_modules(folders) if module.ispkg)
    offers: dict[str, Offer] = {name: importlib.import_module(f"{_EXTRAS}.{name}").OFFER for name in names}
    order = TopologicalSorter({name: [*offer.needs, *offer.after] for name, offer in offers.items()})
    found: dict[str, Offer] = {}
    for name in order.static_order():
        if name in offers and found.keys() >= set(offers[name].needs):
            found[name] = offers[name]
    return found


def find_commands() -> dict[str, str]:
    """The commands of all extras: name -> ``package.module:function``."""
    return dict(sorted(pair for offer in find_offers().values() for pair in offer.commands.items()))


def call(place: str, *arguments: Any) -> Any:
    """Call the function at ``package.module:function``."""
    return pkgutil.resolve_name(place)(*arguments)


def call_all(kind: str, *arguments: Any) -> list[Any]:
    """Call every offered function of one kind (``callbacks``, ``model`` and so on), in order, and list the results."""
    places = [getattr(offer, kind) for offer in find_offers().values()]
    return [call(place, *arguments) for place in places if place is not None]
