"""Downloads from a hub on loopback that fails in every way it can; in this process, with the client's real code.

Whole commands against such a hub, one process each, are in `tests/integration/test_hub_path.py`.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from hub_server import Fault, Hub, serve
from tiny_models import make_tiny_model

from ner_module import hub_files
from ner_module.errors import PretrainedError
from ner_module.hub_files import fetch_model, hub_is_reachable, is_intact
from ner_module.tokenizer import load_tokenizer

MODEL = "acme/tiny-bert"


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stock")
    make_tiny_model("bert-cased", root / "models" / MODEL)
    (root / "models" / MODEL / "flax_model.msgpack").write_bytes(b"not needed")
    return root


@pytest.fixture
def hub(stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    shutil.copytree(stock, tmp_path / "hub")
    with serve(tmp_path / "hub") as running:
        point_at(running.url, tmp_path, monkeypatch)
        yield running
    forget()


def point_at(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(hub_files, "_WAITS", (0, 0, 0))
    forget()


def forget() -> None:
    fetch_model.cache_clear()
    hub_is_reachable.cache_clear()


def assert_whole(folder: Path, stock: Path) -> None:
    original = stock / "models" / MODEL
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in original.iterdir()} - {"flax_model.msgpack"}
    for name in names:
        assert (folder / name).read_bytes() == (original / name).read_bytes()


def test_only_what_is_needed_and_only_once(hub: Hub, stock: Path) -> None:
    assert_whole(fetch_model(MODEL, None), stock)
    assert not any("msgpack" in line for line in hub.requests)
    hub.requests.clear()
    load_tokenizer(MODEL)
    assert hub.requests == [], "one download serves tokenizer, config and weights"


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("_storage/.*model.safetensors", "503"),
        pytest.param("_storage/.*model.safetensors", "cut", marks=pytest.mark.slow),  # the client waits ten seconds
        ("_storage/.*model.safetensors", "corrupt"),
        ("resolve/.*tokenizer.json", "corrupt"),
        pytest.param("resolve/.*tokenizer.json", "503", marks=pytest.mark.slow),
        pytest.param("resolve/.*tokenizer.json", "429", marks=pytest.mark.slow),
        pytest.param("/api/models", "503", marks=pytest.mark.slow),  # the client itself waits
        pytest.param("/api/models", "cut", marks=pytest.mark.slow),
    ],
)
def test_passing_failures(hub: Hub, stock: Path, target: str, kind: str) -> None:
    fault = {
        "503": Fault(f"GET .*{target}", status=503, times=2),
        "429": Fault(f"GET .*{target}", status=429),
        "cut": Fault(f"GET .*{target}", cut=0.5),
        "corrupt": Fault(f"GET .*{target}", corrupt=True),
    }[kind]
    hub.faults.append(fault)
    assert_whole(fetch_model(MODEL), stock)
    assert fault.times == 0, "the fault was met"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("_storage/.*model.safetensors", status=503, times=-1), r"cannot be loaded: .*503"),
        (Fault("_storage/.*model.safetensors", corrupt=True, times=-1), r"sent model.safetensors with other bytes"),
        (Fault("_storage/.*model.safetensors", status=404, times=-1), r"404"),
    ],
    ids=["503", "corrupt", "404"],
)
def test_lasting_failures(hub: Hub, fault: Fault, message: str) -> None:
    hub.faults.append(fault)
    with pytest.raises(PretrainedError, match=message) as caught:
        load_tokenizer(MODEL)
    assert str(caught.value).startswith(f"the model '{MODEL}' ")
    assert "\n" not in str(caught.value)


def test_access(hub: Hub) -> None:
    with pytest.raises(PretrainedError, match="exists neither as a folder here nor on the hub"):
        load_tokenizer("acme/nothing")
    with pytest.raises(PretrainedError, match="has no revision 'v9'"):
        load_tokenizer(MODEL, "v9")
    hub.gated.add(MODEL)
    with pytest.raises(PretrainedError, match="is gated: accept its terms"):
        load_tokenizer(MODEL)


def test_a_damaged_cache_is_mended(hub: Hub, stock: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = fetch_model(MODEL) / "model.safetensors"
    blob = weights.resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"\0")
    assert not is_intact(weights)
    forget()
    with caplog.at_level(logging.WARNING):
        assert_whole(fetch_model(MODEL), stock)
    assert "model.safetensors is damaged" in caplog.text


def test_a_dead_hub_is_asked_once(
    hub: Hub, stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fetch_model(MODEL)
    point_at("http://127.0.0.1:9", tmp_path, monkeypatch)
    with caplog.at_level(logging.WARNING):
        assert_whole(fetch_model(MODEL), stock)
        with pytest.raises(PretrainedError, match=r"the hub cannot be reached"):
            load_tokenizer("acme/other")
    assert caplog.text.count("cannot be reached") == 1


def test_old_weights_where_there_are_no_others(hub: Hub) -> None:
    folder = hub.folder("models", MODEL)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert (fetch_model(MODEL) / "pytorch_model.bin").is_file()


def test_files_outside_the_cache_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert is_intact(tmp_path / "file")
    assert is_intact(tmp_path / "link")
