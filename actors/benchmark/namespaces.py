"""Hosts on one machine: network namespaces, two on a capped wire or several around a switch.

Nothing of it shows outside: the wire's ends are made inside the namespaces, and every process
inside is ours, so ending those is exact.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ray_easgd.errors import BadInput, EasgdError

WIRE, _SWITCH = "veth0", "switch0"
_TRIES = 50
_BETWEEN_TRIES_S = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """One namespace, and its address on the wire (of the block kept for examples, RFC 5737)."""

    namespace: str
    address: str

    def command(self, *words: str) -> list[str]:
        """The command that runs ``words`` there."""
        return ["ip", "netns", "exec", self.namespace, *words]


def check_can_link(option: str, value: object) -> None:
    """BadInput about ``option``, with the remedy, where this process cannot make links."""
    missing = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    if missing:
        raise BadInput(
            option,
            value,
            f"the command {' and '.join(missing)} is missing here",
            "Install iproute2 (apt-get install iproute2).",
        )
    if os.geteuid() != 0:
        raise BadInput(
            option,
            value,
            "only root may make network namespaces",
            "Run the command as root (sudo).",
        )


@contextmanager
def linked_hosts(rate: str) -> Iterator[tuple[Host, Host]]:
    """Two namespaces joined by a wire of that rate in each direction; gone with the block."""
    check_can_link("--link", rate)
    hosts = (
        Host(namespace=f"easgd-hub-{os.getpid()}", address="192.0.2.1"),
        Host(namespace=f"easgd-worker-{os.getpid()}", address="192.0.2.2"),
    )
    try:
        _join(*hosts, rate)
        yield hosts
    finally:
        with _undisturbed():
            for host in hosts:
                _remove(host)


@contextmanager
def switched_hosts(number: int) -> Iterator[tuple[Host, ...]]:
    """So many namespaces around one switch, which is one itself; gone with the block."""
    check_can_link("--nodes", number)
    pid = os.getpid()
    switch = Host(namespace=f"easgd-switch-{pid}", address="")
    hosts = tuple(
        Host(namespace=f"easgd-node-{k}-{pid}", address=f"192.0.2.{k + 1}") for k in range(number)
    )
    try:
        _add(switch)
        _run("ip", "-n", switch.namespace, "link", "add", _SWITCH, "type", "bridge")
        _run("ip", "-n", switch.namespace, "link", "set", _SWITCH, "up")
        for k, host in enumerate(hosts):
            _plug(host, switch, port=f"port{k}")
        yield hosts
    finally:
        with _undisturbed():
            for host in (*hosts, switch):
                _remove(host)


def cap(host: Host, rate: str) -> None:
    """From now on what the host sends travels at that rate at most."""
    bucket = ["tbf", "rate", rate, "burst", "256kb", "latency", "200ms"]
    _run("tc", "-n", host.namespace, "qdisc", "replace", "dev", WIRE, "root", *bucket)


def bytes_received(host: Host) -> int:
    """By its wire, since it is there: headers included, each byte counted where it arrives."""
    command = ["ip", "-n", host.namespace, "-s", "-j", "link", "show", "dev", WIRE]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(json.loads(shown)[0]["stats64"]["rx"]["bytes"])


def _plug(host: Host, switch: Host, *, port: str) -> None:
    _add(host)
    end = ["netns", host.namespace, "type", "veth", "peer", "name", port, "netns", switch.namespace]
    _run("ip", "link", "add", WIRE, *end)
    _run("ip", "-n", switch.namespace, "link", "set", port, "master", _SWITCH, "up")
    _up(host)


def _add(host: Host) -> None:
    _run("ip", "netns", "add", host.namespace)


def _up(host: Host) -> None:
    ip = ("ip", "-n", host.namespace)
    _run(*ip, "addr", "add", f"{host.address}/24", "dev", WIRE)
    _run(*ip, "link", "set", "lo", "up")
    _run(*ip, "link", "set", WIRE, "up")


def _join(one: Host, other: Host, rate: str) -> None:
    for host in (one, other):
        _add(host)
    ends = ["netns", one.namespace, "type", "veth", "peer", "name", WIRE, "netns", other.namespace]
    _run("ip", "link", "add", WIRE, *ends)
    for host in (one, other):
        _up(host)
        cap(host, rate)


def _remove(host: Host) -> None:
    """End every process inside, then the namespace; no harm if it was never there."""
    for _ in range(_TRIES):
        inside = _processes_in(host)
        if not inside:
            break
        for process in inside:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(_BETWEEN_TRIES_S)
    subprocess.run(["ip", "netns", "del", host.namespace], capture_output=True, check=False)


def _processes_in(host: Host) -> list[int]:
    command = ["ip", "netns", "pids", host.namespace]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EasgdError(
            f"`{' '.join(command)}` failed: {done.stderr.strip()}. A link needs the right to make "
            "network namespaces (CAP_SYS_ADMIN, CAP_NET_ADMIN), which some containers withhold."
        )


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C does not leave half of it behind."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
