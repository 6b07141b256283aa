"""Files of encoders that a training here made: named parts of networks, and a header that says what they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from render.errors import InputError

DAMAGES = (KeyError, TypeError, ValueError, IndexError, AttributeError)  # what a header of another shape raises


def save_parts(path: str | Path, parts: Mapping[str, Mapping[str, Tensor]], header: Mapping[str, Any]) -> None:
    """Write a safetensors file in full precision: a small rate changes less than half precision holds.

    Args:
        path: The file.
        parts: States of networks by what the names of their tensors begin with.
        header: JSON values; its ``kind`` and ``format`` are what :func:`read_parts` asks for.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    from uplift.field import write_safetensors

    tensors = {
        prefix + name: tensor.detach().cpu().clone().contiguous()
        for prefix, part in parts.items()
        for name, tensor in part.items()
    }
    write_safetensors(path, tensors, header)


def read_parts(path: Path, *, kind: str, layout: int, command: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_parts` wrote.

    Args:
        path: The file.
        kind: The ``kind`` that its header must have.
        layout: The ``format`` that its header must have.
        command: What makes such files, for messages.

    Raises:
        InputError: no such file, truncated, or of another kind or format.
    """
    from uplift.field import read_safetensors

    tensors, header = read_safetensors(path)
    if header.get("kind") != kind:
        raise InputError(f"{path} is not a {kind}; expected a file that {command} wrote.")
    if header.get("format") != layout:
        raise InputError(f"{path} has format {header.get('format')}, expected {layout}; make it again with {command}.")
    return tensors, header


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@contextmanager
def whole(path: Path, command: str) -> Iterator[None]:
    """Turn what a header of another shape raises into one sentence.

    Raises:
        InputError: the file is damaged.
    """
    try:
        yield
    except InputError:
        raise
    except DAMAGES as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}); make it again with {command}."
        ) from error
