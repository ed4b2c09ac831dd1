"""NERTagger: a trained model for use in Python. Text in, entities out.

The same words, windows, decoding and entities as ``python -m ner_module predict``, without a trainer or files.
"""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ner_module.data.alignment import Subwords
from ner_module.data.batching import evaluation_batches
from ner_module.data.datamodule import NERDataModule
from ner_module.data.encoded import BatchAssembler, encode_split
from ner_module.data.entities import OperatingPoint, prediction
from ner_module.data.sentence import Sentence
from ner_module.data.words import split_words
from ner_module.inference.model_folder import fetch_model_folder, load_model_folder, save_model_folder
from ner_module.model.decoding import likeliest_labels
from ner_module.model.module import NERModule
from ner_module.pretrained import UNPACKED
from ner_module.training.checkpoints import read_checkpoint, warn_of_broken_weights
from ner_module.training.failures import load_module
from ner_module.training.operating_points import POINT_OPTIONS, choose_point, read_points
from ner_module.training.runs import checkpoint_path, find_checkpoint

# namespace/name; names that end in .ckpt are treated as missing files.
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(?<!\.ckpt)")
_SURROGATE = re.compile("[\ud800-\udfff]")


class NERTagger:
    """Finds entities in text.

    Args:
        module: a trained model.
        data: its tokenizer, labels and alignment.
        points: its operating points, if measured.

    Example::

        tagger = NERTagger.load("runs/quickstart/2026-01-31_12-00-00")
        tagger.predict(["Ada Lovelace met the mayor of Lincoln."])
    """

    def __init__(self, module: NERModule, data: NERDataModule, points: dict[str, Any] | None = None) -> None:
        self.module, self.data, self._points = module.eval(), data, points
        self._checkpoint: Path | None = None  # operating points may be beside it
        self.point: OperatingPoint | None = None
        module.check_device()
        self.labels = data.labels
        self._subwords = Subwords(data.tokenizer)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu", revision: str | None = None) -> NERTagger:
        """Load a trained model, with the same predictions from any of its forms.

        Args:
            path: a run directory (its best checkpoint, else its last), a checkpoint file, a folder written by
                ``export`` (safetensors or ONNX), or the hub id of such a folder. Base model and training data are not
                needed.
            device: the device of the model.
            revision: branch, tag or commit on the hub.

        Raises:
            RunError: the path does not exist or cannot be used.
            PretrainedError: the model is not on the hub, or the hub cannot be reached.
        """
        folder = Path(path).expanduser()
        if not folder.exists() and _HUB_ID.fullmatch(str(path)):
            folder = fetch_model_folder(str(path), revision)
        if (folder / "config.json").is_file():
            return cls(*load_model_folder(folder, device))
        saved = [checkpoint_path(folder, name) for name in ("best", "last")]  # without validation data there is no best
        file = find_checkpoint(str(next(filter(Path.is_file, saved), folder)), None)
        data = NERDataModule()
        checkpoint = read_checkpoint(file)
        warn_of_broken_weights(checkpoint, file)
        data.load_state_dict(checkpoint["NERDataModule"])
        tagger = cls(load_module(file, device), data)
        tagger._checkpoint = file
        return tagger

    @property
    def operating_points(self) -> dict[str, Any] | None:
        """The operating points measured by ``validate``, or ``None``; raises :class:`RunError` if damaged."""
        return read_points(self._checkpoint) if self._checkpoint else self._points

    def set_point(self, **asked: Any) -> NERTagger:
        """Set the operating point for :meth:`predict`; without arguments, reset it.

        Args:
            **asked: ``threshold`` (a number, or numbers by type), ``precision``, ``recall``, ``f_beta``,
                ``candidates`` or ``calibrated``, as for the command ``predict``.

        Returns:
            The tagger itself.

        Raises:
            RunError: invalid values, or the required operating points were not measured.
        """
        if unknown := asked.keys() - set(POINT_OPTIONS):
            raise TypeError(f"there is no {unknown.pop()!r}: it is one of {', '.join(POINT_OPTIONS)}")
        decoding = self.module.hparams["decoding"]
        self.point = choose_point(lambda: self.operating_points, self.labels, decoding, asked)
        return self

    def predict(
        self,
        texts: str | Sequence[str] | Sequence[Sequence[str]],
        batch_size: int = 32,
        documents: Sequence[Hashable] | None = None,
        output_tags: bool = False,
    ) -> list[dict[str, Any]]:
        """The entities of each text, in order.

        Args:
            texts: raw texts, or lists of words; a string is one text.
            batch_size: texts per batch.
            documents: for a model with document context, the document of each text (any names; ``None``: none);
                consecutive texts of one document are context for each other. By default there is none.
            output_tags: also return ``word_tags``, each word's tag and the probabilities of its three likeliest labels.

        Returns:
            For each text ``{"text": …, "entities": [{"type", "text", "start", "end", "score"}]}``, ``start`` and
            ``end`` in characters; for lists of words ``{"tokens": …}`` with ``start`` and ``end`` in words.

        Raises:
            TypeError: an item is neither a string nor a list of words; names its position.
        """
        is_table = hasattr(texts, "columns")  # iterating over it yields column names
        if not isinstance(texts, Iterable) or isinstance(texts, (bytes, Mapping, Set)) or is_table:
            raise TypeError(f"texts has the type {type(texts).__name__}: give strings, or lists of words")
        given = [texts] if isinstance(texts, str) else list(texts)
        sentences = [_sentence(text, f"text {index}") for index, text in enumerate(given)]
        if not sentences:
            return []
        for index, sentence in enumerate(sentences):
            if any(map(_SURROGATE.search, sentence.tokens)):
                raise ValueError(f"text {index} contains a lone surrogate, which is not a character: decode it again")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: give at least 1")
        if documents is not None and len(documents) != len(sentences):
            raise ValueError(f"{len(sentences)} texts but {len(documents)} documents: give one for each text")
        results: list[dict[str, Any]] = [{}] * len(sentences)
        with tempfile.TemporaryDirectory() as folder:
            names = [None] * len(sentences) if documents is None else documents
            words = ((sentence.tokens, None, name) for sentence, name in zip(sentences, names, strict=True))
            options = self.data.encoding_options("predict")
            split = encode_split(Path(folder) / "texts", words, self._subwords, options, lasting=False)
            assembler = BatchAssembler(split, self.labels)
            for indices in evaluation_batches(split.sentence_lengths(), batch_size):
                for index, of_words in self._tag(assembler, indices, output_tags):
                    results[index] = prediction(sentences[index], labels=self.labels, point=self.point, **of_words)
        return results

    @torch.inference_mode()
    def _tag(
        self, assembler: BatchAssembler, indices: np.ndarray[Any, np.dtype[np.int64]], top: bool
    ) -> list[tuple[int, dict[str, Any]]]:
        """Index of each sentence and the values of its words, named as the arguments of :func:`prediction`."""
        batch = assembler.sentences(indices)
        for name in ("input_ids", "word_positions"):
            batch[name] = batch[name].to(self.module.device)
        _, words = self.module.predict_words(batch)
        found = {"label_ids": words.label_ids, "scores": words.scores}
        if top:
            found["top"], found["top_ids"] = likeliest_labels(words.probabilities, words.scores)
        if self.point is not None and self.point.has_candidates:
            found["probabilities"] = words.probabilities
        lists = {name: values.tolist() for name, values in found.items()}
        rows = enumerate(zip(indices.tolist(), batch["num_words"].tolist(), strict=True))
        return [(index, {name: lists[name][row][:length] for name in lists}) for row, (index, length) in rows]


