"""`configs/bert_cased.yaml`, unmodified, against a hub: downloads, what goes wrong there, offline, and push.

The hub is one on loopback (`tests/hub_server.py`); anything else a client process might ask goes to a proxy that is not
there. A client reads where the hub is when it starts, so each case is a process of its own, and most are slow.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Fault, Hub, serve
from run_files import conll_sentences, json_lines, results
from tiny_models import make_tiny_model

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "bert_cased.yaml"
MODEL, DATASET = "google-bert/bert-base-cased", "lhoestq/conll2003"
NAMES = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]
CONVERTED = "refs/convert/parquet"

Client = Callable[..., subprocess.CompletedProcess[str]]


def write_dataset(folder: Path, corpus: Path, sentences: int, inside: str = "data") -> None:
    """Train, validation and test as parquet files, tags as integers with names, as the hub's CoNLL-2003 has them."""
    from datasets import ClassLabel, Dataset, Features, Sequence, Value

    features = Features({"tokens": Sequence(Value("string")), "ner_tags": Sequence(ClassLabel(names=NAMES))})
    for split in ("train", "validation", "test"):
        rows = conll_sentences(corpus / f"{split}.conll")[:sentences]
        columns = {
            "tokens": [words for words, _ in rows],
            "ner_tags": [[NAMES.index(tag) for tag in tags] for _, tags in rows],
        }
        path = folder / inside / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        Dataset.from_dict(columns, features=features).to_parquet(path)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """What the hub serves: a tiny random BERT under the recipe's name, and a small dataset in three revisions."""
    root = tmp_path_factory.mktemp("stock")
    model = make_tiny_model("bert-cased", root / "models" / MODEL, max_positions=512)
    (model / "README.md").write_text("---\nlicense: apache-2.0\n---\n# BERT\n", encoding="utf-8")
    dataset = root / "datasets" / DATASET
    write_dataset(dataset, corpus, 30)
    (dataset / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# CoNLL\n", encoding="utf-8")
    write_dataset(dataset.with_name("conll2003@refs%2Fconvert%2Fparquet"), corpus, 20, "conll2003")
    write_dataset(dataset.with_name("conll2003@old"), corpus, 10)
    return root


@pytest.fixture
def hub(stock: Path, tmp_path: Path) -> Iterator[Hub]:
    shutil.copytree(stock, tmp_path / "hub")
    with serve(tmp_path / "hub") as running:
        running.tokens["secret-of-alice"] = "alice"
        yield running


@pytest.fixture
def client(hub: Hub, tmp_path: Path) -> Client:
    """``client("fit", …, HF_TOKEN=…)`` runs the program as a user of this hub, with an empty cache at first."""
    nowhere = "http://127.0.0.1:9"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | {
        "PYTHONPATH": str(ROOT),
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "NER_MODULE_CACHE": str(tmp_path / "cache"),
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "ALL_PROXY": nowhere,
        "NO_PROXY": "127.0.0.1,localhost",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "120",
    }

    def run(*arguments: object, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ner_module", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment | more, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    return run


def fit(client: Client, *options: object, **more: Any) -> subprocess.CompletedProcess[str]:
    return client("fit", "--config", CONFIG, "--run_dir", "run", *options, **more)


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line a user sees."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_recipe_trains_unmodified_then_offline(client: Client, hub: Hub, tmp_path: Path) -> None:
    done = fit(client)
    assert "30 sentences" in done.stderr
    assert len(results(tmp_path / "run")["epochs"]) == 3
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert f"base_model: {MODEL}" in card
    assert f"- {DATASET}" in card
    for name in ("model.safetensors", "test-00000-of-00001.parquet"):
        assert len([line for line in hub.requests if "_storage" in line and line.endswith(name)]) == 1, "once"
    hub.requests.clear()
    shutil.rmtree(tmp_path / "run")
    fit(client, "--trainer.fast_dev_run", "true", HF_HUB_OFFLINE="1")
    assert not hub.requests


def test_unknown_model(client: Client) -> None:
    done = fit(client, "--model.model_name_or_path", "nobody/nothing", code=1)
    assert error_of(done) == (
        "error: the model 'nobody/nothing' exists neither as a folder here nor on the hub: check the name, or log in "
        "if it is private"
    )


@pytest.mark.slow
def test_unknown_dataset_revision_and_gated(client: Client, hub: Hub) -> None:
    done = fit(client, "--data.dataset_name", "nobody/nothing", code=1)
    assert "dataset 'nobody/nothing'" in error_of(done)
    assert "--data.dataset_name" in error_of(done)
    done = fit(client, "--data.dataset_revision", "nowhere", code=1)
    assert "--data.dataset_revision" in error_of(done)
    done = fit(client, "--model.revision", "nowhere", code=1)
    assert "has no revision 'nowhere'" in error_of(done)
    hub.gated.update({MODEL, DATASET})
    done = fit(client, code=1)
    assert "hf auth login" in error_of(done)
    done = fit(
        client, "--data.dataset_name", "null", "--data.train_file", ROOT / "ner_module/data/sample/test.conll", code=1
    )
    assert "is gated: accept its terms on the hub and log in with `hf auth login`" in error_of(done)


@pytest.mark.slow
@pytest.mark.parametrize("revision", [CONVERTED, "old"])
def test_dataset_revisions(client: Client, tmp_path: Path, revision: str) -> None:
    """Each revision is its own data, offline too, where `datasets` alone would take the newest it has."""
    sentences = {CONVERTED: 20, "old": 10}[revision]
    options = ("--data.dataset_revision", revision, "--trainer.fast_dev_run", "true")
    assert f"{sentences} sentences" in fit(client, *options).stderr
    assert "30 sentences" in fit(client, *options[2:]).stderr
    assert f"{sentences} sentences" in fit(client, *options, HF_HUB_OFFLINE="1").stderr


@pytest.mark.slow
def test_dataset_at_a_pinned_commit(client: Client, hub: Hub, corpus: Path) -> None:
    """The branch moves on; the commit stays what it was."""
    pinned = hub.commit(hub.folder("datasets", DATASET))
    options = ("--data.dataset_revision", pinned, "--trainer.fast_dev_run", "true")
    assert "30 sentences" in fit(client, *options).stderr
    hub.folder("datasets", DATASET).rename(hub.folder("datasets", DATASET, "before"))
    write_dataset(hub.folder("datasets", DATASET), corpus, 15)
    assert "15 sentences" in fit(client, *options[2:]).stderr
    assert "30 sentences" in fit(client, *options).stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET .*_storage.*model.safetensors", status=503, times=2),
        Fault("GET .*_storage.*train.*parquet", status=503, times=2),
        Fault("GET .*_storage.*train.*parquet", cut=0.5),
        Fault("GET .*_storage.*train.*parquet", corrupt=True),
        Fault("GET /api/datasets", status=503, times=2),
    ],
    ids=lambda fault: f"{fault.match.rsplit('*', 1)[-1]}-{fault.status or ('cut' if fault.cut else 'corrupt')}",
)
def test_passing_failures_are_survived(client: Client, hub: Hub, fault: Fault) -> None:
    hub.faults.append(fault)
    fit(client, "--trainer.fast_dev_run", "true")
    assert fault.times == 0, "the fault was met"


