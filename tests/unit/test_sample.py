"""The bundled corpus: the same bytes from the generator, legal tags, and hard enough that a list of names will not do.

Reads the CoNLL files with a few lines of its own, and scores with seqeval, so that no reader and no metric of the
package can make these figures look right.
"""

import hashlib
import os
import random
import re
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks" / "sample_corpus"))
from generate import GENRES, GRAMMAR, split_templates
from grammar import Grammar, read_rules
from seqeval.metrics import f1_score
from seqeval.metrics.sequence_labeling import get_entities

from ner_module.data.sample import SPLITS, sample_file

SIZES = {"train": 2000, "validation": 400, "test": 400}


def read_conll(path):
    """(words, tags) of every sentence, document marks left out."""
    sentences = []
    for block in path.read_text(encoding="utf-8").rstrip("\n").split("\n\n"):
        rows = [line.split(" ") for line in block.split("\n")]
        if rows == [["-DOCSTART-", "O"]]:
            continue
        assert all(len(row) == 2 and all(row) for row in rows), block
        sentences.append(([word for word, _ in rows], [tag for _, tag in rows]))
    return sentences


@pytest.fixture(scope="module")
def corpus():
    return {split: read_conll(sample_file(split)) for split in SPLITS}


def mentions(sentences, fold=str.lower):
    """(surface form, type) of every mention."""
    return [
        (fold(" ".join(words[start : end + 1])), entity_type)
        for words, tags in sentences
        for entity_type, start, end in get_entities(tags)
    ]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ------------------------------------------------------------------ the generator


def test_the_command_writes_the_committed_bytes(tmp_path):
    # another process with another hash seed: nothing may hang on the order of a set
    command = [sys.executable, str(GRAMMAR.parent / "generate.py"), "--output", str(tmp_path / "new")]
    subprocess.run(command, check=True, timeout=60, env={**os.environ, "PYTHONHASHSEED": "7"})
    for split in SPLITS:
        assert sha256(tmp_path / "new" / f"{split}.conll") == sha256(sample_file(split))


def test_the_readme_names_the_committed_files():
    readme = (sample_file("train").parent / "README.md").read_text(encoding="utf-8")
    for split in SPLITS:
        assert sha256(sample_file(split)) in readme


def test_no_other_split_has_a_file():
    with pytest.raises(ValueError, match="'dev': choose one of train, validation, test"):
        sample_file("dev")


def test_every_rule_is_defined_and_used():
    lines = [line for path in GRAMMAR.glob("*.txt") for line in path.read_text(encoding="utf-8").splitlines()]
    used = {name for line in lines if not line.startswith("#") for name in re.findall(r"<([^<>\s]+)>", line)}
    for split in SPLITS:
        assert set(read_rules(GRAMMAR / "names.txt", split)) | set(read_rules(GRAMMAR / "words.txt", split)) == used


def test_names_and_templates_are_in_part_disjoint():
    train, held = (read_rules(GRAMMAR / "names.txt", split) for split in ("train", "test"))
    for rule in ("firstf", "firstm", "eroot", "bhead", "many", "wordtown"):
        assert set(train[rule]) - set(held[rule])
        assert set(held[rule]) - set(train[rule])
        assert set(train[rule]) & set(held[rule])
    templates = {split: {line for genre in GENRES for line in split_templates(genre, split)} for split in SPLITS}
    assert len(set.union(*templates.values())) >= 300
    for split in SPLITS:
        assert len(templates[split] - set.union(*(templates[other] for other in SPLITS if other != split))) >= 30


def test_a_broken_rule_file_names_the_line(tmp_path):
    path = tmp_path / "rules.txt"
    path.write_text("# comment\nfood: soup | bread\nno colon here\n")
    with pytest.raises(ValueError, match=r"line 3: expected 'name: …'"):
        read_rules(path, "train")
    path.write_text("food @dev: soup\n")
    with pytest.raises(ValueError, match="line 1"):
        read_rules(path, "train")


def test_rules_of_other_splits_are_left_out(tmp_path):
    path = tmp_path / "rules.txt"
    path.write_text("food: soup\n    | bread\nfood @train: rice\nfood @held: fish | eel\n")
    assert read_rules(path, "train") == {"food": ["soup", "bread", "rice"]}
    assert read_rules(path, "validation") == read_rules(path, "test") == {"food": ["soup", "bread", "fish", "eel"]}


@pytest.mark.parametrize(
    ("template", "text", "tags"),
    [
        ("a <LOC.x> day", "an Oslo day", "O B-LOC O"),
        ("a European in a unit", "a European in a unit", "O O O O O"),
        ("at <ORG.x> , <LOC.x>", "at University of Oslo , Oslo", "O B-ORG I-ORG I-ORG O B-LOC"),
        ("<ORG.x> <ORG.x>", "University of Oslo University of Oslo", "B-ORG I-ORG I-ORG B-ORG I-ORG I-ORG"),
        ("[one [half|half]|one half] on[line|line]", "one half online", "O O O"),
    ],
)
def test_templates_become_words_and_tags(template, text, tags):
    grammar = Grammar({"LOC.x": ["Oslo"], "ORG.x": ["University of <LOC.x>"]}, random.Random(0))
    sentence = grammar.sentence(template)
    assert (" ".join(sentence.words), " ".join(sentence.tags)) == (text, tags)


