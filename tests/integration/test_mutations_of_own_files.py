"""Files that the program itself writes, damaged at random, through each command that opens them.

The outcome is that of the undamaged file, or one line that says what is wrong, or the same command's documented way out
with a warning that names the file; never a traceback, a hang, or other numbers without a word.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from test_survive import ROOT

from ner_module.offers import find_commands

MUTATIONS = int(os.environ.get("MUTATIONS", "500"))
"""Of each kind of file."""

# Runs commands, each in a process of its own: forked, for importing torch and building parsers takes seconds.
pytestmark = pytest.mark.skipif(
    not {"audit", "compare", "export", "report"} <= find_commands().keys(), reason="needs the extras it runs"
)

HARNESS = """
import json, os, signal, sys, time
from ner_module.__main__ import main
from ner_module.inference.tagger import NERTagger
from ner_module.errors import UserError
def command(arguments):
    if arguments[0] != "load":
        return main(arguments)
    main.__globals__["_set_up_messages"]()
    try:
        texts = ["Ada Lovelace met the mayor of Lincoln .", "EU rejects German call"]
        found = NERTagger.load(arguments[1]).predict(texts)
        print(json.dumps(found))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
def run(order):
    os.chdir(order["folder"])
    os.environ["NER_MODULE_CACHE"] = os.path.join(order["folder"], "cache")
    for name, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_TRUNC | os.O_CREAT), number)
    code = 1
    try:
        code = command(order["arguments"])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        import traceback; traceback.print_exc()
    sys.stdout.flush(); sys.stderr.flush()
    return code
answers = os.fdopen(os.dup(1), "w")
for line in sys.stdin:
    order = json.loads(line)
    if order["warm"]:
        run(order)
        code = 0
    else:
        child = os.fork()
        if not child:
            os._exit(run(order))
        end, done = time.monotonic() + 60, 0
        while not done:
            time.sleep(0.005)
            done, status = os.waitpid(child, os.WNOHANG)
            if not done and time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(status)
    print(code, file=answers, flush=True)
