"""The segmentation benchmarks as they are published: NVOS and SPIn-NeRF's multi-view segmentation set.

Both give an object in one reference view, as scribbles or as a mask, and true masks in others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from render.errors import InputError
from render.readers.capture import name_some
from render.scene import Scene
from render.views import View
from uplift.evaluation.paper import NVOS_SCENES, SPIN_NERF_SCENES
from uplift.prompts import Prompt

if TYPE_CHECKING:
    from jaxtyping import Bool, UInt8

PICTURES = (".png", ".jpg", ".jpeg")
INSIDE = 128  # of 255: from here on a scribble's or a mask's pixel is marked
NOT_MASKS = ("_cutout", "_pseudo")  # what the annotation program wrote beside every mask of SPIn-NeRF
INDEXED = re.compile(r"image(\d+)", re.IGNORECASE)
SPLIT_PREFIX = re.compile(r"[01]_(.+)")
SPIN_NERF_FOLDERS = {
    "orchids": "orchids (llff)",
    "leaves": "leaves (llff)",
    "fern": "fern (llff)",
    "room": "room (llff)",
    "horns": "horns (llff)",
    "fortress": "fortress (llff)",
    "fork": "fork (nerf_supervision)",
    "pinecone": "pinecone (nerf_real_360)",
    "truck": "Truck (Tanks & Temples)",
    "lego": "lego_real_night_radial",
}

PromptKind = Literal["mask", "scribbles"]


@dataclass(frozen=True)
class Task:
    """An object to find in the views of a scene.

    Attributes:
        name: Of the task, unique in its benchmark.
        splats: The name of the scene; several tasks may share it.
        reference: The name of the reference picture, without extension.
        kind: What is given there.
        prompt: Makes the prompt for the reference view.
        truths: Name of a target picture, without extension -> reads its true mask, ``[H, W]`` bool at the
            mask's own size.
        files: What is read for the prompt and the true masks.
    """

    name: str
    splats: str
    reference: str
    kind: PromptKind
    prompt: Callable[[View], Prompt]
    truths: Mapping[str, Callable[[], Bool[np.ndarray, "H W"]]]
    files: tuple[Path, ...] = ()


def read_nvos(folder: str | Path) -> list[Task]:
    """The tasks of NVOS (Ren et al. 2022): scribbles in one view, the true mask of one other view.

    ::

        masks/SCENE/TARGET_mask.png     the true mask, white on black
        reference_image/SCENE/REFERENCE.JPG
        scribbles/SCENE/pos_*.png       strokes on the object, white on black
        scribbles/SCENE/neg_*.png       strokes on the background

    for the scenes fern, flower, fortress, horns_center, horns_left, leaves, orchids and trex of LLFF, of which
    horns_center and horns_left share the splats ``horns``.

    Raises:
        InputError: a folder or file of the layout is missing, or there are several where one is expected.
    """
    folder = Path(folder)
    missing = [part for part in ("masks", "reference_image", "scribbles") if not (folder / part).is_dir()]
    if missing:
        raise InputError(
            f"NVOS has the folders masks, reference_image and scribbles; {folder} lacks {', '.join(missing)}."
        )
    names = [name for name in NVOS_SCENES if (folder / "masks" / name).is_dir()]
    if not names:
        raise InputError(f"Expected scenes of NVOS ({', '.join(NVOS_SCENES)}) in {folder / 'masks'}, found none.")
    return [_nvos_task(folder, name) for name in names]


def _nvos_task(folder: Path, name: str) -> Task:
    mask = _only(folder / "masks" / name, "*_mask.png", "true mask of the target view")
    reference = _only_picture(folder / "reference_image" / name)
    positive = _only(folder / "scribbles" / name, "pos_*.png", "scribble on the object")
    negative = _only(folder / "scribbles" / name, "neg_*.png", "scribble on the background")

    def prompt(view: View) -> Prompt:
        strokes = [_to_view(_read_strokes(path), view, strokes=True) for path in (positive, negative)]
        return Prompt.from_scribbles(view, strokes[0], strokes[1] & ~strokes[0])

    target = mask.stem.removesuffix("_mask")
    splats = "horns" if name.startswith("horns_") else name
    truths = {target: _mask_reader(mask)}
    return Task(name, splats, reference.stem, "scribbles", prompt, truths, (mask, reference, positive, negative))


def read_spin_nerf(folder: str | Path) -> list[Task]:
    """The tasks of SPIn-NeRF's multi-view segmentation set (Mirzaei et al. 2023): masks of many views.

    ::

        orchids (llff)/image000.png         the mask: 0 outside, anything else inside
        orchids (llff)/image000_pseudo.png, image000_cutout.png, annotations.json    not read

    for the ten folders of :data:`SPIN_NERF_FOLDERS`; each may also have its short name (``orchids``).  The first
    mask by name is the reference, all others are targets.  Masks called ``imageNNN`` count the photos in the
    order of their names from 0 unless a photo has that name; the prefixes ``0_`` and ``1_`` (training and test
    split) are dropped unless a photo has them.

    Raises:
        InputError: none of the folders is there, or one has fewer than two masks.
    """
    folder = Path(folder)
    there = {
        child.name.lower(): child for child in (sorted(folder.iterdir()) if folder.is_dir() else []) if child.is_dir()
    }
    found = {name: there.get(SPIN_NERF_FOLDERS[name].lower()) or there.get(name) for name in SPIN_NERF_SCENES}
    tasks = [_spin_nerf_task(name, path) for name, path in found.items() if path is not None]
    if not tasks:
        raise InputError(
            f"Expected folders of SPIn-NeRF's masks ({name_some(SPIN_NERF_FOLDERS.values(), 3)}) in {folder}, "
            "found none."
        )
    return tasks


def _spin_nerf_task(name: str, folder: Path) -> Task:
    masks = [path for path in sorted(folder.glob("*.png")) if path.name[0] != "." and not path.stem.endswith(NOT_MASKS)]
    if len(masks) < 2:
        raise InputError(f"Expected the masks of a reference and of other views in {folder}, found {len(masks)}.")

    def prompt(view: View) -> Prompt:
        return Prompt.from_mask(view, _to_view(_read_gray(masks[0], labels=True) > 0, view))

    truths = {path.stem: _labels_reader(path) for path in masks[1:]}
    return Task(name, name, masks[0].stem, "mask", prompt, truths, tuple(masks))


def _labels_reader(path: Path) -> Callable[[], np.ndarray]:
    return lambda: _read_gray(path, labels=True) > 0


def _mask_reader(path: Path) -> Callable[[], np.ndarray]:
    return lambda: _read_gray(path) >= INSIDE


def read_capture_task(scene: Scene, masks: str | Path, reference: str, scribbles: str | Path | None = None) -> Task:
    """Own masks of a capture: ``masks/VIEW.png`` at the photos' sizes, 255 = object.

    Args:
        scene: The scene.
        masks: The folder; files that are not named after a view are left alone.
        reference: The view that the object is given in.
        scribbles: Scribbles on it (RGBA: red = object, blue = background); None = its mask is given.

    Raises:
        InputError: the reference is no view or has no mask, or no other view has one.
    """
    from uplift.prompts import read_mask, read_scribbles

    folder = Path(masks)
    if not folder.is_dir():
        raise InputError(f"Expected a folder with a mask VIEW.png for each masked view, found none at {folder}.")
    scene.view(reference)
    files = {view.name: folder / f"{view.name}.png" for view in scene.views}
    targets = {name: path for name, path in files.items() if path.is_file() and name != reference}
    if not targets:
        raise InputError(f"{folder} has no mask VIEW.png of any view of {scene.path} beside {reference}.")
    if scribbles is None and not files[reference].is_file():
        raise InputError(f"Expected the mask of the reference view at {files[reference]}; or give --scribbles.")
    kind: PromptKind = "mask" if scribbles is None else "scribbles"

    def prompt(view: View) -> Prompt:
        return read_mask(files[reference], view) if scribbles is None else read_scribbles(scribbles, view)

    truths = {name: _mask_reader(path) for name, path in targets.items()}
    read = (files[reference] if scribbles is None else Path(scribbles), *targets.values())
    return Task(reference, scene.path.name, reference, kind, prompt, truths, read)


def object_task(
    name: str,
    reference: str,
    positive: Bool[np.ndarray, "h w"],
    negative: Bool[np.ndarray, "h w"],
    masks: Mapping[str, Bool[np.ndarray, "h w"]],
) -> Task:
    """An object of a scene whose masks are known: scribbles in one view, masks of others by view name."""

    def reader(mask: np.ndarray) -> Callable[[], np.ndarray]:
        return lambda: mask

    def prompt(view: View) -> Prompt:
        return Prompt.from_scribbles(view, positive, negative)

    truths = {view: reader(mask) for view, mask in masks.items()}
    return Task(name, name, reference, "scribbles", prompt, truths)


def find_view(scene: Scene, name: str) -> View:
    """The view that a picture of a benchmark belongs to.

    Its photo has that name; or the name is ``imageNNN`` and counts the photos in the order of their names from
    0; or it has a prefix ``0_`` or ``1_`` before the photo's name.

    Raises:
        InputError: there is none; the names are listed.
    """
    by_name = {view.name: view for view in scene.views}
    if name in by_name:
        return by_name[name]
    indexed, prefixed = INDEXED.fullmatch(name), SPLIT_PREFIX.fullmatch(name)
    if indexed is not None and int(indexed[1]) < len(by_name):
        return by_name[sorted(by_name)[int(indexed[1])]]
    if prefixed is not None and prefixed[1] in by_name:
        return by_name[prefixed[1]]
    raise InputError(
        f"{scene.path} has no photo for the annotation {name!r}; its photos are {name_some(by_name)}. "
        "Fit the splats from the photos that the benchmark was annotated on."
    )


def resized_mask(mask: Bool[np.ndarray, "h w"], width: int, height: int, *, strokes: bool = False) -> np.ndarray:
    """A mask at another size; a pixel is inside if half of it was, of thin strokes if a quarter was."""
    import cv2

    if mask.shape == (height, width):
        return mask
    interpolation = cv2.INTER_AREA if width < mask.shape[1] else cv2.INTER_LINEAR
    shares = cv2.resize(mask.astype(np.float32), (width, height), interpolation=interpolation)
    return shares >= (0.25 if strokes else 0.5)


def _to_view(mask: np.ndarray, view: View, *, strokes: bool = False) -> np.ndarray:
    """A mask of a photo, at any resolution of it, as one of the undistorted view."""
    return view.from_photo(resized_mask(mask, *view.photo_size, strokes=strokes))


def _read_strokes(path: Path) -> Bool[np.ndarray, "H W"]:
    marked = _read_gray(path) >= INSIDE
    if not marked.any() or marked.mean() > 0.5:
        raise InputError(f"Expected white strokes on black in {path}, found {marked.mean():.0%} of it white.")
    return marked


def _read_gray(path: Path, *, labels: bool = False) -> UInt8[np.ndarray, "H W"]:
    """Brightness, or the label of every pixel where a palette only gives labels their colours."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            return np.array(opened if labels and opened.mode == "P" else opened.convert("L"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image: {error}.") from error


def _only(folder: Path, pattern: str, what: str) -> Path:
    found = [path for path in sorted(folder.glob(pattern)) if path.name[0] != "."]
    if len(found) != 1:
        names = name_some([path.name for path in found]) if found else "none"
        raise InputError(f"Expected one {what} {pattern} in {folder}, found {names}.")
    return found[0]


def _only_picture(folder: Path) -> Path:
    found = [p for p in (sorted(folder.iterdir()) if folder.is_dir() else []) if p.suffix.lower() in PICTURES]
    found = [path for path in found if path.name[0] != "."]
    if len(found) != 1:
        names = name_some([path.name for path in found]) if found else "none"
        raise InputError(f"Expected one reference picture in {folder}, found {names}.")
    return found[0]
