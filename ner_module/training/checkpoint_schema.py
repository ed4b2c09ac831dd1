"""What a checkpoint of this project must hold before anything of it is used: names, types and sizes.

A checkpoint can come from anyone. Unpickling is limited to plain data and tensors (``weights_only``); this says which
plain data. Each key that this project reads is listed; what Lightning itself restores (loops, optimisers, callbacks) is
its own affair, and a misfit there is reported as such (`failures.py`).
"""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated, Any, Literal, NotRequired

import torch
from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    InstanceOf,
    Tag,
    TypeAdapter,
    ValidationError,
)
from typing_extensions import TypedDict

from ner_module.data.batching import Batching
from ner_module.data.store import Documents
from ner_module.model.decoding import Decoding
from ner_module.model.optimizer import Freeze, SchedulerType
from ner_module.tagging import SCHEMES
from ner_module.tokenizer import TOKENIZER_FILES

_Name = Annotated[str, Field(min_length=1, max_length=1_000)]
_Count = Annotated[int, Field(ge=0, le=2**40)]
_Positive = Annotated[int, Field(ge=1, le=2**40)]
_Number = float | int
_Scheme = Literal[SCHEMES]  # type: ignore[valid-type]


def _is_config(text: str) -> str:
    config = json.loads(text)
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ValueError("no configuration of a transformers model")
    return text


def _are_unique(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("a label occurs twice")
    return names


_Labels = Annotated[list[_Name], Field(min_length=1, max_length=100_000), AfterValidator(_are_unique)]


class _Own(TypedDict):
    encoder_config: Annotated[str, Field(max_length=2**22), AfterValidator(_is_config)]
    config: Annotated[str, Field(max_length=2**20)]
    train_totals: Annotated[list[_Number], Field(min_length=2, max_length=2)]


class _Plan(TypedDict):
    batch_size: _Positive
    batching: Batching
    seed: _Count
    max_tokens: _Positive | None
    world_size: _Positive
    accumulate: _Positive


class _Position(TypedDict):
    epoch: _Count
    batches: _Count
    sequences: _Count | None
    plan: _Plan
    order: _Plan


class _Settings(TypedDict):
    label_names: _Labels
    scheme: _Scheme
    outside_label: _Name | None
    max_seq_length: Annotated[int, Field(ge=4, le=2**20)]
    stride: Annotated[int, Field(ge=0, le=2**20)]
    label_all_tokens: bool
    context_size: NotRequired[Annotated[int, Field(ge=0, le=2**20)]]
    label_map: NotRequired[dict[str, str]]
    words_version: str
    train_sha256: list[str]


class _Data(_Settings):
    tokenizer: dict[Literal[TOKENIZER_FILES], Annotated[str, Field(max_length=2**27)]]  # type: ignore[valid-type]
    # Earlier versions counted micro-batches.
    position: NotRequired[
        Annotated[
            Annotated[list[_Count], Field(min_length=2, max_length=2), Tag("batches")]
            | Annotated[_Position, Tag("sequences")],
            Discriminator(lambda position: "batches" if isinstance(position, list) else "sequences"),
        ]
        | None
    ]


class _Hyperparameters(TypedDict):
    model_name_or_path: str
    revision: str | None
    learning_rate: _Number
    weight_decay: _Number
    dropout: _Number | None
    warmup_ratio: NotRequired[_Number]
    lr_scheduler_type: NotRequired[SchedulerType]
    decoding: NotRequired[Decoding]
    head_learning_rate: NotRequired[_Number | None]
    layer_decay: NotRequired[_Number]
    freeze: NotRequired[Freeze]
    label_names: _Labels
    scheme: _Scheme
    outside_label: _Name | None


class _DataOptions(TypedDict, total=False):
    batch_size: _Positive
    max_tokens: _Positive | None
    batching: Batching
    seed: _Count
    validation_fraction: float
    max_seq_length: int | None
    stride: int | None
    context_size: int
    label_all_tokens: bool
    documents: Documents
    scheme: _Scheme | None
    outside_label: str | None
    label_map: dict[str, str] | None


class _Processes(TypedDict):
    world_size: _Positive


def _are_complete(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    if any(name not in row for row in rows for name in ("epoch", "step")):
        raise ValueError("a row lacks its scores")
    return rows


class _Rows(TypedDict):
    rows: Annotated[list[dict[str, _Number]], AfterValidator(_are_complete)]


class _Callbacks(TypedDict):
    ResultsTable: NotRequired[_Rows]
    WorldSizeChange: NotRequired[_Processes]


class _Checkpoint(TypedDict):
    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)  # type: ignore[misc]
    ner_module: _Own
    NERDataModule: _Data
    hyper_parameters: _Hyperparameters
    datamodule_hyper_parameters: NotRequired[_DataOptions]
    state_dict: dict[str, InstanceOf[torch.Tensor]]
    callbacks: NotRequired[_Callbacks]
    epoch: _Count
    global_step: _Count


class _About(TypedDict):
    format_version: int
    data: _Settings
    model: _Hyperparameters
    sha256: NotRequired[dict[str, str]]


@cache
def _adapter(schema: Any) -> TypeAdapter[Any]:
    return TypeAdapter(schema)


def about_problem(about: Any) -> str | None:
    """The same as :func:`schema_problem` for the ``ner_module.json`` of a model folder."""
    return _problem(_About, about)


def schema_problem(checkpoint: Any) -> str | None:
    """The first thing that is wrong with what a checkpoint holds, in words; ``None`` where all of it is as expected."""
    if problem := _problem(_Checkpoint, checkpoint):
        return problem
    if (inflated := _inflated(checkpoint)) is not None:
        return f"{inflated}: a tensor that is larger than what is stored of it"
    data, own = checkpoint["NERDataModule"], checkpoint["hyper_parameters"]
    if data["label_names"] != own["label_names"]:
        return "NERDataModule.label_names: not the model's labels"
    if len(data["label_names"]) > 32_000:  # label ids are stored as int16
        return "NERDataModule.label_names: too many labels"
    return None


def _inflated(checkpoint: Any) -> str | None:
    """Where a tensor repeats the numbers of a smaller one: a few bytes could stand for terabytes."""
    pending: list[tuple[str, Any]] = [("its content", checkpoint)]
    seen = set()
    while pending:
        place, value = pending.pop()
        if isinstance(value, torch.Tensor):
            is_plain = value.layout == torch.strided and value.device.type == "cpu"
            if not is_plain or value.nbytes > value.untyped_storage().nbytes():
                return place
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            items = value.items() if isinstance(value, dict) else enumerate(value)
            pending += [(str(key)[:40], item) for key, item in items]
    return None


def _problem(schema: Any, content: Any) -> str | None:
    try:
        _adapter(schema).validate_python(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:40] for part in first["loc"]) or "its content"
        return f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}"
    return None
