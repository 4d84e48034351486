"""Whether a model fits the data it is asked to learn."""

from __future__ import annotations

from ray_easgd.data import DataSpec
from ray_easgd.errors import BadModel


def image_shape(name: str, spec: DataSpec, side: int | None = None) -> tuple[int, int, int]:
    """``(C, H, W)`` of image data; ``side`` is the height and width the model ``name`` needs."""
    if spec.kind != "image" or len(spec.input_shape) != 3:
        problem = f"it takes images, and the data is {spec.kind} of shape {spec.input_shape}"
        remedy = "Use small_gpt." if spec.kind == "text" else "Use mlp, or image data."
        raise BadModel("model", name, problem, remedy)
    channels, height, width = spec.input_shape
    if side and (height, width) != (side, side):
        problem = f"it takes images of {side} x {side}, and the data is {height} x {width}"
        remedy = f"Open the data with crop={side}, use larger images, or use small_cnn."
        raise BadModel("model", name, problem, remedy)
    return channels, height, width
