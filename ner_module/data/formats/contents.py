"""What the columns of a file hold, detected from the content of each: tags, and the numbers of sentences.

Names and positions of columns are guesses. Where exactly one column holds tags it is taken, where several do the first;
both are said. Where a name says one thing and the cells another, reading stops.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ner_module.data.formats.cells import NAME_COLUMNS, MisfitError, is_tag
from ner_module.data.formats.options import NUMBER, TAGS, TEXTS, WORDS, ReadingOptions, first_in
from ner_module.data.spelling import LIKE_OUTSIDE, respelling
from ner_module.data.tag_census import OUTSIDE_SHARE
from ner_module.tagging import OUTSIDE, UNTYPED, has_prefix, tags_to_spans

# The types of CoNLL-2000, and of German CoNLL-2003: syntax beside entities, taken for tags only where there are none.
_CHUNKS = frozenset(["NP", "VP", "PP", "ADJP", "ADVP", "SBAR", "PRT", "CONJP", "INTJ", "LST", "UCP", "NC", "VC", "PC"])
PLAIN_COMMENT = re.compile(r"#(?:\s*[^\s=]+\s*=|begin |end |\s+(?:begin|end) document\b)")
"""How lines start that are comments wherever they stand: ``# key = value``, ``#begin document``."""

_MOST_TAGS = 500
_MANY = 10
_MOST_KEYS = 50
_SHARE = 0.9  # of the cells of a column of tags; the rest are typing errors, which are for others to find
_MORE_THAN_LABEL = re.compile(r"\[|O$|[BIESLU]-")
_BARE = re.compile(r"[^\W\d_][\w.:&/-]*")
_PAIR = re.compile(r"(?:^|\|)([^=|]+)=([^|]*)")


class TagColumn(NamedTuple):
    """A column that holds tags: with prefixes (rank 3), bare ones beside ``O`` (2), only ``O`` (1) or chunks (0)."""

    number: int
    rank: int
    entities: Counter[str]  # by type, in the rows that were looked at
    key: str | None = None  # of the pairs among which the tag stands in a cell, as in name=B-PER|SpaceAfter=No

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {count:,}" for name, count in self.entities.most_common(6)) or "no entity"
        return f"column {self.number}" + (f", {self.key}=" if self.key else "") + f" ({counts})"


def tag_columns(rows: Sequence[Sequence[str]], but: Iterable[int] = ()) -> list[TagColumn]:
    """The columns that hold tags, of the highest rank that occurs, in order."""
    found: list[TagColumn] = []
    for number in sorted(set(range(len(rows[0]) if rows else 0)) - set(but)):
        cells = [cells[number] for cells in rows]
        found += filter(None, [_tag_column(number, cells), *_in_pairs(number, cells)])
    highest = max((column.rank for column in found), default=0)
    return [column for column in found if column.rank == highest]


def _tag_column(number: int, cells: Sequence[str]) -> TagColumn | None:
    uses = Counter(cells)
    if len(uses) > _MOST_TAGS:
        return None
    spelt = respelling(uses)
    prefixed = {tag for tag in uses if has_prefix(spelt.get(tag, tag)) and (len(tag) > 1 or OUTSIDE in uses)}
    outside = sum(uses[tag] for tag in uses if tag == OUTSIDE or tag in LIKE_OUTSIDE)
    if prefixed and outside + sum(uses[tag] for tag in prefixed) >= _SHARE * len(cells):
        tags = [spelt.get(tag, tag) if tag in prefixed else OUTSIDE for tag in cells]
        entities = Counter(span.entity_type for span in tags_to_spans(tags))
        return TagColumn(number, 0 if entities.keys() <= _CHUNKS else 3, entities)
    if uses[OUTSIDE] < OUTSIDE_SHARE * len(cells):
        return None
    if not all(tag in LIKE_OUTSIDE or _BARE.fullmatch(tag) for tag in uses):
        return None
    bare = [OUTSIDE if tag in LIKE_OUTSIDE else tag for tag in cells]
    entities = Counter(span.entity_type for span in tags_to_spans(bare, "io"))
    return TagColumn(number, 2 if entities else 1, entities)


