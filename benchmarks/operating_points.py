"""Do operating points hold on data that they were not chosen on? Per type, of trained runs and their test data.

    python benchmarks/operating_points.py wikigold runs/accuracy/head/wikigold-seed42 …

Points are measured on the validation data, as `validate` does it, and looked at on the test data. Printed are:

* ``precision``: for each type with more than 100 test entities, the threshold for 90 % precision, the precision and its
  interval on validation data, and the precision on test data with its own interval.
* ``calibration``: expected calibration error of entities without and with calibration; ``chance`` is the mean error of
  scores that are right by construction (outcomes drawn by the calibrated scores), which no calibration can go below.
* ``candidates``: validation and test sentences are pooled and halved 100 times, seeded; bounds come from one half,
  recall from the other. In how many splits it is reached: as built, and by the plain rule that holds on average.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from corpora import CORPORA, add_arguments, find_corpus

from ner_module import NERTagger
from ner_module.data.formats import read_sentences
from ner_module.extras.analysis.analysis import calibration_error, reliability
from ner_module.extras.operating_points.callback import measure
from ner_module.extras.operating_points.choice import candidate_threshold, reached, share
from ner_module.extras.operating_points.point import ChosenPoint, calibrated
from ner_module.inference import tagger as tagger_module
from ner_module.tagging import convert_tags

_SPLITS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("corpus", choices=CORPORA)
    parser.add_argument("runs", nargs="+", type=Path, help="run directories; their best checkpoint is measured")
    parser.add_argument("--recall", type=float, default=0.9, help="of candidates (0.9)")
    add_arguments(parser)
    options = parser.parse_args()
    corpus = find_corpus(options.corpus, options.data, options.cache)
    vars(tagger_module)["prediction"] = lambda sentence, labels, point, **of_words: of_words
    for run in options.runs:
        tagger = NERTagger.load(run)
        tagger.point = ChosenPoint(candidates={"": 1.0})  # has the tagger hand out all probabilities
        sentences = {split: tagged(tagger, corpus.files[split], corpus.scheme) for split in ("validation", "test")}
        points, test = (measure(found, tagger.labels) for found in sentences.values())
        print(f"{run.name}: {sum(map(len, sentences.values()))} sentences")
        check_precision(points, test)
        check_calibration(points, test)
        pooled = [sentence for found in sentences.values() for sentence in found]
        check_candidates(pooled, tagger, options.recall)


def tagged(tagger: NERTagger, file: Path, scheme: str) -> list[Any]:
    """Index, label ids, scores, gold label ids and probabilities of the sentences of a file."""
    sentences = list(read_sentences(file))
    found: list[Any] = tagger.predict([sentence.tokens for sentence in sentences])
    rows = []
    for index, (sentence, words) in enumerate(zip(sentences, found, strict=True)):
        gold = [tagger.labels.names.index(tag) for tag in convert_tags(sentence.tags or [], scheme, "iob2")]
        rows.append((index, words["label_ids"], words["scores"], gold, words["probabilities"]))
    return rows


def rescaled(test: dict[str, Any], points: dict[str, Any], name: str, right: str) -> list[float]:
    """The scores of test entities, calibrated by the validation data in place of their own."""
    own = test["temperature"], test["offset"]
    theirs = points["temperature"], points["offset"]
    return [calibrated(_undone(score, *own), *theirs) for score in test["types"][name][right]]


def _undone(score: float, temperature: float, offset: float) -> float:
    return calibrated(score, 1 / temperature, -offset * temperature)


def check_precision(points: dict[str, Any], test: dict[str, Any]) -> None:
    for name, of_type in points["types"].items():
        if test["types"][name]["gold"] <= 100:
            continue
        found = reached(of_type, precision=0.9)
        if found is None:
            print(f"  precision    {name}: not reached on validation data ({of_type['gold']} entities)")
            continue
        right, wrong = (
            sum(round(score, 4) >= found.threshold for score in rescaled(test, points, name, kind))
            for kind in ("right", "wrong")
        )
        value, low, high = share(found.correct, found.kept)
        on_test, test_low, test_high = share(right, right + wrong)
        verdict = "inside or above" if on_test >= low else "BELOW"
        print(
            f"  precision    {name}: threshold {found.threshold:.4f}, validation {found.correct}/{found.kept} = "
            f"{value:.3f} ({low:.3f} to {high:.3f}), test {right}/{right + wrong} = {on_test:.3f} "
            f"({test_low:.3f} to {test_high:.3f}): {verdict if right + wrong else 'no test entity is above it'}"
        )


def check_calibration(points: dict[str, Any], test: dict[str, Any]) -> None:
    scores, raw, hits = [], [], []
    for name in points["types"]:
        for kind in ("right", "wrong"):
            scores += rescaled(test, points, name, kind)
            raw += [_undone(score, test["temperature"], test["offset"]) for score in test["types"][name][kind]]
            hits += [kind == "right"] * len(test["types"][name][kind])
    before, after = (calibration_error(reliability(list(zip(each, hits, strict=True)))) for each in (raw, scores))
    random = np.random.default_rng(0)
    by_chance = [reliability(list(zip(scores, random.random(len(scores)) < scores, strict=True))) for _ in range(100)]
    chance = np.mean([calibration_error(bins) for bins in by_chance])
    print(
        "  calibration  temperature {temperature:.3f}, offset {offset:.3f}; validation {calibration_error[0]:.4f} -> "
        "{calibration_error[1]:.4f}, ".format(**points)
        + f"test {before:.4f} -> {after:.4f} (chance {chance:.4f}, {len(scores)} entities)"
    )


def check_candidates(sentences: list[Any], tagger: NERTagger, recall: float) -> None:
    scores: dict[str, list[list[float]]] = {name: [] for name in tagger.labels.entity_types}
    for sentence in sentences:
        for name, of_type in measure([sentence], tagger.labels)["types"].items():
            scores[name] += of_type["candidates"]
    for name, of_sentences in scores.items():
        signed, plain, shares, bounds = 0, 0, [], []
        for seed in range(_SPLITS):
            order = np.random.default_rng(seed).permutation(len(of_sentences))
            half = len(order) // 2
            by_sentence = [of_sentences[row] for row in order[:half]]
            one, other = (
                [score for row in rows for score in of_sentences[row]] for rows in (order[:half], order[half:])
            )
            bound = candidate_threshold(by_sentence, recall)
            if not other or bound > 1:
                continue
            found = np.mean(np.array(other) >= bound)
            shares.append(found)
            bounds.append(bound)
            signed += bool(found >= recall)
            place = len(one) - int(np.ceil((len(one) + 1) * recall))
            plain += bool(np.mean(np.array(other) >= sorted(one)[max(place, 0)]) >= recall)
        number = sum(map(len, of_sentences))
        if not shares:
            print(f"  candidates   {name}: {number} entities are too few for {recall}")
            continue
        listed = ChosenPoint(candidates={name: float(np.median(bounds))})
        some = sentences[:: max(len(sentences) // 200, 1)]
        lists = [listed.find_candidates(each[4], each[2], tagger.labels) for each in some]
        print(
            f"  candidates   {name}: recall of {recall} in {signed} of {len(shares)} splits (plain rule {plain}), mean "
            f"{np.mean(shares):.3f}; {number} entities, {np.mean(list(map(len, lists))):.1f} candidates a sentence"
        )


if __name__ == "__main__":
    main()
