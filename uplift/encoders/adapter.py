"""A small network on top of a frozen one (FiT3D, table 6): a single block of a Swin transformer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

WINDOW = 7  # patches along each side that see each other
CHANNELS_PER_HEAD = 32  # as in Swin


class SwinAdapter(nn.Module):
    """Changes patch tokens by attention within windows of 7 by 7; in the beginning it changes nothing.

    Args:
        dimension: Channels of the tokens.
    """

    def __init__(self, dimension: int) -> None:
        from timm.models.swin_transformer import SwinTransformerBlock

        super().__init__()
        heads = dimension // CHANNELS_PER_HEAD if dimension % CHANNELS_PER_HEAD == 0 else 1
        self.block = SwinTransformerBlock(
            dimension,
            input_resolution=(WINDOW, WINDOW),
            num_heads=heads,
            window_size=WINDOW,
            always_partition=True,
            dynamic_mask=True,  # grids of any size
        )
        for last in (self.block.attn.proj, self.block.mlp.fc2):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, tokens: Float[Tensor, "b gh gw c"]) -> Float[Tensor, "b gh gw c"]:
        """Tokens of the same shape."""
        found: Tensor = self.block(tokens)
        return found
