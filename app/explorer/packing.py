"""A document as a file: masks as bits, scores as fp16, both compressed, names and records as JSON; no pickle."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from app.explorer.commands.base import check_name
from app.explorer.document import RGB, Document, Named
from render.errors import InputError
from render.files import atomic_file
from uplift.selection import Selection

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8
    from torch import Tensor

    Blob: TypeAlias = UInt8[np.ndarray, " b"]

FORMAT = 1
LEVEL = 1  # of compression: a tenth of the best one's time for a little more space
HALF_MAX = 65504.0
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError, zipfile.BadZipFile, zlib.error)


class Packer:
    """Turns documents into files; what did not change since the last one is not compressed again."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, Blob]] = {}  # by the id of the array, which is kept with it

    def save(self, path: Path, document: Document, fingerprint: str) -> None:
        """Write a document; a file is replaced at once or not at all.

        Args:
            path: The file.
            document: What to write.
            fingerprint: Of the Gaussians that it belongs to.

        Raises:
            InputError: a selection's record holds what JSON cannot, or a folder is in the way.
            OSError: the disk is full, or the folder cannot be written.
        """
        header = json_text(_header(document, fingerprint))
        arrays = {"header": np.array(header), **self._arrays(document)}
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def _arrays(self, document: Document) -> dict[str, Blob]:
        before, self._known = self._known, {}
        arrays = {"hidden": document.hidden, "removed": document.removed}
        for index, named in enumerate(document.selections.values()):
            arrays |= {f"mask_{index}": named.selection.mask, f"scores_{index}": named.selection.scores}
        packed = {}
        for name, array in arrays.items():
            known = before.get(id(array)) or self._known.get(id(array))
            self._known[id(array)] = known or (array, _packed(array))
            packed[name] = self._known[id(array)][1]
        return packed


def load_document(path: Path, n: int, fingerprint: str) -> Document:
    """Read what :class:`Packer` wrote.

    Args:
        path: The file.
        n: How many Gaussians the scene has.
        fingerprint: Of its Gaussians.

    Raises:
        InputError: it is damaged, or belongs to other Gaussians.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays["header"]))
        made_with = (header["format"], header["fingerprint"])
        document = None if made_with != (FORMAT, fingerprint) else _document(header, arrays, n)
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from error
    except DAMAGED as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}: {error}).") from error
    if document is None:
        raise InputError(f"{path} belongs to other Gaussians than the scene has now.")
    return document


def json_text(value: Mapping[str, Any]) -> str:
    """JSON as a string.

    Raises:
        InputError: there is something in it that JSON cannot hold.
    """
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"A selection's record must hold JSON values alone: {error}.") from error


def _header(document: Document, fingerprint: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "active": document.active,
        "selections": [
            {"name": name, "colour": list(one.colour), "shown": one.shown, "about": dict(one.selection.about)}
            for name, one in document.selections.items()
        ],
    }


def _document(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray], n: int) -> Document:
    selections = {}
    for index, one in enumerate(header["selections"]):
        check_name(one["name"])
        mask, scores = _bits(arrays[f"mask_{index}"], n), _halves(arrays[f"scores_{index}"], n)
        selections[one["name"]] = Named(Selection(mask, scores, dict(one["about"])), _colour(one), bool(one["shown"]))
    return Document(selections, header["active"], _bits(arrays["hidden"], n), _bits(arrays["removed"], n))


def _colour(one: Mapping[str, Any]) -> RGB:
    red, green, blue = (int(value) for value in one["colour"])
    return red, green, blue


def _packed(array: Bool[Tensor, " n"] | Float[Tensor, " n"]) -> Blob:
    if array.dtype == torch.bool:
        plain = np.packbits(array.numpy())
    else:
        plain = array.clamp_max(HALF_MAX).to(torch.float16).numpy()
    return np.frombuffer(zlib.compress(plain.tobytes(), LEVEL), np.uint8)


def _bits(blob: Blob, n: int) -> Bool[Tensor, " n"]:
    bits = np.frombuffer(_unpacked(blob, -(-n // 8)), np.uint8)
    return torch.from_numpy(np.unpackbits(bits, count=n).astype(bool))


def _halves(blob: Blob, n: int) -> Float[Tensor, " n"]:
    return torch.from_numpy(np.frombuffer(_unpacked(blob, 2 * n), np.float16).astype(np.float32))


def _unpacked(blob: Blob, size: int) -> bytes:
    plain = zlib.decompressobj().decompress(blob.tobytes(), size + 1)
    if len(plain) != size:
        raise InputError(f"expected {size} bytes of an array, found {len(plain)}.")
    return plain
