"""A small decoder-only transformer for text."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ray_easgd.data import DataSpec
from ray_easgd.errors import BadModel

WIDTH, LAYERS, HEADS = 128, 4, 4


def small_gpt(spec: DataSpec) -> nn.Module:
    """804,096 parameters for 65 characters in blocks of 64."""
    if spec.kind != "text":
        problem = f"it takes text, and the data is {spec.kind} of shape {spec.input_shape}"
        raise BadModel("model", "small_gpt", problem, "Use small_cnn or mlp, or data that is text.")
    return SmallGPT(vocabulary=spec.num_classes, block=spec.input_shape[0])


class SmallGPT(nn.Module):
    """Tokens ``(B, T)``, int64, ``T <= block``, to logits ``(B, T, vocabulary)``.

    Invariant: the logits at a place depend on no later token.
    """

    def __init__(self, vocabulary: int, block: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        self.places = nn.Parameter(torch.zeros(block, WIDTH))
        self.layers = nn.Sequential(*(Layer() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=_deviation(name))

    def forward(self, tokens: Tensor) -> Tensor:
        x: Tensor = self.tokens(tokens) + self.places[: tokens.shape[1]]
        x = self.norm(self.layers(x))
        return functional.linear(x, self.tokens.weight)  # the head is the embedding


def _deviation(name: str) -> float:
    """Smaller where a matrix adds to the residual, so that the sum of all keeps its scale."""
    residual = name.endswith(("attended.weight", "narrow.weight"))
    return float(0.02 / (2 * LAYERS) ** 0.5) if residual else 0.02


class Layer(nn.Module):
    """Causal attention and a feed-forward net, each added to its input: ``(B, T, WIDTH)``."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(WIDTH, bias=False)
        self.queries_keys_values = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.attended = nn.Linear(WIDTH, WIDTH, bias=False)
        self.before_feed = nn.LayerNorm(WIDTH, bias=False)
        self.widen = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.narrow = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        met: Tensor = x + self.attended(self._attend(self.before_attention(x)))
        fed: Tensor = self.narrow(functional.gelu(self.widen(self.before_feed(met))))
        return met + fed

    def _attend(self, x: Tensor) -> Tensor:
        by_head = self.queries_keys_values(x).unflatten(-1, (3, HEADS, WIDTH // HEADS))
        q, k, v = by_head.permute(2, 0, 3, 1, 4)  # each (B, HEADS, T, WIDTH // HEADS)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return mixed.transpose(1, 2).flatten(-2)
