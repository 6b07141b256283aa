"""The encoders by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from render.devices import resolve_device
from render.errors import InputError
from uplift.encoders.base import Encoder

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Factory = Callable[["Path | None", "torch.device"], Encoder]


@dataclass(frozen=True)
class EncoderEntry:
    """One encoder of the registry.

    Attributes:
        name: What the person types.
        summary: One line for lists and help texts.
        make: ``make(weights, device)``; imports the encoder's libraries when it is called, not before.
        takes_weights: Whether a file of weights may be given.
    """

    name: str
    summary: str
    make: Factory
    takes_weights: bool = True


_ENTRIES: dict[str, EncoderEntry] = {}


def register_encoder(entry: EncoderEntry) -> None:
    """Add an encoder.

    Raises:
        InputError: the name is taken.
    """
    if entry.name in _ENTRIES:
        raise InputError(f"The encoder name {entry.name!r} is taken; choose another one.")
    _ENTRIES[entry.name] = entry


def encoder_entries() -> list[EncoderEntry]:
    """All encoders, by name."""
    return [_ENTRIES[name] for name in sorted(_ENTRIES)]


def load_encoder(
    name: str,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    *,
    state: Mapping[str, Tensor] | None = None,
) -> Encoder:
    """Make an encoder ready to use.

    Args:
        name: A name of :func:`encoder_entries`.
        weights: A local file of weights; None = the encoder's own.
        device: Where it computes; None = ``auto``.
        state: What an earlier ``fit`` learned (:meth:`Encoder.state`), so that maps come out the same.

    Raises:
        InputError: unknown name (the known ones are listed), weights that do not exist or are not taken.
    """
    if name not in _ENTRIES:
        known = "; ".join(f"{entry.name} ({entry.summary})" for entry in encoder_entries())
        raise InputError(f"Unknown encoder {name!r}; the known ones are: {known}.")
    entry = _ENTRIES[name]
    if weights is not None and not entry.takes_weights:
        raise InputError(f"The encoder {name} has no weights, found {weights}; leave the weights out.")
    if weights is not None and not Path(weights).is_file():
        raise InputError(f"There is no file of weights at {weights}.")
    encoder = entry.make(None if weights is None else Path(weights), resolve_device(device or "auto"))
    if state:
        encoder.load_state(state)
    return encoder


def _make_rgb(weights: Path | None, device: torch.device) -> Encoder:  # noqa: ARG001  the signature is Factory
    from uplift.encoders.rgb import RGBEncoder

    return RGBEncoder(device)


def _make_dense_descriptors(weights: Path | None, device: torch.device) -> Encoder:  # noqa: ARG001  see above
    from uplift.encoders.dense_descriptors import DenseDescriptors

    return DenseDescriptors(device=device)


register_encoder(EncoderEntry("rgb", "the photo's colours, at full size", _make_rgb, takes_weights=False))
register_encoder(
    EncoderEntry(
        "dense-descriptors",
        "multi-scale DAISY and colour, reduced by a PCA over the scene; no weights",
        _make_dense_descriptors,
        takes_weights=False,
    )
)
