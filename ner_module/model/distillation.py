"""Distillation: a tagger learns new types without forgetting those of its base model, which is a tagger, too.

If a file does not annotate all types (``--data.annotated_types``), a word tagged as outside may be of another type. The
base model's predictions are the targets of such words (Monaikul et al. 2021,
https://www.amazon.science/publications/continual-learning-for-named-entity-recognition).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ner_module.errors import RunError
from ner_module.model.encoder import build_tagger
from ner_module.model.packed import packed_logits, padded_logits, prepare
from ner_module.pretrained import load_config
from ner_module.tagging import LabelSet


class Teacher:
    """The frozen base model, with logits for the labels of the student; its weights are not part of the student's.

    Args:
        options: the module's options: ``model_name_or_path``, the base model, and ``revision``.
        labels: the student's labels.
        packed: compute without padding.
        device: the student's device.

    Raises:
        RunError: the base model is not a tagger with the outside label, or has a label that the student lacks.
    """

    def __init__(self, options: Mapping[str, Any], labels: LabelSet, packed: bool, device: torch.device) -> None:
        name, revision = options["model_name_or_path"], options["revision"]
        known = [label for _, label in sorted(load_config(name, revision).id2label.items())]
        if labels.outside not in known:  # an encoder has LABEL_0, LABEL_1
            advice = "name a trained run or an exported model as --model.model_name_or_path"
            raise RunError(f"--model.distillation needs a base model that has the label {labels.outside}: {advice}")
        if lost := [label for label in known if label not in labels.names]:
            option = json.dumps([*known, *(label for label in labels.names if label not in known)], ensure_ascii=False)
            problem = f"--model.distillation: the data have no {', '.join(lost)}, which the base model knows"
            raise RunError(f"{problem}: give --data.label_names '{option}'")
        self._model: Any = build_tagger(name, revision).requires_grad_(False).to(device)
        if packed:
            prepare(self._model)
        self._compute = packed_logits if packed else padded_logits
        columns = [known.index(label) if label in known else len(known) for label in labels.names]
        self._columns_C = torch.tensor(columns, device=device)

    @torch.no_grad()
    def __call__(self, input_ids_T: Tensor, lengths: Sequence[int]) -> Tensor:
        """Logits ``[T, C]``, minus infinity for labels that the base model does not know."""
        logits_TK = self._compute(self._model, input_ids_T, lengths).float()
        return F.pad(logits_TK, (0, 1), value=-torch.inf)[:, self._columns_C]
