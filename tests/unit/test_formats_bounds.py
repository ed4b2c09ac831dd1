"""Files that are small on disk and huge in memory, or never end: one line each, in seconds and little memory."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from ner_module.data.formats import DataError, ReadingOptions, read_sentences
from ner_module.data.hub import load_hub_dataset
from ner_module.data.preparation import store_files

MIB = 1 << 20
_READ = """
import sys
from pathlib import Path
import pyarrow.parquet, torch
from ner_module.data.formats import ReadingOptions, read_sentences
if len(sys.argv) == 4:
    try:
        for _ in read_sentences(Path(sys.argv[1]), ReadingOptions(format=sys.argv[2], tagged=sys.argv[3] == "tagged")):
            pass
    except ValueError as error:
        print(error)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def _run(*arguments: object) -> tuple[str, int]:
    """What the script above prints, and its peak memory in MiB."""
    command = [sys.executable, "-c", _READ, *map(str, arguments)]
    text, _, peak = subprocess.check_output(command, text=True).rstrip("\n").rpartition("\n")
    return text, int(peak) // 1024  # getrusage would count what this process had before it began the other


@pytest.fixture(scope="module")
def baseline() -> int:
    return _run()[1]


def _gzipped(block: bytes, times: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with gzip.open(path, "wb", compresslevel=6) as file:
            for _ in range(times):
                file.write(block)

    return write


def _text(start: str, block: str = "", times: int = 0, end: str = "") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("w") as file:
            file.write(start)
            for _ in range(20):
                file.write(block * (times // 20))
            file.write(end)

    return write


def _parquet(column: str, value: object, rows: int, compression: str) -> Callable[[Path], None]:
    return lambda path: parquet.write_table(pa.table({column: [value] * rows}), path, compression=compression)


def _folder(path: Path) -> None:
    path.mkdir()
    _text("", "a b\n", 20_000_000)(path / "a.txt")
    (path / "a.ann").touch()


_ANNOTATED = '[{"ner_tags": [], "tokens": ['
BOMBS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "gzipped columns": ("a.conll.gz", _gzipped(b"Ada B-PER\nwent O\n\n" * 60_000, 100), ": .* compressed bytes stand"),
    "gzipped JSONL": ("a.jsonl.gz", _gzipped(b'{"tokens":["a"],"ner_tags":["O"]}\n' * 30_000, 100), ": .* compressed"),
    "gzipped blank lines": ("a.conll.gz", _gzipped(b"\n" * MIB, 1000), ":1: no word in the first"),
    "a gzipped line": ("a.conll.gz", _gzipped(b"a" * MIB, 1000), ":1: the line is longer than 16 MiB"),
    "a line of columns": ("a.conll", _text("a O\n", "a", 20_000_000, " O\n"), ":2: the line is longer than 16 MiB"),
    "a sentence": ("a.conll", _text("a O\n\n", "a O\n", 20_000_000), ":3: the sentence, which .* longer than 16 MiB"),
    "comments": ("a.conll", _text("", "# a\n", 20_000_000), ":1: no word in the first"),
    "long comments": ("a.conll", _text("", "# " + "a" * 10 * MIB + "\n", 40), ":1: no word in the first"),
    "a line of text": ("a.txt", _text("a\n", "a ", 10_000_000, "\n"), ":2: the line is longer than 16 MiB"),
    "a row of a table": ("a.csv", _text("tokens,tags\n", "a ", 10_000_000, ",O\n"), ":2: the line is longer"),
    "a cell of a table": ("a.csv", _text('tokens,tags\n"', "a \n", 7_000_000, '",O\n'), ":2: .*longer than 16 MiB"),
    "many cells": ("a.csv", _text("tokens,tags\n", '"\n",', 10_000_000, "\n"), ":2: .*longer than 16 MiB"),
    "a JSON record": ("a.json", _text(_ANNOTATED, '"a", ', 16_000_000, '"b"]}]'), ":1: the JSON record is longer"),
    "nested lists": ("a.json", _text(_ANNOTATED, "[],", 26_000_000, "[]]}]"), ":1: the JSON record is longer"),
    "a record of lines": ("a.json", _text(_ANNOTATED, "[],\n", 20_000_000, "[]]}]"), ":1: the JSON record is longer"),
    "a record of JSONL": ("a.jsonl", _text(_ANNOTATED[1:], "[],", 26_000_000, "[]]}\n"), ":1: the line is longer"),
    "a brat document": ("brat", _folder, ":[0-9]+: the document is longer than 16 MiB"),
    "Parquet, strings": ("a.parquet", _parquet("text", "x" * 10**8, 3, "snappy"), ":1: the row is longer than 16 MiB"),
    "Parquet, packed": ("a.parquet", _parquet("text", "x" * 10**8, 2, "zstd"), ": .* compressed bytes stand for"),
    "Parquet, repeated": ("a.parquet", _parquet("tokens", ["a"] * 1000, 40_000, "zstd"), ": .* compressed bytes"),
    "Parquet, a row": ("a.parquet", _parquet("tokens", ["a"] * 20_000_000, 1, "snappy"), ":1: the row is longer"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "write", "expected"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_one_line_in_seconds_and_a_gigabyte(
    name: str, write: Callable[[Path], None], expected: str, baseline: int, tmp_path: Path
) -> None:
    path = tmp_path / name
    write(path)
    kind = "text" if name == "a.txt" else "auto"
    start = time.monotonic()
    said, peak = _run(path, kind, "untagged" if kind == "text" else "tagged")
    assert re.match(re.escape(str(path)) + (r"/a\.txt" if name == "brat" else "") + expected, said), said[:200]
    assert "\n" not in said
    assert peak - baseline < 1_000
    assert time.monotonic() - start < 40


@pytest.mark.parametrize("name", ["a.conll", "a.txt", "a.csv", "a.tsv", "a.json", "a.jsonl", "a.parquet"])
@pytest.mark.parametrize("special", ["pipe", "device"])
@pytest.mark.parametrize("form", ["auto", "as named"])
def test_pipes_and_devices_are_refused(name: str, special: str, form: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if special == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    kind = {"txt": "text"}.get(name[2:], name[2:]) if form == "as named" else "auto"
    with pytest.raises(DataError, match=r"not a regular file; .* --data.predict_file -"):
        list(read_sentences(path, ReadingOptions(format=kind, tagged=kind != "text")))


def test_pipes_in_folders_are_refused(tmp_path: Path) -> None:
    brat, saved = tmp_path / "brat", tmp_path / "saved"
    for folder in (brat, saved):
        folder.mkdir()
    os.mkfifo(brat / "a.txt")
    (saved / "dataset_info.json").write_text("{}")
    os.mkfifo(saved / "state.json")
    for folder in (brat, saved):
        with pytest.raises(DataError, match="not a regular file"):
            list(read_sentences(folder, ReadingOptions(format="brat" if folder == brat else "datasets", tagged=False)))
        with pytest.raises(DataError, match="not a regular file"):
            load_hub_dataset(str(folder), None, None)


def test_a_file_with_a_hole_of_a_terabyte_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("Rome B-LOC\n")
    os.truncate(path, 1 << 40)
    started = time.monotonic()
    with pytest.raises(DataError, match="it contains a mebibyte of zero bytes"):
        store_files(tmp_path / "cache", [path], ReadingOptions())
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("separator", [", ", ",\n", ",\n" + " " * 70_000])
def test_json_of_any_size_is_read_in_stretches(separator: str, tmp_path: Path) -> None:
    """Records, gaps and strings lie across the borders of what is read at a time."""
    words = [[f"{number}é\n" + "x" * (number * 9_973 % 200_000), "\\"] for number in range(60)]
    records = [
        json.dumps({"tokens": each, "ner_tags": ["O", "O"]}, ensure_ascii=number % 2 > 0)
        for number, each in enumerate(words)
    ]
    path = tmp_path / "a.json"
    path.write_text("[" + separator.join(records) + "]")
    sentences = list(read_sentences(path))
    assert [sentence.tokens for sentence in sentences] == words
    assert [sentence.line for sentence in sentences] == [1 + number * separator.count("\n") for number in range(60)]
    path.write_text("[" + separator.join([*records, '{"tokens": ["a" "b"]}']) + "]")
    with pytest.raises(DataError) as caught:
        list(read_sentences(path))
    line = path.read_text().split("\n")[-1]
    assert caught.value.line == 1 + 60 * separator.count("\n")
    column = line.index('"b"') + 1
    assert caught.value.problem == f"no valid JSON (expecting ',' delimiter at column {column})"


def test_the_limit_is_an_option(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"tokens": ["x" * MIB], "ner_tags": ["O"]}) + "\n")
    assert len(list(read_sentences(path, ReadingOptions(max_record_mb=2)))) == 1
    with pytest.raises(DataError, match=r"a\.jsonl:1: the line is longer than 1 MiB; .*raise --data.max_record_mb"):
        list(read_sentences(path, ReadingOptions(max_record_mb=1)))


def test_a_json_file_has_a_largest_size(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    record = json.dumps({"tokens": ["x" * 1000], "ner_tags": ["O"]}) + ",\n"
    path.write_text("[" + record * (16 * MIB // len(record)) + record.rstrip(",\n") + "]")
    with pytest.raises(DataError, match=r"a\.json:[0-9]+: the JSON file is longer than 16 MiB; .*--data.max_record_mb"):
        list(read_sentences(path, ReadingOptions(max_record_mb=1)))
    assert len(list(read_sentences(path))) > 10_000
