"""What a masked pretraining leaves: the file of the encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.pretraining.mask3d.task import MaskedPretraining
from uplift.encoders.mask3d import Pretrained

FILE = "encoder.safetensors"


def export(
    task: MaskedPretraining, out: str | Path, *, licence: str | None = None, about: Mapping[str, Any] | None = None
) -> Path:
    """Write ``OUT/encoder.safetensors``, which ``load_encoder("mask3d:OUT/encoder.safetensors")`` takes.

    Args:
        task: When it is trained.
        out: Folder of the training.
        licence: Of the weights that it began with; None = it began from nothing.
        about: How it was made; JSON values that travel in the file.
    """
    path = Path(out) / FILE
    made = Pretrained(
        task.model.network.state_dict(),
        task.model.decoder,
        licence=licence,
        training={**task.identity(), **(about or {})},
    )
    made.save(path, task.model.encoder)
    return path
