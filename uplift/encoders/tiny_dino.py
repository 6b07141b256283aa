"""``tiny-dino``: a small ViT trained without labels on rooms, for where DINOv2's weights cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from render.errors import InputError
from uplift.encoders.checkpoints import read_weights
from uplift.encoders.tiny import LICENCE, tiny_file
from uplift.encoders.vit import ViTEncoder

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from timm.models import Eva

NAME = "tiny-dino"
WIDTH, DEPTH, HEADS, PATCH = 256, 5, 4, 8
CROP = 96  # pixels, the side of what it was trained on
# Positions turn queries and keys (RoPE), by waves as long as a photo's grid of patches at most.
ROPE_TEMPERATURE = 100.0
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
WINDOW, STRIDE = 192, 96


def build_tiny_dino(*, width: int = WIDTH, depth: int = DEPTH, heads: int = HEADS) -> Eva:
    """The network with random weights: blocks of attention on patches of 8 pixels, and a convolutional stem.

    Positions enter by RoPE alone, so a patch is described alike wherever it lies in the photo.

    Args:
        width: Channels of a token.
        depth: Blocks.
        heads: Of their attention.
    """
    from timm.models import Eva

    model = Eva(
        img_size=CROP,
        patch_size=PATCH,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        num_classes=0,
        global_pool="token",
        use_abs_pos_emb=False,
        use_rot_pos_emb=True,
        rope_temperature=ROPE_TEMPERATURE,
        dynamic_img_size=True,
    )
    model.patch_embed.proj = _Stem(width)
    model.pretrained_cfg = {"input_size": (3, CROP, CROP), "mean": MEAN, "std": STD}
    return model


class _Stem(nn.Module):
    """Three convolutions of stride 2 and residual ones at two scales, where a linear map of pixels would stand.

    Edges and textures are learned much sooner by them than by attention (Xiao et al. 2021).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            *(_Residual(64) for _ in range(2)),
            nn.GELU(),
            nn.Conv2d(64, 128, 3, stride=2, padding=1),
            *(_Residual(128) for _ in range(2)),
            nn.GELU(),
            nn.Conv2d(128, width, 1),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # As large as what enters: with PyTorch's own scale the biases outweigh what the photo shows.
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c gh gw"]:
        """Embeddings of patches; channels lie last in memory, which convolutions of a CPU prefer."""
        found: Tensor = self.layers(pixels.contiguous(memory_format=torch.channels_last))
        return found


class _Residual(nn.Module):
    """Two convolutions whose result is scaled and added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 0.2))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """``x`` and what is made of it."""
        found: Tensor = self.second(functional.gelu(self.first(functional.gelu(x))))
        return x + self.scale * found


def tokens(
    model: Eva,
    pixels: Float[Tensor, "b 3 h w"],
    mask: Bool[Tensor, "b gh gw"] | None = None,
    hidden: Tensor | None = None,
) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b gh gw c"]]:
    """Run the network, with some patches hidden if asked.

    Args:
        model: Of :func:`build_tiny_dino`.
        pixels: Normalised, sides multiples of the patch.
        mask: Patches that the network does not see.
        hidden: The token that stands in their place; ``[c]``.

    Returns:
        The [CLS] token and the patch tokens after the last norm.
    """
    x = model.patch_embed(pixels)
    gh, gw = x.shape[1:3]
    if mask is not None and hidden is not None:
        x = torch.where(mask[..., None], hidden.to(x.dtype), x)
    x, rope = model._pos_embed(x)
    for block in model.blocks:
        x = block(x, rope=rope)
    x = model.norm(x)
    return x[:, 0], x[:, model.num_prefix_tokens :].reshape(len(x), gh, gw, -1)


def make_tiny_dino(weights: Path | None, device: torch.device, **options: Any) -> ViTEncoder:
    """The encoder ``tiny-dino``.

    Args:
        weights: A file that ``fit3d tiny dino`` wrote; None = the bundled one.
        device: Where it computes.
        options: ``window`` and ``stride``.

    Raises:
        InputError: the weights are another network's.
    """
    path = weights or tiny_file(NAME)
    model = build_tiny_dino()
    try:
        model.load_state_dict({name: value.float() for name, value in read_weights(path).items()})
    except RuntimeError as error:
        raise InputError(f"{path} does not hold the weights of {NAME}; train them with: fit3d tiny dino") from error
    return _encoder(model, device, options)


def make_untrained(device: torch.device, **options: Any) -> ViTEncoder:
    """The same network as it is before training, with fixed random weights: what training is measured against.

    Args:
        device: Where it computes.
        options: ``window`` and ``stride``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_tiny_dino()
    return _encoder(model, device, options, f"{NAME}-untrained")


def _encoder(model: Eva, device: torch.device, options: dict[str, Any], name: str = NAME) -> ViTEncoder:
    named = {"window": WINDOW, "stride": STRIDE} | options
    return ViTEncoder(name, model, licence=LICENCE, device=device, **named)
