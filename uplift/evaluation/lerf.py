"""The extended LERF set of LangSplat (Qin et al. 2024): objects named by texts, as boxes and as masks."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from render.errors import InputError
from render.progress import Progress, silent
from render.scene import Scene
from render.views import View
from uplift.evaluation.store import plain_name, save_heat, save_mask
from uplift.evaluation.tasks import find_view, resized_mask
from uplift.thresholds import iou

if TYPE_CHECKING:
    from jaxtyping import Bool

    from uplift.sam_masks import MaskPredictor
    from uplift.search import Method, Searcher


class Answer(Protocol):
    """Where a frame shows what a text names."""

    def mask(self, width: int, height: int) -> Bool[np.ndarray, "h w"]:
        """All instances together, at the frame's size."""

    def contains(self, x: float, y: float) -> bool:
        """Whether a point, in pixels of the frame, is a right answer."""


@dataclass(frozen=True)
class LabelledObject:
    """What one text names in a frame.

    Attributes:
        boxes: (x0, y0, x1, y1) in pixels of the frame, one per instance.
        polygons: Corners (x, y), one polygon per instance.
    """

    boxes: tuple[tuple[float, float, float, float], ...]
    polygons: tuple[tuple[tuple[float, float], ...], ...]

    def mask(self, width: int, height: int) -> Bool[np.ndarray, "h w"]:
        """All instances together."""
        import cv2

        mask = np.zeros((height, width), np.uint8)
        for polygon in self.polygons:
            cv2.fillPoly(mask, [np.round(np.array(polygon)).astype(np.int32)], 1)
        return mask > 0

    def contains(self, x: float, y: float) -> bool:
        """Whether a point lies in one of the boxes."""
        return any(min(x0, x1) <= x <= max(x0, x1) and min(y0, y1) <= y <= max(y0, y1) for x0, y0, x1, y1 in self.boxes)


@dataclass(frozen=True, eq=False)
class MaskedObject:
    """What one text names in a frame whose pixels are all known.

    Attributes:
        pixels: All instances together, at the frame's size.
    """

    pixels: Bool[np.ndarray, "h w"]

    def mask(self, width: int, height: int) -> Bool[np.ndarray, "h w"]:
        """All instances together."""
        return resized_mask(self.pixels, width, height)

    def contains(self, x: float, y: float) -> bool:
        """Whether a point lies on one of the instances, not only in its box."""
        height, width = self.pixels.shape
        column, row = int(np.floor(x)), int(np.floor(y))
        return 0 <= column < width and 0 <= row < height and bool(self.pixels[row, column])


@dataclass(frozen=True)
class LabelledFrame:
    """A labelled picture.

    Attributes:
        name: Its file name without extension.
        width: In pixels, as the labels count them.
        height: The same.
        objects: By the text that names them.
    """

    name: str
    width: int
    height: int
    objects: Mapping[str, Answer]


def read_lerf(folder: str | Path) -> dict[str, list[LabelledFrame]]:
    """The labels of all scenes.

    ::

        label/SCENE/frame_00041.json    {"info": {"name": "frame_00041.jpg", "width": 988, "height": 731},
                                         "objects": [{"category": "green apple", "bbox": [x0, y0, x1, y1],
                                                      "segmentation": [[x, y], ...]}, ...]}
        SCENE/images/frame_00001.jpg, SCENE/sparse/0/

    for the scenes ramen, figurines, teatime and waldo_kitchen.  Objects of one category and frame are one answer.

    Returns:
        Scene -> frames, both in the order of their names.

    Raises:
        InputError: there are no labels, or a file is damaged.
    """
    label = Path(folder) / "label"
    scenes = [child for child in sorted(label.iterdir()) if child.is_dir()] if label.is_dir() else []
    found = {child.name: [_read_frame(file) for file in sorted(child.glob("*.json"))] for child in scenes}
    found = {name: frames for name, frames in found.items() if frames}
    if not found:
        raise InputError(f"Expected labels label/SCENE/frame_*.json of the extended LERF set in {folder}, found none.")
    return found


def _read_frame(file: Path) -> LabelledFrame:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        info = content["info"]
        name, width, height = Path(info["name"]).stem, int(info["width"]), int(info["height"])
        boxes: dict[str, list[tuple[float, float, float, float]]] = {}
        polygons: dict[str, list[tuple[tuple[float, float], ...]]] = {}
        for item in content["objects"]:
            x0, y0, x1, y1 = np.asarray(item["bbox"], np.float64).reshape(4).tolist()
            corners = np.asarray(item["segmentation"], np.float64).reshape(-1, 2).tolist()
            boxes.setdefault(str(item["category"]), []).append((x0, y0, x1, y1))
            polygons.setdefault(str(item["category"]), []).append(tuple((x, y) for x, y in corners))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{file} is not a label of the extended LERF set ({reason}); expected info with name, width and height, "
            "and objects with category, bbox and segmentation."
        ) from error
    if not boxes or min(width, height) < 1:
        raise InputError(f"{file} labels no object of a picture, found {len(boxes)} objects, {width}x{height} pixels.")
    objects = {text: LabelledObject(tuple(boxes[text]), tuple(polygons[text])) for text in boxes}
    return LabelledFrame(name, width, height, objects)


