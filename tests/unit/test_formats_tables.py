"""CSV, TSV, Parquet and `datasets` folders."""

import io

import datasets
import pandas
import pytest

from ner_module.data.formats import DataError, ReadingOptions, read_sentences
from ner_module.data.formats.char_spans import SpanCounts


@pytest.fixture
def read(tmp_path):
    def run(content, name="x.csv", **options):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return [(s.tokens, s.tags) for s in read_sentences(path, ReadingOptions(**options))]

    return run


TWO = [(["Ann", ","], ["B-PER", "O"]), (["it"], ["O"])]


@pytest.mark.parametrize(
    "content",
    [
        'Sentence #,Word,POS,Tag\nSentence: 1,Ann,NNP,B-PER\n,",",",",O\nSentence: 2,it,PRP,O\n',
        'sentence_id,token,tag\r\n1,Ann,B-PER\r\n1,",",O\r\n2,it,O\r\n',
        'word,label\nAnn,B-PER\n",",O\n\nit,O\n',
        'word,label\nAnn,B-PER\n",",O\n,\nit,O\n',
        'Ann,B-PER\n",",O\n\nit,O\n',
        'tokens,ner_tags\nAnn ",","B-PER O"\nit,O\n'.replace('Ann ","', '"Ann ,"'),
        """tokens,ner_tags\n"['Ann' ',']","['B-PER', 'O']"\n['it'],"[""O""]"\n""",
        'text,label\n"Ann, it","[[0, 3, ""PER""]]"\n'.replace("Ann, it", "Ann ,") + 'it,"[]"\n',
        'sentence_id,sentence,tags\n1,"Ann ,","B-PER O"\n2,it,O\n',
    ],
    ids=[
        "Kaggle",
        "ids",
        "blank rows",
        "empty rows",
        "no header",
        "spaces",
        "lists",
        "spans",
        "sentence rows with ids",
    ],
)
def test_csv_of_words_and_of_sentences(read, content):
    assert read(content) == TWO


@pytest.mark.parametrize(
    "content",
    [
        "satz,wort,marke\n1,Ann,B-PER\n1,you,O\n2,it,O\n2,is,O\n",
        "satz;wort;marke\n1;Ann;B-PER\n;you;O\n2;it;O\n;is;O\n",
        "1|Ann|NN|B-PER\n1|you|PRP|O\n2|it|PRP|O\n2|is|VB|O\n",
        "Word\tTag\nAnn\tB-PER\nyou\tO\n\t\nit\tO\nis\tO\n",
        "0,1,Ann,B-PER\n1,1,you,O\n2,2,it,O\n3,2,is,O\n",
        "# made = today\nsent,idx,word,tag,note\n0,0,Ann,B-PER,x\n0,1,you,O,x\n# c = 2\n1,0,it,O,x\n1,1,is,O,x\n",
        "id,words,labels\n0,Ann,B-PER\n0,you,O\n1,it,O\n1,is,O\n",
        "satz, wort, marke\n1, Ann, B-PER\n1, you, O\n2, it, O\n2, is, O\n",
        "sep=;\nsatz;wort;marke\n1;Ann;B-PER\n1;you;O\n2;it;O\n2;is;O\n",
        "tokens,tags\n\"('Ann', 'you')\",\"('B-PER', 'O')\"\n\"('it', 'is')\",\"('O', 'O')\"\n",
        "tokens,tags\n\"array(['Ann', 'you'], dtype=object)\",\"['B-PER' 'O']\"\n['it' 'is'],['O' 'O']\n",
        "id,data,label\n1,Ann you,\"[[0, 3, 'PER']]\"\n2,it is,[]\n",
        "tokens;tags\nAnn you;B-PER O\nit is;O O\n",
        "text,entities\nAnn you,\"[(0, 3, 'PER')]\"\nit is,[]\n",
        "text,labels\nAnn you,\"[{'start': 0, 'end': 3, 'label': 'PER'}]\"\nit is,[]\n",
    ],
)
def test_tables_are_told_by_what_they_hold(read, content):
    assert read(content) == [(["Ann", "you"], ["B-PER", "O"]), (["it", "is"], ["O", "O"])]