@pytest.mark.slow
@pytest.mark.parametrize("match", ["_storage.*model.safetensors", "_storage.*train.*parquet"])
def test_lasting_failures_are_one_line(client: Client, hub: Hub, match: str) -> None:
    hub.faults.append(Fault(match, times=-1, corrupt=True))
    line = error_of(fit(client, "--trainer.fast_dev_run", "true", code=1))
    assert "other bytes than it announced" in line
    assert (MODEL if "safetensors" in match else DATASET) in line


@pytest.mark.slow
def test_dead_hub(client: Client, tmp_path: Path) -> None:
    """A hub that is down: one line with an empty cache, and the cache at once when it is full."""
    import time

    dead = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    line = error_of(fit(client, "--trainer.fast_dev_run", "true", code=1, **dead))
    assert "cannot be" in line
    line = error_of(fit(client, "--trainer.fast_dev_run", "true", code=1, HF_HUB_OFFLINE="1"))
    assert "cannot be" in line
    fit(client, "--trainer.fast_dev_run", "true")
    start = time.monotonic()
    done = fit(client, "--trainer.fast_dev_run", "true", **dead)
    assert "using what is in the cache" in done.stderr
    assert time.monotonic() - start < 40


@pytest.fixture
def trained(trained_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained_run, tmp_path / "trained"))


@pytest.mark.slow
def test_uploaded_and_loaded_again(client: Client, hub: Hub, trained: Path, tmp_path: Path) -> None:
    """Exported, uploaded with the hub's own command, and loaded by its id."""
    client("export", "--run_dir", trained, "--output", "out", "--name", "alice/tagger")
    there = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "secret-of-alice"}
    hf = Path(sys.executable).with_name("hf")
    subprocess.run([hf, "upload", "alice/tagger", "out"], cwd=tmp_path, env=os.environ | there, check=True)
    pushed = hub.folder("models", "alice/tagger")
    for path in (tmp_path / "out").iterdir():
        assert (pushed / path.name).read_bytes() == path.read_bytes()
    assert 'NERTagger.load("alice/tagger")' in (pushed / "README.md").read_text(encoding="utf-8")
    loaded = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import json, sys\nfrom ner_module import NERTagger\n"
            "for line in NERTagger.load('alice/tagger').predict(json.load(sys.stdin)): print(json.dumps(line))",
        ],
        input=json.dumps([row["tokens"] for row in json_lines((trained / "predictions/test.jsonl").read_text())])
        if (trained / "predictions").is_dir()
        else '[["Anna", "met", "Ben"]]',
        env=os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf2")},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert loaded.returncode == 0, loaded.stderr
    from ner_module import NERTagger

    expected = NERTagger.load(trained).predict([json.loads(line)["tokens"] for line in loaded.stdout.splitlines()])
    assert [json.loads(line) for line in loaded.stdout.splitlines()] == expected
