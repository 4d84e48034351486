"""Worker processes are copies of one that has its imports done, else as Ray would start them."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from actors import launch
from ray_easgd.processes import family, has_ended

pytestmark = pytest.mark.cluster

PROGRAM = """
import json, os, random, resource, signal, sys
import numpy as np
print(json.dumps({
    "argv": sys.argv, "path": sys.path[0], "cwd": os.getcwd(), "name": __name__,
    "environment": dict(os.environ), "parent": os.getppid(), "group": os.getpgrp() == os.getpid(),
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())), "niceness": os.nice(0),
    "child_signal": str(signal.getsignal(signal.SIGCHLD)),
    "descriptors": os.listdir("/proc/self/fd"),
    "limit": resource.getrlimit(resource.RLIMIT_NOFILE),
    "oom_score": open("/proc/self/oom_score_adj").read(),
    "threads": len(os.listdir("/proc/self/task")),
    "torch_threads": sys.modules["torch"].get_num_threads() if "torch" in sys.modules else 0,
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


@dataclass
class Served:
    """A nursery, its address and its driver's process."""

    pid: int
    address: str
    driver: subprocess.Popen[str]

    @property
    def environment(self) -> dict[str, str]:
        """What Ray would have told a process of its own."""
        return {**os.environ, launch.ADDRESS: self.address}


DRIVER = """
from actors.nursery import opened
from actors.nursery_process import AT_ONCE, import_all
import atexit, sys
with opened() as nursery:
    if sys.argv[1] == "fresh":
        nursery.serve()
    else:
        import_all(AT_ONCE)
        atexit.register(print, "the driver ends")
        sys.stdout.write("half a line, ")
        nursery.serve_from_a_copy(not_for_it=[])
    print(nursery.pid, *nursery.environment.values(), flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module", params=["fresh", "copy"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """From a process of its own, and from a copy of its driver."""
    with serving(request.param) as found:
        yield found


@contextmanager
def serving(kind: str) -> Iterator[Served]:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert driver.stdout
    pid, address = driver.stdout.readline().removeprefix("half a line, ").split()
    yield Served(int(pid), address, driver)
    rest, _ = driver.communicate()
    if driver.returncode == 0:
        assert rest == ("the driver ends\n" if kind == "copy" else ""), "no copy says it too"


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


def gone(pid: int) -> bool:
    """Once it is; False if it stays for a minute."""
    try:
        end = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    is_gone = has_ended(end, within_s=60)
    os.close(end)
    return is_gone


def test_a_copy_is_what_ray_would_have_started(
    served: Served, program: Path, tmp_path: Path
) -> None:
    environment = {**served.environment, "HERE": "yes", "OMP_NUM_THREADS": "1"}
    del environment["PATH"]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)

    def as_the_raylet() -> None:
        os.nice(3)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        resource.setrlimit(resource.RLIMIT_NOFILE, (345, most))
        Path("/proc/self/oom_score_adj").write_text("678")

    words = ("--a=1", "--serialized-runtime-env-context={}")
    told = json.loads(
        started(program, *words, env=environment, cwd=tmp_path, preexec_fn=as_the_raylet)
    )
    assert told["parent"] == served.pid
    assert told["has_torch"]
    assert told["threads"] == told["torch_threads"] == 1, "as with the OMP_NUM_THREADS of Ray"
    assert told["group"], "Ray kills the process group of a worker that ends"
    assert told["name"] == "__main__"
    assert told["argv"] == [str(program), "--a=1"]
    assert told["path"] == str(program.parent)
    assert told["cwd"] == str(tmp_path)
    assert told["asked"] == "a question"
    assert told["environment"] == environment
    assert told["blocked"] == [signal.SIGINT]
    assert told["niceness"] == os.nice(0) + 3
    assert told["limit"] == [345, most]
    assert told["oom_score"] == "678\n"
    assert told["child_signal"] == str(signal.SIG_DFL)
    assert len(told["descriptors"]) == 4, "the standard streams, and the folder it lists"


def test_no_two_copies_draw_the_same_numbers(served: Served, program: Path) -> None:
    environment = served.environment
    a, b = (json.loads(started(program, env=environment))["random"] for _ in range(2))
    assert a[0] != b[0]
    assert a[1] != b[1]


@pytest.mark.parametrize("end", ["sys.exit(3)", "1 / 0", "sys.stdout.close()", "os._exit(0)"])
def test_however_one_ends_the_next_is_born(
    served: Served, program: Path, tmp_path: Path, end: str
) -> None:
    other = tmp_path / "worker.py"
    other.write_text(f"import os, sys\n{end}\n")
    words = [sys.executable, launch.__file__, str(other), "--language=PYTHON"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=served.environment)
    assert ("ZeroDivisionError" in done.stderr) == (end == "1 / 0")
    assert json.loads(started(program, env=served.environment))["parent"] == served.pid


def test_who_asks_and_then_stands_still_holds_up_nobody(served: Served, program: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.connect(f"\0{served.address}")
        assert json.loads(started(program, env=served.environment))["parent"] == served.pid


def test_another_environment_is_prepared_by_ray(served: Served, program: Path) -> None:
    context = '--serialized-runtime-env-context={"py_executable": "another"}'
    words = (str(program), context, "--language=PYTHON")
    said = started(program, context, env=served.environment)
    assert said == " ".join(("prepared", *words)) + "\n"


def test_without_a_nursery_ray_does_it(program: Path) -> None:
    unnamed = {name: value for name, value in os.environ.items() if name != launch.ADDRESS}
    for environment in (unnamed, {**unnamed, launch.ADDRESS: "nobody"}):
        assert started(program, env=environment).startswith("prepared")


@pytest.mark.parametrize("kind", ["fresh", "copy"])
def test_a_nursery_that_dies_costs_its_imports_only(program: Path, kind: str) -> None:
    with serving(kind) as served:
        os.kill(served.pid, signal.SIGKILL)
        assert started(program, env=served.environment).startswith("prepared")


def test_who_was_asked_for_by_a_ray_that_is_gone_is_not_started(program: Path) -> None:
    words = [sys.executable, launch.__file__, str(program), "--language=PYTHON"]
    environment = {**os.environ, launch.ADDRESS: "nobody", "RAY_RAYLET_PID": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert not done.stdout


@pytest.mark.parametrize("kind", ["fresh", "copy"])
def test_the_nursery_goes_with_its_driver(kind: str) -> None:
    with serving(kind) as served:
        served.driver.kill()
        assert gone(served.pid)


def test_a_cluster_of_our_own_takes_its_workers_from_there(cluster: None) -> None:
    import ray

    from actors.lifecycle import beside_the_driver

    class Who:
        def who(self) -> tuple[int, bool]:
            return os.getppid(), "torch" in sys.modules

    anyone: Any = ray.remote(num_cpus=0, scheduling_strategy=beside_the_driver())(Who)
    actor = anyone.remote()
    for _ in range(2):  # the second one has taken the place of the first, which Ray has ended
        parent, has_torch = ray.get(actor.who.remote())
        assert b"nursery" in Path(f"/proc/{parent}/cmdline").read_bytes()
        assert has_torch
        ray.kill(actor)
        actor = anyone.remote()
    ray.kill(actor)


def test_a_cluster_of_our_own_has_no_process_that_only_costs(cluster: None) -> None:
    commands = []
    for pid in family(os.getpid()):
        with suppress(FileNotFoundError):
            commands.append(Path(f"/proc/{pid}/cmdline").read_bytes())
    assert any(b"raylet" in command for command in commands)
    for needless in (b"dashboard/dashboard.py", b"monitor.py"):
        assert not any(needless in command for command in commands), needless
