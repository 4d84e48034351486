"""``ray-easgd doctor`` on two hosts of their own: a wire that is slow, a /dev/shm that is small."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from actors.benchmark.namespaces import linked_hosts
from actors.benchmark.nodes import run_inside, short_folder
from tests.test_cut_off import NEEDS_NAMESPACES

pytestmark = [pytest.mark.chaos, *NEEDS_NAMESPACES]


def test_a_slow_link_and_a_small_dev_shm_are_named() -> None:
    with short_folder("dr") as folder, linked_hosts("1gbit") as hosts:
        order = {"hosts": [asdict(host) for host in hosts], "folder": folder}
        told = run_inside(hosts[0], "tests.doctor_on_hosts", order, Path(folder))
    print(told)  # noqa: T201
    (shm,) = told["fast"]["findings"]
    assert (shm["cause"], shm["subject"]) == ("shm_too_small", f"node {hosts[1].address}")
    assert "/dev/shm of node 192.0.2.2 has 67.1 MB in all" in shm["evidence"]
    link, again = sorted(told["slow"]["findings"], key=lambda found: found["cause"])
    assert again["cause"] == "shm_too_small"
    assert (link["cause"], link["subject"]) == ("link_slow", f"{told['slow']['far']} - center")
    assert "on node 192.0.2.2 and center on node 192.0.2.1" in link["evidence"]
    assert "Mbit/s" in link["evidence"]
