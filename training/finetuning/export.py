"""What a fine-tuning leaves: the file of the encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from render.progress import Progress, silent
from training.finetuning.task import FineTuning
from uplift.encoders.finetuned import Assembly, FineTuned

if TYPE_CHECKING:
    from torch import Tensor

FILE = "encoder.safetensors"
VIEWS = 256  # that the linear layer is fitted on
RIDGE = 1e-4  # of the mean square of the features


def export(
    task: FineTuning,
    out: str | Path,
    *,
    assembly: Assembly = "concatenated",
    about: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Path:
    """Write ``OUT/encoder.safetensors``, which ``load_encoder("fit3d:OUT/encoder.safetensors")`` takes.

    Args:
        task: When it is trained; its targets are prepared.
        out: Folder of the training.
        assembly: How its features are assembled unless another way is asked for.
        about: How it was made; JSON values that travel in the file.
        progress: Told while the linear layer of the assembly ``fused`` is fitted.
    """
    student = task.student
    tuned = FineTuned(
        network=None if student.adapter is not None else student.network.state_dict(),
        adapter=student.adapter,
        fusion=fit_fusion(task, progress),
        assembly=assembly,
        training={**task.identity(), **(about or {})},
    )
    path = Path(out) / FILE
    tuned.save(path, task.encoder)
    return path


@torch.no_grad()
def fit_fusion(task: FineTuning, progress: Progress = silent) -> nn.Linear:
    """The linear layer from original and fine-tuned features, side by side, to the original's space (FiT3D, table 7).

    Of all such layers it comes closest to the targets in the mean square, over evenly spaced training views.
    """
    scenes, c = task.targets.scenes, task.encoder.dimension
    chosen = scenes.index[:: -(-len(scenes) // VIEWS)]
    squares = torch.zeros(2 * c + 1, 2 * c + 1, dtype=torch.float64)
    products = torch.zeros(2 * c + 1, c, dtype=torch.float64)
    what = "fitting the linear layer of both features"
    for done, (scene, view) in enumerate(chosen):
        progress(done, len(chosen), what)
        pixels = scenes.pixels(scene, view)[None]
        target = task.targets.of(scene, view)
        both = torch.cat([task.original(pixels)[0], task.student(pixels)[0]], -1).cpu()[target.mask]
        rows = torch.cat([both, torch.ones(len(both), 1)], 1).to(torch.float64)
        squares += rows.T @ rows
        products += rows.T @ target.features[target.mask].to(torch.float64)
    progress(len(chosen), len(chosen), what)
    return _solved(squares, products)


def _solved(squares: Tensor, products: Tensor) -> nn.Linear:
    """Least squares from sums of products; the last row is that of the bias, which may be as large as it likes."""
    inputs = len(squares) - 1
    ridge = RIDGE * squares.diagonal()[:-1].mean().clamp_min(1e-12) * torch.ones(len(squares), dtype=torch.float64)
    ridge[-1] = 1e-12
    solution = torch.linalg.solve(squares + ridge.diag(), products)
    layer = nn.Linear(inputs, products.shape[1])
    layer.load_state_dict({"weight": solution[:-1].T.float(), "bias": solution[-1].float()})
    return layer.requires_grad_(False)
