"""The transformers model: built from base weights for training, or from a checkpoint's config alone.

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

# The families' names for their dropout probabilities.
_DROPOUTS = (
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout"),
    *("classifier_dropout", "embedding_dropout", "mlp_dropout", "pooler_dropout"),
)


def build_from_base(
    model_name_or_path: str, revision: str | None, label_names: Sequence[str], dropout: float | None = None
) -> Any:
    """Load base weights in float32 and put a token-classification head for ``label_names`` on them.

    Of a base model that is a tagger already, the head's rows of labels with the same name are kept; the others are new.

    Args:
        model_name_or_path: a hub id, a folder, or ``package:…``.
        revision: on the hub.
        label_names: the labels by id.
        dropout: replaces the config's hidden and attention dropout; ``None`` keeps them.

    Raises:
        PretrainedError: the model cannot be loaded, or its file lacks weights of the encoder: training would start
            from random numbers.
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
            f"the weights of {model_name_or_path!r} lack {len(lost)} tensors of the encoder, such as {lost[0]}; they "
            "would be random numbers. Name a model whose weights belong to its config"
        )
    if is_tagger:
        log.info("%s is a tagger: %s", model_name_or_path, _relabel(model, label_names))
    # from_pretrained returns the model in eval mode, and Lightning leaves it there: dropout would be off.
    return model.train()


def set_dropout(config: Any, probability: float) -> None:
    """Of hidden states and attention, whatever the family calls it."""
    for name in _DROPOUTS:
        if getattr(config, name, None) is not None:
            setattr(config, name, probability)


def _relabel(model: Any, label_names: Sequence[str]) -> str:
    """Give a tagger a head for other labels, with the rows of its own where names agree; returns which those are."""
    own, old = {name: index for index, name in sorted(model.config.id2label.items())}, model.classifier
    kept = [name for name in label_names if name in own]
    new = [name for name in label_names if name not in own]
    dropped = [name for name in own if name not in label_names]
    size = old.in_features, len(label_names), old.bias is not None
    model.classifier = torch.nn.utils.skip_init(torch.nn.Linear, *size)  # type: ignore[no-untyped-call]
    for part in (model.classifier, model) if new else ():  # some families (ModernBERT) initialise it with the whole
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
    """The same architecture with random weights, for a checkpoint's to replace; needs neither hub nor cache."""
    from transformers import CONFIG_MAPPING, AutoModelForTokenClassification

    fields = without_code(json.loads(config_json))
    config = CONFIG_MAPPING[fields["model_type"]].from_dict(fields)
    with _quiet_transformers():
        return AutoModelForTokenClassification.from_config(config, dtype=torch.float32).train()


def check_fits(config_json: str, weights: Mapping[str, torch.Tensor]) -> None:
    """Refuse a config that belongs to other weights, before a model of any size takes memory.

    Raises:
        RunError: with the first tensor that is missing, is not the architecture's, or has another shape there.
    """
    try:
        check_config(json.loads(config_json), layers=len(weights))
        with torch.device("meta"):
            built = build_from_config(config_json).state_dict()
    except Exception as error:  # whatever transformers makes of numbers that do not go together
        problem = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RunError(f"the checkpoint's model cannot be built ({problem}); use another checkpoint") from error
    for name in [*built, *weights]:
        wanted, held = (tuple(given[name].shape) if name in given else None for given in (built, weights))
        if wanted != held:
            problem = f"{name} is {wanted} in its config and {held} in its weights"
            raise RunError(f"the checkpoint contradicts itself: {problem}; use another checkpoint")


def build_tagger(name: str, revision: str | None = None) -> Any:
    """A whole tagger, its head too, in float32 and evaluation mode; raises as ``from_pretrained`` here."""
    model, absent = _load(name, revision, load_config(name, revision))
    if absent:
        lost = f"{len(absent)} tensors, such as {absent[0]}"
        raise PretrainedError(f"the weights in {name} lack {lost}: export it again")
    return model


def _load(name: str, revision: str | None, config: Any) -> tuple[Any, list[str]]:
    """A tagger, and which of its tensors its files lack or have in another shape."""
    options = {"dtype": torch.float32, "ignore_mismatched_sizes": True, "output_loading_info": True}
    with _quiet_transformers():
        model, report = from_pretrained(_load_checked, name, revision, config=config, **options)
    return model, sorted([*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])])


def _load_checked(path: str, *, config: Any, **kwargs: Any) -> Any:
    """``from_pretrained`` of a tagger, unless its config asks for far more numbers than its files can hold."""
    from transformers import AutoModelForTokenClassification

    with torch.device("meta"):
        model = AutoModelForTokenClassification.from_config(config)
    wanted = sum(parameter.numel() for parameter in model.base_model.parameters())
    held = sum(file.stat().st_size for file in Path(path).glob("*") if file.suffix in (".safetensors", ".bin"))
    if Path(path).is_dir() and wanted > held > 0:  # a number has a byte at least
        raise ValueError(f"its config asks for {wanted:,} numbers, its weights file has {held:,} bytes")
    return AutoModelForTokenClassification.from_pretrained(path, config=config, **kwargs)


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
