"""A virtual cluster: the objects that the actors run, on a clock of its own."""

from ray_easgd.simulator.clock import Clock
from ray_easgd.simulator.fleet import Pace, SimulatedWorker, Simulation
from ray_easgd.simulator.problems import DoubleWell, GammaQuadratic, Problem, Quadratic
from ray_easgd.simulator.wire import Cable, SimulatedLink

__all__ = [
    "Cable",
    "Clock",
    "DoubleWell",
    "GammaQuadratic",
    "Pace",
    "Problem",
    "Quadratic",
    "SimulatedLink",
    "SimulatedWorker",
    "Simulation",
]
