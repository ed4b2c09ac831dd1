"""Two hosts under torchrun: network namespaces of this machine, joined by a cable that can be cut.

Needs root, and the `ip` command of iproute2.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from run_files import results, write_config

ROOT = Path(__file__).parents[2]
TIMEOUT = 20  # seconds that the processes wait for each other

pytestmark = [pytest.mark.ddp, pytest.mark.slow, pytest.mark.timeout(900)]


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=30)


class Hosts:
    """Two namespaces, each with one end of the cable, and an address in a network of their own."""

    def __init__(self, number: int) -> None:
        self.names = [f"ner{number}{end}" for end in "ab"]
        self.cables = [f"cable{number}{end}"[-15:] for end in "ab"]
        self.addresses = ["10.213.77.1", "10.213.77.2"]
        self.processes: list[subprocess.Popen[str]] = []

    def set_up(self) -> None:
        for name in self.names:
            ip("netns", "add", name)
        ip("link", "add", self.cables[0], "type", "veth", "peer", "name", self.cables[1])
        for name, cable, address in zip(self.names, self.cables, self.addresses, strict=True):
            ip("link", "set", cable, "netns", name)
            ip("-n", name, "address", "add", f"{address}/24", "dev", cable)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", cable, "up")

    def cut(self) -> None:
        ip("-n", self.names[0], "link", "set", self.cables[0], "down")

    def mend(self) -> None:
        ip("-n", self.names[0], "link", "set", self.cables[0], "up")

    def remove(self) -> None:
        for process in self.processes:
            process.kill()  # whatever a failed test has left
            process.wait()
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True, timeout=30)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("two hosts need root and the command `ip`")
    pair = Hosts(os.getpid() % 100_000)
    try:
        pair.set_up()
    except subprocess.CalledProcessError as error:
        pair.remove()
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    yield pair
    pair.remove()


def test_a_cut_cable(hosts: Hosts, fit_options: list[str], tmp_path: Path, cache: Path) -> None:
    """Both ends give up after the configured time and say why; the same command resumes to the same end."""
    strategy = {
        "class_path": "lightning.pytorch.strategies.DDPStrategy",
        "init_args": {"timeout": f"0:00:{TIMEOUT}"},
    }
    config = write_config(tmp_path / "two.yaml", {"trainer": {"strategy": strategy, "accelerator": "cpu"}})
    options = ["--config", str(config), *fit_options, "--trainer.max_epochs", "30", "--save_every_steps", "5"]
    options += ["--data.batch_size", "8", "--ckpt_path", "auto"]

    def start(job: str) -> list[subprocess.Popen[str]]:
        agents = []
        for number, (name, cable) in enumerate(zip(hosts.names, hosts.cables, strict=True)):
            torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
            # With `--rdzv-backend c10d` the agent that does not hold the store waits for it much longer.
            torchrun += ["--master-addr", hosts.addresses[0], "--master-port", "29500", "--node-rank", str(number)]
            torchrun += ["--rdzv-id", job]
            variables = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NER_MODULE_CACHE": str(cache)}
            variables |= {"GLOO_SOCKET_IFNAME": cable}
            output = (tmp_path / f"{job}-{number}.txt").open("a")
            agents.append(
                subprocess.Popen(
                    ["ip", "netns", "exec", name, *torchrun, "-m", "ner_module", "fit", *options],
                    cwd=tmp_path,
                    env={**os.environ, **variables},
                    stdout=output,
                    stderr=output,
                    text=True,
                )
            )
            output.close()
        hosts.processes += agents
        return agents

    def said(job: str) -> list[str]:
        return [(tmp_path / f"{job}-{number}.txt").read_text() for number in (0, 1)]

    for agent in start("whole"):
        assert agent.wait(timeout=300) == 0, said("whole")

    run = tmp_path / "runs" / "two" / "cut"
    agents = start("cut")
    deadline = time.monotonic() + 200
    while not ((run / "results.json").exists() and len(results(run)["epochs"]) > 3):
        assert time.monotonic() < deadline, said("cut")
        assert all(agent.poll() is None for agent in agents), said("cut")
        time.sleep(0.1)
    hosts.cut()
    cut_at = time.monotonic()
    while not all("lost contact" in text for text in said("cut")):
        assert time.monotonic() - cut_at < TIMEOUT + 25, said("cut")
        time.sleep(0.1)
    print(f"both said so {time.monotonic() - cut_at:.0f} s after the cut")
    for agent in agents:
        assert agent.wait(timeout=30) == 1, said("cut")
        print(f"torchrun ended {time.monotonic() - cut_at:.0f} s after the cut")
    for text in said("cut"):
        assert "network is down" in text
        assert "start the job again" in text
    rows = results(run)["epochs"]
    assert len(rows) < 30
    hosts.mend()

    for agent in start("cut"):
        assert agent.wait(timeout=300) == 0, said("cut")
    assert "resuming from" in said("cut")[0]
    whole = tmp_path / "runs" / "two" / "whole"
    assert results(run)["epochs"] == results(whole)["epochs"]
    assert results(run)["epochs"][: len(rows)] == rows
    found, expected = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for folder in (run, whole)
    )
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
