"""Every `python -m ner_module` command in a code block of the README and the guides is run, in the order of the page.

With a tiny model, for one epoch or trial, and on a small corpus where the page names the hub. Not run here: what needs
another program or machine (make, torchrun, SLURM, Docker, `hf`; `docs/cluster.md` and `docs/docker.md` have nothing
else), and the measurements of `docs/results.md`, which take hours.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Outcome

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
GUIDES = ("index", "getting-started", "configs", "data", "metrics", "models", "publishing", "report")
FILES = {
    # Broken as the README shows it: on line 7, and by one tag among many.
    "broken.conll": "Ada B-PER\nslept O\n. O\n\nBob B-PER\nate O\nit\n. O\n\n",
    "typo.conll": "Ada B-PER\n\n" * 92 + "Bob B-PRE\n\n" + "Bob B-PER\nslept O\n\n" * 12,
    "texts.txt": "Ada Lovelace met the mayor of Lincoln.\n",
}


def commands(page: str) -> Iterator[tuple[list[str], str]]:
    """The arguments of each command of a page, and the line that the page shows below it."""
    text = (ROOT / f"{page}.md").read_text(encoding="utf-8")
    for block in re.finditer(r"^```(\w*)\n(.*?)^```$|^(?:    [^\n]*\n)+", text, re.DOTALL | re.MULTILINE):
        if block[1] not in (None, "", "sh"):
            continue
        lines = re.sub(r"([\\|])\n\s*", " ", block[2] or block[0]).split("\n")
        for line, below in zip(lines, [*lines[1:], ""], strict=True):
            if found := re.match(r".*?(?<!bin/)python -m ner_module ([^(]*)$", line):
                words = found[1].replace("runs/quickstart/…", "runs/one").replace("$seed", "1")
                yield shlex.split(words, comments=True), below.strip()


@pytest.mark.parametrize("page", ["README", *(f"docs/{name}" for name in GUIDES)])
def test_the_commands_of_a_page_run(
    page: str,
    run_main: Callable[..., Outcome],
    trained_run: Path,
    tiny_model: Callable[..., Path],
    corpus: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "my").mkdir()
    for name, split in (("train", "train"), ("train-1", "train"), ("dev", "validation"), ("test", "test")):
        shutil.copy(corpus / f"{split}.conll", tmp_path / "my" / f"{name}.conll")
    for name, content in FILES.items():
        (tmp_path / "my" / name).write_text(content, encoding="utf-8")
    newest = tmp_path / "runs" / "newest"
    shutil.copytree(trained_run, newest)
    for command in ("validate", "test"):
        run_main(command, "--run_dir", newest, "--data.test_file", "my/test.conll")
    (tmp_path / "drugs.conll").write_text("Aspirin B-DRUG\nhelps O\nAda O\n\n" * 40, encoding="utf-8")
    found = list(commands(page))
    assert found
    for words, below in found:
        arguments, written = (words[: words.index(">")], words[-1]) if ">" in words else (words, "")
        if arguments[0] in ("fit", "audit", "tune"):
            if {"configs/bert_cased.yaml", "--data.dataset_name"} & set(arguments):  # data of the hub
                arguments += ["--data.dataset_name", "null", "--data.train_file", "my/train.conll"]
            model = ["--model.model_name_or_path", str(tiny_model()), "--trainer.max_epochs", "1"]
            if named := next((word for word in arguments if word.startswith("runs/news/")), None):  # a trained tagger
                fewer = ["--data.train_file", "my/train.conll", "--data.label_map", "{MISC: O, ORG: O}"]
                run_main("fit", "--run_dir", named, *model, *fewer)
            arguments += model[2:] if named else model
            arguments = ["1" if word == "30m" else word.replace("--budget", "--trials") for word in arguments]
        else:
            for name in arguments:
                if re.match("runs/|RUN", name) and not (tmp_path / name).exists():
                    shutil.copytree(newest, tmp_path / name)
        fails = below.startswith("error: ")
        outcome = run_main(*arguments, stdin=b"Ada Lovelace met the mayor of Lincoln.\n", check=not fails)
        if fails:
            assert outcome.errors() == [below]
        if written:
            (tmp_path / written).write_text(outcome.out, encoding="utf-8")
