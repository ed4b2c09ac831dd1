"""Builds the transformers model: from base weights for training, or from a checkpoint's config.

Not here: training (`module.py`), the tokenizer (`ner_module/pretrained.py`).
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ner_module.errors import PretrainedError, RunError
from ner_module.pretrained import check_config, from_pretrained, load_config, without_code

log = logging.getLogger(__name__)

# Names of dropout probabilities in the configs of all families.
_DROPOUTS = (
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"),
    *("classifier_dropout", "embedding_dropout", "mlp_dropout", "pooler_dropout"),
)


def build_from_base(
    model_name_or_path: str, revision: str | None, label_names: Sequence[str], dropout: float | None = None
) -> Any:
    """Load base weights in float32 and add a token-classification head for ``label_names``.

    If the base model is a tagger, the head keeps the weights of labels with the same name; the others are new.

    Args:
        model_name_or_path: a hub id, a folder, or ``package:…``.
        revision: branch, tag or commit on the hub.
        label_names: the labels by id.
        dropout: replaces the config's hidden and attention dropout; ``None`` keeps them.

    Raises:
        PretrainedError: the model cannot be loaded, or its file lacks weights of the encoder, which would be random.
    """
    config = load_config(model_name_or_path, revision)
    is_tagger = any(name.endswith("ForTokenClassification") for name in config.architectures or [])
    if not is_tagger:
        _set_labels(config, label_names)
    if dropout is not None:
        set_dropout(config, dropout)
    model, absent = _load(model_name_or_path, revision, config)
    if lost := [key for key in absent if key.startswith(f"{model.base_model_prefix}.")]:
        raise PretrainedError(
            f"the weights of {model_name_or_path!r} lack {len(lost)} tensors of the encoder, such as {lost[0]}, which "
            "would be randomly initialised: name a model whose weights match its config"
        )
    if is_tagger:
        log.info("%s is a tagger: %s", model_name_or_path, _relabel(model, label_names))
    # from_pretrained returns the model in eval mode, and Lightning keeps it: dropout would be off.
    return model.train()


def set_dropout(config: Any, probability: float) -> None:
    """Set the dropout of hidden states and attention, whatever the family's names for it."""
    for name in _DROPOUTS:
        if getattr(config, name, None) is not None:
            setattr(config, name, probability)


def _relabel(model: Any, label_names: Sequence[str]) -> str:
    """Replace a tagger's head for new labels, keeping the weights of equal names; returns a message about them."""
    own, old = {name: index for index, name in sorted(model.config.id2label.items())}, model.classifier
    kept = [name for name in label_names if name in own]
    new = [name for name in label_names if name not in own]
    dropped = [name for name in own if name not in label_names]
    size = old.in_features, len(label_names), old.bias is not None
    model.classifier = torch.nn.utils.skip_init(torch.nn.Linear, *size)  # type: ignore[no-untyped-call]
    for part in (model.classifier, model) if new else ():  # some families (ModernBERT) initialise it in the model
        model._init_weights(part)
    ours, theirs = [label_names.index(name) for name in kept], [own[name] for name in kept]
    for parameter, trained in zip(model.classifier.parameters(), old.parameters(), strict=True):
        parameter.data[ours] = trained.data[theirs]
    _set_labels(model.config, label_names)
    model.num_labels = len(label_names)
    if not new and not dropped:
        return "its head is reused, for these labels"
    said = {"is kept for": kept, "is new for": new, "no longer knows": dropped}
    return "its head " + ", ".join(f"{what} {', '.join(names)}" for what, names in said.items() if names)


def build_from_config(config_json: str) -> Any:
    """Build the architecture with random weights, to be replaced by a checkpoint's; needs neither hub nor cache."""
    from transformers import CONFIG_MAPPING, AutoModelForTokenClassification

    fields = without_code(json.loads(config_json))
    config = CONFIG_MAPPING[fields["model_type"]].from_dict(fields)
    with _quiet_transformers():
        return AutoModelForTokenClassification.from_config(config, dtype=torch.float32).train()


def check_fits(config_json: str, weights: Mapping[str, torch.Tensor]) -> None:
    """Refuse a config that contradicts the weights, before the model takes memory.

    Raises:
        RunError: names the first tensor that is missing, unexpected, or of another shape.
    """
    try:
        check_config(json.loads(config_json), layers=len(weights))
        with torch.device("meta"):
            built = build_from_config(config_json).state_dict()
    except Exception as error:  # transformers raises many kinds for inconsistent configs
        problem = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RunError(f"the checkpoint's model cannot be built ({problem}); use another checkpoint") from error
    for name in [*built, *weights]:
        wanted, held = (tuple(given[name].shape) if name in given else None for given in (built, weights))
        if wanted != held:
            problem = f"{name} is {wanted} in its config and {held} in its weights"
            raise RunError(f"the checkpoint contradicts itself: {problem}; use another checkpoint")


def build_tagger(name: str, revision: str | None = None) -> Any:
    """Load a tagger with its head, in float32 and evaluation mode; raises like :func:`build_from_base`."""
    model, absent = _load(name, revision, load_config(name, revision))
    if absent:
        lost = f"{len(absent)} tensors, such as {absent[0]}"
        raise PretrainedError(f"the weights in {name} lack {lost}: export it again")
    return model


def _load(name: str, revision: str | None, config: Any) -> tuple[Any, list[str]]:
    """Load a tagger; also returns the names of tensors that are missing or of another shape in its files."""
    options = {"dtype": torch.float32, "ignore_mismatched_sizes": True, "output_loading_info": True}
    with _quiet_transformers():
        model, report = from_pretrained(_load_checked, name, revision, config=config, **options)
    return model, sorted([*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])])


def _load_checked(path: str, *, config: Any, **kwargs: Any) -> Any:
    """``from_pretrained`` of a tagger, unless its config has far more parameters than its files can hold."""
    from transformers import AutoModelForTokenClassification

    with torch.device("meta"):
        model = AutoModelForTokenClassification.from_config(config)
    wanted = sum(parameter.numel() for parameter in model.base_model.parameters())
    held = sum(file.stat().st_size for file in Path(path).glob("*") if file.suffix in (".safetensors", ".bin"))
    if Path(path).is_dir() and wanted > held > 0:  # a parameter takes at least a byte
        raise ValueError(f"its config needs {wanted:,} parameters, its weights file has {held:,} bytes")
    return AutoModelForTokenClassification.from_pretrained(path, config=config, **kwargs)


def save_to_folder(model: Any, folder: str) -> None:
    """Write ``config.json`` and ``model.safetensors``."""
    with _quiet_transformers():
        model.save_pretrained(folder)


def _set_labels(config: Any, label_names: Sequence[str]) -> None:
    # Both are needed: transformers takes the number of labels from id2label and ignores num_labels.
    config.id2label = dict(enumerate(label_names))
    config.label2id = {name: index for index, name in enumerate(label_names)}


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hide transformers' loading report and bar: missing weights are checked above."""
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
