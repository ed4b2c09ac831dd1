"""Write a commented recipe that suits your data.

Rules of thumb, each with its reason in a comment of the recipe; ``docs/models.md`` has the sources. Nothing is tuned.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ner_module.errors import printable
from ner_module.files import read_json_object
from ner_module.help import CommandParser
from ner_module.offers import Offer
from ner_module.pretrained import resolve_model_path

if TYPE_CHECKING:
    from ner_module.extras.audit.corpus import Corpus

OFFER = Offer(commands={"init": "ner_module.extras.init:main"}, needs=("audit",))

_DESCRIPTION = """\
Print a recipe for annotated data, with the reasons as comments: base model, learning rate and number of epochs to
start from. Redirect it into a file and train with it: fit --config my.yaml."""

# From this share of letters outside Latin script, a multilingual model.
_MANY_FOREIGN = 0.2
_BATCH = 16
# Units of the encoder's layers: MiniLM and ELECTRA-small have at most the first, BERT-large the last.
_SMALL, _BASE, _LARGE = 512, 768, 1024


def main(arguments: Sequence[str]) -> int:
    """Print the recipe; returns the exit code.

    Raises:
        DataError: a file cannot be read.
    """
    parser = CommandParser("init", _DESCRIPTION)
    parser.add_argument("train_file", nargs="+", metavar="TRAIN", help="the training data: paths or globs")
    parser.add_argument("--validation_file", nargs="+", metavar="FILE", help="data for choosing the best epoch")
    parser.add_argument("--test_file", nargs="+", metavar="FILE", help="data for `test`")
    parser.add_argument("--model_name_or_path", help="the base model (chosen by the script and case of the text)")
    options = parser.parse_args(list(arguments))

    from ner_module.data.datamodule import NERDataModule
    from ner_module.extras.audit.corpus import read_data

    files = {name: getattr(options, name) for name in ("train_file", "validation_file", "test_file")}
    corpus, findings = read_data(NERDataModule(**files))
    given = {name: paths[0] if len(paths) == 1 else paths for name, paths in files.items() if paths}
    sys.stdout.write(printable(recipe(corpus, given, options.model_name_or_path)))
    for finding in findings:
        print(printable(finding.line()), file=sys.stderr)
    return 0


def recipe(corpus: Corpus, files: dict[str, str | list[str]], model: str | None = None) -> str:
    """The YAML text, which ends with a line end.

    Args:
        corpus: what the files hold.
        files: options of the data module and their files.
        model: the base model, if the user names one.
    """
    source = corpus.sources["train"]
    train = [sentence for sentence in corpus.sentences if sentence.source is source]  # those held out, too
    types = Counter(span.entity_type for sentence in train for span in sentence.spans)
    words = sum(len(sentence.tokens) for sentence in train)
    counted = ", ".join(f"{name} {count:,}" for name, count in types.most_common(12)) or "none"
    epochs, why_epochs = _schedule(len(train))
    chosen, because = (model, "As asked for.") if model else _model(corpus)
    rate, why_rate = _learning_rate(chosen)
    steps = -(-len(train) // _BATCH)
    lines = [
        "# python -m ner_module fit --config THIS_FILE",
        "#",
        f"# {len(train):,} training sentences, {words:,} words, scheme {source.scheme}; entities: {counted}.",
        "# Check them for problems: python -m ner_module audit --config THIS_FILE",
        "seed_everything: 42",
        "model:",
        f"  # {because}",
        f"  model_name_or_path: {json.dumps(chosen, ensure_ascii=False)}",
        f"  # {why_rate}",
        f"  learning_rate: {rate}",
        "  # The head starts from random numbers: a rate of its own lets it catch up (docs/results.md).",
        "  head_learning_rate: 1.0e-3",
        "  warmup_ratio: 0.2",
        "  # crf: true  # gains up to 3 points more, but not in plain transformers code (docs/models.md)",
        "data:",
        *(f"  {option}: {json.dumps(value, ensure_ascii=False)}" for option, value in files.items()),
        *([] if "validation_file" in files else ["  # Without a validation_file, a tenth of these is held out."]),
        f"  batch_size: {_BATCH}",
        "trainer:",
        f"  # {why_epochs} {steps * epochs:,} steps in all; a new classification head needs a few hundred.",
        f"  max_epochs: {epochs}",
    ]
    return "\n".join(lines) + "\n"


def _schedule(sentences: int) -> tuple[int, str]:
    """Epochs, and the reason."""
    if sentences < 100:
        return 50, "Few sentences: more epochs make up for few steps per epoch."
    if sentences < 1_000:
        return 20, "On small data, many epochs with warm-up are more stable (Mosbach et al., 2021)."
    if sentences < 5_000:
        return 5, "A few more epochs than on large data."
    return 3, "BERT's authors searched 2 to 4 epochs."


def _learning_rate(model: str) -> tuple[str, str]:
    """The peak learning rate for a model of this size, and the reason: the smaller the model, the higher its rate."""
    size = _hidden_size(model)
    if size <= _SMALL:
        return "1.0e-4", "Small models need a higher rate; measured with MiniLM (docs/results.md)."
    if size >= _LARGE:
        return "1.0e-5", "Large models: the lowest rate that RoBERTa's authors searched, 1e-5 to 3e-5."
    return "2.0e-5", "In the range that BERT's authors searched: 2e-5 to 5e-5."


def _hidden_size(model: str) -> int:
    """The width of a model, of a local one by its config; of others by their name, as far as it tells."""
    config = read_json_object(Path(resolve_model_path(model)) / "config.json")
    width = config.get("hidden_size", config.get("dim"))
    if isinstance(width, int):
        return width
    name = model.lower()
    return _LARGE if "large" in name else _SMALL if re.search("mini|small|tiny", name) else _BASE


def _model(corpus: Corpus) -> tuple[str, str]:
    """A base model by the script and the case of the words, and the reason."""
    letters = Counter({form: count for form, count in corpus.forms.items() if form.isalpha()})
    total = max(letters.total(), 1)
    if sum(count for form, count in letters.items() if not form.isascii()) > _MANY_FOREIGN * total:
        return "FacebookAI/xlm-roberta-base", "Multilingual: much of the text is not in plain Latin letters."
    entities = (sentence.tokens[span.start : span.end] for sentence in corpus.sentences for span in sentence.spans)
    inside = [word for words in entities for word in words]
    if sum(word[:1].isupper() for word in inside) < 0.5 * len(inside):
        return "google-bert/bert-base-uncased", "Uncased: most entities are not capitalised in these data."
    return "google-bert/bert-base-cased", "Cased: capital letters distinguish names from other words in these data."
