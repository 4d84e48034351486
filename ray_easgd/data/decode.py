"""Encoded images (PNG, JPEG, whatever Pillow reads) to pixels."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal

import numpy as np

from ray_easgd.data.images import Pixels
from ray_easgd.errors import BadData

if TYPE_CHECKING:
    from PIL.Image import Image

Mode = Literal["L", "RGB"]
_GREY = {"1", "L", "LA"}
_COLOUR = {"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV"}


def open_image(encoded: bytes | None, where: str, shrink_to: int | None = None) -> Image:
    """A loaded image. ``where`` names its row in messages.

    ``shrink_to``: a JPEG whose shortest side stays above that many pixels may be decoded at a
    half, a quarter or an eighth of its size, which is several times faster.
    """
    import PIL.Image

    if encoded is None:
        remedy = "Embed the files (datasets: embed_external_files=True)."
        raise BadData("data", where, "there is a path instead of an image's bytes", remedy)
    try:
        image = PIL.Image.open(io.BytesIO(encoded))
        if shrink_to:
            image.draft(None, _shrunk(image.size, shrink_to))
        image.load()
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise BadData("data", where, f"this is no image: {error}", "Repair the file.") from error
    return image


def _shrunk(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = side / min(size)
    return max(side, int(size[0] * scale)), max(side, int(size[1] * scale))


def mode_of(image: Image, where: str) -> Mode:
    """The 8-bit mode that holds the image: grey or colour."""
    if image.mode in _GREY:
        return "L"
    if image.mode not in _COLOUR:
        problem = f"an image of Pillow's mode {image.mode} does not have 8 bits a channel"
        raise BadData("data", where, problem, "Convert it to 8-bit grey or RGB.")
    return "RGB"


def pixels_of(image: Image, mode: Mode) -> Pixels:
    """``(C, H, W)``, with one channel for mode ``L`` and three for ``RGB``."""
    array = np.asarray(image if image.mode == mode else image.convert(mode))
    return array[None] if mode == "L" else array.transpose(2, 0, 1)
