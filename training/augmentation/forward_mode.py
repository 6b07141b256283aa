"""Derivatives of many losses along one direction of the weights, from a single pass in forward mode.

Torch's own forward mode goes through a batch norm by a formula of some twenty passes over the map, and converts it to
float32 and back where the map is bfloat16: four fifths of the time of a WideResNet.  The norm here needs seven.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from training.distillation.specific.norms import SharedBatchNorm
from training.loop.processes import several_processes

if TYPE_CHECKING:
    from jaxtyping import Float

Weights = Mapping[str, Tensor]
"""Of a network, by the names of its parameters."""


@torch.no_grad()
def derivatives_along(
    network: nn.Module, weights: Weights, direction: Weights, losses: Callable[[Callable[[Tensor], Tensor]], Tensor]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Losses of a network that is trained, and how fast they grow if its weights go in a direction.

    Batch norms normalize by their batch, and their running statistics stay as they are.

    Args:
        network: In training mode.
        weights: Where the derivatives are taken.
        direction: Where the weights go; any length.
        losses: Given the network as a function of photos.

    Returns:
        The losses, and the scalar products of their gradients with the direction.
    """
    with _dual_norms(network), forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(value, direction[name]) for name, value in weights.items()}
        found = forward_ad.unpack_dual(losses(lambda pixels: functional_call(network, duals, (pixels,))))
        tangent = torch.zeros_like(found.primal) if found.tangent is None else found.tangent
        return found.primal.clone(), tangent.clone()


@contextmanager
def _dual_norms(network: nn.Module) -> Iterator[None]:
    """Let the batch norms of a network be those of this module."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.forward = partial(_normed, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _normed(norm: _BatchNorm, values: Tensor) -> Tensor:
    shared = isinstance(norm, SharedBatchNorm) and several_processes()
    found: Tensor = _BatchNormed.apply(values, norm.weight, norm.bias, norm.eps, shared)
    return found


class _BatchNormed(torch.autograd.Function):
    """A batch norm as ``values * scale + shift`` with both from the batch, and its tangent; in forward mode alone."""

    @staticmethod
    def forward(context: Any, values: Tensor, weight: Tensor, bias: Tensor, eps: float, shared: bool) -> Tensor:
        count = _sum(values.new_tensor([values.numel() / values.shape[1]], dtype=_exact(values)), shared)
        mean = _sum(_channel_sums(values), shared) / count
        if shared:
            variance = _sum(_channel_sums((values - _wide(mean, values)).square()), shared) / count
        else:
            variance = values.to(_exact(values)).var((0, *range(2, values.ndim)), correction=0)
        inverse = (variance + eps).rsqrt()
        context.save_for_forward(values, weight, mean, inverse, count)
        context.shared = shared
        scale = weight * inverse
        return torch.addcmul(_wide(bias - mean * scale, values), values, _wide(scale, values))

    @staticmethod
    def jvp(context: Any, tangent: Tensor, weight_tangent: Tensor, bias_tangent: Tensor, *_: None) -> Tensor:
        values, weight, mean, inverse, count = context.saved_tensors
        sums = torch.stack([_channel_sums(tangent), _channel_sums(values * tangent)])
        moved, together = _sum(sums, context.shared) / count
        # d var = 2 (E[x dx] - E[x] E[dx]); d (var + eps)^-1/2 = -1/2 (var + eps)^-3/2 d var.
        inverse_moved = -(inverse**3) * (together - mean * moved)
        scale, scale_moved = weight * inverse, weight_tangent * inverse + weight * inverse_moved
        shift_moved = bias_tangent - moved * scale - mean * scale_moved
        slope = torch.addcmul(_wide(shift_moved, values), values, _wide(scale_moved, values))
        return torch.addcmul(slope, tangent, _wide(scale, values))


def _channel_sums(values: Tensor) -> Float[Tensor, " c"]:
    return values.sum((0, *range(2, values.ndim)), dtype=_exact(values))


def _exact(values: Tensor) -> torch.dtype:
    """That sums over a map are made in."""
    return torch.promote_types(values.dtype, torch.float32)


def _wide(values: Float[Tensor, " c"], like: Tensor) -> Tensor:
    """One value for every channel, of the type of a map."""
    return values.to(like.dtype).view(1, -1, *[1] * (like.ndim - 2))


def _sum(values: Tensor, shared: bool) -> Tensor:
    """The sum over all processes, if they share a batch."""
    if shared:
        distributed.all_reduce(values)
    return values
