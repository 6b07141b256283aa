"""``fit3d demo``: the bundled room in the browser, or on one sheet, without network or GPU."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.commands.view import PORT
from app.console import duration, progress_bars, say, size, wrote

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from render.gaussians import Gaussians
    from training.rooms.demo import DemoRoom
    from uplift.segmentation import Segmenter
    from uplift.selection import Selection

    Panel = tuple[str, UInt8[np.ndarray, "h w 3"]]

COLUMNS = 3
RED, BLUE = (235, 40, 40), (40, 80, 235)


@dataclass(frozen=True)
class Demo:
    """Explore the bundled room in the browser; no network, no GPU.

    With --out a sheet of pictures is drawn instead: its features, a thing selected by a scribble and taken away, texts
    found.

    The scene, a furnished room of the split test with 24 photos, Gaussians and fields of tiny-dino and tiny-clip, is
    copied to the cache folder ($XDG_CACHE_HOME/fit3d, by default ~/.cache/fit3d), where other commands can work on it:
    fields and selections that they add stay there, what came with the scene is restored by the next demo.
    """

    out: Path | None = None
    """PNG or JPEG file to draw the sheet to."""
    port: int = PORT
    """Port to listen at; 0 takes a free one."""
    open: bool = False
    """Open the page in this machine's browser."""
    make: Path | None = None
    """Make the scene anew in this folder instead, from the generator of rooms and the bundled encoders, as
    assets/demo_room was made (minutes)."""
    overwrite: bool = False
    """Replace the file given with --out, or the folder given with --make."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Show the scene, draw the sheet, or make the scene."""
        from render.errors import InputError

        if self.make is not None and self.out is not None:
            raise InputError("--make writes a scene and --out a picture of the bundled one; leave one of them out.")
        if self.make is not None:
            self._make(self.make)
        elif self.out is not None:
            self._draw(self.out)
        else:
            self._explore()

    def _explore(self) -> None:
        from app.commands.view import serve
        from training.rooms.demo import open_demo_room

        demo = open_demo_room()
        _say_next(demo)
        serve(demo.scene, port=self.port, open_page=self.open, device=self.device)

    def _make(self, folder: Path) -> None:
        from app.scenes import refuse_existing
        from render.devices import resolve_device
        from training.rooms.demo import DIMENSIONS, STRUCTURE, make_demo_room
        from uplift.encoders import load_encoder
        from uplift.encoders.tiny_clip import make_tiny_clip
        from uplift.reduction import Reduced

        refuse_existing(folder, self.overwrite)
        structure = Reduced(load_encoder(STRUCTURE, device=self.device), DIMENSIONS)
        text = make_tiny_clip(None, resolve_device(self.device))
        with progress_bars() as progress:
            make_demo_room(folder, structure, text, overwrite=self.overwrite, progress=progress)
        wrote(folder)
        say(f"{size(sum(file.stat().st_size for file in folder.rglob('*') if file.is_file()))} in all")

    def _draw(self, path: Path) -> None:
        from app.pictures import check_picture_name, panel_sheet, save_picture
        from app.scenes import refuse_existing, save_selection
        from render.devices import resolve_device
        from training.rooms.demo import open_demo_room

        check_picture_name(path)
        refuse_existing(path, self.overwrite)
        device = resolve_device(self.device)
        began = time.perf_counter()
        with _timed("scene opened"):
            demo = open_demo_room()
            gaussians = demo.scene.gaussians.to(device)
        panels = draw_features(demo, gaussians)
        segmenter, selection, pictures = draw_selection(demo, gaussians)
        panels += pictures
        wrote(save_selection(demo.scene, _selection_name(demo), selection))
        panels += draw_removal(demo, gaussians, segmenter, selection)
        panels += draw_texts(demo, gaussians)
        save_picture(path, panel_sheet(panels, COLUMNS))
        passed = duration(time.perf_counter() - began)
        say(f"{len(gaussians)} Gaussians, {len(demo.scene.views)} photos; all in {passed}")
        _say_next(demo)
        wrote(path)


