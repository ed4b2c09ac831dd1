"""Files of further formats: CoNLL-2012, PubTator, WikiNER, spaCy's DocBin.

A reader yields words with tags or texts with spans, each with file and line. Formats that are known but not read are an
error that says how to convert them.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from ner_module.data.formats.adapters import AnnotatedText, FileFormat, Items
from ner_module.data.formats.files import read_lines, suffix_of, too_large
from ner_module.data.formats.options import ReadingOptions
from ner_module.data.sentence import Sentence
from ner_module.errors import DataError
from ner_module.extras.formats.brat import is_brat, read_brat


def _begins(pattern: str, *suffixes: str) -> Callable[[Path, str], bool]:
    """Whether the text of a file begins with this, and its name, if asked, ends so."""
    found = re.compile(pattern, re.IGNORECASE)
    return lambda path, head: found.match(head) is not None and path.name.endswith(suffixes or ("",))


def _blocks(path: Path, options: ReadingOptions) -> Iterator[list[tuple[int, str]]]:
    """Stretches of lines between blank ones, each line with its number; without comments."""
    block: list[tuple[int, str]] = []
    size = 0
    for number, line in enumerate(read_lines(path, options.encoding, options.max_record), 1):
        size += len(line)
        if size > options.max_record:
            raise too_large(path, number, "sentence", options.max_record)
        if line.strip() and not line.startswith("#"):
            block.append((number, line.rstrip("\r\n")))
        elif block and not line.strip():
            yield block
            block, size = [], 0
    if block:
        yield block


def _read_conll2012(path: Path, options: ReadingOptions) -> Items:
    """Names are in the column before the predicates: ``(PERSON*``, ``*``, ``*)``, ``(GPE)``."""
    for block in _blocks(path, options):
        words, tags, inside = [], [], ""
        for line, text in block:
            cells = re.split("[ \t]+", text)
            name = re.fullmatch(r"(?:\(([^()*]+))?\*?(\))?", cells[10]) if len(cells) > 11 else None
            if name is None or (name[1] and inside) or (name[2] and not (name[1] or inside)):
                advice = "give at least 12 columns, with (PERSON*, *, *) or (PERSON) in the eleventh"
                raise DataError(path, line, "this is no line of CoNLL-2012, or its bracket does not fit", advice)
            inside = name[1] or inside
            tags.append(f"{'B' if name[1] else 'I'}-{inside}" if inside else "O")
            inside = "" if name[2] else inside
            words.append(cells[3])
        if inside:
            raise DataError(path, block[-1][0], f"the name of type {inside} does not end", "close its bracket")
        document = ":".join(block[0][1].split()[:2])
        yield path, block[0][0], Sentence(words, tags if options.tagged else None, document=document)


def _read_pubtator(path: Path, options: ReadingOptions) -> Items:
    """Title and abstract of a document are one text; ``12345<TAB>start<TAB>end<TAB>text<TAB>type``."""
    for block in _blocks(path, options):
        parts, spans = [], []
        for line, row in block:
            cells = row.split("\t")
            if text := re.fullmatch(r"[0-9]+\|[ta]\|(.*)", row):
                parts.append(text[1])
            elif len(cells) >= 5 and cells[1].isdecimal():
                spans.append({"start": cells[1], "end": cells[2], "text": cells[3], "type": cells[4]})
            elif len(cells) != 4:  # a relation has four
                raise DataError(path, line, "no line of PubTator", "write id|t|title, or id, start, end, text and type")
        yield path, block[0][0], AnnotatedText(" ".join(parts), spans, document=re.split(r"[|\t]", block[0][1])[0])


def _read_inline(path: Path, options: ReadingOptions) -> Items:
    """A sentence a line of ``word|POS|TAG`` (WikiNER) or ``word/TAG``; the first line says how many parts there are."""
    mark, count = "", 0
    for number, line in enumerate(read_lines(path, options.encoding, options.max_record), 1):
        items = re.findall(r"[^ \t\r\n]+", line)
        mark = mark or ("|" if all("|" in item for item in items) else "/")
        count = count or min((item.count(mark) for item in items), default=0)
        rows = [item.rsplit(mark, count) for item in items]
        if odd := [item for item, row in zip(items, rows, strict=True) if len(row) <= count or not row[-1]]:
            raise DataError(path, number, f"{odd[0]!r} has fewer parts than the first line's words", "complete it")
        if rows:
            tags = [row[-1] for row in rows] if options.tagged else None
            yield path, number, Sentence([row[0] for row in rows], tags)


def _is_markup(path: Path, head: str) -> bool:
    """Whether a quarter of the first lines have marks, and these are no JSON, table or words with tags."""
    lines = [line for line in head.split("\n", 200)[:200] if line.strip()]
    if not lines or suffix_of(path) in (".csv", ".json", ".jsonl") or lines[0][0] in "{[" or "\t" in head:
        return False
    marked, tagged = (sum(sign.search(line) is not None for line in lines) for sign in (_MARKED, _TAGGED))
    return 2 * tagged < len(lines) <= 4 * marked


def _read_markup(path: Path, options: ReadingOptions) -> Items:
    """A text a line, with ``<PER>Ada</PER>``, ``<ENAMEX TYPE="PER">Ada</ENAMEX>`` or ``<START:PER> Ada <END>``."""
    for number, line in enumerate(read_lines(path, options.encoding, options.max_record), 1):
        text, spans, reached = "", [], 0
        for found in _MARKED.finditer(line) if options.tagged else ():
            text += line[reached : found.start()]
            start, reached = len(text), found.end()
            text += found["inside"] or found["between"]
            spans.append((start, len(text), found["type"] or found["tag"] or found["name"]))
        text += line[reached:].rstrip("\r\n")
        if options.tagged and (left := _MARK.search(text)):
            advice = "close each mark on its line, and put none into another"
            raise DataError(path, number, f"the mark {left[0]} has no partner, or is nested", advice)
        if text.strip() or not options.tagged:
            yield path, number, AnnotatedText(text, spans)


def _read_docbin(path: Path, options: ReadingOptions) -> Items:
    """The sentences of a DocBin, whole documents where it marks none; needs spaCy."""
    try:
        spacy, tokens = importlib.import_module("spacy"), importlib.import_module("spacy.tokens")
    except ImportError:
        raise DataError(path, None, "a .spacy file is read by spaCy, which is not here", "pip install spacy") from None
    try:
        docs = list(tokens.DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab))
    except Exception as error:  # whatever broken bytes make of it
        raise DataError(path, None, f"this is no DocBin ({type(error).__name__}: {error})", "save it again") from None
    for number, doc in enumerate(docs, 1):
        if options.tagged and not doc.has_annotation("ENT_IOB", require_complete=True):
            yield path, number, "texts that nobody annotated"
            continue
        for part in doc.sents if doc.has_annotation("SENT_START") else [doc[:]]:
            start = part.start_char
            words = [(t.idx - start, t.idx + len(t) - start) for t in part if not t.is_space]
            spans = [(each.start_char - start, each.end_char - start, each.label_) for each in part.ents]
            yield path, number, AnnotatedText(part.text, spans, words, document=f"{path.stem}-{number}")


def _known(name: str, advice: str) -> Callable[[Path, ReadingOptions], Items]:
    """A format that is not read."""

    def refuse(path: Path, options: ReadingOptions) -> Items:
        raise DataError(path, None, f"this is {name}, which is not read as it is", advice.replace("FILE", path.name))

    return refuse


_CONLL_2012 = r"(?:\s|#(?!begin).*\n)*(?:#begin document |\S+[ \t]+[0-9]+[ \t]+0[ \t]+(?:\S+[ \t]+){2}\([A-Z]\S*\*)"
_ITEM = r"[^ \t\n]+[|/](?:O|[BIESLU]-[^\s|/]+|[A-Z]{3,})"
_INLINE = rf"(?:\s*{_ITEM}[ \t\r]*\n)*\s*{_ITEM}(?:[ \t]+{_ITEM})+[ \t\r]*(?:\n|$)"
_HTML = "a|abbr|b|body|br|code|div|em|h[1-6]|head|html|i|li|mark|p|pre|small|span|strong|su[bp]|t[dhr]|title|u"
_MARKED = re.compile(  # linear in the length of a line
    r"<START:(?P<name>[^<>]+)>(?P<between>[^<]*+)<END>"
    rf"|<(?P<tag>(?!(?:{_HTML})>)[a-z][\w-]*)"
    r"(?> [^<>]*?type=[\"'](?P<type>[^\"'<>]+)[\"'][^<>]*+)?>(?P<inside>[^<]*+)</(?P=tag)>",
    re.IGNORECASE,
)
_TAGGED = re.compile(r"[ \t](?:O|[BIESLU]-\S+)\s*$")
_MARK = re.compile(r"</?[A-Za-z][^<>]*>")
_XML = r"(?:\s*<[?!][^>]*>)*\s*"
_BIOC = "pip install bioc, then python -c \"from bioc import biocxml, biocjson; biocjson.dump(biocxml.load('FILE'), \
open('FILE.json', 'w'))\" makes a file that is read"
_WEBANNO = r"#FORMAT=WebAnno TSV|\s*# (?:webanno|de\.tudarmstadt)\."
_INCEPTION = "export CoNLL 2002 instead, which WebAnno and INCEpTION offer beside it"
_RASA = "`rasa data convert nlu -f json --data FILE --out FILE.json` makes a file that is read"
_PYTHON = "`python -c \"import ast, json; x = open('FILE').read(); json.dump(ast.literal_eval(x[x.index('['):]), \
open('FILE.json', 'w'))\"` makes a file that is read"
_LITERAL = r"(?:(?:import|from|#).*\n|\n)*(?:\w+ *= *\[|\[\s*\[?\(\s*['\"]|\[\s*[{\[]\s*')"

FILES = {
    "brat": FileFormat(is_brat, read_brat),
    "spacy": FileFormat(lambda path, head: path.suffix == ".spacy" and path.is_file(), _read_docbin),
    "conll2012": FileFormat(_begins(_CONLL_2012), _read_conll2012),
    "pubtator": FileFormat(_begins(r"\s*[0-9]+\|t\|"), _read_pubtator),
    "inline": FileFormat(_begins(_INLINE), _read_inline),
    "markup": FileFormat(_is_markup, _read_markup),
    "webanno": FileFormat(_begins(_WEBANNO), _known("WebAnno TSV", _INCEPTION)),
    "bioc-xml": FileFormat(_begins(f"{_XML}<collection>"), _known("BioC XML", _BIOC)),
    "xmi": FileFormat(_begins(f"{_XML}<xmi:XMI"), _known("a UIMA CAS", _INCEPTION)),
    "rasa": FileFormat(_begins(r"(?:.*\n)*?(?:nlu:|## intent:)", ".yml", ".yaml", ".md"), _known("Rasa", _RASA)),
    "python": FileFormat(_begins(_LITERAL), _known("Python", _PYTHON)),
}
"""A new format is a function and a line here."""
