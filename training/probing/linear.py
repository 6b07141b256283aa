"""Linear heads of several seeds, fitted at once: features are read once, the heads do not know of each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from render.errors import InputError
from render.progress import Progress, silent
from training.probing.photos import Task
from training.probing.settings import ProbeSettings

if TYPE_CHECKING:
    from jaxtyping import Float, Int

DEVIATION = 0.01  # of the first weights


class LinearHeads(nn.Module):
    """A batch norm and a linear layer for each seed, as DINOv2 probes.

    Args:
        channels: Of a feature.
        outputs: Of a head.
        seeds: One head for each; it decides on the first weights.
    """

    def __init__(self, channels: int, outputs: int, seeds: Sequence[int]) -> None:
        super().__init__()
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        weights = [torch.empty(channels, outputs).normal_(0, DEVIATION, generator=g) for g in generators]
        # Scale and shift would say nothing that the linear layer does not.
        self.norm = nn.BatchNorm1d(len(seeds) * channels, affine=False)
        self.weight = nn.Parameter(torch.stack(weights))
        self.bias = nn.Parameter(torch.zeros(len(seeds), 1, outputs))

    def forward(self, features: Float[Tensor, "m s c"]) -> Float[Tensor, "s m k"]:
        """What each head says of features of its own."""
        normed = self.norm(features.flatten(1)).view_as(features)
        return torch.baddbmm(self.bias, normed.transpose(0, 1), self.weight)

    def on(self, features: Float[Tensor, "m c"]) -> Float[Tensor, "s m k"]:
        """What each head says of the same features."""
        return self(features[:, None].expand(-1, len(self.weight), -1))


def fit_heads(
    heads: LinearHeads,
    rows: int,
    features: Callable[[Int[Tensor, " j"]], Float[Tensor, "j c"]],
    loss: Callable[[Int[Tensor, "s m"], Float[Tensor, "s m k"]], Float[Tensor, " s"]],
    settings: ProbeSettings,
    task: Task,
    seeds: Sequence[int],
    *,
    device: str | torch.device = "cpu",
    what: str = "probe",
    progress: Progress = silent,
) -> None:
    """Fit heads on random rows, those of a head drawn by its seed; they are left ready to predict.

    Args:
        heads: Changed in place.
        rows: How many there are.
        features: Reads rows.
        loss: Of each head, from the rows that it saw and what it said.
        settings: How they are fitted.
        task: Whose learning rate is taken.
        seeds: Those of the heads.
        device: Where to compute.
        what: How progress calls it.
        progress: Told along the steps.

    Raises:
        InputError: they diverge.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    heads.to(device).train()
    optimizer = torch.optim.AdamW(heads.parameters(), lr=settings.rate_of(task), weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    with torch.enable_grad():
        for step in range(settings.steps):
            progress(step, settings.steps, what)
            chosen = torch.stack([torch.randint(rows, (settings.batch,), generator=g) for g in generators])
            read = features(chosen.T.reshape(-1)).to(device, torch.float32)
            said = heads(read.view(settings.batch, len(seeds), -1))
            optimizer.zero_grad()
            loss(chosen, said).sum().backward()
            optimizer.step()
            schedule.step()
    progress(settings.steps, settings.steps, what)
    heads.eval()
    require_finite(heads, what)


def require_finite(heads: nn.Module, what: str) -> None:
    """Raise InputError, before anything is told by them, if heads diverged."""
    if not all(bool(values.isfinite().all()) for values in heads.state_dict().values()):
        raise InputError(f"The {what} diverged: expected finite weights, found others; choose a smaller rate.")
