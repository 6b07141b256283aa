"""Files of weights: reading them safely, taking off their wrappings, hashing what they hold."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from render.errors import InputError
from uplift.encoders._downloads import first_sentence

# Training checkpoints hold the weights under one of these names, beside optimizers and counters.
NESTINGS = ("state_dict", "model_state_dict", "model_ema", "model", "teacher", "target_encoder", "encoder", "module")
# Wrappers of distribution, compilation and self-distillation put these before every name.
PREFIXES = ("module.", "_orig_mod.", "teacher.", "backbone.", "model.")
CHUNKED_BLOCK = re.compile(r"^blocks\.\d+\.(\d+)\.(?=\D)")  # DINOv2's training files group their blocks
ZIP, PICKLE = b"PK", b"\x80"


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read named tensors from safetensors or from what ``torch.save`` wrote, with nothing executed.

    Nestings such as ``{"model": ...}`` and prefixes such as ``module.`` or ``teacher.backbone.`` are taken off.

    Raises:
        InputError: no such file, not readable as either format, or no tensors in it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file of weights at {path}.")
    with path.open("rb") as file:
        start = file.read(2)
    pickled = start[:2] == ZIP or start[:1] == PICKLE
    content = _read_pickle(path) if pickled else _read_safetensors(path)
    tensors = _without_prefixes(_unnested(content))
    if not tensors:
        raise InputError(f"{path} holds no weights; expected named tensors, as a state_dict or as safetensors.")
    return {CHUNKED_BLOCK.sub(r"blocks.\1.", name): tensor for name, tensor in tensors.items()}


def _read_pickle(path: Path) -> Any:
    from pickle import UnpicklingError

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} could not be read as weights ({first_sentence(error)}); expected safetensors, or a state_dict "
            "that torch.load(weights_only=True) accepts."
        ) from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(
            f"{path} is truncated or holds no weights ({error}); expected safetensors or a file of torch.save."
        ) from error


def _unnested(content: Any) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = next((content[name] for name in NESTINGS if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            return {str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
        content = inner
    return {}


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    while True:
        for prefix in PREFIXES:
            # A backbone stands beside the heads it was trained with, which are of no use here.
            kept = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            if kept and (len(kept) == len(tensors) or prefix in ("teacher.", "backbone.")):
                tensors = kept
                break
        else:
            return tensors


def hash_of(model: nn.Module) -> str:
    """SHA-256 of a model's weights by name: the same for the same weights, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{list(tensor.shape)}{tensor.dtype}".encode())
        plain = tensor.detach().cpu().contiguous()
        digest.update(plain.view(torch.uint8).numpy() if plain.ndim else plain[None].view(torch.uint8).numpy())
    return digest.hexdigest()


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor], what: str, source: str | Path) -> None:
    """Fill a model with tensors that must be all of its own and of its shapes.

    Args:
        model: Changed in place.
        tensors: By the names of the model; more than it has are refused too.
        what: The model in words, for the message.
        source: The file, for the message.

    Raises:
        InputError: a tensor is missing, of another shape, or unknown to the model.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in tensors]
    foreign = [name for name in tensors if name not in own]
    other = [
        f"{name} {list(tensor.shape)} instead of {list(own[name].shape)}"
        for name, tensor in tensors.items()
        if name in own and tensor.shape != own[name].shape
    ]
    complaints = [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for kind, names in (("tensors missing", missing), ("of other shapes", other), ("unknown", foreign))
        if names
    ]
    if complaints:
        raise InputError(
            f"{source} does not hold the weights of {what}: {', '.join(complaints)}; give the file of that model, "
            "or name the encoder that it belongs to."
        )
    model.load_state_dict(dict(tensors))
