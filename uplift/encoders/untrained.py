"""Architectures of encoders without their weights: for training from scratch, and to read weights into."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from render.errors import InputError
from uplift.encoders.vit import PREFIX, ViTEncoder, make_architecture
from uplift.encoders.vit_names import VIT_NAMES

if TYPE_CHECKING:
    from timm.models import Eva, VisionTransformer

PLAIN = "plain-vit"
PLAIN_WINDOW, PLAIN_STRIDE = 192, 96  # pixels


def make_blank(name: str, device: torch.device, *, seed: int = 0, **options: Any) -> ViTEncoder:
    """An encoder's network with weights drawn from a seed; nothing is downloaded.

    Args:
        name: tiny-dino, tiny-depth, plain-vit, a short name of a ViT, or timm:NAME.
        device: Where it computes.
        seed: Of the weights.
        options: ``window`` and ``stride``.

    Raises:
        InputError: the architecture of that encoder is known with its weights alone.
    """
    if not has_architecture(name):
        raise InputError(
            f"{name} cannot be made without its weights; from scratch are made {', '.join(_tiny())}, short names such "
            f"as {', '.join(list(VIT_NAMES)[:2])}, and timm:NAME."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name not in _tiny():
            return make_architecture(name, device, **options)
        build, window, stride = _tiny()[name]
        return ViTEncoder(name, build(), device=device, **({"window": window, "stride": stride} | options))


def has_architecture(name: str) -> bool:
    """Whether :func:`make_blank` may know an encoder of that name."""
    return name in _tiny() or name in VIT_NAMES or name.startswith(PREFIX)


def _tiny() -> dict[str, tuple[Callable[[], Eva | VisionTransformer], int, int]]:
    """How tiny networks are built, their windows and strides."""
    from uplift.encoders import tiny_depth, tiny_dino

    return {
        tiny_dino.NAME: (tiny_dino.build_tiny_dino, tiny_dino.WINDOW, tiny_dino.STRIDE),
        tiny_depth.NAME: (lambda: tiny_depth.TinyDepth().vit, tiny_depth.WINDOW, tiny_depth.STRIDE),
        PLAIN: (_plain, PLAIN_WINDOW, PLAIN_STRIDE),
    }


def _plain() -> VisionTransformer:
    from uplift.encoders._plain_vit import PlainViT

    return PlainViT()
