"""The published data sets in miniature: their layouts exactly, their content from a small scene."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from render.scene import write_scene
from tests.corner import Corner, corner
from uplift.evaluation.scribbles import draw_scribbles, scribble_picture
from uplift.evaluation.tasks import SPIN_NERF_FOLDERS

COUNT, VIEWS, WIDTH, HEIGHT = 4000, 4, 100, 75
OBJECT = "rug"
OTHER = "table"


@dataclass(frozen=True)
class Miniature:
    """A data set and its splats.

    Attributes:
        data: The data set as published.
        scenes: The folder of the splats.
    """

    data: Path
    scenes: Path


def tiny_objects() -> Corner:
    """A scene with about 4000 Gaussians and four photos; made once per run of the tests."""
    return corner(count=COUNT, views=VIEWS, width=WIDTH, height=HEIGHT)


def nvos(folder: Path) -> Miniature:
    """NVOS with the scene fern, whose photos have the names of LLFF."""
    objects = tiny_objects()
    names = [f"IMG_40{26 + i}" for i in range(VIEWS)]
    _scene_folder(folder / "splats" / "fern", names)
    data = folder / "nvos"
    reference, target = names[1], names[2]
    views = list(objects.maps)
    mask = objects.mask(views[2], _index(OBJECT))
    _save(data / "masks" / "fern" / f"{target}_mask.png", _bytes(mask))
    _save(data / "masks" / "fern" / f"{target}.JPG", _photo(2))
    _save(data / "reference_image" / "fern" / f"{reference}.JPG", _photo(1))
    positive, negative = draw_scribbles(objects.mask(views[1], _index(OBJECT)))
    for prefix, strokes in (("pos", positive), ("neg", negative)):
        _save(data / "scribbles" / "fern" / f"{prefix}_0_{reference}.png", np.repeat(_bytes(strokes)[..., None], 3, 2))
    _save(data / "scribbles" / "fern" / f"vis_0_{reference}.png", scribble_picture(positive, negative)[..., :3].copy())
    return Miniature(data, folder / "splats")


def spin_nerf(folder: Path) -> Miniature:
    """SPIn-NeRF's masks of orchids, counted by index, and of truck, with prefixes and 3DGS output as splats."""
    objects = tiny_objects()
    views = list(objects.maps)
    _scene_folder(folder / "splats" / "orchids", [f"IMG_{4467 + i}" for i in range(VIEWS)])
    data = folder / "mvseg"
    for i, view in enumerate(views):
        _annotate(data / SPIN_NERF_FOLDERS["orchids"], f"image{i:03d}", objects.mask(view, _index(OBJECT)))
    (data / SPIN_NERF_FOLDERS["orchids"] / "annotations.json").write_text("[]")
    names = [f"{i + 1:06d}" for i in range(VIEWS)]
    _output_folder(folder / "splats" / "truck", names)
    for i, view in enumerate(views):
        # The published masks of this scene are a pixel wider than its photos.
        wider = np.pad(objects.mask(view, _index(OTHER)), ((0, 0), (0, 1)), mode="edge")
        _annotate(data / SPIN_NERF_FOLDERS["truck"], f"{min(i, 1)}_{names[i]}", wider)
    return Miniature(data, folder / "splats")


def lerf(folder: Path) -> Miniature:
    """The extended LERF set with the scene figurines; its splats lie where LangSplat has them."""
    objects = tiny_objects()
    data = folder / "lerf_ovs"
    names = [f"frame_{i + 1:05d}" for i in range(VIEWS)]
    _output_folder(data / "figurines" / "output" / "figurines", names, images=data / "figurines" / "images")
    (data / "figurines" / "sparse" / "0").mkdir(parents=True)
    label = data / "label" / "figurines"
    for i in (0, 2):
        view = list(objects.maps)[i]
        labelled = [_labelled(text, objects.mask(view, _index(text))) for text in (OBJECT, OTHER)]
        # Two instances of one category are one answer.
        labelled.append(_labelled(OTHER, objects.mask(view, _index("vase"))))
        info = {"name": f"{names[i]}.jpg", "width": WIDTH, "height": HEIGHT, "depth": 3, "note": ""}
        label.mkdir(parents=True, exist_ok=True)
        (label / f"{names[i]}.json").write_text(json.dumps({"info": info, "objects": labelled}))
        _save(label / f"{names[i]}.jpg", _photo(i))
    return Miniature(data, data)


def capture(folder: Path) -> tuple[Path, Path, Path]:
    """A scene folder, a folder of masks and a scribble on the first view."""
    objects = tiny_objects()
    scene = Path(shutil.copytree(objects.scene.path, folder / "scene"))
    for view in objects.maps:
        _save(folder / "masks" / f"{view}.png", _bytes(objects.mask(view, _index(OBJECT))))
    first = next(iter(objects.maps))
    drawn = scribble_picture(*draw_scribbles(objects.mask(first, _index(OBJECT))))
    _save(folder / "scribble.png", drawn)
    return scene, folder / "masks", folder / "scribble.png"


def _index(name: str) -> int:
    return tiny_objects().names.index(name)


def _photo(index: int) -> np.ndarray:
    return tiny_objects().scene.views[index].image()


def _scene_folder(path: Path, names: list[str]) -> None:
    """The tiny scene as a scene folder, its photos renamed."""
    scene = tiny_objects().scene
    frames = [
        {**frame, "file_path": f"images/{name}.png"}
        for frame, name in zip(scene.capture.transforms["frames"], names, strict=True)
    ]
    photos = [view.path for view in scene.views if view.path is not None]
    write_scene(path, scene.gaussians_path, {**scene.capture.transforms, "frames": frames}, photos)


def _output_folder(path: Path, names: list[str], *, images: Path | None = None) -> None:
    """The tiny scene as an output folder of 3DGS."""
    scene = tiny_objects().scene
    target = path / "point_cloud" / "iteration_30000" / "point_cloud.ply"
    target.parent.mkdir(parents=True)
    shutil.copyfile(scene.gaussians_path, target)
    cameras = []
    for index, (view, name) in enumerate(zip(scene.views, names, strict=True)):
        pose = view.camera.world_to_camera.inverse()
        K = view.camera.K
        cameras.append(
            {
                "id": index,
                "img_name": name,
                "width": WIDTH,
                "height": HEIGHT,
                "position": pose[:3, 3].tolist(),
                "rotation": pose[:3, :3].tolist(),
                "fx": float(K[0, 0]),
                "fy": float(K[1, 1]),
            }
        )
        _save((images or path / "images") / f"{name}.jpg", view.image())
    (path / "cameras.json").write_text(json.dumps(cameras))


def _annotate(folder: Path, name: str, mask: np.ndarray) -> None:
    """What the annotation program wrote for a picture: labels, coloured labels, the object cut out."""
    _save(folder / f"{name}.png", mask.astype(np.uint8))
    _save(folder / f"{name}_pseudo.png", np.stack([_bytes(mask)] * 3, -1))
    _save(folder / f"{name}_cutout.png", np.dstack([np.full((*mask.shape, 3), 90, np.uint8), _bytes(mask)]))


def _labelled(text: str, mask: np.ndarray) -> dict[str, object]:
    """A mask as its largest outline and its box."""
    import cv2

    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=len)[:, 0]
    box = [float(v) for v in (*outline.min(0), *outline.max(0))]
    return {"category": text, "group": 1, "segmentation": outline.astype(float).tolist(), "bbox": box, "area": 0.0}


def _bytes(mask: np.ndarray) -> np.ndarray:
    return mask.astype(np.uint8) * 255


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95)
