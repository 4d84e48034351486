"""Worker processes are copies of one that has its imports done, else as Ray would start them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors import launch
from actors.nursery import nursery
from ray_easgd.processes import family

pytestmark = pytest.mark.cluster

PROGRAM = """
import json, os, random, signal, sys
import numpy as np
print(json.dumps({
    "argv": sys.argv, "path": sys.path[0], "cwd": os.getcwd(), "name": __name__,
    "environment": dict(os.environ), "parent": os.getppid(), "group": os.getpgrp() == os.getpid(),
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())), "niceness": os.nice(0),
    "child_signal": str(signal.getsignal(signal.SIGCHLD)),
    "descriptors": os.listdir("/proc/self/fd"),
    "random": [random.random(), float(np.random.random())], "has_torch": "torch" in sys.modules,
    "asked": sys.stdin.read(),
}))
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands for Ray's own program of a worker, and beside it for the one that prepares it."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "setup_worker.py").write_text("import sys\nprint('prepared', *sys.argv[1:])\n")
    (folder / "worker.py").write_text(PROGRAM)
    return folder / "worker.py"


@pytest.fixture(scope="module")
def nursery_pid(cluster: None) -> Iterator[int]:
    """One of this module's own, inside the block of the cluster's."""
    before = set(family(os.getpid()))
    with nursery():
        (pid,) = set(family(os.getpid())) - before
        yield pid


def started(program: Path, *words: str, **how: Any) -> str:
    """What the program says that Ray would start with these words, once it has ended."""
    words = (str(program), *words, "--language=PYTHON")
    done = subprocess.run(
        [sys.executable, launch.__file__, *words],
        capture_output=True,
        text=True,
        input="a question",
        check=True,
        **how,
    )
    assert not done.stderr
    return str(done.stdout)


def test_a_copy_is_what_ray_would_have_started(
    nursery_pid: int, program: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "HERE": "yes"}
    del environment["PATH"]
    told = json.loads(
        started(
            program,
            "--a=1",
            "--serialized-runtime-env-context={}",
            env=environment,
            cwd=tmp_path,
            preexec_fn=lambda: (
                os.nice(3),
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}),
            ),
        )
    )
    assert told["parent"] == nursery_pid
    assert told["has_torch"]
    assert told["group"], "Ray kills the process group of a worker that ends"
    assert told["name"] == "__main__"
    assert told["argv"] == [str(program), "--a=1"]
    assert told["path"] == str(program.parent)
    assert told["cwd"] == str(tmp_path)
    assert told["asked"] == "a question"
    assert told["environment"] == environment
    assert told["blocked"] == [signal.SIGINT]
    assert told["niceness"] == os.nice(0) + 3
    assert told["child_signal"] == str(signal.SIG_DFL)
    assert len(told["descriptors"]) == 4, "the standard streams, and the folder it lists"


def test_no_two_copies_draw_the_same_numbers(nursery_pid: int, program: Path) -> None:
    a, b = (json.loads(started(program))["random"] for _ in range(2))
    assert a[0] != b[0]
    assert a[1] != b[1]


def test_another_environment_is_prepared_by_ray(nursery_pid: int, program: Path) -> None:
    context = '--serialized-runtime-env-context={"py_executable": "another"}'
    words = (str(program), context, "--language=PYTHON")
    assert started(program, context) == " ".join(("prepared", *words)) + "\n"


def test_without_a_nursery_ray_does_it(cluster: None, program: Path) -> None:
    with nursery():
        gone = os.environ[launch.ADDRESS]
    unnamed = {name: value for name, value in os.environ.items() if name != launch.ADDRESS}
    for environment in (unnamed, {**os.environ, launch.ADDRESS: gone}):
        assert started(program, env=environment).startswith("prepared")


def test_the_nursery_goes_with_its_driver() -> None:
    driver = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from actors.nursery import nursery\nwith nursery():\n print(0, flush=True)\n input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert driver.stdout
    driver.stdout.readline()
    (pid,) = set(family(driver.pid)) - {driver.pid}
    end = os.pidfd_open(pid)
    driver.kill()
    driver.communicate()
    ended = select.poll()
    ended.register(end, select.POLLIN)
    assert ended.poll(60_000)
    os.close(end)


def test_a_cluster_of_our_own_takes_its_workers_from_there(cluster: None) -> None:
    import ray

    class Who:
        def who(self) -> tuple[int, bool]:
            return os.getppid(), "torch" in sys.modules

    anyone: Any = ray.remote(num_cpus=0)(Who)
    actor = anyone.remote()
    for _ in range(2):  # the second one has taken the place of the first, which Ray has ended
        parent, has_torch = ray.get(actor.who.remote())
        assert b"nursery" in Path(f"/proc/{parent}/cmdline").read_bytes()
        assert has_torch
        ray.kill(actor)
        actor = anyone.remote()
    ray.kill(actor)


def test_a_cluster_of_our_own_has_no_process_that_only_costs(cluster: None) -> None:
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in family(os.getpid())]
    assert any(b"raylet" in command for command in commands)
    for needless in (b"dashboard/dashboard.py", b"monitor.py"):
        assert not any(needless in command for command in commands), needless
