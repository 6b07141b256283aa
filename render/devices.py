"""The one place that knows device names."""

import torch

from render.errors import InputError


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` into a device; ``auto`` is CUDA if there is one, else CPU."""
    if isinstance(name, torch.device):
        return name
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"Expected the device auto, cpu, cuda or cuda:N, found {name!r}.") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"Expected the device auto, cpu, cuda or cuda:N, found {name!r}.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"The device {name!r} was asked for, but torch sees no NVIDIA GPU; use --device cpu.")
    return device


def is_accelerated(device: torch.device) -> bool:
    """Whether tensors on this device are rasterized by gsplat's kernels."""
    return device.type == "cuda"
