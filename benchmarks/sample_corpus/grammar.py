"""A small random text grammar: rules and templates in, sentences with IOB2 tags out.

Knows how a rule file is read and how a template is expanded. It does not know which names, templates or documents
there are: those are the text files in ``rules/`` and `generate.py`.

The files: ``name: first | second`` is a rule with two alternatives, continued on indented lines. ``name @train:`` and
``name @held:`` add alternatives that only training, or only validation and test, may use. In an alternative or a
template ``<name>`` stands for one alternative of that rule and ``[a|b|]`` for ``a``, ``b`` or nothing; pieces that
touch make one word. A rule whose name starts with an entity type (``LOC.city``) is a mention of it; in mentions inside
mentions the outermost counts (*University of Lincoln* is one ORG).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ENTITY_TYPES = ("PER", "ORG", "LOC", "MISC")
HELD_OUT_SPLITS = ("validation", "test")
# The parts of a name that identify it: no two mentions of a sentence share one, and a document comes back to its own.
RECURRING_RULES = (
    *("firstf", "firstm", "wordf", "wordm", "surname", "publicf", "publicm", "lawword", "noun"),
    *("place", "town", "many", "bigcity", "othercity", "wordtown", "LOC.country", "nationality"),
    *("brand", "knownfirm", "fullclub", "acronym", "ORG.party", "ORG.media"),
)
RECURRENCE = 0.25

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_REFERENCE = re.compile(r"<([^<>\s]+)>")
# a/an goes by sound: "a European", "an 18"
_VOWEL_SOUND = re.compile(r"(?!eu|u[gkrs]|uni|one)[aeiouéíåöø]|hour|8|1[18]\b", re.IGNORECASE)


class Sentence(NamedTuple):
    """Words and their IOB2 tags, equally many."""

    words: list[str]
    tags: list[str]


def pick(rng: random.Random, options: Sequence[str]) -> str:
    """One of ``options``, uniformly.

    Only ``Random.random()`` is promised to give the same numbers in every Python version, so nothing else is called.
    """
    return options[int(rng.random() * len(options))]


def read_rules(path: Path, split: str) -> dict[str, list[str]]:
    """The rules of a file as one split sees them: name to alternatives, in the order of the file.

    Raises:
        ValueError: a line is no rule.
    """
    rules: dict[str, list[str]] = {}
    alternatives: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        if not line.startswith(" "):
            head, colon, line = line.partition(":")
            name, _, scope = head.partition(" @")
            if not colon or scope not in ("", "train", "held"):
                raise ValueError(f"{path}, line {number}: expected 'name: …', 'name @train: …' or 'name @held: …'")
            used = not scope or (scope == "held") == (split in HELD_OUT_SPLITS)
            alternatives = rules.setdefault(name, []) if used else []
        # a line ending in "|" would be an empty alternative; lines are cut before the bar
        alternatives.extend(part.strip() for part in line.split(" | ") if part.strip(" |"))
    return rules


class Grammar:
    """Expands templates with one random stream; remembers names for as long as a document lasts.

    Args:
        rules: name to alternatives.
        rng: the source of every choice.
    """

    def __init__(self, rules: dict[str, list[str]], rng: random.Random) -> None:
        self.rules = rules
        self.rng = rng
        self._document_values: dict[str, list[str]] = {}
        self._sentence_values: set[str] = set()

    def start_document(self) -> None:
        """Forget the names of the document before."""
        self._document_values = {}

    def sentence(self, template: str) -> Sentence:
        """Expand a template.

        Raises:
            KeyError: it refers to a rule that does not exist.
        """
        self._sentence_values = set()
        return _tagged(self._expand(template).split())

    def _expand(self, pattern: str) -> str:
        while choice := _CHOICE.search(pattern):
            pattern = pattern[: choice.start()] + pick(self.rng, choice[1].split("|")) + pattern[choice.end() :]
        return _REFERENCE.sub(lambda reference: self._rule(reference[1]), pattern)

    def _rule(self, name: str) -> str:
        text = self._recurring(name) if name in RECURRING_RULES else self._expand(pick(self.rng, self.rules[name]))
        entity_type = name.partition(".")[0]
        return f" {{{entity_type} {text} }} " if entity_type in ENTITY_TYPES else text

    def _recurring(self, name: str) -> str:
        """A value that is new to the sentence, now and then one that the document had before."""
        taken = frozenset(self._sentence_values)  # before the parts of this value add themselves
        known = [value for value in self._document_values.get(name, []) if value not in taken]
        if known and self.rng.random() < RECURRENCE:
            text = pick(self.rng, known)
        else:
            text = self._expand(pick(self.rng, self.rules[name]))
            while text in taken:
                text = self._expand(pick(self.rng, self.rules[name]))
            self._document_values.setdefault(name, []).append(text)
        self._sentence_values.add(text)
        return text


def _tagged(pieces: list[str]) -> Sentence:
    """Words and tags from words between ``{TYPE`` and ``}``; the outermost braces count.

    >>> _tagged("at the {ORG University of {LOC Wells } } in {LOC Wells }".split()).tags
    ['O', 'O', 'B-ORG', 'I-ORG', 'I-ORG', 'O', 'B-LOC']
    """
    words: list[str] = []
    tags: list[str] = []
    depth, tag = 0, "O"
    for piece in pieces:
        if piece.startswith("{"):
            depth += 1
            if depth == 1:
                tag = f"B-{piece[1:]}"
        elif piece == "}":
            depth -= 1
            if depth == 0:
                tag = "O"
        else:
            if words and words[-1] in ("a", "A") and _VOWEL_SOUND.match(piece):
                words[-1] += "n"
            words.append(piece)
            tags.append(tag)
            tag = tag.replace("B-", "I-")
    return Sentence(words, tags)
