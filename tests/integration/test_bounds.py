"""What other files than data can ask for: pipes, devices, gigabytes of JSON, archives and models larger than any."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ner_module.errors import PretrainedError, RunError
from ner_module.inference.tagger import NERTagger
from ner_module.model.encoder import build_from_base
from ner_module.training.checkpoints import read_checkpoint

ROOT = Path(__file__).parents[2]
RunMain = Callable[..., Any]
_PEAK = """
import sys
from ner_module.__main__ import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1], code)
"""


def _measured(folder: Path, *arguments: object) -> tuple[str, int, int]:
    """What a command says on standard error, its exit code and its peak memory in MiB."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _PEAK, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=True)
    peak, code = done.stdout.split("\n")[-2].split()
    return done.stderr, int(code), int(peak) // 1024


@pytest.fixture
def tested_run(run_main: RunMain, trained_run: Path, tmp_path: Path) -> Path:
    """``run``: a copy of the trained run with scored test data."""
    shutil.copytree(trained_run, tmp_path / "run")
    run_main("test", "--run_dir", "run", "--ckpt_path", "best")
    return tmp_path / "run"


# ---------------------------------------------------------------- pipes and devices


@pytest.mark.parametrize("special", ["pipe", "device"])
@pytest.mark.parametrize(
    "command",
    [
        ["fit", "--run_dir", "new", "--model.model_name_or_path", "MODEL", "--data.train_file", "SPECIAL"],
        ["test", "--run_dir", "run", "--ckpt_path", "best", "--data.test_file", "SPECIAL"],
        ["predict", "--run_dir", "run", "--ckpt_path", "best", "--data.predict_file", "SPECIAL"],
        ["predict", "--ckpt_path", "SPECIAL", "--data.predict_file", "run/config.yaml"],
        ["fit", "--config", "SPECIAL"],
        ["audit", "--data.train_file", "SPECIAL"],
        ["convert", "SPECIAL", "out.conll"],
        ["compare", "SPECIAL", "--against", "SPECIAL"],
        ["export", "--ckpt_path", "run/checkpoints/best.ckpt", "--output", "out", "--data", "SPECIAL"],
    ],
    ids=lambda command: " ".join(part for part in command if part != "SPECIAL")[:40],
)
def test_no_command_waits_for_a_pipe_or_a_device(
    command: list[str],
    special: str,
    run_main: RunMain,
    trained_run: Path,
    tiny_model: Callable[..., Path],
    tmp_path: Path,
) -> None:
    shutil.copytree(trained_run, tmp_path / "run")
    if special == "pipe":
        os.mkfifo(tmp_path / "special")
    else:
        (tmp_path / "special").symlink_to("/dev/zero")
    places = {"SPECIAL": "special", "MODEL": str(tiny_model())}
    outcome = run_main(*(places.get(part, part) for part in command), check=False)
    assert outcome.code == 1, outcome.out
    errors = outcome.errors()
    assert len(errors) == 1, outcome.err + outcome.out
    assert "special" in errors[0]


@pytest.mark.parametrize("name", ["results.json", "audit.json", "predictions/test.jsonl", "config.yaml", "metrics.csv"])
def test_a_pipe_in_a_run_is_one_line(name: str, run_main: RunMain, tested_run: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "run" / name)
    outcome = run_main("report", "run", check=False)
    assert outcome.code in (0, 1)
    assert len(outcome.errors()) == outcome.code, outcome.err


