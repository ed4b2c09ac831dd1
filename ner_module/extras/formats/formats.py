"""The table of further formats. A new one is a function and a line here or in `tools.py`."""

from __future__ import annotations

from ner_module.data.formats.adapters import FileFormat, Formats
from ner_module.extras.formats import brat, files
from ner_module.extras.formats.offsets import CountedOffsets
from ner_module.extras.formats.tools import adapt

_FILES = {
    "brat": FileFormat(brat.is_brat, brat.read_brat),
    "spacy": FileFormat(files.is_docbin, files.read_docbin),
    "conll2012": FileFormat(files.is_conll2012, files.read_conll2012),
    "conllu-misc": FileFormat(files.is_conllu_misc, files.read_conllu_misc),
    "webanno": FileFormat(files.is_webanno, files.read_webanno),
    "pubtator": FileFormat(files.is_pubtator, files.read_pubtator),
}


def offered() -> Formats:
    """What this extra offers."""
    return Formats(_FILES, adapt, CountedOffsets)
