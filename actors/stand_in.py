"""A program in the place of one of a Ray node's two agents: the command of the agent.

Each agent imports for a second of a core, and the node waits for it; on few cores so does all else
that starts. In a cluster that lives for one run nobody asks the dashboard's agent for anything, so
it is not to be had; the one that makes runtime environments is started when it is first called.
Where things are not as in the Ray we know, the agent is started at once. Nothing is imported here
that takes longer than to begin.
"""

# ruff: noqa: PTH104, PTH118, PTH123  (to import pathlib takes longer than that)

import contextlib
import os
import select
import socket
import sys

_NOT_TO_BE_HAD = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")
_ON_CALL = "runtime_env_agent_port"
_BY_PIPE = "RAY_enable_pipe_based_agent_to_parent_health_check"


def main() -> None:
    command = sys.argv[1:]
    told = dict(word[2:].split("=", 1) for word in command if word.startswith("--") and "=" in word)
    stand_in = _wait_for_a_call if _option(_ON_CALL) in told else _wait_for_the_end
    is_known = told.keys() >= {"session-dir", "node-id", "node-ip-address"}
    if is_known and _learns_of_the_raylets_end():
        with contextlib.suppress(OSError):  # an address of another kind, a full disk
            stand_in(command, told)
            return
    os.execv(command[0], command)


def _learns_of_the_raylets_end() -> bool:
    """By the end of its input, as the agent does where it is told to."""
    return os.environ.get(_BY_PIPE) == "1"


def _wait_for_the_end(_: list[str], told: dict[str, str]) -> None:
    for name in _NOT_TO_BE_HAD:
        _publish(name, -1, told)
    sys.stdin.read()


def _wait_for_a_call(command: list[str], told: dict[str, str]) -> None:
    keeps_port = _bound(told["node-ip-address"], 0)
    keeps_port.set_inheritable(True)  # it never listens, so the agent may bind there too
    port = keeps_port.getsockname()[1]
    with _bound(told["node-ip-address"], port) as server:
        server.listen()
        _publish(_ON_CALL, port, told)
        called, _, _ = select.select([server, sys.stdin], [], [])
    if sys.stdin not in called:  # who called asks again until somebody answers
        os.execv(command[0], [*command, f"--{_option(_ON_CALL)}={port}"])


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(address)
    return bound


def _option(name: str) -> str:
    return name.replace("_", "-")


def _publish(name: str, port: int, told: dict[str, str]) -> None:
    """Where the raylet looks for it, as the agent itself would; -1 says that there is none."""
    path = os.path.join(told["session-dir"], f"{name}_{told['node-id']}")
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(str(port))
    os.rename(path + ".new", path)


if __name__ == "__main__":
    main()
