"""What a plan is made for: sizes and speed of a task, and the machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ray_easgd.errors import BadInput

if TYPE_CHECKING:
    from ray_easgd.config import Config
    from ray_easgd.protocol import WireFormat

_EXCHANGE = {"memory": (6e-5, 1.2), "store": (6e-3, 5.0)}
"""Seconds, and copies of the vector: `ray-easgd benchmark exchange`, the README's table."""
_COPIED_BYTES_PER_S = 5e9  # by one core of a small machine, where nothing was measured
_DEFAULT_WORKERS = 4
_BYTES = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0 + 4.0 / 256}  # an element; int8 has scales


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is given: the task's sizes and speed, and the machines.

    ``memcpy_s``: of 4n bytes; ``curvature`` None where nobody knows it; ``gbit``: of a node's line;
    ``format``: of vectors between nodes.
    """

    num_parameters: int
    step_s: float
    memcpy_s: float
    curvature: float | None
    workers: int
    nodes: int = 1
    gbit: float = 10.0
    format: WireFormat = "float32"

    @property
    def line_bytes(self) -> float:
        """Of one exchange between nodes, both directions."""
        return exchanged_bytes(self.num_parameters, self.format)

    @property
    def exchange_s(self) -> float:
        """Of one exchange for its worker, and for the center."""
        fixed_s, copies = _EXCHANGE["memory" if self.nodes == 1 else "store"]
        return fixed_s + copies * self.memcpy_s


def exchanged_bytes(num_parameters: int, wire_format: WireFormat) -> float:
    """Of one exchange in that format, both directions."""
    return 2 * _BYTES[wire_format] * num_parameters


def setting_of(
    config: Config,
    *,
    nodes: int = 1,
    gbit: float = 10.0,
    step_ms: float | None = None,
    parameters: float | None = None,
    curvature: float | None = None,
) -> Setting:
    """Of a configuration on such machines: what is given, and for the rest a probe, of seconds.

    BadInput for sizes of one model and step times of another.
    """
    _refuse_half(config, step_ms, parameters)
    size, step_s, memcpy_s = parameters, step_ms and step_ms / 1e3, None
    if config.simulator.problem == "quadratic":
        size, step_s = size or config.simulator.size, step_s or config.simulator.step_s
        curvature = config.simulator.h if curvature is None else curvature
    if size is None or step_s is None:
        from ray_easgd.planner.probe import probe

        found = probe(config)
        size, step_s = size or found.num_parameters, step_s or found.step_s
        memcpy_s = found.memcpy_s
        curvature = found.curvature if curvature is None else curvature
    bounds = config.fleet.bounds or (_DEFAULT_WORKERS, _DEFAULT_WORKERS)
    return Setting(
        num_parameters=int(size),
        step_s=step_s,
        memcpy_s=memcpy_s or 4.0 * size / _COPIED_BYTES_PER_S,
        curvature=curvature,
        workers=bounds[1],
        nodes=nodes,
        gbit=gbit,
        format=config.exchange.format,
    )


def _refuse_half(config: Config, step_ms: float | None, parameters: float | None) -> None:
    if config.simulator.problem == "quadratic" or (step_ms is None) == (parameters is None):
        return
    given = {"--step-ms": step_ms, "--parameters": parameters}
    field, missing = sorted(given, key=lambda name: given[name] is None)
    raise BadInput(
        field,
        given[field],
        f"without {missing} that would be measured of {config.model} on {config.data}",
        f"Give {missing} too, or neither.",
    )
