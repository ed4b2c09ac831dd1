"""How many threads a process gets under a quota, and how they wait."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ner_module.extras.cpu import threads
from ner_module.extras.cpu.threads import limit_threads, usable_cpus

VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", *threads.WAITING)


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(name, "")  # so that what a test sets is taken back
        monkeypatch.delenv(name)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V1 = "4:memory:/\n3:cpu,cpuacct:/docker/abc\n0::/\n"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"}, 2.5),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "1600000 100000\n"}, 8),
        # Nested: the tightest counts, wherever it is.
        (
            {
                "proc/self/cgroup": "0::/user/job/step\n",
                "sys/fs/cgroup/user/cpu.max": "300000 100000",
                "sys/fs/cgroup/user/job/cpu.max": "150000 100000",
                "sys/fs/cgroup/user/job/step/cpu.max": "max 100000",
            },
            1.5,
        ),
        # As the host names a container's group, which is the root of what the container has mounted.
        ({"proc/self/cgroup": "0::/../docker/abc\n", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2),
        *(
            (
                {
                    "proc/self/cgroup": V1,
                    f"sys/fs/cgroup/{folder}/cpu.cfs_quota_us": f"{quota}\n",
                    f"sys/fs/cgroup/{folder}/cpu.cfs_period_us": "100000\n",
                },
                cores,
            )
            for folder, quota, cores in [
                ("cpu,cpuacct", 400000, 4),
                ("cpu/docker/abc", 300000, 3),
                ("cpu", -1, 8),
                ("memory", 100000, 8),
            ]
        ),
    ],
)
def test_the_tightest_quota_counts(files: dict[str, str], cores: float, tmp_path: Path) -> None:
    assert usable_cpus(write(tmp_path, files)) == cores


@pytest.mark.parametrize(("quota", "expected"), [("50000", "1"), ("250000", "2"), ("max", None)])
def test_a_thread_for_each_whole_core(quota: str, expected: str | None, tmp_path: Path) -> None:
    limit_threads(write(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": f"{quota} 100000"}))
    assert os.environ.get("OMP_NUM_THREADS") == expected
    assert {name: os.environ[name] for name in threads.WAITING} == threads.WAITING


def test_what_the_user_sets_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "100000 100000"})
    given = {"OMP_NUM_THREADS": "7", "OMP_WAIT_POLICY": "active"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    limit_threads(root)
    assert {name: os.environ[name] for name in VARIABLES if name in os.environ} == given
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    limit_threads(root)
    assert os.environ["GOMP_SPINCOUNT"] == "5"


def test_torch_starts_no_thread_for_each_core_of_the_host(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "100000 100000"})
    code = f"""
import os
from pathlib import Path
os.cpu_count = lambda: 64
from ner_module.extras.cpu.threads import limit_threads
limit_threads(Path({str(root)!r}))
import torch
before = len(os.listdir("/proc/self/task"))
(torch.ones(512, 512) @ torch.ones(512, 512)).exp().sum()
print(torch.get_num_threads(), len(os.listdir("/proc/self/task")) - before)
"""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "0"]
