"""A virtual cluster: the objects that the actors run, on a clock of its own."""

from ray_easgd.simulator.clock import Clock
from ray_easgd.simulator.fleet import Simulation
from ray_easgd.simulator.parts import Level, Pace, SimulatedWorker
from ray_easgd.simulator.problems import DoubleWell, GammaQuadratic, Problem, Quadratic
from ray_easgd.simulator.wire import Cable, SimulatedLink

__all__ = [
    "Cable",
    "Clock",
    "DoubleWell",
    "GammaQuadratic",
    "Level",
    "Pace",
    "Problem",
    "Quadratic",
    "SimulatedLink",
    "SimulatedWorker",
    "Simulation",
]
