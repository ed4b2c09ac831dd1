"""The pre-tokeniser: hand-worked cases, nothing lost, nothing slow."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ner_module.data import words
from ner_module.data.formats import ReadingOptions, read_sentences
from ner_module.data.words import split_words
from ner_module.inference.tagger import _sentence


def cut(text):
    return [text[start:end] for start, end in split_words(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\n\u2028\x1c\u3000 ", []),
        ("word", ["word"]),
        ("Hello, world!", ["Hello", ",", "world", "!"]),
        ('"Quoted" (and [nested])', ['"', "Quoted", '"', "(", "and", "[", "nested", "]", ")"]),
        ("Jean-Luc O'Neil AT&T rock'n'roll", ["Jean-Luc", "O'Neil", "AT&T", "rock'n'roll"]),
        ("John's dogs' it's", ["John", "'s", "dogs", "'", "it", "'s"]),
        ("John’s don’t can't we've I'm", ["John", "’s", "do", "n’t", "ca", "n't", "we", "'ve", "I", "'m"]),
        ("it 's cut already", ["it", "'s", "cut", "already"]),
        ("the U.S. and U.S.A. of J. Smith, e.g. Dr. No.", None),
        ("3,000 1.5 10:30 24/7 1990–95 -5 +49 a-5", ["3,000", "1.5", "10:30", "24/7", "1990–95", "-5", "+49", "a-5"]),
        ("50% of $5 or 5€", ["50", "%", "of", "$", "5", "or", "5", "€"]),
        ("one, two,three;four/five", ["one", ",", "two", ",", "three", ";", "four", "/", "five"]),
        ("wait... what?! yes -- no!!!", ["wait", "...", "what", "?", "!", "yes", "--", "no", "!!!"]),
        ("see http://a.com/x?y=1, www.b.de.", ["see", "http://a.com/x?y=1", ",", "www.b.de", "."]),
        ("mail me@x-y.com. @user's #tag!", ["mail", "me@x-y.com", ".", "@user", "'s", "#tag", "!"]),
        ("a &amp; b &#39;", ["a", "&amp;", "b", "&#39;"]),
        ("你好世界。abc", ["你", "好", "世", "界", "。", "abc"]),
        ("カタカナのー", ["カ", "タ", "カ", "ナ", "の", "ー"]),
        ("東京http://t.co/x大阪", ["東", "京", "http://t.co/x", "大", "阪"]),
        ("안녕 하세요", ["안녕", "하세요"]),
        ("مرحبا، بالعالم", ["مرحبا", "،", "بالعالم"]),
        ("नमस्ते दुनिया।", ["नमस्ते", "दुनिया", "।"]),
        ("👍👍🏽", ["👍", "👍🏽"]),
        ("👩‍👩‍👧🇩🇪🇫🇷x", ["👩‍👩‍👧", "🇩🇪", "🇫🇷", "x"]),
        ("1\ufe0f\u20e3❤\ufe0f", ["1\ufe0f\u20e3", "❤\ufe0f"]),
        ("e\u0301te\u0301", ["e\u0301te\u0301"]),
        ("Par\u200bis\u200d, \u200b(x) \u200b\u200b", ["Par\u200bis\u200d", ",", "\u200b(", "x", ")", "\u200b\u200b"]),
        ("a\x00b \x07", ["a\x00b", "\x07"]),
    ],
)
def test_cases_worked_by_hand(text, expected):
    if expected is None:
        expected = ["the", "U.S.", "and", "U.S.A.", "of", "J.", "Smith", ",", "e.g.", "Dr.", "No", "."]
    assert cut(text) == expected


TEXTS = st.one_of(
    st.text(), st.text(alphabet=list("aB1 .,'’-–@#&:/()\"\u200b\u200d\u0301👩🏽🇩漢ーア\x00\x1c\ufe0f\u20e3;"))
)


@given(TEXTS)
def test_every_character_but_space_is_in_one_word(text):
    reached = 0
    for start, end in split_words(text):
        assert reached <= start < end
        assert not any(char.isspace() for char in text[start:end])
        assert text[reached:start].strip() == ""
        reached = end
    assert text[reached:].strip() == ""


@given(TEXTS)
def test_marks_and_joiners_begin_no_word_in_a_stretch(text):
    for start, _ in split_words(text):
        if start and not text[start - 1].isspace():
            assert text[start] not in "\u0301\u200b\u200d\ufe0f\u20e3\x00"


@given(TEXTS, TEXTS)
def test_spaced_texts_are_cut_apart(left, right):
    # White space is a boundary that nothing but an initial ("J. Smith") looks across.
    if "." not in left:
        assert cut(f"{left}\n{right}") == cut(left) + cut(right)


def test_space_is_what_python_calls_space():
    assert max(i for i in range(0x110000) if chr(i).isspace()) == 0x3000
    assert [i for i in range(0x3100) if (split_words(chr(i)) == []) != chr(i).isspace()] == []


@pytest.mark.parametrize(
    "piece",
    [
        "a.",
        "a",
        "'",
        "n't",
        "http://",
        "http://,",
        "www.,",
        "-",
        "a-",
        "1,",
        "👩\u200d",
        "e\u0301",
        "A. ",
        "\u200b ",
        "漢",
        "Mr.",
    ],
)
def test_time_is_linear(piece):
    def seconds(count):
        text = piece * count
        begin = time.perf_counter()
        split_words(text)
        return time.perf_counter() - begin

    # Quadratic time would be 64 times more for 8 times the text; the floor is for noise on a busy machine.
    assert seconds(40_000) < 30 * min(seconds(5_000) for _ in range(3)) + 0.5


def test_version_is_a_string():
    assert isinstance(words.WORDS_VERSION, str)


def test_annotated_and_raw_text_have_the_same_words(tmp_path):
    """What is trained on (spans over text) and what is predicted on (raw text) is cut by the one function."""
    lines = [
        "Jean-Luc's e-mail (in the U.S.): 3,000 EUR...",
        "東京都 𝔘𝔫𝔦 👩‍👩‍👧 x\u200by",
        "don't U.S.A. @you #tag a/b",
    ]
    rows = [json.dumps({"text": line, "label": [[0, 3, "X"]]}) + "\n" for line in lines]
    (tmp_path / "spans.jsonl").write_text("".join(rows), encoding="utf-8")
    (tmp_path / "raw.txt").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    (tmp_path / "brat").mkdir()
    (tmp_path / "brat" / "a.txt").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    (tmp_path / "brat" / "a.ann").write_text("", encoding="utf-8")
    trained = [sentence.tokens for sentence in read_sentences(tmp_path / "spans.jsonl")]
    assert trained == [[line[start:end] for start, end in split_words(line)] for line in lines]
    assert [
        sentence.tokens for sentence in read_sentences(tmp_path / "raw.txt", ReadingOptions(tagged=False))
    ] == trained
    assert [
        sentence.tokens for sentence in read_sentences(tmp_path / "spans.jsonl", ReadingOptions(tagged=False))
    ] == trained
    assert [sentence.tokens for sentence in read_sentences(tmp_path / "brat")] == trained
    assert [_sentence(line, "").tokens for line in lines] == trained, "NERTagger"
