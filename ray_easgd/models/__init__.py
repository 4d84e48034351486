"""Models by name, built from a seed to fit a data set."""

from ray_easgd.models.catalog import MODELS, build_model, preferred_crop
from ray_easgd.models.loss import count_correct, loss_function

__all__ = ["MODELS", "build_model", "count_correct", "loss_function", "preferred_crop"]
