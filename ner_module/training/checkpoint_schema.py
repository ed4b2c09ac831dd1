"""The schema of checkpoints, validated before use: names, types and sizes.

Checkpoints are untrusted. Unpickling is limited to plain data and tensors (``weights_only``); the schema restricts the
plain data. It lists each key that this project reads; Lightning restores the others (loops, optimisers, callbacks), and
`failures.py` reports errors there.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, NotRequired, Required, get_type_hints

import torch
from pydantic import AfterValidator, Field, InstanceOf, Json, TypeAdapter, ValidationError
from typing_extensions import TypeAliasType, TypedDict

from ner_module.data.batching import Batching
from ner_module.data.datamodule import NERDataModule
from ner_module.model.module import NERModule
from ner_module.tagging import Scheme
from ner_module.tokenizer import TOKENIZER_FILES

_Name = Annotated[str, Field(min_length=1, max_length=1_000)]
_Count = Annotated[int, Field(ge=0, le=2**40)]
_Positive = Annotated[int, Field(ge=1, le=2**40)]
_Length = Annotated[int, Field(ge=0, le=2**20)]


def _are_unique(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("a label occurs twice")
    return names


# Label ids are stored as int16.
_Labels = Annotated[list[_Name], Field(min_length=1, max_length=32_000), AfterValidator(_are_unique)]


def _arguments(function: Any, **narrower: Any) -> Any:
    """The arguments of a function by name and type, all optional, since earlier versions lack some."""
    hints = {**get_type_hints(function), **narrower}
    hints.pop("return")
    return TypedDict("Arguments", hints, total=False)  # type: ignore[operator]


_Hyperparameters = _arguments(
    NERModule.__init__,
    model_name_or_path=Required[str],
    label_names=Required[_Labels],
    scheme=Required[Scheme],
    outside_label=Required[_Name | None],
)
_DataOptions = _arguments(NERDataModule.__init__, seed=_Count)


class _EncoderConfig(TypedDict):
    model_type: str
    id2label: dict[str, str]


class _Own(TypedDict):
    encoder_config: Json[_EncoderConfig]
    config: Annotated[str, Field(max_length=2**20)]
    train_totals: Annotated[list[float], Field(min_length=2, max_length=2)]


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
    sequences: _Count
    plan: _Plan
    order: _Plan


class _Settings(TypedDict):
    label_names: _Labels
    scheme: Scheme
    outside_label: _Name | None
    max_seq_length: Annotated[_Length, Field(ge=4)]
    stride: _Length
    label_all_tokens: bool
    context_size: NotRequired[_Length]
    label_map: NotRequired[dict[str, str]]
    words_version: str
    train_sha256: list[str]


class _Data(_Settings):
    tokenizer: dict[Literal[TOKENIZER_FILES], Annotated[str, Field(max_length=2**27)]]  # type: ignore[valid-type]
    position: NotRequired[_Position | None]


class _Row(TypedDict, extra_items=float):  # type: ignore[call-arg]
    epoch: float
    step: float


class _Rows(TypedDict):
    rows: list[_Row]


def _are_numbers(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dtype not in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        raise ValueError(f"weights of the type {tensor.dtype}")
    return tensor


_Weights = Annotated[InstanceOf[torch.Tensor], AfterValidator(_are_numbers)]
_Progress = TypeAliasType("_Progress", "dict[str, _Progress] | list[_Progress] | _Count | bool | None")


class _Schedule(TypedDict):
    last_epoch: _Count
    _step_count: _Count


class _Callbacks(TypedDict):
    ResultsTable: NotRequired[_Rows]


class _Checkpoint(TypedDict):
    ner_module: _Own
    NERDataModule: _Data
    hyper_parameters: _Hyperparameters  # type: ignore[valid-type]
    datamodule_hyper_parameters: NotRequired[_DataOptions]  # type: ignore[valid-type]
    state_dict: dict[str, _Weights]
    loops: NotRequired[_Progress]
    lr_schedulers: NotRequired[Annotated[list[_Schedule], Field(min_length=1)]]
    callbacks: NotRequired[_Callbacks]
    epoch: _Count
    global_step: _Count


_Scores = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(max_length=2**24)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class _TypePoints(TypedDict):
    gold: _Count
    right: _Scores
    wrong: _Scores
    candidates: Annotated[list[_Scores], Field(max_length=2**24)]


class _Points(TypedDict):
    checkpoint: str
    decoding: str
    temperature: Annotated[_Finite, Field(gt=0)]
    offset: _Finite
    calibration_error: Annotated[list[_Finite], Field(min_length=2, max_length=2)]
    table: list[Annotated[list[str], Field(min_length=5, max_length=5)]]
    types: dict[_Name, _TypePoints]


class _About(TypedDict):
    format_version: int
    data: _Settings
    model: _Hyperparameters  # type: ignore[valid-type]
    sha256: NotRequired[dict[str, str]]
    operating_points: NotRequired[_Points]
    transitions: NotRequired[list[list[_Finite]]]


_CHECKPOINT: TypeAdapter[Any] = TypeAdapter(_Checkpoint)
_ABOUT: TypeAdapter[Any] = TypeAdapter(_About)
_POINTS: TypeAdapter[Any] = TypeAdapter(_Points)


def about_problem(about: Any) -> str | None:
    """:func:`schema_problem` for the ``ner_module.json`` of a model folder."""
    if problem := _problem(_ABOUT, about):
        return problem
    sizes = [len(each) for each in (about.get("transitions", []), *about.get("transitions", []))]
    count = len(about["data"]["label_names"])
    if sizes != ([count] * (count + 1) if about["model"].get("crf") else [0]):
        return "transitions: not those of its labels"
    return None


def points_problem(points: Any) -> str | None:
    """:func:`schema_problem` for operating points."""
    return _problem(_POINTS, points)


def schema_problem(checkpoint: Any) -> str | None:
    """The first problem in the content of a checkpoint; ``None`` if it is valid."""
    if problem := _problem(_CHECKPOINT, checkpoint):
        return problem
    if (inflated := _inflated(checkpoint)) is not None:
        return f"{inflated}: a tensor that is larger than what is stored of it"
    names = {str(index): name for index, name in enumerate(checkpoint["hyper_parameters"]["label_names"])}
    if json.loads(checkpoint["ner_module"]["encoder_config"])["id2label"] != names:
        return "hyper_parameters.label_names: not those of the encoder's config"
    for field in ("label_names", "scheme", "outside_label"):
        if checkpoint["NERDataModule"][field] != checkpoint["hyper_parameters"][field]:
            return f"NERDataModule.{field}: not the model's"
    return None


def _problem(schema: TypeAdapter[Any], content: Any) -> str | None:
    try:
        schema.validate_python(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        # Without the accepted types of a value.
        place = ".".join(str(part)[:40] for part in first["loc"] if "[" not in str(part)) or "its content"
        return f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}"
    return None


def _inflated(checkpoint: Any) -> str | None:
    """The path of a tensor that is larger than its storage (by strides): a few bytes could expand to terabytes."""
    pending: list[tuple[str, Any]] = [("its content", checkpoint)]
    seen = set()  # pickled objects may contain themselves
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
