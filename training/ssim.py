"""Structural similarity with its gradient, exact and fast on CPU.

The index of Wang et al. 2004 with an 11-tap Gaussian window (sigma 1.5) over the valid region, as
`pytorch_msssim` computes it.  On CPU one fused pass gives the index and its derivative: `pytorch_msssim`
spends 40 % of a training iteration there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from render.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float

WINDOW = 11
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2


def ssim(prediction: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"]) -> Float[Tensor, ""]:
    """Mean structural similarity of two images with values in [0, 1].

    Differentiable with respect to ``prediction`` only (on CPU; the target of a photo loss is data).

    Args:
        prediction: Rendered image, ``[h, w, 3]`` float32, ``h`` and ``w`` at least 11.
        target: Photo, ``[h, w, 3]`` float32.

    Returns:
        The mean over channels and the valid ``(h - 10) x (w - 10)`` windows.

    Raises:
        InputError: the shapes differ or an image is smaller than the window.
    """
    if prediction.shape != target.shape or prediction.ndim != 3 or prediction.shape[2] != 3:
        raise InputError(
            f"SSIM compares two images [h, w, 3] of one size, found {list(prediction.shape)} and {list(target.shape)}."
        )
    if min(prediction.shape[:2]) < WINDOW:
        raise InputError(
            f"SSIM needs images of at least {WINDOW}x{WINDOW} pixels, found {prediction.shape[1]}x"
            f"{prediction.shape[0]}; train at a higher resolution."
        )
    if prediction.device.type == "cpu" and prediction.dtype == torch.float32:
        return _FusedSSIM.apply(prediction, target)
    return ssim_reference(prediction, target)


def window(dtype: torch.dtype = torch.float32) -> Float[Tensor, 11]:
    """The normalized one-dimensional Gaussian window."""
    offsets = torch.arange(WINDOW, dtype=dtype) - WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    return weights / weights.sum()


def ssim_reference(prediction: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"]) -> Float[Tensor, ""]:
    """The same index in plain torch: any device and dtype, differentiable in both images."""
    x, y = prediction.permute(2, 0, 1), target.permute(2, 0, 1)
    maps = torch.stack([x, y, x * x, y * y, x * y])
    flat = maps.flatten(0, 1)[:, None]
    taps = window(x.dtype).to(x.device)
    flat = torch.nn.functional.conv2d(flat, taps.view(1, 1, -1, 1))
    flat = torch.nn.functional.conv2d(flat, taps.view(1, 1, 1, -1))
    mx, my, xx, yy, xy = flat[:, 0].unflatten(0, (5, -1))
    covariance, variances = xy - mx * my, xx - mx * mx + yy - my * my
    index = (2 * mx * my + C1) / (mx * mx + my * my + C1) * (2 * covariance + C2) / (variances + C2)
    return index.mean()


class _FusedSSIM(torch.autograd.Function):
    """The CPU path: the derivative is computed along with the index."""

    @staticmethod
    def forward(ctx: Any, prediction: Tensor, target: Tensor) -> Tensor:
        from training._ssim_kernels import ssim_with_gradient

        value, gradient = ssim_with_gradient(
            prediction.detach().contiguous().numpy(),
            target.detach().contiguous().numpy(),
            ctx.needs_input_grad[0],
        )
        if gradient is not None:
            ctx.save_for_backward(torch.from_numpy(gradient))
        return prediction.new_tensor(value)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0], None
