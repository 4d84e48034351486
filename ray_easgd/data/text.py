"""A text file as a language model's data: one token per character."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ray_easgd.data.rows import Sources
from ray_easgd.data.sets import DataSpec, Positions
from ray_easgd.errors import BadData

BLOCK = 64
"""Tokens in a sample."""


@dataclass(frozen=True)
class TextSource:
    """Blocks of ``BLOCK`` tokens that do not overlap; the target of a token is the next one."""

    tokens: NDArray[np.int64]

    def __len__(self) -> int:
        return max(0, (len(self.tokens) - 1) // BLOCK)

    @property
    def blocks(self) -> tuple[int, ...]:
        return (0, len(self))

    def read(self, rows: Positions, *, training: bool) -> tuple[Tensor, Tensor]:
        places = rows[:, None] * BLOCK + np.arange(BLOCK)
        return torch.from_numpy(self.tokens[places]), torch.from_numpy(self.tokens[places + 1])


def open_text(name: str, path: Path) -> Sources:
    """Characters numbered in the order of their code points; the last tenth is the test set."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(
            "data", name, f"{path} cannot be read: {error}", "Give UTF-8 text."
        ) from error
    code_points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    characters, tokens = np.unique(code_points, return_inverse=True)
    tokens = tokens.astype(np.int64)
    cut = len(tokens) - len(tokens) // 10
    return Sources(
        spec=DataSpec(kind="text", input_shape=(BLOCK,), num_classes=len(characters)),
        train=TextSource(tokens[:cut]),
        test=TextSource(tokens[cut:]),
    )
