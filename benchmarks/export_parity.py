"""Do exported models find the entities of their checkpoint? On whole test sets, by code of other people.

    python benchmarks/export_parity.py --ckpt_path runs/…/checkpoints/best.ckpt

Exports a checkpoint as a transformers folder and as ONNX and compares, entity by entity, on the test data of WNUT-17,
wikigold and NCBI-disease (whatever the checkpoint was trained on: what it finds is compared, not whether it is right):

* plain transformers code and plain onnxruntime code (``parity.py``, no alignment or decoding of this project) and
  ``NERTagger`` on both folders, against ``NERTagger`` on the checkpoint;
* each on documents as well: 40 sentences in one, past 512 subwords, which only ``NERTagger`` takes;
* ``pipeline``, one text at a time, on the sentences whose words are letters only, joined by spaces.

Exits with 1 when any entity differs or fewer than 500 were compared. Not here: whether the export is fast.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from corpora import add_arguments, find_corpus

from ner_module import NERTagger
from ner_module.extras.export.onnx import write_onnx
from ner_module.extras.export.parity import check_parity
from ner_module.inference.model_folder import ONNX, save_model_folder

_DOCUMENT = 40


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--ckpt_path", type=Path, required=True, help="a checkpoint of this project")
    parser.add_argument("--corpora", nargs="+", default=["wnut17", "wikigold", "ncbi_disease"])
    options = parser.parse_args()
    checkpoint = NERTagger.load(options.ckpt_path)
    failures, compared = 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch) / "transformers", Path(scratch) / "onnx"]
        for folder, weights in zip(folders, (True, False), strict=True):
            save_model_folder(checkpoint.module, checkpoint.data, folder, weights)
        write_onnx(checkpoint.module.model, folders[1] / ONNX)
        for name in options.corpora:
            corpus = find_corpus(name, options.data, options.cache)
            sentences = _words(corpus.files["test"])
            starts = range(0, len(sentences), _DOCUMENT)
            documents = [[word for words in sentences[at : at + _DOCUMENT] for word in words] for at in starts]
            for folder in folders:
                for kind, texts in (("sentences", sentences), ("documents", documents)):
                    for parity in check_parity(checkpoint, folder, texts):
                        print(f"{name} {folder.name} {kind}: {parity.summary}", flush=True)
                        failures += parity.missing + parity.added
                        compared += parity.entities if (folder.name, kind, parity.way) == _COUNTED else 0
            failures += _compare_pipeline(name, checkpoint, folders[0], sentences)
    print(f"{compared:,} different entities of whole test sets compared; {failures} differences")
    return 1 if failures or compared < 500 else 0


_COUNTED = ("transformers", "sentences", "NERTagger")


def _compare_pipeline(name: str, checkpoint: NERTagger, folder: Path, sentences: list[list[str]]) -> int:
    from transformers import pipeline

    texts = [" ".join(words) for words in sentences if len(words) < 100 and all(word.isalpha() for word in words)]
    tagger = pipeline("token-classification", str(folder), aggregation_strategy="first")
    expected = [_entities(row["entities"], "type") for row in checkpoint.predict(texts)]
    found = [_entities(tagger(text), "entity_group") for text in texts]
    different = sum(len(one ^ other) for one, other in zip(expected, found, strict=True))
    print(
        f"{name} pipeline: {sum(map(len, expected))} entities in {len(texts)} texts, {different} different", flush=True
    )
    return different


def _entities(rows: list[dict[str, Any]], kind: str) -> set[tuple[str, int, int]]:
    return {(row[kind], row["start"], row["end"]) for row in rows}


def _words(path: Path) -> list[list[str]]:
    """The words of a column file, read here and not by this project."""
    sentences: list[list[str]] = [[]]
    for line in path.read_text(encoding="utf-8").split("\n"):
        columns = line.split()
        if not columns:
            sentences.append([])
        elif not line.startswith("-DOCSTART-"):
            sentences[-1].append(columns[0])
    return [words for words in sentences if words]


if __name__ == "__main__":
    sys.exit(main())
