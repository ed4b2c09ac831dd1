"""Damaged files: each is read, or refused with its line; a misspelt tag or swapped columns are never taken in silence.

Corpora of every format are damaged at random (bytes, cut lines, swapped columns, misspelt tags). Whatever comes out
must be a :class:`DataError` that names the file and a line, or sentences; where tags changed, the reader or the census
must say so. Anything else, a hang included, fails with the seed that reproduces it.
"""

import csv
import gzip
import json
import random
import re
import shutil
import signal
from collections import Counter

import pytest
from datasets import Dataset
from tool_exports import write_all

from ner_module.data.formats import read_sentences
from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.tag_census import Suspicion, TagCensus, suspicious_tags
from ner_module.errors import DataError
from ner_module.extras.convert.command import main as convert
from ner_module.tagging import tags_to_spans

WORDS = ["the", "a", "of", "in", "at", "said", "on", "#", "#tag"]
WORDS += ["--", "12", "3,000", "U.S.", "é", "東京", "😀", ",", "."]
WORDS += ["'", '"', ";", "Word", "text", "O", "I", "B-12", "tag", "x\u2028y", "n\xa0b", "two words"]
NAMES = ["Ann Lee", "Berlin", "New York", "ACME", "Ünal", "San José State"]
TYPES = ["PER", "LOC", "creative-work", "ORG"]
COLUMNS = {
    "conll": ("\t", 0, 1),
    "crlf": ("\t", 0, 1),
    "conllu": ("\t", 1, 3),
    "space": (" +", 0, 2),
    "germeval": ("\t", 1, 2),
    "hipe": ("\t", 0, 1),
    "csv": (",", 1, 2),
    "tsv": ("\t", 1, 2),
}
SECONDS_PER_FILE = 20


def suspicious(census: TagCensus) -> list[Suspicion]:
    return suspicious_tags(census.seen())


