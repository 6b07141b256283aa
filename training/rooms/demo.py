"""The demo scene: one room of the split test with features, texts and a scribble, small enough to travel with fit3d.

``fit3d demo --make assets/demo_room`` makes it; :func:`open_demo_room` opens a copy in the user's cache.
"""

from __future__ import annotations

import filecmp
import importlib.resources
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch

from render.errors import InputError
from render.files import atomic_file, atomic_folder, cache_folder
from render.gaussians import Gaussians
from render.ply import NORMAL, encode_columns
from render.progress import Progress, silent
from render.scene import GAUSSIANS, Scene, write_scene
from training.rooms.reading import RoomScene
from training.rooms.writing import GAUSSIAN_INSTANCES, ROOM, RoomFormat, write_room
from uplift.encoders.base import Encoder
from uplift.evaluation.scribbles import draw_scribbles, scribble_picture
from uplift.field import read_safetensors, write_safetensors
from uplift.lifting import lift
from uplift.maps import FeatureMapCache
from uplift.relevancy import CANONICAL

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from render.views import View
    from uplift.encoders.clip import ClipEncoder

VERSION = 2  # raise it when the room changes, so that older copies in caches are not taken for it
SPLIT = "test"
DEMO = "demo.json"
SCRIBBLES = "scribbles.png"
TEXTS = "texts.safetensors"
MAPS = ("classes", "instances")  # depth and normals would take more bytes than all photos
QUALITY = 88  # of the photos, JPEG
LIMIT = 15_000_000  # bytes of all files together
STRUCTURE = "tiny-dino"
DIMENSIONS = 24  # that are left of tiny-dino's
AGAIN = "make it again with: fit3d demo --make FOLDER"


@dataclass(frozen=True)
class Exhibit:
    """What is shown of a demo room.

    Attributes:
        photo: The view that is shown as it is, and as features.
        thing: The thing that is marked, selected and removed; index of the room's things.
        marked: The view that it is marked in.
        elsewhere: The view that its selection and removal are shown in.
        texts: What is searched, and the view that each text is shown in.
    """

    photo: str
    thing: int
    marked: str
    elsewhere: str
    texts: tuple[tuple[str, str], ...]

    def views(self) -> list[str]:
        """All views that are shown."""
        return [self.photo, self.marked, self.elsewhere, *(view for _, view in self.texts)]


@dataclass(frozen=True)
class Plan:
    """Which room becomes the demo scene, and how large it is."""

    index: int
    exhibit: Exhibit
    form: RoomFormat


PLAN = Plan(
    4,
    Exhibit(
        photo="view_000",
        thing=25,  # a plant
        marked="view_009",
        elsewhere="view_018",
        texts=(("zigzag chair", "view_008"), ("blue metal chair", "view_010"), ("green plant", "view_011")),
    ),
    RoomFormat(views=24, width=480, height=360, count=55_000),
)


