"""Data: named data sets, held out by seed, read by position in a seeded order."""

from ray_easgd.data.catalog import CACHE_LIMIT_BYTES, open_data
from ray_easgd.data.sets import DataSets, DataSpec, Order, Positions, Split

__all__ = [
    "CACHE_LIMIT_BYTES",
    "DataSets",
    "DataSpec",
    "Order",
    "Positions",
    "Split",
    "open_data",
]
