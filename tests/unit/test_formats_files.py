"""Opening files: globs, gzip, encodings, line ends, and what is not text."""

import gzip

import pytest

from ner_module.data.formats import DataError, ReadingOptions, detect_format, expand_files, read_sentences


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def tokens(path, **options):
    return [sentence.tokens for sentence in read_sentences(path, ReadingOptions(**options))]


def refused(path, **options):
    with pytest.raises(DataError) as caught:
        list(read_sentences(path, ReadingOptions(**options)))
    return caught.value


def test_paths_globs_and_lists(tmp_path):
    b, a = write(tmp_path / "b.conll", "x O\n"), write(tmp_path / "a.conll", "x O\n")
    odd = write(tmp_path / "c[1].conll", "x O\n")
    assert expand_files(str(b)) == [b]
    assert expand_files(str(tmp_path / "?.conll")) == [a, b]
    assert expand_files([str(b), str(tmp_path / "*.conll")]) == [b, a, odd]
    assert expand_files(str(odd)) == [odd]
    assert expand_files(tmp_path) == [tmp_path]


def test_missing_files_are_named(tmp_path):
    write(tmp_path / "train.conll", "x O\n")
    for spec, parts in {
        str(tmp_path / "trian.conll"): ["trian.conll: no such file", "did you mean", "train.conll?"],
        str(tmp_path / "no" / "x.conll"): ["no such file", "does not exist either"],
        str(tmp_path / "*.json"): ["*.json: no file matches"],
    }.items():
        with pytest.raises(DataError) as caught:
            expand_files([str(tmp_path / "train.conll"), spec])
        assert all(part in str(caught.value) for part in parts), str(caught.value)
    with pytest.raises(DataError, match="the list of files is empty"):
        expand_files([])


@pytest.mark.parametrize(
    "content",
    [
        b"caf\xc3\xa9 B-X\nb O\n",
        b"\xef\xbb\xbfcaf\xc3\xa9 B-X\nb O\n",
        b"caf\xc3\xa9 B-X\r\nb O\r\n\r\n",
        gzip.compress(b"caf\xc3\xa9 B-X\nb O\n"),
    ],
    ids=["plain", "byte order mark", "CRLF", "gzip"],
)
def test_the_same_text_in_other_clothes(tmp_path, content):
    assert tokens(write(tmp_path / "x.conll", content)) == [["café", "b"]]


def test_other_encodings_when_named(tmp_path):
    latin = write(tmp_path / "latin.conll", b"a O\ncaf\xe9 B-X\n")
    error = refused(latin)
    assert error.line == 2
    assert "0xE9" in str(error)
    assert "encoding" in error.advice
    assert tokens(latin, encoding="latin-1") == [["a", "café"]]
    old_mac = write(tmp_path / "x.conll", b"a O\rb O\r\rc O\r")
    assert "end in CR alone" in refused(old_mac).problem
    utf16 = write(tmp_path / "x.conll", "-DOCSTART- O\n\ncafé B-X\n".encode("utf-16"))
    assert "utf-16" in refused(utf16).advice
    assert tokens(utf16, encoding="utf-16") == [["café"]]
    assert refused(latin, encoding="ascii").line == 2
    for name in ("latin-99", "rot13"):
        assert "encoding" in refused(latin, encoding=name).problem


def test_a_bad_byte_far_into_a_file_has_its_line(tmp_path):
    lines = b"word O\n" * 30_000
    assert refused(write(tmp_path / "x.conll", lines + b"w\xffrd O\n" + lines)).line == 30_001
    assert refused(write(tmp_path / "y.conll", lines + b"w\xc3")).line == 30_001


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04rest",
        b"%PDF-1.7",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        bytes(5000),
        bytes(range(256)) * 20,
        "no mark here".encode("utf-16-le"),
        gzip.compress(b"x.conll".ljust(257, b"\0") + b"ustar" + b"Ada B-PER\n" * 900, mtime=0),
    ],
)
def test_binary_files_are_called_so(tmp_path, content):
    error = refused(write(tmp_path / "x.conll", content))
    assert "binary" in error.problem
    assert error.line == 1


def test_words_that_look_like_the_begin_of_other_files(tmp_path):
    for word, problem in {"PAR1": "Parquet", "BZh": "binary", "ARROW1": "binary"}.items():
        assert tokens(write(tmp_path / "x.conll", f"{word} B-X\nx O\n")) == [[word, "x"]]
        assert problem in refused(write(tmp_path / "x.conll", word.encode() + b"91AY\xff\x00")).problem


def test_many_blank_lines_are_no_hang(tmp_path):
    assert tokens(write(tmp_path / "x.conll", "\n" * 300_000 + "a O\n")) == [["a"]]


def test_control_characters_are_text(tmp_path):
    rows = [f"a{chr(code)}b\tO\n" for code in range(32) if chr(code) not in "\n\t"]
    assert tokens(write(tmp_path / "x.conll", "".join(rows)))[0] == [row.split("\t")[0] for row in rows]


