"""Batch norm and dropout whose results do not depend on how many processes share a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn

from training.loop.processes import several_processes

if TYPE_CHECKING:
    from jaxtyping import Float


class _Summed(torch.autograd.Function):
    """The sum over all processes, each of which has a loss of its own that depends on it."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:  # noqa: ARG004  torch gives it
        found = values.clone()
        distributed.all_reduce(found)
        return found

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004  torch gives it
        found = gradient.clone()
        distributed.all_reduce(found)
        return found


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """A batch norm over the photos of all processes, on any device (torch's own needs CUDA for that).

    Channels are axis 1.  In a single process it is torch's batch norm.
    """

    def forward(self, values: Float[Tensor, "b c *n"]) -> Float[Tensor, "b c *n"]:
        """Normed values; while it is trained, by the mean and the variance of the whole batch."""
        if not self.training or not several_processes():
            return super().forward(values)
        axes = [axis for axis in range(values.ndim) if axis != 1]
        shape = [1, -1, *[1] * (values.ndim - 2)]
        known = values.to(torch.promote_types(values.dtype, torch.float32))
        count = _Summed.apply(known.new_tensor([float(known.numel() // known.shape[1])]))
        mean = _Summed.apply(known.sum(axes)) / count
        centred = known - mean.view(shape)
        variance = _Summed.apply(centred.square().sum(axes)) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        normed = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normed = normed * self.weight.view(shape) + self.bias.view(shape)
        return normed.to(values.dtype)

    def _check_input_dim(self, values: Tensor) -> None:
        if values.ndim < 2:
            raise ValueError(f"Expected channels on axis 1, found {list(values.shape)}.")

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


class ItemDropout(nn.Module):
    """Dropout drawn from the seed of each item, where torch's would differ between processes.

    Attributes:
        seeds: Of the items of the batch that comes next; None = nothing is dropped.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.seeds: Sequence[int] | None = None

    def forward(self, values: Float[Tensor, "b *n"]) -> Float[Tensor, "b *n"]:
        """Some values zero, the others larger; as they are where nothing is trained."""
        if not self.training or self.seeds is None:
            return values
        kept = torch.stack([self._kept(values.shape[1:], seed) for seed in self.seeds])
        return values * kept.to(values) / (1 - self.share)

    def _kept(self, shape: torch.Size, seed: int) -> Tensor:
        return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) >= self.share


def shareable(model: nn.Module) -> nn.Module:
    """Put these in the place of torch's batch norms and dropouts, below a module; changed in place, and returned."""
    for name, child in list(model.named_children()):
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and not isinstance(child, SharedBatchNorm):
            norm = SharedBatchNorm(
                child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
            )
            norm.load_state_dict(child.state_dict())
            setattr(model, name, norm)
        elif isinstance(child, nn.Dropout):
            setattr(model, name, ItemDropout(child.p))
        else:
            shareable(child)
    return model
