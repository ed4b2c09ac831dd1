"""The transformers model: built from base weights for training, or from a checkpoint's config alone.

Not here: training (`module.py`), the tokenizer (`ner_module/pretrained.py`).
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch

from ner_module.errors import PretrainedError
from ner_module.pretrained import from_pretrained, load_config

log = logging.getLogger(__name__)

# The families' names for their dropout probabilities.
_DROPOUTS = (
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"),
    *("classifier_dropout", "embedding_dropout", "mlp_dropout", "pooler_dropout"),
)


def build_from_base(
    model_name_or_path: str, revision: str | None, label_names: Sequence[str], dropout: float | None = None
) -> Any:
    """Load base weights in float32 and put a token-classification head for ``label_names`` on them.

    A base model that is a tagger already keeps its head if its labels are the same, in any order; else the head is new.

    Args:
        model_name_or_path: a hub id, a folder, or ``package:…``.
        revision: on the hub.
        label_names: the labels by id.
        dropout: replaces the config's hidden and attention dropout; ``None`` keeps them.

    Raises:
        PretrainedError: the model cannot be loaded, or its file lacks weights of the encoder: training would start
            from random numbers.
    """
    from transformers import AutoModelForTokenClassification

    config = load_config(model_name_or_path, revision)
    base_labels = [config.id2label[index] for index in sorted(config.id2label)]
    is_tagger = any(name.endswith("ForTokenClassification") for name in config.architectures or [])
    reuse_head = is_tagger and set(base_labels) == set(label_names) and len(base_labels) == len(label_names)
    if not reuse_head:
        _set_labels(config, label_names)
    for name in _DROPOUTS:
        if dropout is not None and getattr(config, name, None) is not None:
            setattr(config, name, dropout)
    with _quiet_transformers():
        model, report = from_pretrained(
            AutoModelForTokenClassification.from_pretrained,
            model_name_or_path,
            revision,
            config=config,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    encoder = model.base_model_prefix + "."
    absent = [*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])]
    if lost := [key for key in absent if key.startswith(encoder)]:
        raise PretrainedError(
            f"the weights of {model_name_or_path!r} lack {len(lost)} tensors of the encoder, such as {lost[0]}; they "
            "would be random numbers. Name a model whose weights belong to its config"
        )
    if reuse_head:
        order = [base_labels.index(name) for name in label_names]
        for parameter in model.classifier.parameters():
            parameter.data = parameter.data[order]
        _set_labels(model.config, label_names)
        log.info(f"{model_name_or_path} is a tagger for these labels: its head is reused")
    elif is_tagger:
        for parameter in model.classifier.parameters():
            parameter._is_hf_initialized = False  # set on what came from a file, which the initialisers leave as it is
        for part in (model.classifier, model):  # some families (ModernBERT) initialise it as a part of the whole
            model._init_weights(part)
        log.info(f"{model_name_or_path} is a tagger for other labels ({', '.join(base_labels)}): its head is new")
    # from_pretrained returns the model in eval mode, and Lightning leaves it there: dropout would be off.
    return model.train()


def build_from_config(config_json: str) -> Any:
    """The same architecture with random weights, for a checkpoint's to replace; needs neither hub nor cache."""
    from transformers import CONFIG_MAPPING, AutoModelForTokenClassification

    fields = json.loads(config_json)
    config = CONFIG_MAPPING[fields["model_type"]].from_dict(fields)
    with _quiet_transformers():
        return AutoModelForTokenClassification.from_config(config, dtype=torch.float32).train()


def build_from_folder(folder: str) -> Any:
    """A whole tagger as ``export`` writes it, in float32 and evaluation mode; raises as ``from_pretrained`` here."""
    from transformers import AutoModelForTokenClassification

    with _quiet_transformers():
        load = partial(AutoModelForTokenClassification.from_pretrained, output_loading_info=True)
        model, report = from_pretrained(load, folder, None, dtype=torch.float32)
    if lost := sorted(report["missing_keys"]):
        raise PretrainedError(f"the weights in {folder} lack {len(lost)} tensors, such as {lost[0]}: export it again")
    return model


def save_to_folder(model: Any, folder: str) -> None:
    """Write ``config.json`` and ``model.safetensors``."""
    with _quiet_transformers():
        model.save_pretrained(folder)


def _set_labels(config: Any, label_names: Sequence[str]) -> None:
    # The two together: transformers takes the number of labels from id2label, whatever num_labels was given.
    config.id2label = dict(enumerate(label_names))
    config.label2id = {name: index for index, name in enumerate(label_names)}


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hides transformers' loading report and bar: only a new head is expected, and that is checked above."""
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
