"""The image, built and run: as nobody in particular, on a read-only root, without a network.

It is built where there is a base to build it from, which the environment names:

* ``NER_TEST_BASE_IMAGE``: an image with Python >= 3.11 that the builder has already;
* ``NER_TEST_BUILD_OPTIONS``, ``NER_TEST_RUN_OPTIONS``: what the builder needs besides, such as a build secret.

The builder is buildah with podman, or docker. A build from nothing takes minutes; layers are kept.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
IMAGE = "localhost/ner-module:test"
CANARY = "hf_" + "canaryImageTokenNobodyKnows012345"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def engine() -> str:
    """Build the image, or skip; the command that runs it."""
    base = os.environ.get("NER_TEST_BASE_IMAGE")
    if not base:
        pytest.skip("NER_TEST_BASE_IMAGE names no base image")
    if shutil.which("buildah") and shutil.which("podman"):
        build, engine = ["buildah", "build", "--format", "docker", "--layers", "--pull-never"], "podman"
    elif shutil.which("docker"):
        build, engine = ["docker", "build"], "docker"
    else:
        pytest.skip("neither buildah with podman nor docker is here")
    options = shlex.split(os.environ.get("NER_TEST_BUILD_OPTIONS", ""))
    secret = ROOT / "runs" / "secret.env"  # in the build's context, and git-ignored: as a careless user leaves it
    secret.parent.mkdir(exist_ok=True)
    secret.write_text(f"HF_TOKEN={CANARY}\n", encoding="utf-8")
    try:
        done = subprocess.run(
            [*build, "--build-arg", f"BASE_IMAGE={base}", *options, "-t", IMAGE, "-f", "docker/Dockerfile", "."],
            cwd=ROOT,
            env=os.environ | {"HF_TOKEN": CANARY},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        secret.unlink()
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return engine


@pytest.fixture
def command(engine: str, tmp_path: Path) -> list[str]:
    """``docker run`` as hardened as the documentation says, with two mounted folders that anyone may write."""
    volumes = []
    for name, place in (("runs", "/app/runs"), ("cache", "/cache"), ("data", "/data")):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name).chmod(0o777)
        volumes += ["--volume", f"{tmp_path / name}:{place}{':ro' if name == 'data' else ''}"]
    hardened = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    return [
        *(engine, "run", "--rm", "--network", "none", "--shm-size", "256m", "--env", "OMP_NUM_THREADS=1"),
        *(["--no-healthcheck"] if engine == "podman" else []),
        *hardened,
        *volumes,
        *shlex.split(os.environ.get("NER_TEST_RUN_OPTIONS", "")),
    ]


@pytest.fixture
def run(command: list[str]) -> Run:
    """``run("fit", …, options=["--user", "7:7"])`` runs the image."""

    def run(*arguments: object, options: list[str] | None = None, code: int = 0) -> subprocess.CompletedProcess[str]:
        whole = [*command, *(options or []), IMAGE, *map(str, arguments)]
        done = subprocess.run(whole, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


def test_help_and_doctor(run: Run) -> None:
    assert "fit" in run("--help").stdout
    checks = {check["name"]: check for check in json.loads(run("doctor", "--json").stdout)["checks"]}
    assert checks["as tested"]["status"] == "ok", "the versions of the lock"
    assert checks["runs"]["value"].startswith("/app/runs")
    assert checks["hub cache"]["value"].startswith("/cache/huggingface")
    assert run("doctor", "--quick", options=["--user", "4242:4242"]).returncode == 0


def test_nobody_in_particular_and_a_root_that_cannot_be_written(run: Run) -> None:
    script = "import os; print(os.getuid(), os.getcwd()); open('/app/ner_module/x', 'w')"
    done = run("-c", script, options=["--entrypoint", "python"], code=1)
    assert done.stdout.split() == ["1000", "/app"]
    assert "Read-only file system" in done.stderr


def test_fit_and_test_on_mounted_data(run: Run, tmp_path: Path, tiny_model: Callable[..., Path], corpus: Path) -> None:
    shutil.copytree(tiny_model(), tmp_path / "data" / "model", dirs_exist_ok=True)
    shutil.copytree(corpus, tmp_path / "data" / "corpus")
    for path in (tmp_path / "data").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # pytest's folders are its user's alone
    arguments = ["--model.model_name_or_path", "/data/model", "--trainer.max_epochs", "1", "--data.num_workers", "1"]
    for split in ("train", "validation", "test"):
        arguments += [f"--data.{split}_file", f"/data/corpus/{split}.conll"]
    secret = ["--env", f"HF_TOKEN={CANARY}"]
    run("fit", *arguments, "--run_dir", "runs/tiny", options=[*secret, "--user", "4242:4242"])
    run("test", "--run_dir", "runs/tiny", "--ckpt_path", "best", options=["--user", "4242:4242"])
    results = json.loads((tmp_path / "runs" / "tiny" / "results.json").read_text(encoding="utf-8"))
    assert len(results["epochs"]) == 1
    assert "test/f1" in results["test"]
    assert (tmp_path / "runs" / "tiny" / "checkpoints" / "best.ckpt").stat().st_uid == 4242
    assert any((tmp_path / "cache" / "ner_module").iterdir())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]


def test_the_quickstart_starts_without_a_network(run: Run, tmp_path: Path) -> None:
    """Two steps of the README's command: real weights, the bundled corpus, nothing mounted but folders to write."""
    short = ["--trainer.max_steps", "2", "--trainer.limit_val_batches", "2"]
    run("fit", "--config", "configs/quickstart.yaml", *short)
    (results,) = (tmp_path / "runs" / "quickstart").glob("*/results.json")
    assert json.loads(results.read_text(encoding="utf-8"))["epochs"]


def test_sigterm_reaches_a_command_that_is_the_first_process(command: list[str], tmp_path: Path) -> None:
    """`docker stop` ends at once: the kernel spares a container's first process what it does not handle."""
    script = "import sys, time, ner_module.__main__ as m, ner_module.extras.doctor.command as c\n"
    script += "c.diagnose = lambda quick: print('waiting', flush=True) or time.sleep(100)\nsys.exit(m.main(['doctor']))"
    process = subprocess.Popen(
        [*command, "--entrypoint", "python", IMAGE, "-c", script], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGTERM)  # passed on to the container
    started = time.monotonic()
    assert process.wait(timeout=60) == 143
    assert time.monotonic() - started < 8


@pytest.fixture
def layers(engine: str, tmp_path: Path) -> Iterator[Path]:
    """The image as files: every layer, and its configuration."""
    subprocess.run([engine, "save", "-o", str(tmp_path / "image.tar"), IMAGE], check=True, capture_output=True)
    yield tmp_path / "image.tar"
    (tmp_path / "image.tar").unlink()


def test_no_secret_and_no_stray_file_in_any_layer(layers: Path, run: Run) -> None:
    canary, tail = CANARY.encode(), b""
    with layers.open("rb") as file:  # layers are saved uncompressed
        while block := file.read(1 << 24):
            assert canary not in tail + block
            tail = block[-len(canary) :]
    script = (
        "import os; print(*sorted(os.listdir('/app')), sorted(os.listdir('/root')), os.path.exists('/etc/pip.conf'))"
    )
    options = ["--entrypoint", "python", "--user", "0"]
    out = run("-c", script, options=options).stdout.strip()
    assert out.startswith("configs ner_module requirements runs [")
    assert ".cache" not in out
