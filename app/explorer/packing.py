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
from app.explorer.commands.naming import check_colour
from app.explorer.document import MOST_SELECTIONS, Document, Named
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
LARGEST_HEADER = 1 << 26  # bytes
SLACK = 4096  # bytes by which a compressed array may exceed its plain one
# What reading a file that may hold anything raises; MemoryError where it claims arrays that nobody has room for, and
# RuntimeError for parts that are encrypted, compressed in a way nobody knows, or nested too deep.
UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    EOFError,
    MemoryError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


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
    """Read what :class:`Packer` wrote; no more memory is taken than a document of so many Gaussians can need.

    Args:
        path: The file.
        n: How many Gaussians the scene has.
        fingerprint: Of its Gaussians.

    Raises:
        InputError: it cannot be read, is damaged, of another version, or belongs to other Gaussians.
    """
    try:
        with _opened(path) as archive:
            header = _header_of(archive)
            _check_origin(header, fingerprint)
            return _document(header, archive, n)
    except InputError as error:
        raise InputError(f"{path} {error}") from error


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


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or 'the disk reports an error'}).") from error
    except UNREADABLE as error:
        raise InputError("is damaged: it is cut off, or no file of a session.") from error


def _part(archive: zipfile.ZipFile, name: str, limit: int) -> np.ndarray:
    """An array of a file.

    Raises:
        InputError: it is missing, damaged, or larger than it can be.
    """
    try:
        entry = archive.getinfo(f"{name}.npy")
        if entry.file_size <= limit:
            with archive.open(entry) as file:
                return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    except KeyError as error:
        raise InputError(f"is damaged: its part {name!r} is missing.") from error
    except UNREADABLE as error:
        raise InputError(f"is damaged: its part {name!r} cannot be read.") from error
    raise InputError(f"is damaged: its part {name!r} has {entry.file_size:,} bytes, which is more than it can need.")


def _header_of(archive: zipfile.ZipFile) -> dict[str, Any]:
    text = _part(archive, "header", LARGEST_HEADER)
    try:
        header = json.loads(str(text))
    except UNREADABLE as error:
        raise InputError("is damaged: its list of selections cannot be read.") from error
    listed = header.get("selections") if isinstance(header, dict) else None
    if not isinstance(listed, list) or len(listed) > MOST_SELECTIONS:
        raise InputError("is damaged: its list of selections is none.")
    return dict(header)


def _check_origin(header: Mapping[str, Any], fingerprint: str) -> None:
    """Raise InputError unless a file was written by this version, for these Gaussians."""
    if header.get("format") != FORMAT:
        raise InputError("was written by another version of fit3d, whose sessions this one does not read.")
    if header.get("fingerprint") != fingerprint:
        raise InputError("belongs to other Gaussians than the scene has now.")


def _document(header: Mapping[str, Any], archive: zipfile.ZipFile, n: int) -> Document:
    hidden, removed = _bits(archive, "hidden", n), _bits(archive, "removed", n)
    listed = header["selections"]
    arrays = [(_bits(archive, f"mask_{i}", n), _halves(archive, f"scores_{i}", n)) for i in range(len(listed))]
    try:
        selections = {one["name"]: _named(one, *pair) for one, pair in zip(listed, arrays, strict=True)}
        return Document(selections, header["active"], hidden, removed)
    except UNREADABLE as error:
        raise InputError("is damaged: its list of selections makes no sense.") from error


def _named(one: Mapping[str, Any], mask: Bool[Tensor, " n"], scores: Float[Tensor, " n"]) -> Named:
    check_name(one["name"])
    red, green, blue = (int(value) for value in one["colour"])
    check_colour((red, green, blue))
    return Named(Selection(mask, scores, dict(one["about"])), (red, green, blue), bool(one["shown"]))


def _packed(array: Bool[Tensor, " n"] | Float[Tensor, " n"]) -> Blob:
    if array.dtype == torch.bool:
        plain = np.packbits(array.numpy())
    else:
        plain = array.clamp_max(HALF_MAX).to(torch.float16).numpy()
    return np.frombuffer(zlib.compress(plain.tobytes(), LEVEL), np.uint8)


def _bits(archive: zipfile.ZipFile, name: str, n: int) -> Bool[Tensor, " n"]:
    bits = np.frombuffer(_unpacked(archive, name, -(-n // 8)), np.uint8)
    return torch.from_numpy(np.unpackbits(bits, count=n).astype(bool))


def _halves(archive: zipfile.ZipFile, name: str, n: int) -> Float[Tensor, " n"]:
    return torch.from_numpy(np.frombuffer(_unpacked(archive, name, 2 * n), np.float16).astype(np.float32))


def _unpacked(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    """The bytes of an array that must have so many."""
    blob = _part(archive, name, 2 * size + SLACK)
    try:
        plain = zlib.decompressobj().decompress(blob.tobytes(), size + 1)
    except zlib.error as error:
        raise InputError(f"is damaged: its part {name!r} cannot be read.") from error
    if len(plain) != size:
        raise InputError(f"is damaged: its part {name!r} is one of another number of Gaussians.")
    return plain