def draw_features(demo: DemoRoom, gaussians: Gaussians) -> list[Panel]:
    """A photo, and the features that the structure encoder gave the Gaussians, as it sees them."""
    from app.pictures import pca_colours, render_colours
    from app.scenes import load_field

    with _timed(f"features of {demo.structure} drawn"):
        view = demo.scene.view(demo.exhibit.photo)
        colours = pca_colours(load_field(demo.scene, demo.structure))
        features = render_colours(gaussians, view.camera, colours)
    return [("a photo", view.image()), (f"features of {demo.structure} in 3D (PCA)", features)]


def draw_selection(demo: DemoRoom, gaussians: Gaussians) -> tuple[Segmenter, Selection, list[Panel]]:
    """What the scribble on one photo selects, seen from elsewhere."""
    from app.pictures import blend_heat, render_rgb
    from app.scenes import load_field
    from uplift.prompts import read_scribbles
    from uplift.segmentation import Segmenter

    marked, elsewhere = (demo.scene.view(name) for name in (demo.exhibit.marked, demo.exhibit.elsewhere))
    with _timed("neighbour graph ready"):
        field = load_field(demo.scene, demo.structure)
        segmenter = Segmenter(demo.scene, field, name=demo.structure, gaussians=gaussians).prepare()
    with _timed(f"{demo.name} selected from a scribble"):
        prompt = read_scribbles(demo.scribbles, marked)
        selection = segmenter.select([prompt])
    photo = marked.image()
    for strokes, colour in ((prompt.positive, RED), (prompt.negative, BLUE)):
        photo[strokes] = colour
    heat = selection.render(gaussians, elsewhere.camera).cpu().numpy()
    found = blend_heat(render_rgb(gaussians, elsewhere.camera), heat, outline=0.5)
    panels = [(f"a scribble on the {demo.name}", photo), ("selected in 3D, from elsewhere", found)]
    return segmenter, selection, panels


def draw_removal(demo: DemoRoom, gaussians: Gaussians, segmenter: Segmenter, selection: Selection) -> list[Panel]:
    """The scene with and without what was selected."""
    from app.pictures import render_rgb

    camera = demo.scene.view(demo.exhibit.elsewhere).camera
    with _timed(f"{demo.name} removed"):
        before = render_rgb(gaussians, camera)
        after = render_rgb(gaussians[~selection.with_margin(segmenter.graph).mask], camera)
    return [("the Gaussians", before), (f"without the {demo.name}", after)]


def draw_texts(demo: DemoRoom, gaussians: Gaussians) -> list[Panel]:
    """Where texts are found."""
    from app.pictures import render_heat, stretched
    from app.scenes import load_field
    from uplift.search import Searcher

    with _timed(f"{demo.text} ready for texts"):
        field = load_field(demo.scene, demo.text)
        searcher = Searcher(gaussians, field, demo.texts)
    with _timed("texts found"):
        panels = []
        for text, name in demo.exhibit.texts:
            heat, _, _ = stretched(searcher.relevancy(text), field.weights)
            panels.append((f'found: "{text}"', render_heat(gaussians, demo.scene.view(name).camera, heat)))
    return panels


@contextmanager
def _timed(what: str) -> Iterator[None]:
    """Say what was done and how long it took."""
    began = time.perf_counter()
    yield
    say(f"{what}: {duration(time.perf_counter() - began)}")


def _selection_name(demo: DemoRoom) -> str:
    """What the selection of the sheet is saved as: no name that somebody would give one of their own."""
    return f"demo-{demo.name}"


def _say_next(demo: DemoRoom) -> None:
    """Commands that go on from here."""
    scene, scribbles = (shlex.quote(str(path)) for path in (demo.scene.path, demo.scribbles))
    shown = demo.exhibit
    text, _ = shown.texts[0]
    say("next, try:")
    for command in (
        f"info {scene}",
        f"segment {scene} --field {demo.structure} --view {shown.marked} --scribbles {scribbles} --name mine",
        f'query {scene} "{text}" --field {demo.text} --structure {demo.structure} --name found',
        f"remove {scene} mine --out without.ply",
        f"render {scene} --what pca --field {demo.structure} --out pictures",
    ):
        say(f"  uv run fit3d {command}")