"""


@dataclass(frozen=True)
class Command:
    """A command line, and what of its outcome must not change."""

    arguments: Sequence[str]
    outcome: Callable[[Path], Any]


def stdout(folder: Path) -> str:
    return (folder / "stdout").read_text()


def scores(command: str, split: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        results = json.loads((folder / "run" / "results.json").read_text())
        return results[command], (folder / "run" / "predictions" / f"{split}.jsonl").read_text()

    return read


def weights_of(folder: Path) -> Any:
    checkpoint = torch.load(folder / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    digest = hashlib.sha256()
    for tensor in checkpoint["state_dict"].values():
        digest.update(tensor.numpy().tobytes())
    return checkpoint["global_step"], digest.hexdigest()


def exported(folder: Path) -> Any:
    files = [path for path in sorted((folder / "out").iterdir()) if path.name != "README.md"]
    return [(path.name, path.read_bytes()) for path in files], re.findall("F1 .*", stdout(folder))


def page(folder: Path) -> str:
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "", (folder / "run" / "report.html").read_text())


BEST = ("--run_dir", "run", "--ckpt_path", "best")
TEXTS = ("--data.predict_file", "in.txt")
TRAIN = ("fit", "--run_dir", "run", "--trainer.max_epochs", "3", "--trainer.enable_progress_bar", "false")
COMMANDS = {
    "test": Command(["test", *BEST], scores("test", "test")),
    "validate": Command(["validate", *BEST], scores("validate", "validation")),
    "predict": Command(["predict", *BEST, "--data.predict_file", "in.txt"], stdout),
    "choose": Command(
        ["predict", *BEST, "--data.predict_file", "in.txt", "--f_beta", "1", "--candidates", "0.5"], stdout
    ),
    "last": Command([*TRAIN, "--ckpt_path", "last"], weights_of),
    "auto": Command([*TRAIN, "--ckpt_path", "auto"], weights_of),
    "export": Command(["export", *BEST, "--output", "out"], exported),
    "audit": Command(["audit", *BEST, "--json"], stdout),
    "report": Command(["report", "run"], page),
    "compare": Command(["compare", "run", "--against", "other", "--resamples", "50"], stdout),
    "load": Command(["load", "run"], stdout),
    "load-last": Command(["load", "run/checkpoints/last.ckpt"], stdout),
    "load-folder": Command(["load", "exported"], stdout),
    "load-onnx": Command(["load", "exported-onnx"], stdout),
}

KINDS: dict[str, tuple[str, int, str]] = {
    "checkpoint": ("run/checkpoints/best.ckpt", MUTATIONS, "load:12 predict:4 test validate export audit"),
    "last checkpoint": ("run/checkpoints/last.ckpt", MUTATIONS, "load-last:18 auto last"),
    "config": ("run/config.yaml", MUTATIONS, "predict:14 test validate export report audit auto"),
    "cache": ("cache/*/*", MUTATIONS, "audit:10 validate:6 test:2 auto last"),
    "results": ("run/results.json", MUTATIONS, "compare:16 test export report auto"),
    "predictions": ("run/predictions/test.jsonl", MUTATIONS, "compare:18 export report"),
    "operating points": ("run/operating_points.json", MUTATIONS, "choose:16 export report"),
    "exported": ("exported/*", MUTATIONS, "load-folder"),
    "onnx": ("exported-onnx/*", MUTATIONS, "load-onnx"),
    "entities": ("run/train_entities.json", MUTATIONS // 10, "report:3 test"),
    "metrics": ("run/metrics.csv", MUTATIONS // 10, "report:3 auto"),
}
"""Kind -> the files, how often they are damaged, and the commands that open them, the quick ones more often."""


# ---------------------------------------------------------------------- mutations

_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**30,
    1e308,
    "x",
    "",
    "\x1b[2J",
    [],
    {},
    [[]],
    {"class_path": "x"},
    ["a", 1],
)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Truncated, zeroed, flipped, swapped, grown, or without a line."""
    size = len(content)
    start = chance.randrange(size)
    stop = min(size, start + chance.choice([1, 8, 64, 512, 4096]))
    other = chance.randrange(size)
    match chance.randrange(7):
        case 0:
            return content[:start]
        case 1:
            return content[:start] + bytes(stop - start) + content[stop:]
        case 2 | 3:
            return content[:start] + bytes([content[start] ^ (1 << chance.randrange(8))]) + content[start + 1 :]
        case 4:
            first, second = sorted([start, other])
            length = min(second - first, size - second, 512)
            a, b = content[first : first + length], content[second : second + length]
            return content[:first] + b + content[first + length : second] + a + content[second + length :]
        case 5:
            return content[:start] + chance.randbytes(stop - start) + content[start:]
        case _:
            lines = content.split(b"\n")
            del lines[chance.randrange(len(lines))]
            return b"\n".join(lines)


def other_value(content: Any, chance: random.Random) -> Any:
    """The same object with one key or item gone, or of another type or value."""
    node: Any = content
    while True:  # a place at each level, for long lists not to take all
        keys = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
        if not keys:
            return chance.choice(_VALUES)
        key = chance.choice(keys)
        if chance.random() < 0.3 or not isinstance(node[key], (dict, list)) or not node[key]:
            break
        node = node[key]
    if chance.random() < 0.2:
        del node[key]
    else:
        node[key] = chance.choice(_VALUES)
    return content


def mutate(path: Path, chance: random.Random) -> bool:
    """Change a file; returns whether other numbers must be noticed: who writes a sound file anew may write others."""
    content = path.read_bytes()
    if chance.random() < 0.6 or path.suffix not in (".json", ".jsonl", ".yaml", ".ckpt"):
        while (changed := damaged(content, chance)) == content and len(content) > 1:
            pass
        path.write_bytes(changed)
        return path.name != "metrics.csv"
    if path.suffix == ".ckpt":
        checkpoint = torch.load(path, weights_only=True)
        torch.save(other_value(checkpoint, chance), path)
        return False
    if path.suffix == ".yaml":
        path.write_text(yaml.safe_dump(other_value(yaml.safe_load(content), chance)))
        return True
    if path.suffix == ".jsonl":
        lines = content.decode().splitlines()
        place = chance.randrange(len(lines))
        lines[place] = json.dumps(other_value(json.loads(lines[place]), chance))
        path.write_text("\n".join(lines) + "\n")
        return True
    known = json.loads(content)
    rewritten = path.name == "ner_module.json" and chance.random() < 0.5
    if rewritten:
        for name in ("checksum", "sha256"):
            known.pop(name, None)
    path.write_text(json.dumps(other_value(known, chance)))
    return not rewritten


# ---------------------------------------------------------------------- the test