@dataclass(frozen=True)
class TextRow:
    """One row of the tables.

    Attributes:
        name: Its name there.
        protocol: 2d thresholds rendered scores, 3d selects Gaussians and renders those.
        refined: How relevancies are refined: by the paper's diffusion or by the random walker; None = not.
        sam: Whether Segment Anything draws the masks.
    """

    name: str
    protocol: Literal["2d", "3d"]
    refined: Method | None
    sam: bool


TEXT_ROWS = (
    TextRow("2D", "2d", None, sam=False),
    TextRow("2D + diffusion", "2d", "diffusion", sam=False),
    TextRow("2D + random walker", "2d", "random-walker", sam=False),
    TextRow("2D SAM", "2d", None, sam=True),
    TextRow("2D SAM + diffusion", "2d", "diffusion", sam=True),
    TextRow("2D SAM + random walker", "2d", "random-walker", sam=True),
    TextRow("3D", "3d", None, sam=False),
    TextRow("3D + diffusion", "3d", "diffusion", sam=False),
    TextRow("3D + random walker", "3d", "random-walker", sam=False),
)
LOCALIZATIONS: tuple[tuple[str, Method | None], ...] = (
    ("localization", None),
    ("localization + diffusion", "diffusion"),
    ("localization + random walker", "random-walker"),
)


def evaluate_lerf_scene(
    name: str,
    frames: Sequence[LabelledFrame],
    scene: Scene,
    searcher: Searcher,
    *,
    rows: Sequence[TextRow] = TEXT_ROWS,
    sam: MaskPredictor | None = None,
    pictures: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """The figures of one scene: IoU and localization accuracy over all texts of all frames.

    Args:
        name: The scene.
        frames: Its labelled pictures.
        scene: Its splats and photos.
        searcher: With the lifted CLIP features, and those that guide diffusion.
        rows: Those to measure beside localization.
        sam: A predictor; None = rows with SAM are skipped.
        pictures: Where ``PROTOCOL/FRAME/TEXT.png`` and heat maps are written; None = nowhere.
        progress: Told of every frame of every row.

    Returns:
        JSON values: ``variants`` with ``iou`` and ``views`` (frame -> text -> IoU), and with ``accuracy`` for
        localization; ``skipped``.

    Raises:
        InputError: a frame has no photo in the scene.
    """
    views = [find_view(scene, frame.name) for frame in frames]
    running = [p for p in rows if sam is not None or not p.sam]
    total = (len(running) + len(LOCALIZATIONS)) * len(frames)
    done = 0
    figures: dict[str, Any] = {}
    for row in running:
        start, by_frame = time.perf_counter(), {}
        for frame, view in zip(frames, views, strict=True):
            progress(done, total, f"{name}: {row.name}")
            folder = None if pictures is None else pictures / plain_name(row.name) / frame.name
            by_frame[frame.name] = _frame_overlaps(frame, view, searcher, row, sam, folder)
            done += 1
        every = [value for texts in by_frame.values() for value in texts.values()]
        seconds = time.perf_counter() - start
        figures[row.name] = {"iou": float(np.mean(every)), "views": by_frame, "seconds": seconds}
    for kind, refined in LOCALIZATIONS:
        hits: dict[str, dict[str, bool]] = {}
        for frame, view in zip(frames, views, strict=True):
            progress(done, total, f"{name}: {kind}")
            folder = None if pictures is None else pictures / plain_name(kind) / frame.name
            hits[frame.name] = _frame_hits(frame, view, searcher, refined, folder)
            done += 1
        every_hit = [value for texts in hits.values() for value in texts.values()]
        figures[kind] = {"accuracy": float(np.mean(every_hit)), "views": hits}
    progress(total, total, name)
    skipped = {p.name: "no weights of Segment Anything were given (--sam FILE)" for p in rows if p not in running}
    return {"task": name, "variants": figures, "skipped": skipped}


def _frame_overlaps(
    frame: LabelledFrame,
    view: View,
    searcher: Searcher,
    row: TextRow,
    sam: MaskPredictor | None,
    pictures: Path | None,
) -> dict[str, float]:
    """IoU of every text of a frame."""
    texts = list(frame.objects)
    masks = searcher.mask_in(
        view,
        texts,
        sam=sam if row.sam else None,
        diffusion=row.refined is not None,
        method=row.refined,
        protocol=row.protocol,
    )
    overlaps = {}
    for text, mask in zip(texts, masks, strict=True):
        sized = resized_mask(mask, frame.width, frame.height)
        overlaps[text] = iou(sized, frame.objects[text].mask(frame.width, frame.height))
        if pictures is not None:
            save_mask(pictures / f"{plain_name(text)}.png", sized)
    return overlaps


def _frame_hits(
    frame: LabelledFrame, view: View, searcher: Searcher, refined: Method | None, pictures: Path | None
) -> dict[str, bool]:
    """Whether every text of a frame is found on one of its answers."""
    texts = list(frame.objects)
    width, height = view.photo_size
    places = searcher.localize(view, texts, diffusion=refined is not None, method=refined)
    if pictures is not None:
        drawn = searcher.render(view, texts, diffusion=refined is not None, method=refined).cpu().numpy()
        for index, text in enumerate(texts):
            image = drawn[..., index]
            save_heat(pictures / f"{plain_name(text)}_heat.png", image, float(image.max()) / 2)
    return {
        text: frame.objects[text].contains(x * frame.width / width, y * frame.height / height)
        for text, (x, y, _) in zip(texts, places, strict=True)
    }
