"""Files as people have them, each with the right values, which were worked out without this project.

A case is read as `fit` reads it: format, columns, spelling and scheme detected, spans counted.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ner_module.data.datamodule import NERDataModule
from ner_module.data.inventory import Tags, choose_source_schemes
from ner_module.data.preparation import store_splits
from ner_module.errors import DataError
from ner_module.tagging import tags_to_spans

FOLDER = Path(__file__).parents[1] / "cases" / "data"
GENERATED = (20, 160, {"PER": 40, "LOC": 20})  # what most files hold: 20 sentences of 8 words


class Read(NamedTuple):
    sentences: int
    words: int
    types: dict[str, int]
    entities: list[tuple[str, str]]
    said: str


def read(tmp_path: Path, file: Path | str, **options: Any) -> Read:
    data = NERDataModule(train_file=str(FOLDER / file), **options)
    stored = store_splits(data.hparams, "fit", tmp_path)
    schemes = choose_source_schemes(stored, options.get("source_scheme"), options.get("outside_label"))
    tags = Tags(stored, schemes, options.get("label_names"))
    scheme, asked = schemes["train"], options.get("outside_label")
    said = "\n".join([*tags.how_counted(asked), *(note for _, note in stored["train"].meta["notes"])])
    tags.check(None, asked)
    found, sentences = [], stored["train"].slice(0, len(stored["train"]))
    for sentence in sentences:
        spans = tags_to_spans(sentence.tags, scheme, tags.outside_label(scheme, asked))
        found += [(span.entity_type, " ".join(sentence.tokens[span.start : span.end])) for span in spans]
    words = sum(len(sentence.tokens) for sentence in sentences)
    return Read(len(sentences), words, dict(Counter(name for name, _ in found)), found, said)


@pytest.mark.parametrize(
    ("file", "expected", "options", "says"),
    [
        ("04-io-stanford.tsv", GENERATED, {}, "no prefix"),
        ("05a-lower-case.conll", (20, 160, {"per": 40, "loc": 20}), {}, ""),
        ("05b-underscore.conll", GENERATED, {}, ""),
        ("14-bmes.conll", (20, 140, {"PER": 20, "LOC": 40}), {}, ""),
        ("28-outside-is-other.conll", GENERATED, {"outside_label": "OTHER"}, "no prefix"),
    ],
    ids=lambda value: value.split("-")[0] if isinstance(value, str) else "",
)
def test_a_case_is_read(tmp_path, file, expected, options, says):
    found = read(tmp_path, file, **options)
    assert found[:3] == expected
    assert says in found.said


def test_where_nothing_is_outside_it_is_said(tmp_path):
    said = read(tmp_path, "28-outside-is-other.conll").said
    assert "each word that is not outside is one entity" in said
    assert "no word is outside, tagged O: all 160 are in entities" in said
    assert "set --data.outside_label OTHER" in said


@pytest.mark.parametrize("odd", ["0", "o", "\u041e", "_", "NONE"])
def test_an_odd_label_of_words_outside_is_named_and_can_be_set(tmp_path, odd):
    text = (FOLDER / "05b-underscore.conll").read_text("utf-8").replace("_", "-")
    file = tmp_path / "odd.conll"
    file.write_text(text.replace(" O\n", f" {odd}\n"), "utf-8")
    with pytest.raises(DataError) as caught:
        read(tmp_path / "cache", file)
    assert f"'{odd}'" in caught.value.problem
    assert "B-PER" not in caught.value.problem
    assert caught.value.line == 3
    assert f"--data.outside_label {odd}" in caught.value.advice
    assert read(tmp_path / "cache", file, outside_label=odd)[:3] == GENERATED


@pytest.mark.parametrize(
    ("pattern", "types"),
    [
        ("{prefix}:{name}", ("PER", "LOC")),
        ("{name}-{prefix}", ("PER", "LOC")),
        ("{name}_{prefix}", ("PER", "LOC")),
        ("{prefix}{name}", ("PER", "LOC")),
        ("{prefix}.{name}", ("PER", "LOC")),
    ],
)
@pytest.mark.parametrize("outside", ["O", "OTHER"])
def test_other_spellings_of_prefixes(tmp_path, pattern, types, outside):
    text = (FOLDER / "05b-underscore.conll").read_text("utf-8").replace(" O\n", f" {outside}\n")
    for prefix in "BI":
        for name in types:
            text = text.replace(f"{prefix}_{name}", pattern.format(prefix=prefix, name=name))
    file = tmp_path / "x.conll"
    file.write_text(text, "utf-8")
    if outside != "O":
        with pytest.raises(DataError, match="the tag 'OTHER' has no prefix"):
            read(tmp_path / "cache", file)
    assert read(tmp_path / "cache", file, outside_label=outside)[:3] == GENERATED