def test_where_the_name_and_the_cells_disagree_both_are_named(refused, read):
    content = "word,label,entity\nAnn,a.txt,B-PER\nyou,a.txt,O\n"
    error = refused(content)
    assert "the column 'label' is named like a tag column, but the tags are in column 2 (PER 1)" in error.problem
    assert read(content, label_column_name="2") == [(["Ann", "you"], ["B-PER", "O"])]
    assert read(content, label_column_name="1") == [(["Ann", "you"], ["a.txt", "a.txt"])]


def test_one_long_sentence_is_said(tmp_path):
    (tmp_path / "x.csv").write_text("word,tag\n" + "a,O\nb,B-X\n" * 60)
    counts = SpanCounts()
    assert len(list(read_sentences(tmp_path / "x.csv", span_counts=counts))) == 1
    assert [note for _, note, is_surprise in counts.notes if is_surprise] == [
        "no empty line and no column says where a sentence ends: all 120 words are one"
    ]


def test_words_of_sentences_that_are_apart_are_said(tmp_path):
    (tmp_path / "x.csv").write_text("sentence_id,word,tag\n" + "1,a,O\n7,b,B-X\n3,c,O\n" * 3)
    counts = SpanCounts()
    assert len(list(read_sentences(tmp_path / "x.csv", span_counts=counts))) == 9
    assert [note for _, note, is_surprise in counts.notes if is_surprise] == [
        "column 0 comes back to earlier sentences: sort the rows, if these are whole"
    ]


