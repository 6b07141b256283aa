"""What sees a part of a photo's patches, and what tells something of all of them (He et al. 2022; Hou et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from render.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float

HEAD_WIDTH = 64  # channels of a head of attention
TEMPERATURE = 10000.0  # the longest wave of a position, in patches and over 2 pi
PARTS = 4  # of a position's channels: sine and cosine along each axis


class Blocks(nn.Module):
    """Blocks of a vision transformer and a norm after the last one.

    Args:
        width: Channels of a token; a multiple of four.
        depth: Blocks.

    Raises:
        InputError: a number is out of its range.
    """

    def __init__(self, width: int, depth: int) -> None:
        from timm.models.vision_transformer import Block

        super().__init__()
        if width < 1 or width % PARTS or depth < 0:
            raise InputError(
                f"Expected a width that is a multiple of {PARTS}, found {width} channels in {depth} blocks."
            )
        heads = max(1, width // HEAD_WIDTH)
        heads = heads if width % heads == 0 else 1
        self.blocks = nn.ModuleList(Block(width, heads, qkv_bias=True) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        """Tokens after the norm."""
        for block in self.blocks:
            tokens = block(tokens)
        found: Tensor = self.norm(tokens)
        return found


class PatchDecoder(nn.Module):
    """From tokens of patches to others that know each other and where they lie.

    Args:
        dimension: Channels of the tokens that enter.
        width: Channels of those that leave.
        depth: Blocks.

    Raises:
        InputError: a number is out of its range.
    """

    def __init__(self, dimension: int, width: int, depth: int) -> None:
        super().__init__()
        self.dimension, self.width, self.depth = dimension, width, depth
        self.enter = nn.Linear(dimension, width)
        self.body = Blocks(width, depth)

    def forward(self, tokens: Float[Tensor, "b gh gw c"]) -> Float[Tensor, "b gh gw k"]:
        """Decoded tokens of a grid where every place has one."""
        b, gh, gw, _ = tokens.shape
        return self.decoded(self.enter(tokens.flatten(1, 2)), (gh, gw)).reshape(b, gh, gw, self.width)

    def decoded(self, entered: Float[Tensor, "b n k"], grid: tuple[int, int]) -> Float[Tensor, "b n k"]:
        """Decoded tokens of ones that have entered, row by row."""
        found: Tensor = self.body(entered + sine_cosine(grid, self.width).to(entered))
        return found

    def about(self) -> dict[str, int]:
        """How it is made again; JSON values."""
        return {"dimension": self.dimension, "width": self.width, "depth": self.depth}


def sine_cosine(grid: tuple[int, int], width: int) -> Float[Tensor, "n c"]:
    """Positions of patches, row by row: sines and cosines of waves along each axis, half of the channels for each.

    Args:
        grid: Rows and columns.
        width: Channels; a multiple of four.

    Raises:
        InputError: it is not.
    """
    if width % PARTS:
        raise InputError(f"Positions of sines and cosines have a multiple of {PARTS} channels, found {width}.")
    waves = TEMPERATURE ** -(torch.arange(width // PARTS, dtype=torch.float64) / (width // PARTS))
    rows, columns = torch.meshgrid(*(torch.arange(length, dtype=torch.float64) for length in grid), indexing="ij")
    angles = [axis.reshape(-1, 1) * waves for axis in (rows, columns)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], 1).float()


def set_positions(network: nn.Module) -> None:
    """Give a network that learns its position embeddings those of :func:`sine_cosine`, and keep them from changing.

    Networks whose queries and keys are turned by the position (RoPE) have no others, and stay as they are.
    """
    model: Any = network
    positions = getattr(model, "pos_embed", None)
    if positions is None:
        return
    found = sine_cosine(model.patch_embed.grid_size, positions.shape[-1]).to(positions)
    with torch.no_grad():
        positions.zero_()
        positions[0, positions.shape[1] - len(found) :] = found
    positions.requires_grad_(False)


def plainly_attending(module: nn.Module) -> None:
    """Let blocks attend step by step: on a CPU, PyTorch's fused attention takes twice as long backwards through few
    tokens; changed in place."""
    for part in _with_fused(module):
        part.fused_attn = False


def _with_fused(module: nn.Module) -> Iterator[Any]:
    return (part for part in module.modules() if hasattr(part, "fused_attn"))
