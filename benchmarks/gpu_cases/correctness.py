"""Are the numbers right, and does the host wait: every family packed beside padded in float32, and whole trainings.

Not here: what `tests/gpu` proves by yes or no (dropout, clipping, deterministic and resumed runs), a case of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from gpu_cases.made_up import DEBERTA, LABELS, build, write_corpus, write_model
from gpu_cases.report import Report, device

LENGTHS = [1, 2, 17, 64, 64, 3, 130, 290, 40, 500]
MOST_TIMES_PADDED = 3.0
"""How far from float32 the packed batch may be, in errors of the padded one in the same precision."""
_ROUNDING = 2e-5
"""The error that float32 may have, relative to the largest value: sums are added up in another order."""


def families(report: Report, small: bool, work: Path) -> None:
    """Logits and gradients of every packed family: in blocks and by flash attention, beside padded float32."""
    from transformers import CONFIG_MAPPING, AutoModelForTokenClassification

    from ner_module.model import packed
    from ner_module.model.selfcheck import find_problem

    os.environ["NER_MODULE_CACHE"] = str(work / "cache")  # nothing has passed the self-check yet
    wrong = []
    lengths = LENGTHS[:5] if small else LENGTHS
    chance = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 900, (sum(lengths),), generator=chance)
    labels = torch.randint(len(LABELS), (sum(lengths),), generator=chance).to(device())
    dtypes = {"fp32": None, "bf16": torch.bfloat16, **({"fp16": torch.float16} if device().type == "cuda" else {})}
    for family in packed.EXACT_FAMILIES:
        with report.attempt(family):
            torch.manual_seed(0)
            config = CONFIG_MAPPING[family](**_sizes(family))
            model = AutoModelForTokenClassification.from_config(config, dtype=torch.float32).to(device()).eval()
            packed.prepare(model)
            inputs = ids.to(device())

            def compute(logits_of: Any, dtype: torch.dtype | None, model: Any = model, inputs: Any = inputs) -> Any:
                model.zero_grad()
                with torch.autocast(device().type, dtype, enabled=dtype is not None):
                    logits = logits_of(model, inputs, lengths)
                F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
                return logits.detach().float(), [p.grad.float() for p in model.parameters() if p.grad is not None]

            truth = compute(packed.padded_logits, None)
            found: dict[str, Any] = {}
            for name, dtype in dtypes.items():
                ways: dict[str, Any] = {"padded": packed.padded_logits, "blocks": packed.packed_logits}
                with torch.autocast(device().type, dtype, enabled=dtype is not None):
                    if packed.takes_flash(model, device()):
                        ways["flash"] = packed.packed_logits
                for way, logits_of in ways.items():
                    with _without_flash() if way == "blocks" else contextlib.nullcontext():
                        found[f"{name} {way}"] = _errors(truth, compute(logits_of, dtype))
                for way in set(ways) - {"padded"}:
                    allowed = [max(MOST_TIMES_PADDED * error, _ROUNDING) for error in found[f"{name} padded"]]
                    if any(e > most for e, most in zip(found[f"{name} {way}"], allowed, strict=True)):
                        wrong.append(f"{family} {name} {way}")
            report[family] = {way: {"logits": error[0], "gradients": error[1]} for way, error in found.items()}
    with report.attempt("self-check"):
        model = build("BERT-base", small, device())
        packed.prepare(model)
        begun = time.perf_counter()
        problem = find_problem(model, device(), lambda: torch.autocast(device().type, torch.bfloat16))
        report["self-check"] = {"problem": problem, "seconds": round(time.perf_counter() - begun, 3)}
        wrong += ["self-check"] * bool(problem)
    wrong += [name for name, value in report.found.items() if "error" in value]
    report["wrong"] = wrong
    if wrong:
        raise ArithmeticError(f"too far from padded float32, or not computed: {', '.join(wrong)}")


def _sizes(family: str) -> dict[str, Any]:
    sizes: dict[str, Any] = {
        "vocab_size": 1000,
        "initializer_range": 0.05,
        "pad_token_id": 1,
        "num_labels": len(LABELS),
    }
    if family == "distilbert":
        return sizes | {"dim": 128, "n_heads": 2, "n_layers": 4, "hidden_dim": 256}
    sizes |= {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 256}
    own: dict[str, dict[str, Any]] = {
        "deberta-v2": DEBERTA | {"position_buckets": 64},
        "roberta": {"max_position_embeddings": 514},
        "xlm-roberta": {"max_position_embeddings": 514},
        "modernbert": {"local_attention": 32, "global_attn_every_n_layers": 2},
        "eurobert": {"num_key_value_heads": 1},
        "electra": {"embedding_size": 64},
    }
    return sizes | own.get(family, {})


def _errors(truth: Any, found: Any) -> list[float]:
    """Of logits and of all gradients together: the distance, relative to the length of the truth."""
    gradients = [torch.cat([part.flatten() for part in parts[1]]) for parts in (truth, found)]
    pairs = [(truth[0], found[0]), (gradients[0], gradients[1])]
    return [float(f"{((b - a).norm() / a.norm()).item():.3g}") for a, b in pairs]


@contextlib.contextmanager
def _without_flash() -> Iterator[None]:
    from ner_module.model import packed

    kept = packed.takes_flash
    packed.takes_flash = lambda *_: False
    try:
        yield
    finally:
        packed.takes_flash = kept


def waits(report: Report, small: bool, work: Path) -> None:
    """Where the host waits for the device within steps of a whole ``fit``; counted on CUDA only."""
    import warnings

    from lightning.pytorch import Callback
    from prediction_speed import main_of_ours

    from ner_module import cli

    cuda = torch.cuda.is_available()
    first, last = (4, 8) if small else (60, 90)
    seen: Counter[str] = Counter()
    steps: dict[int, int] = {}

    class Watch(Callback):
        """Has torch warn of each wait in some steps."""

        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == first:
                self.catching = warnings.catch_warnings(record=True)
                self.caught: list[Any] = self.catching.__enter__()
                warnings.simplefilter("always")
                if cuda:
                    torch.cuda.set_sync_debug_mode("warn")
            if first <= trainer.global_step < last:
                steps[trainer.global_step] = len(self.caught)
            if trainer.global_step == last:
                if cuda:
                    torch.cuda.set_sync_debug_mode("default")
                self.catching.__exit__(None, None, None)
                places = [w for w in self.caught if "synchroniz" in str(w.message)]
                seen.update(re.sub(r".*/(?=[^/]+/[^/]+$)", "", f"{w.filename}:{w.lineno}") for w in places)

    build = cli.build_trainer

    def watched(*arguments: Any) -> Any:
        trainer: Any = build(*arguments)
        trainer.callbacks.append(Watch())
        return trainer

    cli.build_trainer = watched  # type: ignore[assignment]
    corpus, model = write_corpus("conll2003", 200 if small else 2000, work), write_model("MiniLM", small, work)
    os.environ["NER_MODULE_CACHE"] = str(work / "cache")
    options = ["--model.model_name_or_path", str(model), "--run_dir", str(work / "waits")]
    options += ["--data.train_file", str(corpus.train), "--data.validation_file", str(corpus.validation)]
    main_of_ours(["fit", *options, "--trainer.max_steps", str(last + 2), "--trainer.limit_val_batches", "1"])
    counts = np.diff([*steps.values(), sum(seen.values())]) if steps else np.zeros(0)
    report["waits"] = {
        "counted": cuda,
        "steps": len(steps),
        "in_all": sum(seen.values()),
        "steps_without": int((counts == 0).sum()),
        "most_in_a_step": int(counts.max(initial=0)),
        "where": dict(seen.most_common()),
    }
