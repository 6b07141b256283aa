"""Optimizer and learning-rate schedule of the fit3d methods."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import ExponentialDecayScheduler, ExponentialDecaySchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


@dataclass
class FusedAdamConfig(AdamOptimizerConfig):
    """Adam in one pass over memory, on CPU as on GPU."""

    eps: float = 1e-15
    """The epsilon of Kerbl et al. 2023."""
    fused: bool = True
    """Whether to use torch's fused kernel."""


class PlainExponentialDecay(ExponentialDecayScheduler):
    """nerfstudio's schedule in Python floats, so that checkpoints load with ``weights_only=True``."""

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LambdaLR:
        """Interpolate the logarithm of the learning rate from ``lr_init`` to ``lr_final``."""
        config = self.config
        final = lr_init if config.lr_final is None else config.lr_final

        def factor(step: int) -> float:
            if step < config.warmup_steps:
                ramp = step / config.warmup_steps
                ramp = math.sin(0.5 * math.pi * ramp) if config.ramp == "cosine" else ramp
                return (config.lr_pre_warmup + (lr_init - config.lr_pre_warmup) * ramp) / lr_init
            progress = (step - config.warmup_steps) / max(config.max_steps - config.warmup_steps, 1)
            return (final / lr_init) ** min(max(progress, 0.0), 1.0)

        return LambdaLR(optimizer, lr_lambda=factor)


@dataclass
class PlainExponentialDecayConfig(ExponentialDecaySchedulerConfig):
    """Exponential decay with an optional warm-up."""

    _target: type = field(default_factory=lambda: PlainExponentialDecay)