@pytest.mark.slow
def test_standard_input_that_is_no_text(program: Callable[..., Any], trained_run: Path) -> None:
    options = ("predict", "--run_dir", trained_run, "--ckpt_path", "best", "--data.predict_file", "-")
    done = program(*options, stdin="\0" * (3 << 20), check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: standard input holds zero bytes")


# ---------------------------------------------------------------- files of a run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "start", "block", "command"),
    [
        ("results.json", '{"epochs": [', "[],", "report"),
        ("audit.json", '{"findings": [', "[],", "report"),
        ("train_entities.json", '{"PER": {"": [', "[],", "report"),
        ("predictions/test.jsonl", '{"tokens": [', "[],", "compare"),
        ("config.yaml", "model: [", "[],", "report"),
        ("metrics.csv", "step\n", "1\n", "report"),
    ],
)
def test_huge_files_of_a_run_are_one_line_and_little_memory(
    name: str, start: str, block: str, command: str, tested_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(tested_run, tmp_path / "other")
    with (tmp_path / "run" / name).open("w") as file:
        file.write(start)
        for _ in range(100):
            file.write(block * 300_000)
    said, code, peak = _measured(
        tmp_path, command, *(["run", "--against", "other"] if command == "compare" else ["run"])
    )
    assert code == 1
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert name in error
    assert "larger than" in error or "longer than" in error
    assert peak < 1_500


@pytest.mark.parametrize("name", ["results.json", "predictions/test.jsonl"])
def test_deeply_nested_files_of_a_run_are_one_line(
    name: str, run_main: RunMain, tested_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "run" / name).write_text('{"a":' * 100_000)
    outcome = run_main("report", "run", check=False)
    assert outcome.code == 1
    assert len(outcome.errors()) == 1, outcome.err[-500:]


# ---------------------------------------------------------------- checkpoints


def _rewritten(source: Path, target: Path, compression: int, extra: int = 0) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        if extra:
            with new.open("archive/data/bomb", "w", force_zip64=True) as file:
                for _ in range(extra):
                    file.write(bytes(1 << 20))
    return target


def test_a_compressed_checkpoint_is_refused_unread(trained_run: Path, tmp_path: Path) -> None:
    best = trained_run / "checkpoints" / "best.ckpt"
    bomb = _rewritten(best, tmp_path / "bomb.ckpt", zipfile.ZIP_DEFLATED, extra=500)
    with pytest.raises(RunError, match=r"bomb\.ckpt is damaged: .*its entries are larger than the file"):
        read_checkpoint(bomb)
    read_checkpoint(_rewritten(best, tmp_path / "stored.ckpt", zipfile.ZIP_STORED))


@pytest.mark.parametrize("made", [b"cbuiltins\nbytearray\n", b"c__builtin__\nbytearray\n", b"ctorch\nTensor\n"])
def test_a_number_does_not_become_gigabytes(made: bytes, trained_run: Path, tmp_path: Path) -> None:
    best, forged = trained_run / "checkpoints" / "best.ckpt", tmp_path / "forged.ckpt"
    call = made + pickle.dumps(2 * 10**9, protocol=2)[2:-1] + b"\x85R"
    with zipfile.ZipFile(best) as old, zipfile.ZipFile(forged, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            is_pickle = entry.filename.endswith("data.pkl")
            new.writestr(entry.filename, content[:2] + call + b"0" + content[2:] if is_pickle else content)
    with pytest.raises(RunError, match=r"forged\.ckpt is damaged: .*it calls "):
        read_checkpoint(forged)


@pytest.mark.parametrize(
    "place", [("optimizer_states", 0, "state", 0, "exp_avg"), ("state_dict", "model.classifier.bias")]
)
def test_a_tensor_that_repeats_few_bytes_is_refused(place: tuple[Any, ...], trained_run: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(trained_run / "checkpoints" / "best.ckpt", weights_only=True)
    holder = checkpoint
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = torch.zeros(1).expand(10**13)
    checkpoint["itself"] = checkpoint  # no endless walk
    torch.save(checkpoint, tmp_path / "forged.ckpt")
    with pytest.raises(RunError, match=rf"\({place[-1]}: a tensor that is larger than what is stored of it\)"):
        read_checkpoint(tmp_path / "forged.ckpt")


_ABSURD = {
    "num_hidden_layers": 10**9,
    "vocab_size": 10**12,
    "hidden_size": 10**12,
    "intermediate_size": 10**7,
    "num_labels": 10**9,
    "max_position_embeddings": 10**7,
    "num_attention_heads": 10**9,
}


@pytest.mark.parametrize("name", _ABSURD)
def test_a_checkpoint_whose_config_asks_for_an_absurd_model(name: str, trained_run: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(trained_run / "checkpoints" / "best.ckpt", weights_only=True)
    own = checkpoint["ner_module"]
    own["encoder_config"] = json.dumps(json.loads(own["encoder_config"]) | {name: _ABSURD[name]})
    torch.save(checkpoint, tmp_path / "forged.ckpt")
    with pytest.raises(RunError, match=r"contradicts itself|model cannot be built"):
        NERTagger.load(tmp_path / "forged.ckpt")


def test_a_config_of_a_checkpoint_names_no_code(trained_run: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(trained_run / "checkpoints" / "best.ckpt", weights_only=True)
    code = {
        "attn_implementation": "someone/kernel",
        "_attn_implementation": "someone/kernel",
        "auto_map": {"AutoModelForTokenClassification": "someone/code--model.Model"},
        "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    }
    own = checkpoint["ner_module"]
    own["encoder_config"] = json.dumps(json.loads(own["encoder_config"]) | code)
    torch.save(checkpoint, tmp_path / "forged.ckpt")
    tagger = NERTagger.load(tmp_path / "forged.ckpt")
    config = tagger.module.model.config
    assert "someone" not in config.to_json_string() + str(config._attn_implementation)
    assert tagger.predict("Ada went to Rome .") == NERTagger.load(trained_run).predict("Ada went to Rome .")


# ---------------------------------------------------------------- model folders


@pytest.mark.parametrize("name", _ABSURD)
def test_a_model_folder_whose_config_asks_for_an_absurd_model(
    name: str, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny_model(), tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: _ABSURD[name]}))
    with pytest.raises(PretrainedError, match=r"is not plausible|cannot be loaded"):
        build_from_base(str(tmp_path / "model"), None, ["O", "B-PER", "I-PER"])


def test_a_huge_tokenizer_and_a_compressed_weights_file(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    shutil.copytree(tiny_model(), tmp_path / "model")
    os.truncate(tmp_path / "model" / "tokenizer.json", 1 << 30)
    with pytest.raises(PretrainedError, match=r"tokenizer\.json is larger than 128 MiB"):
        build_from_base(str(tmp_path / "model"), None, ["O"])
    os.truncate(tmp_path / "model" / "tokenizer.json", 0)
    torch.save({"weight": torch.zeros(10_000)}, tmp_path / "weights")
    _rewritten(tmp_path / "weights", tmp_path / "model" / "pytorch_model.bin", zipfile.ZIP_DEFLATED)
    with pytest.raises(PretrainedError, match="has a damaged weights file"):
        build_from_base(str(tmp_path / "model"), None, ["O"])
