"""Heads on the tokens of a vision transformer (appendix B.1.4)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor, nn

from render.errors import InputError
from training.distillation.specific.norms import SharedBatchNorm
from uplift.encoders.base import TrainableEncoder
from uplift.encoders.distilled import plain_student
from uplift.encoders.finetuned import FineTunedEncoder

if TYPE_CHECKING:
    from jaxtyping import Float

Hidden: TypeAlias = Literal["auto", "wide", "geometric"]
"""Neurons between: as many as features enter, or the geometric mean of those and of the classes; auto = by the encoder.
"""
Width: TypeAlias = Literal["wide", "geometric"]
DEVIATION = 0.01  # of the first weights of a linear head, as in DINOv2's and mmsegmentation's


class ClassHead(nn.Sequential):
    """A perceptron with one hidden layer.

    The text does not name the function between both layers: GELU, that of the transformers below.

    Args:
        inputs: Features of a photo.
        classes: That it tells apart.
        hidden: How wide it is between.
    """

    def __init__(self, inputs: int, classes: int, hidden: Width = "wide") -> None:
        width = hidden_width(inputs, classes, hidden)
        super().__init__(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, classes))


class PixelHead(nn.Module):
    """DINOv2's linear head: a batch norm and a linear layer on every patch.

    Args:
        channels: Of a patch.
        classes: That it tells apart.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = SharedBatchNorm(channels)
        # What a 1 x 1 convolution computes; a matrix of two axes, as those that weights decay of.
        self.linear = nn.Linear(channels, classes)
        nn.init.normal_(self.linear.weight, std=DEVIATION)
        nn.init.zeros_(self.linear.bias)

    def forward(self, patches: Float[Tensor, "b gh gw c"]) -> Float[Tensor, "b k gh gw"]:
        """Logits of patches."""
        said: Tensor = self.linear(self.norm(patches.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return said.permute(0, 3, 1, 2)


def hidden_width(inputs: int, classes: int, hidden: Width) -> int:
    """Neurons of the hidden layer (B.1.4): ``n_in``, or ``sqrt(n_in n_out)``."""
    return inputs if hidden == "wide" else max(1, round(math.sqrt(inputs * classes)))


def class_width(dimension: int, blocks: int, mean_patch: bool) -> int:
    """Features that a head for photos reads: ``n_f (n_CLS + 1)``, or ``n_f n_CLS`` without the mean patch."""
    return dimension * (blocks + mean_patch)


def class_features(
    encoder: TrainableEncoder, pixels: Float[Tensor, "b 3 h w"], blocks: int, mean_patch: bool
) -> Float[Tensor, "b n"]:
    """The [CLS] tokens of the last blocks side by side, and the mean patch of the last one if asked for.

    The mean patch of a block stands for its [CLS] token in networks that have none.

    Raises:
        InputError: the network has fewer blocks.
    """
    if blocks == 1:
        layers = [encoder.tokens(pixels)]
    else:
        depth = depth_of(encoder)
        if blocks > depth:
            raise InputError(f"{encoder.name} has {depth} blocks, expected a head on the last of them, found {blocks}.")
        layers = encoder.layers(pixels, depth)[-blocks:]
    parts = [layer.whole for layer in layers]
    return torch.cat([*parts, layers[-1].patches.mean((1, 2))] if mean_patch else parts, 1)


def depth_of(encoder: TrainableEncoder) -> int:
    """How many blocks a transformer has; 1 where its network does not say."""
    own = encoder.base if isinstance(encoder, FineTunedEncoder) else plain_student(encoder)
    return len(getattr(own.network, "blocks", [None]))
