"""Parameters that a loss does not depend on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def freeze_unread(module: nn.Module, told: Callable[[], Tensor]) -> None:
    """Freeze what gets no gradient, for which several processes would wait.

    Args:
        module: Changed in place; its gradients are cleared.
        told: Computes something that depends on all that the loss does.
    """
    with torch.enable_grad():
        told().square().sum().backward()
    for parameter in module.parameters():
        if parameter.grad is None:
            parameter.requires_grad_(False)
        parameter.grad = None