def make_corpus(path, sentences=60):
    """A CoNLL file written here, with documents, IOB2."""
    rng = random.Random(5)
    lines = []
    for index in range(sentences):
        if index % 20 == 0:
            lines += ["-DOCSTART-\tO", ""]
        for _ in range(rng.randint(1, 9)):
            if rng.random() < 0.3:
                entity_type = rng.choice(TYPES)
                for position, word in enumerate(rng.choice(NAMES).split()):
                    lines.append(f"{word}\t{'I' if position else 'B'}-{entity_type}")
                lines.append(f"{rng.choice(WORDS)}\tO")
            else:
                lines.append(f"{rng.choice(WORDS)}\tO")
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Format -> file (or folder) of the same corpus, each with a tag inventory as read undamaged."""
    folder = tmp_path_factory.mktemp("originals")
    source = folder / "tab.conll"
    make_corpus(source)
    made = {"conll": source}
    targets = {
        "jsonl": "a.jsonl",
        "doccano": "d.jsonl",
        "label-studio": "ls.json",
    }
    for target, name in targets.items():
        assert convert([str(source), str(folder / name), "--to", target]) == 0
        made[target] = folder / name
    made["brat"] = folder / "brat"
    write_brat(made["brat"], list(read_sentences(source)))
    for name, delimiter in {"csv": ",", "tsv": "\t", "semicolons": ";"}.items():
        made[name] = folder / f"{name}.{name if name == 'tsv' else 'csv'}"
        with made[name].open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
            writer.writerow(["sentence_id", "token", "tag", "document"])
            for number, s in enumerate(read_sentences(source), 1):
                writer.writerows([number, word, tag, s.document] for word, tag in zip(s.tokens, s.tags, strict=True))
    records = [json.loads(line) for line in made["jsonl"].read_text(encoding="utf-8").split("\n")[:-1]]
    made["json"], made["parquet"], made["datasets"] = folder / "a.json", folder / "a.parquet", folder / "saved"
    made["json"].write_text("[" + ",\n".join(map(json.dumps, records)) + "]", encoding="utf-8")
    Dataset.from_list(records).to_parquet(str(made["parquet"]))
    Dataset.from_list(records).save_to_disk(str(made["datasets"]))
    text = source.read_text(encoding="utf-8")
    made["gzip"] = folder / "z.conll.gz"
    made["gzip"].write_bytes(gzip.compress(text.encode(), mtime=0))
    made["space"] = folder / "space.conll"
    spaced = re.sub(r"(?m)^(.+)\t(.+)$", lambda m: f"{m[1].replace(' ', '_')} NN  {m[2]}", text)
    made["space"].write_text(spaced, encoding="utf-8")
    made["conllu"] = folder / "u.conllu"
    made["conllu"].write_text(number_words(text), encoding="utf-8")
    made["germeval"] = folder / "g.tsv"
    made["germeval"].write_text(germeval(text), encoding="utf-8")
    made["hipe"] = folder / "h.tsv"
    rows = [re.sub(r"\t(.*)", r"\t\1\t_\tNoSpaceAfter", line) if line else "" for line in of_words(text)]
    made["hipe"].write_text("\n".join(["TOKEN\tNE-COARSE-LIT\tNEL-LIT\tMISC", *rows]), encoding="utf-8")
    made["crlf"] = folder / "crlf.conll"
    made["crlf"].write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    made["csv-sentences"] = folder / "s.csv"
    sentences = list(read_sentences(source))
    rows = [json.dumps(s.tokens, ensure_ascii=False).replace('"', '""') for s in sentences]
    tags = [str(s.tags) for s in sentences]
    made["csv-sentences"].write_text(
        "tokens,ner_tags\n" + "".join(f'"{row}","{tag}"\n' for row, tag in zip(rows, tags, strict=True)),
        encoding="utf-8",
    )
    # What the table of formats does not write; spaces separate words in some of them.
    simple = [each for each in sentences if each.tokens == " ".join(each.tokens).split(" ")]
    (folder / "exports").mkdir()
    made = write_all(folder / "exports", simple) | made
    return {name: (path, inventory(path)) for name, path in made.items()}


def write_brat(folder, sentences):
    """A document a name, a sentence a line."""
    folder.mkdir()
    texts, annotations = {}, {}
    for sentence in sentences:
        words, name = sentence.tokens, sentence.document.rpartition("#")[2]
        text, lines = texts.get(name, ""), annotations.setdefault(name, [])
        for start, end, entity_type in tags_to_spans(sentence.tags):
            begin, quote = len(text) + len(" ".join([*words[:start], ""])), " ".join(words[start:end])
            lines.append(f"T{len(lines) + 1}\t{entity_type} {begin} {begin + len(quote)}\t{quote}\n")
        texts[name] = text + " ".join(words) + "\n"
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8", newline="")
        (folder / f"{name}.ann").write_text("".join(annotations[name]), encoding="utf-8", newline="")


def of_words(text):
    return [line for line in text.split("\n") if not line.startswith("-DOCSTART-")]


def germeval(text):
    """Words are numbered, nested entities have a column, and a comment with a tab at its end precedes a sentence."""
    lines, number = ["#\thttp://example.org\t[2010]\t"], 0
    for line in of_words(text):
        number = number + 1 if line else 0
        lines.append(f"{number}\t{line}\t-" if line else "\n#\thttp://example.org\t[2010]\t")
    return "\n".join(lines)


def number_words(text):
    lines, number = ["# global.columns = ID FORM MISC NER"], 0
    for line in text.split("\n"):
        if line.startswith("-DOCSTART-"):
            line = "# newdoc"
        elif line:
            number += 1
            line = f"{number}\t" + line.replace("\t", "\t_\t")
        else:
            number = 0
        lines.append(line)
    return "\n".join(lines)


def inventory(path):
    counts = SpanCounts()
    return {tag for sentence in read_sentences(path, span_counts=counts) for tag in sentence.tags}


class Damage:
    """One random damage to a file; ``columns`` are the separator and the numbers of words and tags, if it has any."""

    def __init__(self, rng, tags, columns):
        self.rng = rng
        self.tags = tags
        self.columns = columns

    def flip_bits(self, data):
        data = bytearray(data)
        for _ in range(self.rng.choice([1, 1, 1, 2, 8])):
            data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        return bytes(data)

    def change_bytes(self, data):
        data = bytearray(data)
        at = self.rng.randrange(len(data))
        data[at : at + self.rng.choice([0, 1, 1, 5])] = self.rng.randbytes(self.rng.choice([0, 1, 1, 5]))
        return bytes(data)

    def cut_file(self, data):
        return data[: self.rng.randrange(len(data))]

    def cut_line(self, data):
        lines = data.split(b"\n")
        at = self.rng.randrange(len(lines))
        lines[at] = lines[at][: self.rng.randrange(len(lines[at]) + 1)]
        return b"\n".join(lines)

    def misspell(self, data):
        """Misspell one tag, in a way that gives no tag of the corpus."""
        text = data.decode("utf-8")
        typed, outside = r"(?<=[\t '\",])[BI]-[A-Za-z-]+(?=[\s'\",]|$)", r"(?<=\t)(?<!-DOCSTART-\t)O(?=\r?\n)"
        place = self.rng.choice(list(re.finditer(f"{typed}|{outside}", text)))
        tag = place[0]
        if tag == "O":
            wrong = self.rng.choice(["o", "0", "Q", "OO", "_", "-", "B", "I"])
        else:
            prefix, name = tag[0], tag[2:]
            at = self.rng.randrange(len(name) - 1)
            wrong = self.rng.choice(
                [
                    f"{prefix}-{name[:at]}{name[at + 1]}{name[at]}{name[at + 2 :]}",
                    f"{prefix}-{name[:at]}{name[at + 1 :]}",
                    f"{prefix}-{name[:at]}{name[at]}{name[at:]}",
                    f"{prefix}-{name[:at]}x{name[at + 1 :]}",
                    f"{prefix}-{name.swapcase()}",
                    f"{prefix}_{name}",
                    f"{prefix}{name}",
                    f"{prefix}-",
                    f"{prefix}",
                    f"-{name}",
                    name,
                    f"{prefix.lower()}-{name}",
                    f"{prefix}--{name}",
                    f"X-{name}",
                    f"L-{name}",
                ]
            )
        if wrong in self.tags:
            return None
        return (text[: place.start()] + wrong + text[place.end() :]).encode()

    def swap_line(self, data):
        """Exchange word and tag on one line."""
        lines = data.decode("utf-8").split("\n")
        at = self.rng.choice([i for i, line in enumerate(lines) if self.is_row(line)])
        cells = re.split(self.columns[0], lines[at].rstrip("\r"))
        if cells[self.columns[1]] in self.tags:
            return None
        lines[at] = self.swapped(cells)
        return "\n".join(lines).encode()

    def swap_file(self, data):
        """Exchange words and tags on all lines from a sentence near the start on."""
        lines = data.decode("utf-8").split("\n")
        rows = [i for i, line in enumerate(lines) if self.is_row(line)]
        start = rows[self.rng.randrange(len(rows) // 2)]
        for at in rows:
            if at >= start:
                lines[at] = self.swapped(re.split(self.columns[0], lines[at].rstrip("\r")))
        return "\n".join(lines).encode()

    def is_row(self, line):
        return bool(re.search(self.columns[0], line)) and '"' not in line and not line.startswith(("-DOC", "#", "sent"))

    def swapped(self, cells):
        _, word, tag = self.columns
        cells[word], cells[tag] = cells[tag], cells[word]
        return self.columns[0].removesuffix("+").join(cells)


def read_damaged(path):
    """``(error, census, tags)``; the census gets all that was read."""
    census, tags, counts = TagCensus(), Counter(), SpanCounts()
    try:
        for sentence in read_sentences(path, span_counts=counts):
            assert len(sentence.tags) == len(sentence.tokens)
            if sentence.offsets is not None:
                assert [sentence.text[a:b] for a, b in sentence.offsets] == sentence.tokens
            census.add(sentence.tags, str(path), sentence)
            tags.update(sentence.tags)
    except DataError as error:
        return error, census, tags
    return None, census, tags


def run(originals, folder, count, seed):
    """Damage and read ``count`` files; returns how many were refused, suspected and read."""
    outcomes = Counter()

    def too_slow(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, too_slow)
    names = sorted(originals)
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        name = names[number % len(names)]
        path, tags = originals[name]
        damage = Damage(rng, tags, COLUMNS.get(name))
        kinds = ["flip_bits", "change_bytes", "cut_file", "cut_line"]
        if name in COLUMNS:
            kinds += ["swap_line", "swap_file"]
        if name in COLUMNS or name in ("jsonl", "json", "csv-sentences"):
            kinds += ["misspell", "misspell"]
        kind = rng.choice(kinds)
        copy = folder / path.name
        if path.is_dir():
            shutil.copytree(path, copy, dirs_exist_ok=True)
            victim = rng.choice(sorted(entry for entry in copy.iterdir() if entry.is_file()))
        else:
            victim = copy
            shutil.copyfile(path, copy)
        data = victim.read_bytes()
        damaged = getattr(damage, kind)(data)
        if damaged is None or damaged == data:
            continue
        victim.write_bytes(damaged)
        where = f"seed {seed}-{number}: {kind} of {name}"
        signal.alarm(SECONDS_PER_FILE)
        try:
            error, census, found = read_damaged(copy)
        except Exception as crash:
            pytest.fail(f"{where} gave {type(crash).__name__}: {crash}")
        finally:
            signal.alarm(0)
        if error is not None:
            assert str(error).startswith(f"{error.path}"), where
            assert error.problem, where
            assert error.advice, where
            whole_file = len(damaged) == 0 or name in ("parquet", "datasets", "brat") or "no sentence" in error.problem
            assert error.line is not None or whole_file, f"{where}: {error}"
            outcomes["refused"] += 1
            continue
        suspicions = suspicious(census)
        new = set(found) - tags
        if kind in ("misspell", "swap_line", "swap_file"):
            assert suspicions, f"{where} was read in silence; new tags {new}"
            assert all(suspicion.line is not None for suspicion in suspicions)
        # Parquet stores each tag once: changed there, it is a new name used consistently, as good as any.
        renamed = name == "parquet" and len(new) <= len(tags - set(found))
        known = {tag for tag in tags & set(found) if tag != "O"}
        # Cut inside the first mention of a type: nothing in what is left says what the type was to be.
        begun = {tag[2:] for tag in new}
        first_of_type = kind == "cut_file" and not any(tag[2:].startswith(part) for tag in known for part in begun)
        if new and not renamed and not first_of_type:
            assert new & {suspicion.tag for suspicion in suspicions}, f"{where} was read in silence; new tags {new}"
        outcomes["suspected" if suspicions else "read"] += 1
    return outcomes


def test_damaged_files_are_read_or_refused_with_their_line(originals, tmp_path):
    outcomes = run(originals, tmp_path, 320, seed=1)
    # The damage is not all of one kind: a test that only ever saw refusals would prove nothing.
    assert outcomes["refused"] > 100
    assert outcomes["suspected"] > 30
    assert outcomes["read"] > 25


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_damaged_files(originals, tmp_path):
    outcomes = run(originals, tmp_path, 10_500, seed=2)
    assert outcomes.total() >= 10_000
    print(dict(outcomes))


def test_undamaged_files_are_not_suspected(originals):
    for name, (path, _) in originals.items():
        error, census, _ = read_damaged(path)
        assert error is None, name
        assert suspicious(census) == [], name
