"""Gaussians and point clouds as ``.ply`` files; the standard 3DGS layout, bit for bit.

The file keeps logits and logarithms, the memory keeps opacities and scales, and ``log(exp(x))`` is not ``x``.
So Gaussians that were loaded carry the rows of their file along (:class:`PlyRows`): saving writes the file's
own bits wherever a value is unchanged, and every attribute, element and comment that this module does not
know.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from render.errors import InputError
from render.files import atomic_file
from render.gaussians import MAX_SH_DEGREE, Gaussians

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from numpy.typing import NDArray

POSITION = ("x", "y", "z")
NORMAL = ("nx", "ny", "nz")
BASE_COLOUR = ("f_dc_0", "f_dc_1", "f_dc_2")
SCALE = ("scale_0", "scale_1", "scale_2")
ROTATION = ("rot_0", "rot_1", "rot_2", "rot_3")
REQUIRED = (*POSITION, *BASE_COLOUR, "opacity", *SCALE, *ROTATION)


@dataclass(frozen=True)
class PlyRows:
    """The rows of a 3DGS file as they are on disk, and all that surrounds them.

    Attributes:
        rows: One record per Gaussian, every attribute of the file; structured ``[n]``.
        vertex: The file's vertex element without data (attribute order, types, comments); ``PlyElement``.
        before: The elements that precede the vertices in the file; ``PlyElement``s.
        after: The elements that follow them.
        header: Format, byte order, comments and ``obj_info`` lines, as keywords of ``plyfile.PlyData``.
    """

    rows: NDArray[Any]
    vertex: Any
    before: tuple[Any, ...]
    after: tuple[Any, ...]
    header: dict[str, Any]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor | slice) -> PlyRows:
        """Keep a subset of the rows; faces, whose vertex numbers it would break, go."""
        key = index if isinstance(index, slice) else index.detach().cpu().numpy()
        return replace(
            self,
            rows=self.rows[key],
            before=tuple(e for e in self.before if not _refers_to_vertices(e)),
            after=tuple(e for e in self.after if not _refers_to_vertices(e)),
        )


@dataclass(frozen=True)
class Points:
    """A sparse point cloud.

    Attributes:
        positions: In the frame of the scene; ``[m, 3]`` float32.
        colours: ``[m, 3]`` uint8; white where the file has none.
    """

    positions: Float[Tensor, "m 3"]
    colours: UInt8[Tensor, "m 3"]

    def __len__(self) -> int:
        return len(self.positions)


def load_gaussians(path: str | Path) -> Gaussians:
    """Read a standard 3DGS ``.ply`` of SH degree 0 to 3, in the order and the frame of the file.

    Returns:
        Float32 on the CPU.  They remember their file's rows, so that ``save`` gives every bit back.

    Raises:
        InputError: no such file, not a PLY file, truncated, not Gaussians (the missing attributes are named),
            empty, or with values that are not finite.
    """
    path = Path(path)
    source = _read_rows(path)
    gaussians = decode_rows(source.rows)
    _check_finite(path, gaussians)
    return gaussians.with_source(source)


def save_gaussians(path: str | Path, gaussians: Gaussians) -> None:
    """Write a standard 3DGS ``.ply`` (float32, little endian unless loaded otherwise); atomic.

    Values that are unchanged since they were loaded are written with the bits of their file.

    Raises:
        InputError: there are no Gaussians, or a value is not finite.
    """
    import plyfile

    if len(gaussians) == 0:
        raise InputError(f"There are no Gaussians to write to {path}; a scene needs at least one.")
    _check_finite(Path(path), gaussians)
    columns = encode_columns(gaussians)
    source = gaussians.source
    if source is None:
        rows = np.empty(len(gaussians), dtype=[(name, "<f4") for name in columns])
        for name, column in columns.items():
            rows[name] = column
        data = plyfile.PlyData([plyfile.PlyElement.describe(rows, "vertex")], byte_order="<")
    else:
        vertex = _merge(source, columns)
        data = plyfile.PlyData([*source.before, vertex, *source.after], **source.header)
    with atomic_file(path) as temporary:
        data.write(str(temporary))


def decode_rows(rows: NDArray[Any]) -> Gaussians:
    """Gaussians of structured 3DGS rows: sigmoid of the opacity, exponential of the scales; CPU float32."""
    channels = len(_rest_names(rows.dtype.names)) // 3
    rest = _columns(rows, [f"f_rest_{i}" for i in range(3 * channels)]).reshape(len(rows), 3, channels)
    return Gaussians(
        means=_columns(rows, POSITION),
        quats=_columns(rows, ROTATION),
        scales=_columns(rows, SCALE).exp(),
        opacities=torch.sigmoid(_columns(rows, ("opacity",))[:, 0]),
        sh=torch.cat([_columns(rows, BASE_COLOUR)[:, None], rest.transpose(1, 2)], dim=1),
    )


def encode_columns(gaussians: Gaussians) -> dict[str, NDArray[np.float32]]:
    """The columns of the standard layout, in its order, without regard to where the Gaussians came from.

    Opacities of exactly 0 or 1 and scales of 0 move to the nearest value whose logit or logarithm is finite.
    """
    g = gaussians.detach().to(device="cpu", dtype=torch.float32)
    tiny, one = torch.finfo(torch.float32).tiny, 1 - torch.finfo(torch.float32).eps / 2
    rest = g.sh[:, 1:].transpose(1, 2).reshape(len(g), -1)
    groups = [
        (POSITION, g.means),
        (NORMAL, torch.zeros_like(g.means)),
        (BASE_COLOUR, g.sh[:, 0]),
        (tuple(f"f_rest_{i}" for i in range(rest.shape[1])), rest),
        (("opacity",), torch.logit(g.opacities.double().clamp(tiny, one)).float()[:, None]),
        (SCALE, g.scales.clamp_min(tiny).log()),
        (ROTATION, g.quats),
    ]
    return {name: values[:, i].numpy() for names, values in groups for i, name in enumerate(names)}


def load_points(path: str | Path) -> Points:
    """Read the positions and, if there are any, the 8-bit colours of a point cloud ``.ply``.

    Raises:
        InputError: no such file, not a PLY file, truncated, or without positions.
    """
    path = Path(path)
    rows = _vertices(path, _read_ply(path)).data
    missing = [name for name in POSITION if name not in rows.dtype.names]
    if missing:
        raise InputError(f"{path} is not a point cloud: its vertices lack {', '.join(missing)}.")
    rgb = ("red", "green", "blue")
    if all(rows.dtype[name] == np.uint8 if name in rows.dtype.names else False for name in rgb):
        colours = np.stack([rows[name] for name in rgb], axis=1)
    else:
        colours = np.full((len(rows), 3), 255, np.uint8)
    return Points(_columns(rows, POSITION), torch.from_numpy(colours))


def save_points(path: str | Path, points: Points) -> None:
    """Write a point cloud as nerfstudio reads it: float32 positions, 8-bit colours, little endian; atomic."""
    import plyfile

    rows = np.empty(
        len(points), dtype=[*((n, "<f4") for n in POSITION), *((n, "u1") for n in ("red", "green", "blue"))]
    )
    for i, name in enumerate(rows.dtype.names or ()):
        rows[name] = (points.positions if i < 3 else points.colours)[:, i % 3].cpu().numpy()
    data = plyfile.PlyData([plyfile.PlyElement.describe(rows, "vertex")], byte_order="<")
    with atomic_file(path) as temporary:
        data.write(str(temporary))


def _read_rows(path: Path) -> PlyRows:
    data = _read_ply(path)
    vertex = _vertices(path, data)
    names = vertex.data.dtype.names or ()
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        packed = " It looks like a compressed PLY: export it uncompressed." if "packed_position" in names else ""
        raise InputError(
            f"{path} is not a 3D Gaussian splatting PLY: its vertices lack {', '.join(missing)} "
            f"(they have {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}).{packed}"
        )
    allowed = [3 * ((d + 1) ** 2 - 1) for d in range(MAX_SH_DEGREE + 1)]
    rest = _rest_names(names)
    if len(rest) not in allowed or set(rest) != {f"f_rest_{i}" for i in range(len(rest))}:
        raise InputError(
            f"{path} has {len(rest)} f_rest_* attributes; expected f_rest_0, f_rest_1, ... and "
            f"{', '.join(map(str, allowed))} of them (SH degrees 0 to {MAX_SH_DEGREE})."
        )
    if len(vertex.data) == 0:
        raise InputError(f"{path} contains zero Gaussians; a scene needs at least one.")
    position = [e.name for e in data.elements].index("vertex")
    return PlyRows(
        rows=np.array(vertex.data),
        vertex=vertex,
        before=tuple(map(_in_memory, data.elements[:position])),
        after=tuple(map(_in_memory, data.elements[position + 1 :])),
        header={
            "text": data.text,
            "byte_order": data.byte_order,
            "comments": list(data.comments),
            "obj_info": list(data.obj_info),
        },
    )


def _read_ply(path: Path) -> Any:
    import plyfile

    if not path.is_file():
        raise InputError(f"Expected a PLY file at {path}, found {'a folder' if path.is_dir() else 'nothing'}.")
    try:
        # Without memory mapping plyfile reads row by row, a thousand times slower.
        return plyfile.PlyData.read(str(path), mmap="r")
    except (plyfile.PlyHeaderParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a PLY file, or its header is damaged ({error}).") from error
    except (plyfile.PlyParseError, ValueError, OverflowError) as error:
        raise InputError(f"{path} is truncated or damaged ({error}); write or copy it again.") from error


def _vertices(path: Path, data: Any) -> Any:
    for element in data.elements:
        if element.name == "vertex":
            return element
    found = ", ".join(e.name for e in data.elements) or "none"
    raise InputError(f"{path} has no vertices: expected an element 'vertex', found {found}.")


def _in_memory(element: Any) -> Any:
    # A mapped file may be replaced or cut while the program runs.
    element = copy(element)
    element.data = np.array(element.data)
    return element


def _refers_to_vertices(element: Any) -> bool:
    return any(p.name in ("vertex_indices", "vertex_index") for p in element.properties)


def _rest_names(names: Any) -> list[str]:
    return [name for name in names or () if name.startswith("f_rest_")]


def _columns(rows: NDArray[Any], names: tuple[str, ...] | list[str]) -> Tensor:
    out = np.empty((len(rows), len(names)), np.float32)
    for i, name in enumerate(names):
        out[:, i] = rows[name]
    return torch.from_numpy(out)


def _merge(source: PlyRows, columns: dict[str, NDArray[np.float32]]) -> Any:
    """The vertex element to write: the file's bits where nothing changed, new values elsewhere."""
    import plyfile

    loaded = encode_columns(decode_rows(source.rows))
    known = {p.name for p in source.vertex.properties}
    keep = [p for p in source.vertex.properties if p.name in columns or not p.name.startswith("f_rest_")]
    added = [plyfile.PlyProperty(name, "f4") for name in columns if name not in known and name not in NORMAL]
    order = source.header["byte_order"]
    types = [(p.name, source.rows.dtype[p.name]) for p in keep] + [(p.name, f"{order}f4") for p in added]
    rows = np.empty(len(source), dtype=types)
    for name in (p.name for p in keep):
        rows[name] = source.rows[name]
        if name in loaded and name not in NORMAL:
            changed = _differs(columns[name], loaded[name], exact=name not in ("opacity", *SCALE))
            rows[name][changed] = columns[name][changed]
    for name in (p.name for p in added):
        rows[name] = columns[name]
    vertex = copy(source.vertex)
    # plyfile checks each of these assignments against the other.
    vertex.properties = keep
    vertex.data = rows
    vertex.properties = [*keep, *added]
    return vertex


def _differs(new: NDArray[np.float32], old: NDArray[np.float32], *, exact: bool) -> NDArray[np.bool_]:
    if exact:
        return new.view(np.int32) != old.view(np.int32)
    # exp and sigmoid may round differently on another device or in another place of a vector register.
    return ~np.isclose(new, old, rtol=1e-6, atol=1e-6)


def _check_finite(path: Path, gaussians: Gaussians) -> None:
    for name in ("means", "quats", "scales", "opacities", "sh"):
        values: Tensor = getattr(gaussians, name).detach().reshape(len(gaussians), -1)
        bad = int((~torch.isfinite(values)).any(1).sum())
        if bad:
            raise InputError(
                f"{path}: {bad} of {len(gaussians)} Gaussians have {name} that are NaN or infinite; "
                "remove them, or export the scene again."
            )
    still = int((gaussians.quats.detach() == 0).all(1).sum())
    if still:
        raise InputError(f"{path}: {still} of {len(gaussians)} Gaussians have a rotation of length zero; remove them.")