def test_a_sentence_does_not_use_a_name_twice():
    grammar = Grammar({"many": ["A", "B", "C"], "place": ["<many>"]}, random.Random(0))
    for _ in range(50):
        assert len(set(grammar.sentence("<place> <place> <place>").words)) == 3


# ------------------------------------------------------------------ the files


@pytest.mark.parametrize("split", SPLITS)
def test_format(split, corpus):
    text = sample_file(split).read_bytes().decode("utf-8")
    assert text.startswith("-DOCSTART- O\n\n")
    assert text.endswith(" O\n")
    assert not re.search(r"\r|\t|\n\n\n|  | \n|\n ", text)
    assert len(corpus[split]) == SIZES[split]


@pytest.mark.parametrize("split", SPLITS)
def test_tags_are_legal_iob2(split, corpus):
    types = {"PER", "ORG", "LOC", "MISC"}
    for _, tags in corpus[split]:
        for previous, tag in zip(["O", *tags], tags, strict=False):
            assert tag == "O" or (tag[:2] in ("B-", "I-") and tag[2:] in types)
            if tag.startswith("I-"):
                assert previous[1:] == tag[1:], tags


@pytest.mark.parametrize("split", SPLITS)
def test_what_a_split_holds(split, corpus):
    sentences = corpus[split]
    found = mentions(sentences)
    counts = Counter(entity_type for _, entity_type in found)
    assert set(counts) == {"PER", "ORG", "LOC", "MISC"}
    assert min(counts.values()) >= 0.08 * len(found)
    without = sum(set(tags) == {"O"} for _, tags in sentences) / len(sentences)
    assert 0.28 <= without <= 0.4
    assert sum(" " in form for form, _ in found) >= 0.25 * len(found)
    assert 11 <= sum(len(words) for words, _ in sentences) / len(sentences) <= 16
    lines = [" ".join(words) for words, _ in sentences]
    assert sum(line.isupper() for line in lines) >= 0.02 * len(lines)
    assert sum(line.islower() for line in lines) >= 0.07 * len(lines)
    assert sum(not line.isascii() for line in lines) >= 0.03 * len(lines)
    assert any("B-" in left and "B-" in right for _, tags in sentences for left, right in pairwise(tags))
    assert any(tag == "O" and word == "'s" for words, tags in sentences for word, tag in zip(words, tags, strict=True))


@pytest.mark.parametrize("split", SPLITS)
def test_some_names_have_three_types(split, corpus):
    types = defaultdict(set)
    for form, entity_type in mentions(corpus[split]):
        types[form].add(entity_type)
    assert sum(len(names) >= 3 for names in types.values()) >= 5


def test_words_that_are_also_names(corpus):
    """Each is part of a mention here and an ordinary word there."""
    tags_of = defaultdict(set)
    for words, tags in (sentence for split in SPLITS for sentence in corpus[split]):
        for word, tag in zip(words, tags, strict=True):
            tags_of[word.lower()].add(tag == "O")
    for word in ("mark", "will", "rose", "hope", "may", "bath", "reading", "nice", "king", "cook", "beacon", "compass"):
        assert tags_of[word] == {True, False}, word


def test_no_sentence_is_written_twice(corpus):
    lines = [" ".join(words).lower() for split in SPLITS for words, _ in corpus[split]]
    assert len(set(lines)) == len(lines)


# ------------------------------------------------------------------ difficulty


@pytest.mark.parametrize("split", ["validation", "test"])
def test_most_names_are_new(split, corpus):
    known = {form for form, _ in mentions(corpus["train"])}
    found = [form for form, _ in mentions(corpus[split])]
    assert sum(form not in known for form in found) >= 0.5 * len(found)
    assert sum(form not in known for form in set(found)) >= 0.6 * len(set(found))


def gazetteer_f1(corpus, fold):
    """Longest match from the left, each form with the type it most often has in training."""
    types = defaultdict(Counter)
    for form, entity_type in mentions(corpus["train"], fold):
        types[form][entity_type] += 1
    gazetteer = {form: max(sorted(counts), key=counts.__getitem__) for form, counts in types.items()}
    longest = max(form.count(" ") + 1 for form in gazetteer)
    gold, predicted = [], []
    for words, tags in corpus["test"]:
        guess, start = ["O"] * len(words), 0
        while start < len(words):
            for end in range(min(len(words), start + longest), start, -1):
                entity_type = gazetteer.get(fold(" ".join(words[start:end])))
                if entity_type:
                    guess[start:end] = [f"B-{entity_type}"] + [f"I-{entity_type}"] * (end - start - 1)
                    start = end
                    break
            else:
                start += 1
        gold.append(tags)
        predicted.append(guess)
    return f1_score(gold, predicted)


@pytest.mark.parametrize("fold", [str, str.lower], ids=["case-sensitive", "case-insensitive"])
def test_a_gazetteer_is_not_enough(fold, corpus):
    assert 0.25 < gazetteer_f1(corpus, fold) < 0.55
