"""Fine-tune transformers for named entity recognition: a PyTorch Lightning project template.

The four public names load on first use, so that ``import ner_module`` and the command line's early checks stay fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ner_module.data.datamodule import NERDataModule
    from ner_module.inference.tagger import NERTagger
    from ner_module.metrics.entity_scores import EntityScores
    from ner_module.model.module import NERModule

__version__ = "0.1.0"
__all__ = ["EntityScores", "NERDataModule", "NERModule", "NERTagger", "__version__"]

_HOMES = {
    "NERDataModule": "ner_module.data.datamodule",
    "NERModule": "ner_module.model.module",
    "NERTagger": "ner_module.inference.tagger",
    "EntityScores": "ner_module.metrics.entity_scores",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ner_module' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