Run = Callable[..., int]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """``run(folder, arguments)`` runs a command there and returns its exit code."""
    process = subprocess.Popen(
        [sys.executable, "-c", HARNESS],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def order(folder: Path, arguments: Sequence[str], warm: bool = False) -> int:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"folder": str(folder), "arguments": arguments, "warm": warm}) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    yield order
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def whole(run: Run, tiny_model: Any, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, all that the commands write, and nothing damaged."""
    folder = tmp_path_factory.mktemp("whole")
    files = [("train", "train"), ("validation", "validation"), ("test", "test")]
    data = [part for split, name in files for part in (f"--data.{split}_file", str(corpus / f"{name}.conll"))]
    (folder / "in.txt").write_text("Ada Lovelace met the mayor of Lincoln .\nEU rejects German call\n")
    fit = [*TRAIN, *data, "--model.model_name_or_path", str(tiny_model()), "--model.learning_rate", "1e-2"]
    fit[fit.index("--trainer.max_epochs") + 1] = "2"
    assert run(folder, fit) == 0, (folder / "stderr").read_text()
    for name in ("test", "validate"):
        assert run(folder, COMMANDS[name].arguments) == 0, (folder / "stderr").read_text()
    shutil.copytree(folder / "run", folder / "other")
    for name, kind in (("exported", "transformers"), ("exported-onnx", "onnx")):
        assert run(folder, ["export", *BEST, "--output", name, "--format", kind]) == 0, (folder / "stderr").read_text()
    warm = tmp_path_factory.mktemp("warm") / "whole"
    shutil.copytree(folder, warm)
    for name, command in COMMANDS.items():
        if name not in ("last", "auto"):  # no thread must be left when processes fork
            run(warm, command.arguments, warm=True)
    return folder


def messages(folder: Path) -> set[str]:
    return set((folder / "stderr").read_text(errors="replace").splitlines())


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_told(kind: str, run: Run, whole: Path, tmp_path: Path) -> None:
    pattern, count, weights = KINDS[kind]
    shares = [entry.partition(":") for entry in weights.split()]
    commands = [name for name, _, share in shares for _ in range(int(share or 1))]
    expected: dict[str, Any] = {}
    known: dict[str, set[str]] = {}
    for name in sorted(set(commands)):
        shutil.copytree(whole, tmp_path / "same")
        assert run(tmp_path / "same", COMMANDS[name].arguments) == 0, messages(tmp_path / "same")
        expected[name], known[name] = COMMANDS[name].outcome(tmp_path / "same"), messages(tmp_path / "same")
        shutil.rmtree(tmp_path / "same")
    top = Path(pattern).parts[0]
    needed = ("run", "cache", "other", "in.txt") if top in ("run", "cache") else (top,)
    problems = []
    for seed in range(count):
        chance, folder = random.Random(f"{kind} {seed}"), tmp_path / "damaged"
        folder.mkdir()
        for part in needed:
            copy = shutil.copytree if (whole / part).is_dir() else shutil.copy2
            copy(whole / part, folder / part)
        files = [path for path in sorted(folder.glob(pattern)) if path.name != "README.md" and path.stat().st_size]
        path = chance.choice(files)
        must_tell = mutate(path, chance)
        name = chance.choice(commands)
        code = run(folder, COMMANDS[name].arguments)
        problem = outcome_problem(code, folder, path, COMMANDS[name], expected[name], known[name], must_tell)
        if problem:
            problems.append(f"seed {seed}, {path.relative_to(folder)}, {name}: {problem}")
            print(problems[-1])
        shutil.rmtree(folder)
    assert not problems, f"{len(problems)} of {count}\n" + "\n".join(problems[:40])


def outcome_problem(
    code: int, folder: Path, path: Path, command: Command, expected: Any, known: set[str], must_tell: bool
) -> str | None:
    """What is wrong with how a command dealt with a damaged file; ``None`` where nothing is."""
    found = messages(folder)
    said = "\n".join(sorted(found - known))
    if code not in (0, 1) or "Traceback" in said or "please report this" in said:
        return f"exit code {code}\n{said[-1500:]}"
    if code == 1:
        errors = [line for line in found if line.startswith("error: ")]
        return None if len(errors) == 1 else f"{len(errors)} errors\n{said[-1500:]}"
    told = path.name in said or path.parent.name in said
    if must_tell and not told and command.outcome(folder) != expected:
        return f"another outcome without a word\n{said[-500:]}"
    return None
