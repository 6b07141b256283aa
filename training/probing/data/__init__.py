"""Data of probes: each module knows the layout of one kind of folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from render.errors import InputError
from training.layouts import Kind, Layout
from training.probing.photos import ProbeData


def open_data(path: str | Path, layout: Layout = "auto", *, train: Sequence[Path] = ()) -> ProbeData:
    """Open a folder of data.

    Args:
        path: The folder.
        layout: auto = found out from the files that are there.
        train: Rooms to learn from; for rooms alone.

    Raises:
        InputError: no such folder, its layout is not known, or a file is missing or damaged.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"Expected a folder of data at {path}, found none.")
    kind = layout_of(path) if layout == "auto" else layout
    if kind is None:
        raise InputError(
            f"The layout of {path} is none of {', '.join(_readers())}; say which it shall be with --layout, and what "
            "it lacks is named (fit3d probe --help says more of each)."
        )
    if kind == "rooms":
        from training.probing.data.rooms import read_rooms

        return read_rooms(path, train)
    if train:
        raise InputError("--train names rooms to learn from; other data have splits of their own.")
    return _readers()[kind][1](path)


def layout_of(path: Path) -> Kind | None:
    """How a folder is laid out, by the files that are there; None = in no way that is known."""
    return next((name for name, (recognised, _) in _readers().items() if recognised(path)), None)


def _readers() -> dict[Kind, tuple[Callable[[Path], bool], Callable[[Path], ProbeData]]]:
    """Whether a folder has a layout, and how it is read; whatever is more special is asked first."""
    from training.probing.data import ade20k, camvid, folder, kitti, labelled, nyu, rgbd, rooms, scannet, scannetpp, voc

    return {
        "rooms": (rooms.recognised, rooms.read_rooms),
        "camvid": (camvid.recognised, camvid.read_camvid),
        "kitti": (kitti.recognised, kitti.read_kitti),
        "scannet": (scannet.recognised, scannet.read_scannet),
        "scannetpp": (scannetpp.recognised, scannetpp.read_scannetpp),
        "nyu": (nyu.recognised, nyu.read_nyu),
        "ade20k": (ade20k.recognised, ade20k.read_ade20k),
        "voc": (voc.recognised, voc.read_voc),
        "folder": (folder.recognised, folder.read_folder),
        "rgbd": (rgbd.recognised, rgbd.read_rgbd),
        "arrays": (labelled.arrays_recognised, labelled.read_arrays),
        "image-folders": (labelled.folders_recognised, labelled.read_folders),
    }
