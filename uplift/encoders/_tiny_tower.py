"""The image tower of ``tiny-clip``: convolutions, and attention where the image is coarse, for features of pixels.

A network of this kind learns from few photos, and in little time on a processor, what a ViT does not (compare Xiao et
al. 2021).  timm knows it as a model, so that open_clip builds it from a configuration like any other tower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from timm.models import register_model
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

NAME = "fit3d_tiny_tower"
STRIDE = 8  # pixels of the image for every node of the features
COARSE = 16  # pixels for every token of the attention; sides of images are multiples of it
WIDTHS, BLOCKS, HEADS, GROUPS = (32, 64, 128, 256), (1, 3, 1, 2), 4, 8


class TinyTower(nn.Module):
    """Residual convolutions down to an eighth and a sixteenth of the image, attention there, and back to the eighth.

    Attributes:
        num_features: Channels of the features.
        default_cfg: What timm's callers ask of a model.
    """

    def __init__(self) -> None:
        super().__init__()
        first, quarter, eighth, coarse = WIDTHS
        self.num_features = coarse
        self.default_cfg: dict[str, Any] = {"input_size": (3, 64, 64)}
        self.stem = nn.Sequential(_convolution(3, first, 2), _convolution(first, quarter, 2))
        self.quarter = _residuals(quarter, BLOCKS[0])
        self.eighth = nn.Sequential(_convolution(quarter, eighth, 2), _residuals(eighth, BLOCKS[1]))
        self.coarse = nn.Sequential(_convolution(eighth, coarse, 2), _residuals(coarse, BLOCKS[2]))
        self.attention = nn.ModuleList(_Attention(coarse, HEADS) for _ in range(BLOCKS[3]))
        self.lateral = nn.Conv2d(eighth, coarse, 1)
        self.last = nn.Sequential(_Residual(coarse), nn.GroupNorm(GROUPS, coarse))

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """There is no classifier; features are averaged, whatever is asked."""

    def forward_features(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c gh gw"]:
        """Features of every eighth pixel of images whose sides are multiples of 16."""
        fine = self.eighth(self.quarter(self.stem(x)))
        x = self.coarse(fine)
        b, c, h, w = x.shape
        rows = x.flatten(2).transpose(1, 2)
        for block in self.attention:
            rows = block(rows)
        x = rows.transpose(1, 2).reshape(b, c, h, w)
        x = nn.functional.interpolate(x, scale_factor=2, mode="nearest") + self.lateral(fine)
        features: Tensor = self.last(x)
        return features

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c"]:
        """The mean of an image's features."""
        return self.forward_features(x).mean((2, 3))


@register_model
def fit3d_tiny_tower(pretrained: bool = False, **_: Any) -> TinyTower:
    """:class:`TinyTower` for ``timm.create_model``; weights come with the CLIP that it is a part of."""
    if pretrained:
        raise ValueError(f"timm has no weights of {NAME}")
    return TinyTower()


class _Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels, 1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(GROUPS, channels)
        nn.init.zeros_(self.norm.weight)  # the identity at first

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return torch.relu(x + self.norm(self.second(self.first(x))))


class _Attention(nn.Module):
    """A block of a transformer without positions: what lies where is told by the padding of the convolutions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        q, k, v = self.qkv(self.norms[0](x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        found: Tensor = x + self.mlp(self.norms[1](x))
        return found


def _convolution(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), nn.GroupNorm(GROUPS, after), nn.ReLU()
    )


def _residuals(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_Residual(channels) for _ in range(count)))