@dataclass(frozen=True, eq=False)
class DemoRoom:
    """A demo scene on disk.

    Attributes:
        room: The room; its depth and normals are not there.
        exhibit: What is shown of it.
        structure: Name of the field whose features tell things apart.
        text: Name of the field that texts are compared with.
    """

    room: RoomScene
    exhibit: Exhibit
    structure: str
    text: str

    @staticmethod
    def open(path: Path) -> DemoRoom:
        """Open a folder that :func:`make_demo_room` wrote.

        Raises:
            InputError: it is none, or its description is damaged.
        """
        room = RoomScene.open(path)
        try:
            content = json.loads((path / DEMO).read_text(encoding="utf-8"))
            shown = content["exhibit"]
            texts = tuple((str(text), str(view)) for text, view in shown["texts"])
            exhibit = Exhibit(shown["photo"], int(shown["thing"]), shown["marked"], shown["elsewhere"], texts)
            return DemoRoom(room, exhibit, str(content["structure"]), str(content["text"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path / DEMO} is missing or damaged ({type(error).__name__}: {error}); {AGAIN}"
            ) from error

    @property
    def scene(self) -> Scene:
        """Photos, poses, Gaussians and fields."""
        return self.room.scene

    @property
    def name(self) -> str:
        """A word for the thing that is selected."""
        return self.room.things[self.exhibit.thing].category

    @property
    def texts(self) -> KnownTexts:
        """What the scene can be searched for at once."""
        return KnownTexts(self.room.path / TEXTS)

    @property
    def scribbles(self) -> Path:
        """The picture with strokes on that thing and around it."""
        return self.room.path / SCRIBBLES


class KnownTexts:
    """The embeddings of a demo scene's texts as its text encoder made them: a library of networks less to import.

    Attributes:
        texts: All that are known, those that every text is compared with among them.
    """

    def __init__(self, path: Path) -> None:
        """Read what :func:`make_demo_room` wrote; InputError if it is missing or damaged."""
        tensors, header = read_safetensors(path)
        texts, embeddings = header.get("texts"), tensors.get("embeddings")
        if not isinstance(texts, list) or embeddings is None or embeddings.shape[:-1] != (len(texts),):
            raise InputError(f"{path} does not hold the embeddings of the demo scene's texts; {AGAIN}")
        self.texts: tuple[str, ...] = tuple(texts)
        self._embeddings = dict(zip(texts, embeddings, strict=True))

    def encode_text(self, texts: list[str]) -> Float[Tensor, "q c"]:
        """Embeddings of known texts, l2-normalised; InputError for others."""
        unknown = [text for text in texts if text not in self._embeddings]
        if unknown:
            raise InputError(f"Expected texts of the demo scene, found {', '.join(unknown)}; fit3d query takes any.")
        return torch.stack([self._embeddings[text] for text in texts])


def bundled_demo_room() -> Path:
    """The folder of the demo scene that travels with fit3d.

    Raises:
        InputError: it is not there.
    """
    # Data of the package `assets`, which is found by name: nothing here depends on its code.
    path = Path(str(importlib.resources.files("assets"))) / "demo_room"
    if not (path / DEMO).is_file():
        raise InputError(f"The demo scene is not at {path}; take it from the project, or make it: fit3d demo --make")
    return path


def open_demo_room(bundled: Path | None = None, cache: Path | None = None) -> DemoRoom:
    """The copy of the demo scene in the cache, to work in; made where it is missing, mended where it is damaged.

    What was added to the copy, fields and selections, stays; what came with the scene is as it came.

    Args:
        bundled: The folder to copy; None = :func:`bundled_demo_room`.
        cache: Where the copy lies; None = :func:`cache_folder`.

    Raises:
        InputError: there is no demo scene to copy.
        OSError: the disk is full, or the cache cannot be written.
    """
    bundled = bundled or bundled_demo_room()
    path = (cache or cache_folder()) / f"demo-room-{VERSION}"
    if not path.is_dir():
        with atomic_folder(path) as folder:
            shutil.copytree(bundled, folder, dirs_exist_ok=True)
    for name in _files(bundled):
        source, target = bundled / name, path / name
        if not (target.is_file() and filecmp.cmp(source, target, shallow=False)):
            with atomic_file(target) as temporary:
                shutil.copyfile(source, temporary)
    return DemoRoom.open(path)


def make_demo_room(
    folder: Path,
    structure: Encoder,
    text: ClipEncoder,
    plan: Plan = PLAN,
    *,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> None:
    """Write a demo scene; all or nothing.

    The same encoders and plan give the same room, photos and maps; Gaussians and features may differ in the last
    digits, for the order of sums depends on threads.

    Args:
        folder: To make.
        structure: Its features tell things apart; lifted from the photos as they are written.
        text: Its features are compared with texts.
        plan: The room, and what is shown of it.
        threads: How many threads may cast rays; None = all cores.
        overwrite: Replace the folder if it exists.
        progress: Told of photos, steps of the fit, and maps.

    Raises:
        InputError: the room lacks what the plan shows, the folder exists and ``overwrite`` is false, or its files
            would take more than 15 MB.
    """
    with TemporaryDirectory(prefix="fit3d-demo-") as temporary:
        whole = Path(temporary) / "room"
        write_room(whole, SPLIT, plan.index, plan.form, threads=threads, progress=progress)
        room = RoomScene.open(whole)
        _check(room, plan.exhibit)
        photos = [_compressed(view, Path(temporary) / "photos") for view in room.scene.views]
        gaussians = Path(temporary) / GAUSSIANS
        _save_lean(gaussians, room.scene.gaussians)

        def finish(made: Path) -> None:
            for name in [ROOM, GAUSSIAN_INSTANCES, *(f"{kind}/{view}.png" for kind in MAPS for view in room.views)]:
                (made / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(whole / name, made / name)
            _draw(made / SCRIBBLES, room, plan.exhibit)
            _embed(made / TEXTS, text, [*CANONICAL, *(query.text for query in room.queries)])
            _lift(made, [structure, text], FeatureMapCache(Path(temporary) / "maps"), progress)
            content = {
                "version": VERSION,
                "structure": structure.name,
                "text": text.name,
                "exhibit": asdict(plan.exhibit),
            }
            (made / DEMO).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            total = sum((made / name).stat().st_size for name in _files(made))
            if total > LIMIT:
                raise InputError(
                    f"The demo scene takes at most {LIMIT / 1e6:.0f} MB, found {total / 1e6:.1f} MB; "
                    "give it fewer Gaussians or dimensions."
                )

        transforms = {k: v for k, v in room.scene.capture.transforms.items() if k != "ply_file_path"}
        write_scene(folder, gaussians, transforms, photos, finish=finish, overwrite=overwrite, progress=progress)


def _check(room: RoomScene, exhibit: Exhibit) -> None:
    """Raise InputError unless the room has what is to be shown."""
    for view in exhibit.views():
        room.scene.view(view)
    texts = {query.text for query in room.queries}
    unknown = [text for text, _ in exhibit.texts if text not in texts]
    if unknown:
        raise InputError(f"Expected texts of the room ({', '.join(sorted(texts))}), found {', '.join(unknown)}.")
    if not 0 <= exhibit.thing < len(room.things) or not (room.instances(exhibit.marked) == exhibit.thing).any():
        raise InputError(f"Expected a thing that {exhibit.marked} shows, found {exhibit.thing}.")


def _compressed(view: View, folder: Path) -> Path:
    """A photo as a JPEG file."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    path = folder / f"{view.name}.jpg"
    Image.fromarray(view.image()).save(path, quality=QUALITY, optimize=True, subsampling=0)
    return path


def _save_lean(path: Path, gaussians: Gaussians) -> None:
    """A 3DGS ``.ply`` without the normals, which are zeros that nothing reads: a fifth of the file."""
    import plyfile

    columns = {name: column for name, column in encode_columns(gaussians).items() if name not in NORMAL}
    rows = np.empty(len(gaussians), dtype=[(name, "<f4") for name in columns])
    for name, column in columns.items():
        rows[name] = column
    plyfile.PlyData([plyfile.PlyElement.describe(rows, "vertex")], byte_order="<").write(str(path))


def _draw(path: Path, room: RoomScene, exhibit: Exhibit) -> None:
    """A scribble as a person would draw it."""
    from PIL import Image

    strokes = draw_scribbles(room.instances(exhibit.marked) == exhibit.thing)
    Image.fromarray(scribble_picture(*strokes)).save(path, optimize=True)


def _embed(path: Path, encoder: ClipEncoder, texts: Sequence[str]) -> None:
    write_safetensors(path, {"embeddings": encoder.encode_text(list(texts)).cpu()}, {"texts": list(texts)})


def _lift(made: Path, encoders: Sequence[Encoder], cache: FeatureMapCache, progress: Progress) -> None:
    scene = Scene.open(made)
    for encoder in encoders:
        field = lift(scene.gaussians, scene.views, encoder, cache=cache, progress=progress)
        field.save(scene.field_path(encoder.name))


def _files(folder: Path) -> list[str]:
    """Relative paths of all files of a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
