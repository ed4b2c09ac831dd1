"""Write the bundled corpus: ``python benchmarks/sample_corpus/generate.py [--output DIR]``.

Decides what a document and a split are made of; how a template becomes a sentence is
`grammar.py`, and the words are the text files in ``rules/``. The output is the same, byte
by byte, on every machine and Python version; ``tests/unit/test_sample.py`` holds it against the committed files.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

from grammar import Grammar, Sentence, pick, read_rules

from ner_module.data.sample import SPLITS, sample_file

SEED = 20
SIZES = {"train": 2000, "validation": 400, "test": 400}
GRAMMAR = Path(__file__).parent / "rules"
# How many cards of each genre are in the deck that documents are dealt from.
GENRES = {"news": 5, "sport": 5, "encyclopedia": 3, "social": 3, "mail": 2, "household": 3, "minutes": 1, "listings": 1}
DOCUMENT_LENGTHS = range(4, 11)
# Of every ten templates of a genre one is for training alone, one for validation alone and one for test alone.
TEMPLATE_PERIOD = 10
OWN_TEMPLATES = {"train": 3, "validation": 4, "test": 5}
LOWER_CASE, UPPER_CASE = 0.06, 0.05
UNCAPITALISED_GENRE = "social"


def split_templates(genre: str, split: str) -> list[str]:
    """The templates of a genre that a split may use, in the order of the file."""
    lines = (GRAMMAR / f"{genre}.txt").read_text(encoding="utf-8").splitlines()
    templates = [line for line in lines if line and not line.startswith("#")]
    others = {position for name, position in OWN_TEMPLATES.items() if name != split}
    return [template for i, template in enumerate(templates) if i % TEMPLATE_PERIOD not in others]


def split_documents(split: str, seen: set[str]) -> Iterator[list[Sentence]]:
    """The documents of one split, exactly ``SIZES[split]`` sentences in all.

    Args:
        split: a name in ``SPLITS``.
        seen: the sentences written so far, in lower case; none of them is written again. It grows.
    """
    rng = random.Random(SEED + SPLITS.index(split))
    rules = read_rules(GRAMMAR / "names.txt", split) | read_rules(GRAMMAR / "words.txt", split)
    grammar = Grammar(rules, rng)
    cards = [genre for genre, count in GENRES.items() for _ in range(count)]
    templates = {genre: split_templates(genre, split) for genre in GENRES}
    genre_deck: list[str] = []
    template_decks: dict[str, list[str]] = {genre: [] for genre in GENRES}
    missing = SIZES[split]
    while missing:
        genre = _deal(rng, genre_deck, cards)
        length = min(missing, DOCUMENT_LENGTHS[int(rng.random() * len(DOCUMENT_LENGTHS))])
        grammar.start_document()
        document: list[Sentence] = []
        while len(document) < length:
            sentence = grammar.sentence(_deal(rng, template_decks[genre], templates[genre]))
            key = " ".join(sentence.words).lower()
            if key not in seen:
                seen.add(key)
                document.append(_in_case(sentence, genre, rng.random()))
        missing -= length
        yield document


def _deal(rng: random.Random, deck: list[str], cards: list[str]) -> str:
    """Take a card from the deck; when it is empty all the cards come back. So each is seen about equally often."""
    if not deck:
        deck.extend(cards)
    card = pick(rng, deck)
    deck.remove(card)
    return card


def _in_case(sentence: Sentence, genre: str, chance: float) -> Sentence:
    """A few sentences in lower case, a few in capitals, the others with a capital at the start."""
    words = sentence.words
    if chance < LOWER_CASE:
        words = [word.lower() for word in words]
    elif chance < LOWER_CASE + UPPER_CASE:
        words = [word.upper() for word in words]
    elif genre != UNCAPITALISED_GENRE:
        words = [words[0][0].upper() + words[0][1:], *words[1:]]
    return Sentence(words, sentence.tags)


def write_corpus(folder: Path) -> None:
    """Write ``train.conll``, ``validation.conll`` and ``test.conll`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    for split in SPLITS:
        blocks: list[str] = []
        for document in split_documents(split, seen):
            blocks.append("-DOCSTART- O\n")
            for words, tags in document:
                blocks.append("".join(f"{word} {tag}\n" for word, tag in zip(words, tags, strict=True)))
        (folder / f"{split}.conll").write_text("\n".join(blocks), encoding="utf-8", newline="\n")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write the bundled corpus as three CoNLL files.")
    parser.add_argument("--output", type=Path, default=sample_file("train").parent, help="folder (the package's)")
    write_corpus(parser.parse_args().output)


if __name__ == "__main__":
    main()