def test_csv_lines_and_documents(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('sentence_id,document,token,tag\n1,a,"x",O\n1,a,z,O\n2,b,w,O\n2,b,v,O\n', newline="")
    first, second = read_sentences(path)
    assert (first.line, first.document, first.word_per_line, first.tokens) == (2, "a", True, ["x", "z"])
    assert (second.line, second.document, second.line_of(1)) == (4, "b", 5)


def test_columns_by_name_and_number(read):
    content = "a,b,c\nO,x,B-T\nO,y,O\n"
    assert read(content, text_column_name="b", label_column_name="c") == [(["x", "y"], ["B-T", "O"])]
    assert read("O,x,B-T\nO,y,O\n", text_column_name="1", label_column_name="-1") == [(["x", "y"], ["B-T", "O"])]
    assert read("O,x,1\nO,y,0\n", text_column_name="1", label_names=["O", "B-T"]) == [(["x", "y"], ["B-T", "O"])]


def test_pandas_writes_what_is_read(read):
    frame = pandas.DataFrame(
        {"sentence_id": [0, 0, 1, 1], "token": ['"', "a,b", "it's", 'x"y'], "tag": ["O", "B-T", "O", "O"]}
    )
    expected = [(['"', "a,b"], ["O", "B-T"]), (["it's", 'x"y'], ["O", "O"])]
    for name, separator in (("x.csv", ","), ("x.tsv", "\t")):
        assert read(frame.to_csv(index=False, sep=separator), name) == expected
    rows = pandas.DataFrame({"tokens": [['"', "a'b"], ["c"]], "tags": [["O", "B-T"], ["O"]]})
    assert read(rows.to_csv(index=False)) == [(['"', "a'b"], ["O", "B-T"]), (["c"], ["O"])]
    buffer = io.BytesIO()
    rows.to_parquet(buffer)
    assert read(buffer.getvalue(), "x.parquet") == [(['"', "a'b"], ["O", "B-T"]), (["c"], ["O"])]


def test_quotation_marks_are_words_in_tsv(read):
    assert read('token\ttag\n"\tO\nAnn\tB-PER\n"\tO\n', "x.tsv") == [(['"', "Ann", '"'], ["O", "B-PER", "O"])]


def test_tables_for_prediction(tmp_path, read):
    assert read("sentence_id,token\n1,a\n1,b\n2,c\n", tagged=False) == [(["a", "b"], None), (["c"], None)]
    assert read('text\n"It\'s, so"\nb\n', tagged=False, text_column_name="text") == [
        (["It", "'s", ",", "so"], None),
        (["b"], None),
    ]
    assert read('tokens,tags\n"a b,","O O"\n', tagged=False) == [(["a", "b,"], None)]


@pytest.mark.parametrize(
    ("content", "line", "part"),
    [
        ("word,tag\na,O\nb\n", 3, "1 cell, the table 2 columns"),
        ("word,tag\na,O\nb,O,O\n", 3, "3 cells, the table 2 columns"),
        ("word,tag\na,O\nb,\n", 3, "the tag is empty"),
        ("a.txt,0,0,3,PER\n" * 6, 1, "the words would be 'PER', 'PER', 'PER'"),
        ('word,tag\na,O\n"b,O\nc,O\n', 3, "unexpected end of data"),
        ('word,tag\na,O\n"b\nc",O\nd,O\n', 3, "a quotation mark joins the lines 3 to 4"),
        ('word,tag\na,O\n"b"x,O\nc,O\n', 3, "no valid row"),
        ("token,mark\na,O\n", 1, "no column is called ner_tags, tags"),
        ("tokens,tags\na b,O O\na b,O\n", 3, "2 tokens"),
        ("tokens,tags\n\"['a', ...]\",\"['O', 'O']\"\n", 2, "no list of words or tags"),
        ("word,tag\n" + "a,O\n" * 2001, 2, "2,000 words without an end"),
    ],
)
def test_broken_tables(refused, content, line, part):
    error = refused(content)
    assert part in error.problem
    assert error.line == line
    assert "'nope'" in refused("word,tag\na,O\n", label_column_name="nope").problem


def test_datasets_with_their_own_label_names(tmp_path):
    rows = {"tokens": [["Ann", "sat"], []], "ner_tags": [[1, 0], []], "id": ["a", "b"]}
    names = datasets.ClassLabel(names=["O", "B-PER"])
    features = {
        "tokens": datasets.List(datasets.Value("string")),
        "ner_tags": datasets.List(names),
        "id": datasets.Value("string"),
    }
    dataset = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    dataset.save_to_disk(tmp_path / "saved")
    dataset.to_parquet(tmp_path / "x.parquet")
    for path in (tmp_path / "saved", tmp_path / "x.parquet"):
        sentences = list(read_sentences(path))
        assert [(s.tokens, s.tags, s.line) for s in sentences] == [(["Ann", "sat"], ["B-PER", "O"], 1), ([], [], 2)]
        with pytest.raises(DataError, match="the key 'nope' is missing"):
            list(
                read_sentences(path, ReadingOptions(label_column_name="nope", text_column_name="tokens", format="auto"))
            )
    datasets.DatasetDict({"train": dataset, "test": dataset}).save_to_disk(tmp_path / "splits")
    with pytest.raises(DataError, match=r"several splits \(test, train\)"):
        list(read_sentences(tmp_path / "splits"))
    (tmp_path / "saved" / "state.json").write_text("{")
    with pytest.raises(DataError, match="datasets folder cannot be read"):
        list(read_sentences(tmp_path / "saved"))


def test_damaged_parquet(tmp_path, refused):
    pandas.DataFrame({"tokens": [["a"]] * 50, "tags": [["O"]] * 50}).to_parquet(tmp_path / "x.parquet")
    whole = (tmp_path / "x.parquet").read_bytes()
    for content in (whole[:-20], whole[:4], whole[:100] + b"\xff" * 50 + whole[150:]):
        assert "Parquet" in refused(content, "x.parquet").problem


def test_a_mark_that_ends_a_word_is_no_sign_of_quoting(read):
    text = "token\ttag\n" + "a\tO\n\n" * 3_000 + '"He\tO\nsaid"\tO\nAda\tB-PER\n'
    assert read(text, "x.tsv")[-1] == (['"He', 'said"', "Ada"], ["O", "O", "B-PER"])


def test_spans_of_spacy_in_a_cell(read):
    text = """text,annotations\nAda sat,"{'entities': [(0, 3, 'PER')]}"\nBo,{'entities': []}\n"""
    assert read(text, label_column_name="annotations") == [(["Ada", "sat"], ["B-PER", "O"]), (["Bo"], ["O"])]
    with pytest.raises(DataError, match="no list of words or tags"):
        read(text.replace("entities", "x"), label_column_name="annotations")


def test_a_header_over_numbers_is_no_word(read):
    """Amazon Comprehend's annotations, which lie beside their texts."""
    with pytest.raises(DataError, match=r"no column is called tokens.*'begin offset'"):
        read("File,Line,Begin Offset,End Offset,Type\na.txt,0,0,12,PER\na.txt,0,30,37,LOC\n")


def test_columns_of_sentences_go_by_their_names_in_errors(read):
    with pytest.raises(DataError, match="2 tokens in 'column text', but 1 tags in 'column label'"):
        read("text,start,end,label\nAda sat,0,3,PER\n")


@pytest.mark.parametrize(("name", "start"), [("x.tsv", ""), ("x.txt", ""), ("x.csv", "text,tags\n")])
def test_sentences_beside_their_tags_need_no_header(read, name, start):
    """Naver's Korean data; a sentence may begin with a bracket that is a word."""
    rows = [("Ada Lovelace sat", "PER-B PER-I O"), ("[Bo = we]", "O O O"), ("it", "O"), ("[1] sat", "O O")]
    text = start + "".join(("," if start else "\t").join(row) + "\n" for row in rows)
    assert read(text, name) == [tuple(cell.split() for cell in row) for row in rows]


@pytest.mark.parametrize(("name", "mark"), [("x.tsv", "\t"), ("x.txt", "\t"), ("x.csv", ",")])
def test_translations_are_no_tags(refused, name, mark):
    rows = [("the red house", "das rote Haus"), ("a big tree", "ein hoher Baum"), ("my cat", "meine Katze")]
    assert "tags" in refused("".join(mark.join(row) + "\n" for row in rows), name).problem


def test_sentences_that_are_counted_anew_in_each_document(read):
    rows = [f"{doc},{sentence},{word},O" for doc in "123" for sentence in "01" for word in ("Ada", "sat")]
    for names in ("file,nr,word,tag", "doc,sent,word,tag"):
        assert read("\n".join([names, *(f"f{row}" for row in rows)])) == [(["Ada", "sat"], ["O", "O"])] * 6


def test_comments_above_a_table(read, refused):
    table = "word,tag\nAda,B-PER\n"
    assert read(f"# exported by x, in 2022\n{table}") == [(["Ada"], ["B-PER"])]
    assert read("# 1 x,O\nAda,B-PER\n") == [(["# 1 x", "Ada"], ["O", "B-PER"])]
    assert read("# sentence,word,tag\n1,Ada,O\n1,sat,O\n2,Bo,O\n2,sat,O\n")[1:] == [(["Bo", "sat"], ["O", "O"])]
    assert "complete or remove it" in refused(f"{table}#23159251\nBo,O\n").advice


@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_texts_with_a_class_each_are_no_words(refused, name):
    """As of glass papers, skills and news; texts of one word are among them."""
    rows = ["a new glass of tin", "1", "on steel", "0", "glass", "1", "two more alloys", "0"]
    for labels in (rows[1::2], ["K01", "S2", "K01", "S1"]):
        text = "".join(f"{','.join(row)}\n" for row in zip(rows[::2], labels, strict=True))
        for header in ("", "text,label\n", "title,class\n"):
            table = header + text
            error = refused(table if name == "x.csv" else table.replace(",", "\t"), name)
            assert "a class each" in error.problem or "no column is called" in error.problem


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.conll"])
def test_numbers_of_rows_and_sentences_in_brackets_are_no_labels(refused, name):
    mark = "," if name == "x.csv" else "\t"
    rows = [f"zebra{n}{mark}{n * n + 17}\n" for n in range(20)]
    assert "no column holds tags" in refused("".join(rows), name).problem
    rows = [f"{word}{mark}{word}sat.\n" for word in map(chr, range(65, 91))]
    assert "no column holds tags" in refused("".join([*rows, f"Z{mark}[Zoesat.\n"]), name).problem


def test_tables_made_of_column_files_keep_its_sentences(read, refused):
    """As E-NER's: the empty line is a row without a word."""
    text = "-DOCSTART-,O\n,O\nAda,B-PER\nsat,O\n,O\nBo,B-PER\n"
    assert read(text) == [(["Ada", "sat"], ["B-PER", "O"]), (["Bo"], ["B-PER"])]
    assert read(text.replace("-DOCSTART-", "word").replace("word,O", "word,tag")) == read(text)
    assert read("word,tag\nAda,B-PER\n,I-PER\nsat,O\n") == [(["Ada", "", "sat"], ["B-PER", "I-PER", "O"])]
