"""Tokenizers, adapted to give pre-split words the subword tokens that they have in running text.

A fast tokenizer encodes pre-split words one by one, as if each were at the start of a text. This loses the space before
a word, which is part of the token in many vocabularies (RoBERTa, ModernBERT, Llama, Gemma). Running text is defined as
the words of a sentence

* each after a space,
* except words that begin with a character of a script without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese,
  Tibetan): sentencepiece vocabularies (XLM-R, T5) would put a ``▁`` between all words.

Only a word's first character matters, not the word before: each distinct word is encoded once, and other code that
loads the saved tokenizer gets the same with ``is_split_into_words``. Tokens that would cross a word boundary in running
text are split there, since each word has one tag.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from ner_module.errors import PretrainedError
from ner_module.pretrained import from_pretrained

TOKENIZER_FILES = ("chat_template.jinja", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json")
"""The files of a saved tokenizer; no others are written or read."""

# Letters and punctuation of scripts without spaces, as part of a character class.
_UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\ua9e0-\ua9ff\uaa60-\uaa7f"  # Thai to Burmese, Khmer
    "\u2e80-\u2fdf\u3001-\u312f\u3190-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff01-\uff9f\U0001b000-\U0001b16f"  # Han, kana
    "\U00020000-\U0003ffff"
)
_MARK = "\ufdd0"  # never a character of text (https://www.unicode.org/faq/private_use.html#noncharacters)

# Words that tokenizers treat differently. The first only precedes the second; each "1" keeps tokens from crossing the
# boundary to the next word.
_PROBE = (
    "so The European Union said in 1234567 words : U.S. and O'Neil 's ( re-opening ) of Zürich , 3,141.59 % don't "
    "naïve @user #tag https://t.co/x — “ ok ” 😀 1 東京 1 ， 1 行く 1 中国 1 。 1 ไทย 1 ภาษา end ."
)

log = logging.getLogger(__name__)


def load_tokenizer(model_name_or_path: str, revision: str | None = None) -> Any:
    """Load a fast tokenizer and make it encode pre-split words as running text, unless a model was trained with it.

    Truncation and padding set in the tokenizer file are disabled: words would be lost.

    Raises:
        PretrainedError: see :func:`from_pretrained`; or the model has no fast tokenizer.
    """
    from transformers import AutoTokenizer

    def load(path: str, **kwargs: Any) -> tuple[Any, bool]:
        return AutoTokenizer.from_pretrained(path, **kwargs), (Path(path) / "ner_module.json").is_file()

    tokenizer, is_ours = from_pretrained(load, model_name_or_path, revision)
    if not getattr(tokenizer, "is_fast", False):
        raise PretrainedError(
            f"the model {model_name_or_path!r} has no fast tokenizer (tokenizer.json), which aligning words with "
            "subwords needs; choose a model that has one"
        )
    if len(tokenizer) - len(tokenizer.all_special_ids) < 10:  # any alphabet has more
        # Without files transformers builds an empty tokenizer, for which every word is unknown.
        raise PretrainedError(
            f"the model {model_name_or_path!r} has no tokenizer files (tokenizer.json); put them beside its config.json"
        )
    tokenizer = _untruncated(tokenizer)
    return tokenizer if is_ours or not _encode_as_running_text(tokenizer.backend_tokenizer) else _generic(tokenizer)


def _untruncated(tokenizer: Any) -> Any:
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _encode_as_running_text(backend: Any) -> bool:
    """Change how pre-split words are encoded if that agrees better with running text; returns whether it did.

    Chooses the first of the variants below whose words agree most often with running text.
    """
    from tokenizers import Regex, normalizers, pre_tokenizers

    def way(prefix: str, taken_before: str, mark: str, unmark: bool) -> tuple[Any, Any]:
        # The library miscounts offsets if nothing is replaced: so a prefix is added to each word, then replaced.
        taken = normalizers.Replace(Regex(rf"\A{prefix}(?=[{taken_before}])"), mark)
        normalizer = normalizers.Sequence([normalizers.Prepend(prefix), taken, *filter(None, [own[0]])])
        last = [pre_tokenizers.Split(Regex(rf"\A▁?{_MARK}"), "removed")] if unmark else []
        return normalizer, pre_tokenizers.Sequence([*filter(None, [own[1]]), *last]) if own[1] or last else None

    # If a tokenizer's own steps add a space before each word, a mark that they ignore removes it from some words.
    own = backend.normalizer, backend.pre_tokenizer
    ways = [own, way(" ", f" {_UNSPACED}", "", False), way(_MARK, f"^{_UNSPACED}", "", True)]
    ways.append(way(" ", _UNSPACED, _MARK, True))  # some add further spaces: DeBERTa-v2, before punctuation
    words = _PROBE.split()
    wanted = _in_running_text(backend, words)[1:]
    agreement = []
    for backend.normalizer, backend.pre_tokenizer in ways:
        found = [backend.encode([word], is_pretokenized=True, add_special_tokens=False).ids for word in words[1:]]
        agreement.append(sum(one == other for one, other in zip(found, wanted, strict=True)))
    best = agreement.index(max(agreement))
    backend.normalizer, backend.pre_tokenizer = ways[best]
    if best and hasattr(backend.post_processor, "add_prefix_space"):  # offsets in running text exclude this space
        backend.post_processor.add_prefix_space = True
    if agreement[best] < 0.8 * len(wanted):
        message = "the tokenizer splits words in running text otherwise than alone (%d of %d): others may serve better"
        log.warning(message, len(wanted) - agreement[best], len(wanted))
    return best > 0


def _in_running_text(backend: Any, words: Sequence[str]) -> list[list[int]]:
    """The subword ids of each word in running text; a token belongs to the word in which it ends."""
    spaced = ["" if re.match(f"[{_UNSPACED}]", word) else " " for word in words]
    ends = list(accumulate(len(space + word) for space, word in zip(spaced, words, strict=True)))
    encoding = backend.encode("".join(map("".join, zip(spaced, words, strict=True))), add_special_tokens=False)
    found: list[list[int]] = [[] for _ in words]
    for token, (_, end) in zip(encoding.ids, encoding.offsets, strict=True):
        found[bisect_left(ends, end)].append(token)
    return found


def _generic(tokenizer: Any) -> Any:
    """The tokenizer as a generic class, which keeps the steps of its file; family classes rebuild them in code."""
    files = tokenizer_to_files(tokenizer)
    own = {name: getattr(tokenizer, name) for name in ("model_input_names", "padding_side")}
    config = json.loads(files["tokenizer_config.json"]) | own | {"tokenizer_class": "PreTrainedTokenizerFast"}
    return tokenizer_from_files(files | {"tokenizer_config.json": json.dumps(config)})


def tokenizer_to_files(tokenizer: Any) -> dict[str, str]:
    """The tokenizer as text files by name, for storage in a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        paths = [Path(folder) / name for name in TOKENIZER_FILES]
        return {path.name: path.read_text(encoding="utf-8") for path in paths if path.is_file()}


def tokenizer_from_files(files: dict[str, str]) -> Any:
    """The inverse of :func:`tokenizer_to_files`; touches neither hub nor cache. Raises a ``PretrainedError``."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        for name in TOKENIZER_FILES:  # never a name from the untrusted source
            if name in files:
                (Path(folder) / name).write_text(files[name], encoding="utf-8")
        try:
            return _untruncated(AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False))
        except Exception as error:  # transformers raises many kinds for invalid files
            problem = f"{type(error).__name__}: {error}".splitlines()[0]
            raise PretrainedError(f"the checkpoint's tokenizer cannot be loaded ({problem}): use another") from error