def test_damaged_gzip(tmp_path):
    whole = gzip.compress(b"".join(b"word%d O\n" % i for i in range(50_000)))
    for content in (whole[:-9], whole[: len(whole) // 2], whole[:1000] + b"\0\0\0\0" + whole[1004:], whole[:5]):
        error = refused(write(tmp_path / "x.conll.gz", content))
        assert "damaged or truncated" in error.problem or error.line is not None


def test_empty_files(tmp_path):
    for name in ("x.conll", "x.jsonl", "x.json", "x.csv", "x.tsv", "x.conll.gz"):
        path = write(tmp_path / name, gzip.compress(b"") if name.endswith("gz") else b"")
        assert "empty" in refused(path).problem or "no sentence" in refused(path).problem
    for content in ("\n \n\t\n", "-DOCSTART- O\n\n", "# only = comment\n"):
        assert "no sentence" in refused(write(tmp_path / "x.conll", content)).problem


def test_folders_that_are_no_data(tmp_path):
    assert "not a dataset" in refused(tmp_path).problem
    assert "folder" in refused(tmp_path, format="conll").problem
    assert "unknown" in refused(tmp_path, format="xml").problem


@pytest.mark.parametrize(
    ("name", "content", "tagged", "expected"),
    [
        ("a.conll", "a\tO\n", True, "conll"),
        ("a", "a O\n", True, "conll"),
        ("a.txt", "a O\nb O\nc B-X\n", True, "conll"),
        ("a.txt", "a O\nb O\nc B-X\n", False, "conll"),
        ("a.txt", "just a line\nor two\n", False, "text"),
        ("a.txt", "one word\nper line\nor two\n", False, "text"),
        ("a.tsv", "a\tO\nb\tO\n", True, "conll"),
        ("a.tsv", "token\ttag\nb\tO\n", True, "tsv"),
        ("a.csv", "x,y\n", True, "csv"),
        ("a", "Sentence #,Word,POS,Tag\n1,a,b,O\n", True, "csv"),
        ("a.jsonl", '{"tokens": []}\n', True, "jsonl"),
        ("a.json", '{"tokens": []}\n', True, "jsonl"),
        ("a.json", '\n[\n{"tokens": []}]', True, "json"),
        ("a.json", '{\n"tokens": []\n}', True, "json"),
        ("a.dat", '\ufeff{"tokens": []}', True, "jsonl"),
        ("a.conll", "[ O\n{ O\n", True, "conll"),
        ("a.jsonl", '{"tokens": [', True, "jsonl"),
    ],
)
def test_detection(tmp_path, name, content, tagged, expected):
    assert detect_format(write(tmp_path / name, content), ReadingOptions(tagged=tagged)) == expected
    zipped = write(tmp_path / f"{name}.gz", gzip.compress(content.encode()))
    assert detect_format(zipped, ReadingOptions(tagged=tagged)) == expected


def test_a_header_is_known_by_the_names_asked_for(tmp_path):
    path = write(tmp_path / "a.tsv", "wort\tmarke\nb\tO\n")
    assert detect_format(path, ReadingOptions(label_column_name="marke")) == "tsv"
    assert tokens(path, text_column_name="wort", label_column_name="marke") == [["b"]]
    numbers = write(tmp_path / "b.tsv", "1\tO\nb\tO\n")
    assert tokens(numbers, text_column_name="0", label_column_name="1") == [["1", "b"]]


def test_raw_text_lines_for_prediction(tmp_path):
    path = write(tmp_path / "x.txt", "Ann's here.\r\n\n  two\x0bparts\u2028now \nlast")
    read = list(read_sentences(path, ReadingOptions(tagged=False)))
    assert [s.tokens for s in read] == [["Ann", "'s", "here", "."], [], ["two", "parts", "now"], ["last"]]
    assert [s.text for s in read] == ["Ann's here.", "", "  two\x0bparts\u2028now ", "last"]
    assert [s.line for s in read] == [1, 2, 3, 4]
    assert read[2].offsets == [(2, 5), (6, 11), (12, 15)]
    assert all(s.tags is None for s in read)
    assert list(read_sentences(write(tmp_path / "e.txt", ""), ReadingOptions(tagged=False))) == []
    assert "raw text" in refused(path, format="text").problem
    assert "raw text" in refused(write(path, "Three words here\nand four in this\nbut two\n")).problem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Ada Lovelace met the mayor .\n", r"this may be raw text or columns; set --data\.format to text or conll"),
        ("one two\nthree four\nfive six\n", r"this may be raw text or columns; set --data\.format to text or conll"),
    ],
)
def test_text_without_its_ending_is_not_read_as_columns(tmp_path, content, message):
    """A line of five words is no word with five columns; what was meant is for the user to say."""
    path = write(tmp_path / "notes", content.encode())
    with pytest.raises(DataError, match=message):
        list(read_sentences(path, ReadingOptions(tagged=False)))
    lines = [s.tokens for s in read_sentences(path, ReadingOptions(tagged=False, format="text"))]
    assert lines == [line.split() for line in content.splitlines()]
    assert len(list(read_sentences(path, ReadingOptions(tagged=False, format="conll")))) == 1


def test_raw_text_named_as_columns_gets_advice(tmp_path):
    for content in ("Ada met the mayor .\nShe left\nand came back again\n", "a b\nc d\ne\nf g\nh i\nj k\n"):
        path = write(tmp_path / "notes.conll", content.encode())
        with pytest.raises(DataError, match=r"--data\.format text"):
            list(read_sentences(path, ReadingOptions(tagged=False)))


def test_messages_name_the_options(tmp_path):
    path = write(tmp_path / "a.jsonl", b'{"tokens": ["a"], "tags": [3]}\n')
    with pytest.raises(DataError, match=r"name them with --data\.label_names"):
        list(read_sentences(path))
    with pytest.raises(DataError, match=r"name the file's encoding with --data\.encoding"):
        list(read_sentences(write(tmp_path / "b.conll", "Zürich\tO\n".encode("latin-1"))))
