"""A run's live page, asked for from outside."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import ray
from ray.exceptions import RayTaskError

from actors.runs import controller_of
from ray_easgd.errors import BadInput


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """``host`` as the driver's machine, ``node``, knows it; ``is_here``: that is this machine."""

    run: str
    url: str
    host: str
    port: int
    token: str
    node: str
    is_here: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def live(run: str | None, address: str | None, *, host: str, port: int) -> Link:
    """Start the page of that run, or of the only one, or find it.

    Raises BadInput where there is no such run, or where the page cannot be served.
    """
    with controller_of(run, address) as (name, controller):
        page: Any = ray.get(controller.page.remote())
        try:
            (shown, actual, token), node = ray.get(
                [page.open.remote(host, port), page.node.remote()]
            )
        except RayTaskError as error:
            if isinstance(error.cause, BadInput):
                raise error.cause from None
            raise
        place = f"[{shown}]" if ":" in shown else shown
        return Link(
            run=name,
            url=f"http://{place}:{actual}/?token={token}",
            host=shown,
            port=actual,
            token=token,
            node=node,
            is_here=node == ray.util.get_node_ip_address(),
        )