def _in_pairs(number: int, cells: Sequence[str]) -> Iterator[TagColumn]:
    """The tags that stand as key=tag among other pairs, if some key has nothing but tags."""
    pairs = [dict(_PAIR.findall(cell)) if "=" in cell else {} for cell in cells]
    for key in itertools.islice(dict.fromkeys(itertools.chain.from_iterable(pairs)), _MOST_KEYS):
        column = _tag_column(number, [found.get(key, OUTSIDE) for found in pairs])
        if column is not None and column.rank == 3 and set(column.entities) != {UNTYPED}:
            yield column._replace(key=key)


def is_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names columns: it holds no tag, and usual names or what does not occur again below."""
    first = [cell.strip().lower() for cell in rows[0]]
    usual = [first_in(names, first) for names in ((*WORDS, *TEXTS), TAGS)]
    if len(rows) < 2 or any(cell == OUTSIDE or has_prefix(cell) for cell in rows[0]):
        return False
    if None not in usual:
        return True
    columns = list(zip(*rows, strict=True))
    lone = len(first) > 2 and not any(name in column for name, *column in columns)
    numbered = any(not name.isdecimal() and all(map(str.isdecimal, column)) for name, *column in columns)
    named = any(usual) or (numbered and len(rows) > 2)
    return lone and (named or any(column.rank == 3 for column in tag_columns(rows[1:])))


def choose_columns(
    options: ReadingOptions,
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    usual: tuple[Sequence[str], Sequence[str]],
    default: tuple[int | None, int | None],
    counted: Iterable[int],
    say: Callable[[str, bool], None],
) -> tuple[int, int | None, list[TagColumn]]:
    """The numbers of the columns of words and of tags (``None`` if not wanted), and all columns that hold tags.

    They are where they are asked for, else where ``names`` (in lower case, if the columns have some) are ``usual``
    ones, else the ``default`` (``None`` where there must be a name). Tags that are not asked for are where the cells of
    the first ``rows`` show them; where the name of a column says otherwise, both are named in an error. ``counted``
    columns number something; ``say`` gets notes.
    """
    width = len(rows[0]) if rows else len(names)
    text = _column(options.text_column_name, names, width, usual[0], default[0])
    words, is_usual = [row[text] for row in rows], bool(names) and names[text] in usual[0]
    is_found = bool(words) and width > 2 and not is_usual and options.text_column_name is None
    if is_found and are_no_words(words):
        advice = "name the column of the words with --data.text_column_name (they are counted from 0)"
        raise MisfitError(f"the words would be {', '.join(map(repr, words[:3]))}", advice)
    guess = _column(options.label_column_name, names, width, usual[1], default[1]) if options.tagged else None
    if guess == text:
        problem, otherwise = f"words and tags are both column {text}", NAME_COLUMNS
        if width == 1:
            problem = "the line has a single column"
            otherwise = "set --data.format csv where commas or semicolons separate, conll where spaces do"
        raise MisfitError(f"{problem}, so there are no tags", f"add the tags, or {otherwise}")
    found = tag_columns(rows, {text, *counted})
    if guess is None or not found or options.label_column_name is not None:
        return text, guess, found
    option, by_name = "--data.label_column_name", bool(names) and names[guess] in TAGS
    guessed = next((column for column in found if column.number == guess), None)
    is_named = options.label_names is not None and all(row[guess].strip().isdecimal() for row in rows)
    if is_named or (by_name and found[0].rank < 3) or (guessed and len(found) == 1):
        return text, guess, found
    if by_name and guessed is None:
        problem = f"the column {names[guess]!r} is named like a tag column, but the tags are in {found[0]}"
        raise MisfitError(problem, f"name one of them with {option} ({found[0].number} or {guess})")
    chosen = guessed if by_name and guessed else found[0]
    if len(found) > 1:
        all_found = " and in ".join(map(str, found))
        say(f"tags are in {all_found}; column {chosen.number} is taken, {option} chooses another", True)
    else:
        say(f"the tags are in {chosen}, not in column {guess}", True)
    return text, chosen.number, found


def _column(asked: str | None, names: Sequence[str], width: int, usual: Sequence[str], default: int | None) -> int:
    if asked is not None and NUMBER.fullmatch(asked):
        if not -width <= int(asked) < width:
            raise MisfitError(f"column {asked} was asked for, the line has {width}", "count columns from 0")
        return int(asked) % width
    if name := first_in(usual if asked is None else (asked.lower(),), names):
        return names.index(name)
    if asked is None and default is not None:
        return default % width
    problem = f"there is no column {asked!r}" if asked is not None else f"no column is called {', '.join(usual)}"
    known = f"there are {', '.join(map(repr, names[:12]))}" if names else "they have no names"
    raise MisfitError(problem, f"{NAME_COLUMNS} ({known}; a number counts from 0)")


def refuse_text(options: ReadingOptions, words: Sequence[str], labels: Sequence[str], by_name: bool) -> None:
    """Refuse cells of a column that holds no tags, if words and labels are texts of several words and their classes.

    Without a usual name, also if nearly all labels differ, or none has a letter or digit. Numbers that recur may be
    ids, lists are of a sentence each, and where some are tags and others not that is said later.
    """
    if not options.tagged or options.label_column_name is not None:
        return
    classed = (word for word, label in zip(words, labels, strict=True) if label.isdecimal() or _BARE.fullmatch(label))
    if sum(" " in text.strip() for text in classed) * 2 > len(words) > 2:
        problem = f"most words hold spaces, with labels such as {labels[-1]!r}: this looks like texts with a class each"
        raise MisfitError(problem, f"give one word a line with its tag, or {NAME_COLUMNS}")
    labels = " ".join(labels).split()  # of a sentence each, maybe
    are_ids = all(map(str.isdecimal, labels)) and (len(labels) < _MANY or len(set(labels)) * 2 < len(labels))
    has_tags = sum(map(bool, map(_MORE_THAN_LABEL.match, labels))) * _MANY > len(labels)
    if by_name or options.label_names is not None or are_ids or has_tags:
        return
    are_names = sum(map(str.isupper, labels)) * 2 > len(labels)  # in a text of three words all labels may differ
    if (len(set(labels)) * 4 > len(labels) * 3 and not are_names) or not any(map(str.isalnum, "".join(labels))):
        problem = f"no column holds tags, which would be {', '.join(map(repr, labels[:3]))}: this looks like raw text"
        raise MisfitError(problem, "give one word a line with its tag, or name the column: --data.label_column_name")


def are_no_words(cells: Sequence[str]) -> bool:
    """Whether cells are all numbers (``1``, ``1.``, ``1)``), or all the same."""
    return is_constant(cells) or all(cell.rstrip(".):").isdecimal() for cell in cells)


def is_constant(cells: Sequence[str]) -> bool:
    """Whether all cells are the same, as the name of a document is, and there are several."""
    return 5 < len(cells) == cells.count(cells[0])


def rival_of(lists: Mapping[str, Any], chosen: str | None, but: Container[str | None]) -> str | None:
    """The key of a list of tags with prefixes, or ``O``, beside a chosen one, if any, without; ``but`` some keys.

    >>> rival_of({"tokens": ["Ada"], "tags": ["NNP"], "ner": ["B-PER"]}, "tags", ["tokens"])
    'ner'
    """
    others = ((key, cells) for key, cells in lists.items() if key not in but and isinstance(cells, list) and cells)
    if chosen is not None and any(map(is_tag, lists[chosen])):
        return None
    columns = ((key, _tag_column(0, cells)) for key, cells in others if all(type(cell) is str for cell in cells))
    return next((key for key, column in columns if column is not None and column.rank in (1, 3)), None)


def sentences_counted(cells: Sequence[str]) -> int:
    """How many sentences a column counts, with a value for each run of rows, which is repeated or left out; else 0.

    >>> sentences_counted(["7", "7", "7", "8", "8"]), sentences_counted(["s1", "", "s2", ""]), sentences_counted("0101")
    (2, 2, 0)
    """
    filled: Iterable[str] = itertools.accumulate(cells, lambda before, cell: cell or before)
    values = [value for value, _ in itertools.groupby(filled)]
    if len(values) < 2 or len(cells) < 2 * len(values) or not all(map(re.compile("[0-9]").search, values)):
        return 0
    if len(set(values)) == len(values):
        return len(values)
    numbers = [int(value) if value.isdecimal() else -9 for value in values]  # from the start in each document
    return len(values) * all(b == a + 1 or (b in (0, 1) and a > 1) for a, b in itertools.pairwise(numbers))
