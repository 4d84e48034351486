"""What Ray runs for each process of its workers: asks the nursery for one, else starts one.

A program for a bare Python, without imports of ours: it is there for a moment. The words are those
of Ray's own ``setup_worker.py``, which it stands in for.
"""

import json
import os
import resource
import signal
import socket
import struct
import sys

ADDRESS = "RAY_EASGD_NURSERY"
"""The environment variable that names the nursery's socket, an abstract one of Linux."""

_CONTEXT, _LANGUAGE = "--serialized-runtime-env-context=", "--language="


def main(words: list[str]) -> None:
    """End once the nursery has a child with these words, or become what Ray would have run."""
    if _is_plain(words) and _is_born(words):
        return
    if os.environ.get("RAY_RAYLET_PID", str(os.getppid())) != str(os.getppid()):
        sys.exit("the Ray that has asked for this worker is gone")
    setup = os.path.join(os.path.dirname(words[0]), "setup_worker.py")  # noqa: PTH118, PTH120
    os.execv(sys.executable, [sys.executable, setup, *words])


def uid_of_peer(connection: socket.socket) -> int:
    """Whose process is at the other end."""
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(struct.unpack("3i", credentials)[1])


def _is_plain(words: list[str]) -> bool:
    """Whether it runs in this very environment: no other Python, nothing to do before."""
    contexts = [word.removeprefix(_CONTEXT) for word in words if word.startswith(_CONTEXT)]
    return f"{_LANGUAGE}PYTHON" in words and all(json.loads(c or "{}") == {} for c in contexts)


def _is_born(words: list[str]) -> bool:
    nursery = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with open("/proc/self/oom_score_adj") as file:  # noqa: PTH123
            oom_score = file.read()
        order = {
            "argv": [word for word in words if not word.startswith((_CONTEXT, _LANGUAGE))],
            "cwd": os.getcwd(),  # noqa: PTH109
            "environment": dict(os.environ),
            "niceness": os.nice(0),
            "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE),
            "oom_score": oom_score,
        }
        nursery.connect("\0" + os.environ[ADDRESS])
        if uid_of_peer(nursery) != os.getuid():
            return False
        socket.send_fds(nursery, [b"!"], [0, 1, 2])
        nursery.sendall(json.dumps(order).encode())
        nursery.shutdown(socket.SHUT_WR)
        return bool(nursery.recv(1))
    except (OSError, KeyError):
        return False


if __name__ == "__main__":
    main(sys.argv[1:])
