"""Export a checkpoint as a folder that transformers or onnxruntime loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ner_module.help import CommandParser
from ner_module.offers import Offer

OFFER = Offer(commands={"export": "ner_module.extras.export:main"}, needs=("card",))


def main(argv: Sequence[str]) -> int:
    """``python -m ner_module export``, parsed before anything heavy is imported; returns the exit code."""
    parser = CommandParser(
        "export",
        "Write a checkpoint as a model folder for transformers or onnxruntime, with a model card. Its predictions are "
        "compared with the checkpoint's; a folder that predicts other entities is refused.",
        "Examples:\n"
        "  python -m ner_module export --output exported\n"
        "  python -m ner_module export --output exported-onnx --format onnx\n"
        "  python -m ner_module export --output exported --name me/my-tagger\n"
        "  hf upload me/my-tagger exported",
    )
    add = parser.add_argument
    add("--ckpt_path", default="best", metavar="best|last|FILE", help="the checkpoint (best)")
    add("--run_dir", type=Path, metavar="DIR", help="the run that best and last are of (the newest)")
    add("--output", type=Path, required=True, metavar="DIR", help="the folder to write")
    add("--format", choices=("transformers", "onnx"), default="transformers", help="what to write (transformers)")
    add("--data", nargs="+", metavar="FILE", help="annotated data to compare on (the run's test or validation data)")
    add("--max_sentences", type=int, default=1000, metavar="N", help="how many of its sentences at most (1000)")
    add("--max_f1_drop", type=float, default=0.0, metavar="POINTS", help="refuse a larger loss of F1 (0)")
    add("--name", help="the model's name in its card, such as the hub id it will have (the run's)")
    add("--license", metavar="ID", help="licence for the card, such as apache-2.0")
    add("--language", metavar="CODE", help="language for the card, such as en")
    add("--overwrite", action="store_true", help="replace an earlier export at --output")
    options = parser.parse_args(list(argv))
    if options.format == "onnx":  # before a model is loaded
        from ner_module.inference.onnx_model import need_package

        for package in ("onnx", "onnxruntime", "onnxscript"):
            need_package(package)
    from ner_module.extras.export.command import export

    return export(options)
