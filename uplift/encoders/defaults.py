"""The encoder to take where the person names none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from uplift.encoders._downloads import OutOfReachError
from uplift.encoders.registry import load_encoder

if TYPE_CHECKING:
    import torch

    from uplift.encoders.base import Encoder

Kind = Literal["structure", "text"]
CHOICES: Mapping[Kind, tuple[str, str]] = {
    "structure": ("dinov2-reg-small", "tiny-dino"),
    "text": ("clip:ViT-B-16/laion2b_s34b_b88k", "tiny-clip"),
}
"""What is wanted, and what travels with fit3d for where that cannot be had."""


def default_encoder(
    kind: Kind, device: str | torch.device | None = None, *, options: Mapping[str, Any] | None = None
) -> tuple[Encoder, str]:
    """The encoder of a foundation model where its weights are at hand or can be had, else the bundled small one.

    Args:
        kind: ``structure`` for features that group what belongs together, ``text`` for those that text is compared
            with.
        device: Where it computes; None = ``auto``.
        options: Settings of the encoder.

    Returns:
        The encoder, and a line that says which and why.

    Raises:
        InputError: as :func:`load_encoder`, but for weights out of reach.
    """
    wanted, bundled = CHOICES[kind]
    try:
        encoder = load_encoder(wanted, device=device, options=options)
    except OutOfReachError as error:
        encoder = load_encoder(bundled, device=device, options=options)
        return encoder, f"encoder: {bundled}, because the weights of {wanted} are out of reach ({error.cause})"
    return encoder, f"encoder: {wanted}, the default where its weights can be had"
