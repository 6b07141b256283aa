"""Densification under a cap on the number of Gaussians."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from gsplat.strategy import DefaultStrategy
from gsplat.strategy.ops import reset_opa
from torch.optim import Optimizer


@dataclass
class CappedStrategy(DefaultStrategy):
    """gsplat's ``DefaultStrategy`` that spends a budget of Gaussians over the refinement steps.

    Each refinement may add an equal share of what is left to the cap; the gradient threshold rises to
    the value that keeps to it, so the Gaussians with the largest screen-space gradients grow first.
    """

    cap_max: int = 1_000_000
    """The number of Gaussians never exceeded by growing."""

    def step_post_backward(
        self,
        params: Any,
        optimizers: dict[str, Optimizer],
        state: dict[str, Any],
        step: int,
        info: Mapping[str, Any],
        packed: bool = False,
    ) -> None:
        """Refine, then reset opacities where due.

        Args:
            params: The per-Gaussian parameters by name.
            optimizers: One optimizer per parameter.
            state: Running statistics, changed in place.
            step: Counted from 1 (step 0 is a multiple of everything).
            info: ``width, height, n_cameras, radii, gaussian_ids, means2d`` of the last rendering.
            packed: As in gsplat.
        """
        super().step_post_backward(params, optimizers, state, step, info, packed)
        # gsplat 1.5.3 writes `step % n == 0 & step > 0`, which is never true: the reset is done here.
        if 0 < step < self.refine_stop_iter and step % self.reset_every == 0:
            reset_opa(params=params, optimizers=optimizers, state=state, value=self.prune_opa * 2.0)

    def _grow_gs(
        self, params: Any, optimizers: dict[str, Optimizer], state: dict[str, Any], step: int
    ) -> tuple[int, int]:
        refinements_left = 1 + max(self.refine_stop_iter - 1 - step, 0) // self.refine_every
        room = max(self.cap_max - len(params["means"]), 0)
        share = -(-room // refinements_left)
        limits: dict[str, Any] = {}
        if step < self.refine_scale2d_stop_iter:
            large = int((state["radii"] > self.grow_scale2d).sum())
            if large > share:
                limits["refine_scale2d_stop_iter"] = 0
            else:
                share -= large
        gradients = state["grad2d"] / state["count"].clamp_min(1)
        if share < len(gradients):
            bound = torch.topk(gradients, share + 1).values[-1].item()
            limits["grow_grad2d"] = max(self.grow_grad2d, bound)
        return DefaultStrategy._grow_gs(replace(self, **limits), params, optimizers, state, step)
