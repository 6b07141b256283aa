"""Weights that travel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from render.files import atomic_file


def save_weights(model: nn.Module, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a model's state in half precision as safetensors; integers keep their type.

    Args:
        model: The model.
        path: File to write.
        metadata: Text that travels in the file.
    """
    from safetensors.torch import save_file

    state: dict[str, Tensor] = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in model.state_dict().items()
    }
    with atomic_file(path) as temporary:
        save_file(state, temporary, metadata=dict(metadata or {}))
