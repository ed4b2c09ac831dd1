"""Column files: the variants of the field, what is no word, and what is refused at which line."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ner_module.data.formats import DataError, ReadingOptions, read_sentences
from ner_module.data.formats.char_spans import SpanCounts


@pytest.fixture
def read(tmp_path):
    def run(content, name="x.conll", **options):
        path = tmp_path / name
        path.write_bytes(content.encode())
        return list(read_sentences(path, ReadingOptions(**options)))

    return run


def pairs(sentences):
    return [list(zip(s.tokens, s.tags, strict=True)) for s in sentences]


def test_conll_2003(read):
    text = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n\nPeter NNP B-NP B-PER\n"
    text += "-DOCSTART- -X- -X- O\n\nBonn  NNP\tI-NP  B-LOC  \n \t \n"
    read_back = read(text)
    assert pairs(read_back) == [[("EU", "B-ORG"), ("rejects", "O")], [("Peter", "B-PER")], [("Bonn", "B-LOC")]]
    assert [s.line for s in read_back] == [3, 7, 10]
    documents = [s.document for s in read_back]
    assert documents[0] == documents[1] != documents[2]
    assert [[tag for _, tag in s] for s in pairs(read(text, label_column_name="1"))] == [
        ["NNP", "VBZ"],
        ["NNP"],
        ["NNP"],
    ]
    assert [s.tags for s in read(text, label_column_name="-2")] == [["B-NP", "B-VP"], ["B-NP"], ["I-NP"]]


def test_words_before_the_first_docstart_are_a_document(read):
    documents = [s.document for s in read("a O\n\n-DOCSTART- O\n\nb O\n\nc O\n")]
    assert None not in documents
    assert documents[0] != documents[1] == documents[2]
    assert [s.document for s in read("a O\n\nb O\n")] == [None, None]
    late = [s.document for s in read("a O\n\n" * 1500 + "-DOCSTART- O\n\nb O\n")]  # beyond the lines looked at first
    assert set(late[:-1]) == {None}
    assert late[-1] is not None


def test_two_columns_of_which_the_first_counts_the_words(read):
    numbered = "1\tThe\n2\tcat\n\n1\tIt\n2\tsat\n"
    assert [s.tokens for s in read(numbered, tagged=False)] == [["The", "cat"], ["It", "sat"]]
    with pytest.raises(DataError, match="words and tags are both column 1"):  # not numbers with words for tags
        read(numbered)


def test_wnut_words_that_look_like_comments(read):
    assert pairs(read("#\tO\n#tag\tB-X\n\n# a\tO\n")) == [[("#", "O"), ("#tag", "B-X")], [("# a", "O")]]
    assert pairs(read("#\tO\n#tag\tB-X\n\n#tag\t0\na\tO\n")) == [
        [("#", "O"), ("#tag", "B-X")],
        [("#tag", "0"), ("a", "O")],
    ]
    assert pairs(read("# id = 5\n#\tO\n#tag\tB-X\n\n# id = 6\nb\tO\n")) == [[("#", "O"), ("#tag", "B-X")], [("b", "O")]]
    assert pairs(read("# a comment here\n# O\nb O\n")) == [[("#", "O"), ("b", "O")]]


def test_conllu_ids_ranges_and_names(read):
    text = (
        "# global.columns = ID FORM UPOS NER\n# newdoc id = d1\n# text = x\n1-2\tzum\t_\t_\n1\tzu\tADP\tO\n"
        "2\tdem\tDET\tO\n2.1\tx\tX\tO\n3\tRhein\tPROPN\tB-LOC\n\n# newdoc id = d2\n1\tja\tINTJ\tO\n"
    )
    sentences = read(text)
    assert pairs(sentences) == [[("zu", "O"), ("dem", "O"), ("Rhein", "B-LOC")], [("ja", "O")]]
    assert [s.document for s in sentences] == ["d1", "d2"]
    assert [s.word_per_line for s in sentences] == [False, True]
    assert sentences[0].line_of(2) == sentences[0].line == 5
    assert read(text, label_column_name="upos")[0].tags == ["ADP", "DET", "PROPN"]
    assert read(text, text_column_name="2", label_column_name="ner")[1].tokens == ["INTJ"]


def test_ten_columns_without_numbers_of_words_are_no_conllu(read):
    row = "\t".join(["{}", *"abcdefgh", "{}"])
    text = "\n".join(row.format(*pair) for pair in [("Ann", "B-PER"), ("is", "O"), ("here", "O")])
    assert pairs(read(text + "\n")) == [[("Ann", "B-PER"), ("is", "O"), ("here", "O")]]


def test_conllu_has_no_default_tags(read, refused):
    row = "1\tIch\tich\tPRON\tPPER\t_\t2\tnsubj\t_\tNER=O\n2\tbin\tsein\tAUX\tVAFIN\t_\t0\troot\t_\tNER=O\n\n"
    assert "label_column_name" in refused(row * 3).advice
    assert read(row, label_column_name="upos")[0].tags == ["PRON", "AUX"]
    assert "no tags" in refused(row, label_column_name="deps").problem


def test_germeval_has_two_tag_columns(read):
    text = "#\thttp://de.wikipedia.org/x\t[2009-10-17]\n1\tSchartau\tB-PER\tO\n2\tsagte\tO\tB-LOC\n\n1\tx\tO\tO\n"
    assert [s.tags for s in read(text, label_column_name="3")] == [["O", "B-LOC"], ["O"]]
    assert pairs(read(text)) == [[("Schartau", "B-PER"), ("sagte", "O")], [("x", "O")]]


AGREED = [[("Ada", "B-PER"), ("King", "I-PER"), ("left", "O"), ("Ulm", "B-LOC")], [("Bo", "B-PER"), ("too", "O")]]


def rows_of(row, end="\n", head=""):
    """``row`` is formatted with i and j, which count sentences and words, w and g, the word and its tag."""
    sentences = [
        [row.format(i=i, j=j, w=w, g=g, bare=g[2:] or g, k=g if g != "O" else "") + "\n" for j, (w, g) in enumerate(s)]
        for i, s in enumerate(AGREED)
    ]
    return head + end.join(map("".join, sentences))


@pytest.mark.parametrize(
    "text",
    [
        rows_of("{w}\t{g}\t0.{j}7"),
        rows_of("{w} {g} kim{i}"),
        rows_of("{w} NN {g} -"),
        rows_of("{w} B-NP {g}"),
        rows_of("{w}\tO\t{g}"),
        rows_of("{w}\t{g}\t"),
        rows_of("{i}\t{w}\t{g}", end=""),
        rows_of("d1.s{i} {j} {w} {g}", end=""),
        rows_of("{w}\t{g}\t{i}", end=""),
        rows_of("{w} {i} {g}", end=""),
        rows_of("doc1\t{i}\t{j}\t{w}\t{g}", end=""),
        rows_of("{w} {w} NN I-NC {g}"),
        rows_of("{w} NN {g}", head="Word POS Tag\n"),
        rows_of("{w}\tNN\t{g}\t_", head="Wort\tPOS\tName\tRest\n# language = de\n"),
        rows_of("# line = {i}.{j}\n{w} NN {g}"),
        rows_of("{w} NN {g}", head="# 12\n"),
        rows_of("{w}\t{g}", head="#sent_id=5\n"),
        rows_of("{j}\t{w}\tNN\tA=b|name={g}|SpaceAfter=No"),
        rows_of("{j}\t{w}\tNN\tNER={k}").replace("NER=\n", "_\n"),
        rows_of("{w}\t{g}\t_").replace("Ulm\tB-LOC\t_\n\n", "Ulm\tB-LOC\tEndOfLine|EndOfSentence\n"),
    ],
)
def test_columns_are_told_by_what_they_hold(read, text):
    assert pairs(read(text)) == AGREED


def test_comments_of_two_parts_count(read):
    text = "".join(f"#ID {n}\nAda B-PER\nsat O\n\n" for n in range(4))
    assert pairs(read(text)) == [[("Ada", "B-PER"), ("sat", "O")]] * 4


def test_a_header_that_only_its_place_tells_is_a_word(read):
    assert pairs(read(rows_of("{w}\t{g}", head="Wort\tEtikett\n")))[0][0] == ("Wort", "Etikett")


def test_a_sentence_does_not_end_inside_an_entity(read):
    [sentence] = read("x\tO\t_\nAda\tB-PER\tEndOfSentence\nKing\tI-PER\t_\n")
    assert sentence.tokens == ["x", "Ada", "King"]


def test_a_tab_wins_where_every_line_has_one(read):
    assert read("New York\tB-LOC\nx\tO\n")[0].tokens == ["New York", "x"]
    assert read("York\tB-LOC\nx O\n")[0].tokens == ["York", "x"]
    assert read("York\t\tB-LOC\nx\tO\n")[0].tokens == ["York", "x"]


@pytest.mark.parametrize(
    "word", ["a\x0bb", "a\x85b", "a\u2028b", "a\x1cb", "\xa0", "\u200b", "a\rb", "", " ", "\ufeffa", '"', "-"]
)
def test_odd_words_between_tabs(read, word):
    sentence = read(f"x\tO\n{word}\tB-X\ny\tO")[0]
    assert sentence.tokens == ["x", word, "y"]
    assert sentence.tags == ["O", "B-X", "O"]


@pytest.mark.parametrize("word", ["a\x0bb", "a\x85b", "a\u2028b", "\xa0", "\u3000", "\u200b", "a\rb"])
def test_odd_words_between_spaces(read, word):
    assert read(f"x O\n{word} B-X\n\n")[0].tokens == ["x", word]


def test_integer_tags_with_names(read, refused):
    assert read("a 0\nb 1\n", label_names=["O", "B-X"])[0].tags == ["O", "B-X"]
    assert read("a 0\nb 1\n")[0].tags == ["0", "1"]
    assert refused("a 0\nb 2\n", label_names=["O", "B-X"]).line == 2


def test_words_only_for_prediction(read, refused):
    assert [s.tokens for s in read("a\nb\n\nc\n", tagged=False)] == [["a", "b"], ["c"]]
    assert read("a\nb\n", tagged=False)[0].tags is None
    assert read("a O\nb O\n", tagged=False)[0].tokens == ["a", "b"]
    words = read("# a comment\na\nb\n", "x.words", tagged=False)
    assert [s.tokens for s in words] == [["a", "b"]], "a comment is no raw text"
    assert refused("a\nb\n").line == 1


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a\tO\nb\nc\tO\n", 2, "1 column where the file has 2"),
        ("a\tO\nb\tO\tO\nc\tO\n", 2, "3 columns where the file has 2"),
        ("a\tO\nb\t\nc\tO\n", 2, "the tag is empty"),
        ("a O\nb\nc O\n", 2, "1 column where the file has 2"),
        ("a O\nNew York O\nc O\n", 2, "3 columns"),
        ("a\tO\nb\tB-\n", 2, "names no entity type"),
        ("a\tO\nb\tsome words\n", 2, "white space"),
        ("a\tO\n#tag\nc\tO\n", 2, "1 column"),
        ("a\tO\n# cut\nc\tO\n", 2, "1 column"),
        ("O\tthe\nB-PER\tAnn\nO\tsat\n", 1, "swapped"),
        ("O the\nO man\nO sat\n", 1, "swapped"),
        ("1\ta\tO\n2\tb\tO\n\n1\ta\tO\n3\tc\tO\n\n", 5, "numbered '3' where 2 follows"),
        ("1\ta\tO\n3\tc\tO\n", 1, "the words would be '1', '3'"),
        ("This is raw text.\nIt is not\nin columns at all, is it?\n", 1, "raw text"),
    ],
)
def test_broken_lines_are_refused_with_their_number(refused, text, line, part):
    error = refused(text)
    assert error.line == line
    assert part in error.problem
    assert str(error).startswith(f"{error.path}:{line}: ")


def test_flat_columns_that_are_swapped(read, refused):
    tags = ["NOUN", "VERB", "DET"]
    rows = [(f"word{i}", tags[i % 3]) for i in range(60)]
    assert len(read("".join(f"{word} {tag}\n" for word, tag in rows))[0].tokens) == 60
    assert "swapped" in refused("".join(f"{tag} {word}\n" for word, tag in rows)).problem
    chosen = {"text_column_name": "1", "label_column_name": "0"}
    assert read("".join(f"{tag} {word}\n" for word, tag in rows), **chosen)[0].tokens[0] == "word0"


def test_a_column_of_words_is_no_column_of_tags(refused):
    text = "".join(f"x{i % 3000} w{i}\n" for i in range(6000))
    error = refused(text, text_column_name="0", label_column_name="1")
    assert error.line == 5001
    assert "5,000 different values" in error.problem


@pytest.mark.parametrize(
    ("column", "part"), [("2", "the line has 2"), ("-3", "the line has 2"), ("ner", "have no names")]
)
def test_missing_columns(refused, column, part):
    assert part in str(refused("a O\n", label_column_name=column))
    assert part in str(refused("a O\n", text_column_name=column))


def test_reading_streams(tmp_path):
    path = tmp_path / "x.conll"
    path.write_text("a O\n\n" * 100_000 + "broken\n")
    assert len(list(islice(read_sentences(path), 1000))) == 1000
    with pytest.raises(DataError) as caught:
        list(read_sentences(path))
    assert caught.value.line == 200_001


# What a column file can hold between tabs: no tab or line feed in a word, nothing that ends in the line's last cell.
CELL = st.text(st.characters(exclude_characters="\t\n", exclude_categories=["Cs"]), max_size=6)
TAG = st.sampled_from(["O", "B-PER", "I-PER", "B-creative-work"])
SENTENCES = st.lists(st.lists(st.tuples(CELL, TAG), min_size=1, max_size=5), min_size=1, max_size=5)


@given(SENTENCES)
def test_any_words_between_tabs_come_back(tmp_path_factory, sentences):
    path = tmp_path_factory.getbasetemp() / "any.conll"
    if any(word == "-DOCSTART-" for sentence in sentences for word, _ in sentence):
        return
    text = "\n".join("".join(f"{word}\t{tag}\n" for word, tag in sentence) for sentence in sentences)
    if text.startswith("\ufeff"):
        return  # a byte order mark
    path.write_bytes(text.encode())
    columns = {"format": "conll", "text_column_name": "0", "label_column_name": "1"}
    found = list(read_sentences(path, ReadingOptions(**columns)))
    assert pairs(found) == sentences
    lines = text.split("\n")
    for sentence in found:
        assert all(lines[sentence.line_of(i) - 1].startswith(word) for i, word in enumerate(sentence.tokens))


@pytest.mark.parametrize("mark", ["-DOCSTART- X O", "-DOCSTART-\tX\tO", "-DOCSTART- -X- O O O", "-DOCSTART-"])
def test_documents_begin_where_the_first_cell_says_so(read, mark):
    """Also where the words are in another column, and on lines of any width."""
    tab = "\t" if "\t" in mark else " "
    text = "\n\n".join([mark, tab.join(["1", "Ann", "B-PER"]), mark, tab.join(["2", "Bob", "B-PER"])]) + "\n"
    found = read(text, text_column_name="1")
    assert [s.tokens for s in found] == [["Ann"], ["Bob"]]
    assert found[0].document != found[1].document


def test_jnlpba_and_other_comments_of_several_number_signs(read):
    text = "###MEDLINE:95369245\n\nIL-2\tB-DNA\nsat\tO\n\n###MEDLINE:95369246\n\nNF\tB-DNA\n"
    assert pairs(read(text)) == [[("IL-2", "B-DNA"), ("sat", "O")], [("NF", "B-DNA")]]
    assert pairs(read("## doc 1 of x\nAda B-PER\nsat O\n\n## doc 2 of x\nBo B-PER\n## O\n")) == [
        [("Ada", "B-PER"), ("sat", "O")],
        [("Bo", "B-PER"), ("##", "O")],
    ]
    assert pairs(read("Ada\tB-PER\nsat\tO\n\n##x\tOO\n"))[1] == [("##x", "OO")]  # a misspelt tag, no comment
    with pytest.raises(DataError, match=r":1: the line has 4 columns .*; remove the line, or separate the columns"):
        read("// made by hand\nAda B-PER\nsat O\n")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("Ada met us all .\nBo saw it today .\nWe had a plan .\n", "'.', '.', '.': this looks like raw text"),
        ("Hello world\nGoodbye moon\nSleep well\n", "this looks like raw text"),
        ("Ada met us all in Paris\n", "this looks like raw text"),
        ("[Ada Lovelace](PER) met us\n[Byron Gordon](PER) saw you\n", "this looks like raw text"),
        ("Ada sat\nB-PER O\n\nBo ran\nB-PER O\n", "swapped"),
        ('"Ada", "B-PER"\n"sat", "O"\n"it", "O"\n"and", "O"\n', "the tag '\"B-PER\"' is in quotation marks"),
        ("('Ada', 'B-PER')\n('sat', 'O')\n('it', 'O')\n('and', 'O')\n", "is in quotation marks or brackets"),
        ("Ada B-PER,\nsat O,\nit O,\nand O,\n", "or a separator follows it"),
    ],
)
def test_running_text_is_no_column_of_labels(read, refused, text, part):
    assert part in refused(text).problem


def test_labels_that_repeat_and_numbers_are_no_running_text(read):
    assert read("Ada NNP\nsat VBD\nit PRP\nBo NNP\n. .\nBo NNP\n")[0].tags[-1] == "NNP"
    assert read("Ada x\nsat y\n", label_column_name="1")[0].tags == ["x", "y"]
    assert read("Ada 3\nsat 4\n")[0].tags == ["3", "4"]


def test_numbers_of_lines_are_no_words(refused):
    assert "the words would be '1.', '2.', '3.'" in refused("1. Ada B-PER\n2. sat O\n3. it O\n").problem


def test_words_that_all_end_alike_are_a_surprise(tmp_path):
    counts = SpanCounts()
    (tmp_path / "x.conll").write_text("Ada: B-PER\nsat: O\n" * 4)
    assert len(list(read_sentences(tmp_path / "x.conll", span_counts=counts))) == 1
    assert [note for _, note, is_surprise in counts.notes if is_surprise] == ["every word ends with ':'"]


def test_documents_that_are_named_beside_the_mark(read):
    """As SciBERT's BC5CDR, KPWr, WikiNEuRal's BSNLP and OntoGUM write them."""
    for mark in ("-DOCSTART- (6794356)", "-DOCSTART FILE a/1", "#DOCSTART", "# begin document a"):
        text = f"{mark}\n\nAda\tNN\tB-PER\nsat\tVB\tO\n\n{mark}\n\nBo\tNN\tB-PER\nsat\tVB\tO\n# end document\n"
        found = read(text)
        assert pairs(found) == [[("Ada", "B-PER"), ("sat", "O")], [("Bo", "B-PER"), ("sat", "O")]]
        assert (found[0].document != found[1].document) == ("DOCSTART" in mark)


@pytest.mark.parametrize(
    "cells",
    [
        ["They  they  PRON  2:nsubj\t_", "buy  buy  VERB  0:root\tSpaceAfter=No"],  # CoNLL-U between runs of spaces
        ["a\tx\t-", "b\ty\t1:1**", "c\tz\t*"],  # numbers of phrases, of STREUSLE
        ["a\tx\tDegree=Pos", "b\ty\tCase=Nom|Number=Sing"],
        ["a\tx\t(person-1", "b\ty\t_", "c\tz\tperson-1)(place-2)"],  # coreference, of GUM
    ],
)
def test_features_and_numbers_are_no_tags(refused, cells):
    assert "holds no tags, only" in refused("\n".join(cells * 3) + "\n").problem


def test_values_of_features_that_are_letters_are_no_tags(refused):
    """Finnish has ``Derivation=U``."""
    rows = ["talo\ttalo\tNOUN\tN\tCase=Nom|Derivation=U", "on\tolla\tAUX\tV\tMood=Ind", "uusi\tuusi\tADJ\tA\t_"]
    text = "".join(f"{n}\t{row}\t0\troot\t_\t_\n" for n, row in enumerate(rows, 1))
    assert "holds entity tags" in refused(f"{text}\n" * 4, "x.conllu").problem


def test_tags_of_the_parts_of_a_word_are_several(refused):
    """As NEMO writes them for Hebrew words."""
    rows = ["b-Lincoln O^S-LOC", "Ada S-PER", "we-ha-Tor O^O^S-LOC", "sat O"]
    assert "several tags" in refused("\n".join(rows * 5)).problem
    assert "several tags" in refused("\n".join(f"{row.split()[0]} {row.split()[1]} O^O" for row in rows * 5)).problem