def unpack_run(model_name_or_path: str) -> None:
    """Make a run directory usable as a base model (its best checkpoint), until the program ends.

    Args:
        model_name_or_path: a run directory; other names are ignored.

    Raises:
        RunError: its checkpoint cannot be used.
    """
    if (Path(model_name_or_path).expanduser() / "checkpoints").is_dir() and model_name_or_path not in UNPACKED:
        tagger = NERTagger.load(model_name_or_path)
        folder = tempfile.mkdtemp(prefix="ner-module-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        save_model_folder(tagger.module, tagger.data, Path(folder))
        UNPACKED[model_name_or_path] = folder


def _sentence(text: str | Sequence[str], where: str) -> Sentence:
    if isinstance(text, str):
        text = str(text)  # NumPy's strings have a repr with their type
        offsets = split_words(text)
        return Sentence([text[start:end] for start, end in offsets], text=text, offsets=offsets)
    if not isinstance(text, Iterable) or isinstance(text, (bytes, Mapping, Set)):
        raise TypeError(
            f"{where} is neither a string nor a list of words, but {str(text)[:40]} ({type(text).__name__})"
        )
    words = list(text)
    for index, word in enumerate(words):
        if not isinstance(word, str):
            raise TypeError(f"word {index} of {where} is no string, but {str(word)[:40]} ({type(word).__name__})")
    return Sentence(words)
