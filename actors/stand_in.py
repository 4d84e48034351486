"""A program in the place of one of a Ray node's two agents: the command of the agent.

Each agent imports for a second of a core, and the node waits for it; on few cores so does all else
that starts. In a cluster that lives for one run nobody asks the dashboard's agent for anything, so
it is not to be had; the one that makes runtime environments is started when it is first called.
Nothing is imported here that takes longer than to begin.
"""

# ruff: noqa: PTH104, PTH118, PTH123  (to import pathlib takes longer than that)

import os
import select
import socket
import sys

_NOT_TO_BE_HAD = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")
_ON_CALL = "runtime_env_agent_port"


def main() -> None:
    command = sys.argv[1:]
    told = dict(word[2:].split("=", 1) for word in command if word.startswith("--") and "=" in word)
    if _option(_ON_CALL) in told:
        _start_when_called(command, told)
        return
    for name in _NOT_TO_BE_HAD:
        _publish(name, -1, told)
    _until_the_raylet_ends()


def _start_when_called(command: list[str], told: dict[str, str]) -> None:
    with socket.create_server((told["node-ip-address"], 0)) as server:
        port = server.getsockname()[1]
        _publish(_ON_CALL, port, told)
        called, _, _ = select.select([server, sys.stdin], [], [])
    if sys.stdin not in called:  # who called asks again until somebody answers
        os.execv(command[0], [*command, f"--{_option(_ON_CALL)}={port}"])


def _until_the_raylet_ends() -> None:
    sys.stdin.read()


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
