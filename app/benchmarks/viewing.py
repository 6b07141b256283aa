"""Rows of ``fit3d bench viewer``: what a person waits for in the explorer."""

from __future__ import annotations

import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from app.benchmarks.browsing import page_seconds
from app.benchmarks.segmenting import wavy_features
from app.benchmarks.synthetic import capture_like
from app.benchmarks.worker import median_seconds, peak_bytes
from app.explorer.camera_path import camera_path
from app.explorer.commands import Scribble, Stroke, Text, Threshold, Viewpoint
from app.explorer.frames import frame
from app.explorer.looks import Look, prepare, splats
from app.explorer.pca_focus import focus, scope_of_view
from app.explorer.rehearsal import prepare_prompts, prepare_texts
from app.explorer.session import Session
from app.explorer.threads import libraries_with_one_thread
from render.camera import Camera
from render.scene import Scene, frame_of, write_scene
from uplift.field import FeatureField

if TYPE_CHECKING:
    from jaxtyping import Float

    from uplift.search import TextEncoder

DEMO = 0  # the count that stands for the demo room
DIMENSIONS = 64  # of the synthetic fields: what is left of an encoder's after reduction
VIEWS = 4
FRAMES = 36  # of the moving camera
STRUCTURE, TEXT = "structure", "text"
UNASKED = "wooden shelf"
THRESHOLDS = (0.3, 0.4, 0.6, 0.7)


@dataclass(frozen=True, eq=False)
class _Subject:
    """A scene with what is drawn and asked in it."""

    scene: Scene
    encoders: dict[str, TextEncoder]
    structure: str
    text: str
    texts: tuple[str, ...]
    viewpoint: Camera
    strokes: tuple[Stroke, ...]


class _HashedWords:
    """Embeddings of any text: a direction by its hash."""

    def encode_text(self, texts: list[str]) -> Float[torch.Tensor, "q c"]:
        rows = [np.random.default_rng(zlib.crc32(text.encode())).standard_normal(DIMENSIONS) for text in texts]
        return torch.nn.functional.normalize(torch.tensor(np.stack(rows), dtype=torch.float32), dim=1)


def viewer_row(count: int, width: int, height: int, threads: int, runs: int) -> dict[str, Any]:
    """Seconds of everything a person does; frames of ``width`` x ``height``; ``count`` 0 = the demo room."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder, libraries_with_one_thread():
        subject = _demo(Path(folder)) if count == DEMO else _synthetic(Path(folder), count, width, height)
        row: dict[str, Any] = {"width": width, "height": height, "threads": threads, "before": peak_bytes()}
        start = time.perf_counter()
        session = Session(subject.scene, device="cpu", autosave=False, text_encoders=subject.encoders)
        prepare(session, Look("pca", field=subject.structure))
        row |= {"gaussians": session.n, "open": time.perf_counter() - start}
        row["prompts"] = _seconds(partial(prepare_prompts, session))
        row["texts"] = _seconds(partial(prepare_texts, session))
        camera = subject.viewpoint.resized(width, height)
        row |= _first(session, subject, camera)
        row |= _moving(session, subject, camera, runs) | _editing(session, subject, camera, runs)
        row["pca"] = _median_of(_recolouring(session, subject, camera), runs)
        row["peak"] = peak_bytes()
        page = page_seconds(session, Path(folder) / "profile")
        row |= {} if page is None else {"page": page}
    return row


def _first(session: Session, subject: _Subject, camera: Camera) -> dict[str, float]:
    """The first scribble and the first text of a process, once it is prepared; the text was never asked before."""
    look = Look("pca", field=subject.structure)
    heat = Look("relevancy", field=subject.text, text=UNASKED, overlay=False)
    scribble = Scribble(
        Viewpoint.of(subject.viewpoint), tuple(_moved(one, -1) for one in subject.strokes), subject.structure
    )

    def scribbled() -> None:
        session.run(scribble)
        frame(session, look, camera)

    found = {"first scribble": _seconds(scribbled), "first text": _seconds(partial(frame, session, heat, camera))}
    session.undo()
    return found


def _moving(session: Session, subject: _Subject, camera: Camera, runs: int) -> dict[str, float]:
    """Frames per second of a camera that moves, for every look that a person moves in."""
    stops = [view.camera.resized(camera.width, camera.height) for view in subject.scene.views[:VIEWS]]
    cameras = camera_path(stops, seconds=1, fps=max(2, FRAMES if runs > 1 else 2))
    pca = Look("pca", field=subject.structure)
    heat = Look("relevancy", field=subject.text, text=subject.texts[0])
    looks = {"rgb": Look(), "pca": pca, "relevancy": heat, "wipe": Look("rgb", second=pca, layout="wipe")}
    found = {}
    for name, look in looks.items():
        prepare(session, look)
        frame(session, look, cameras[0])
        start = time.perf_counter()
        for one in cameras:
            frame(session, look, one)
        found[f"fps {name}"] = len(cameras) / (time.perf_counter() - start)
    return found


def _editing(session: Session, subject: _Subject, camera: Camera, runs: int) -> dict[str, float]:
    """From what a person does to the frame that shows it."""
    look = Look("pca", field=subject.structure)
    scribble = Scribble(Viewpoint.of(subject.viewpoint), subject.strokes, subject.structure)

    def shown(change: Callable[[], object]) -> Callable[[], object]:
        def work() -> object:
            change()
            return frame(session, look, camera)

        return work

    # Every stroke is another question: the answers to the same one are remembered.
    prompts = [
        Scribble(scribble.viewpoint, tuple(_moved(one, index) for one in subject.strokes), subject.structure)
        for index in range(runs + 1)
    ]
    found = {"scribble": _median_of((shown(partial(session.run, one)) for one in prompts), runs)}
    values = [THRESHOLDS[index % len(THRESHOLDS)] + 0.001 * index for index in range(runs + 1)]
    found["slider"] = _median_of((shown(partial(session.amend, Threshold(value))) for value in values), runs)

    def undo_and_redo() -> None:
        session.undo()
        session.redo()

    found["undo"] = median_seconds(shown(undo_and_redo), runs) / 2
    heats = [Look("relevancy", field=subject.text, text=text, overlay=False) for text in subject.texts[1 : runs + 2]]
    found["text"] = _median_of((partial(frame, session, one, camera) for one in heats), runs)
    asked = [Text(text=text, field=subject.text, structure=subject.structure) for text in subject.texts[1 : runs + 2]]
    found["select text"] = _median_of((shown(partial(session.run, one)) for one in asked), runs)
    return found


def _recolouring(session: Session, subject: _Subject, camera: Camera) -> Iterator[Callable[[], object]]:
    """A new basis of what the camera sees, and the colours that the browser's splats get."""
    while True:
        yield lambda: splats(session, _focused(session, subject.structure, camera))


def _focused(session: Session, field: str, camera: Camera) -> Look:
    return Look("pca", field=field, basis=focus(session, field, scope_of_view(session, camera)))


def _median_of(works: Iterator[Callable[[], object]], runs: int) -> float:
    """Median seconds of works that differ; the first, which may compile, does not count if there are several."""
    times = []
    for _ in range(runs + 1):
        work = next(works, None)
        if work is None:
            break
        times.append(_seconds(work))
    return statistics.median(times[1:] or times)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _moved(stroke: Stroke, index: int) -> Stroke:
    return Stroke(tuple((x + 0.25 * index, y) for x, y in stroke.points), stroke.radius, stroke.positive)


def _demo(folder: Path) -> _Subject:
    """The demo room as it comes, without a graph; its texts are encoded, though it knows the embeddings of some."""
    from training.rooms.demo import open_demo_room

    demo = open_demo_room(cache=folder)
    view = demo.scene.view(demo.exhibit.marked)
    texts = tuple(dict.fromkeys([*(text for text, _ in demo.exhibit.texts), *demo.texts.texts]))
    thing = demo.room.instances(demo.exhibit.marked) == demo.exhibit.thing
    return _Subject(demo.scene, {}, demo.structure, demo.text, texts, view.camera, _strokes_on(thing))


def _synthetic(folder: Path, count: int, width: int, height: int) -> _Subject:
    """Many Gaussians with two fields of wavy features."""
    gaussians, cameras = capture_like(count, width, height, views=VIEWS)
    frames = [frame_of(camera, f"images/view_{index}.png") for index, camera in enumerate(cameras)]
    photos = [np.zeros((height, width, 3), np.uint8)] * VIEWS
    write_scene(folder / "scene", gaussians, {"camera_model": "PINHOLE", "frames": frames}, photos)
    scene = Scene.open(folder / "scene")
    features = wavy_features(gaussians, DIMENSIONS)
    for name in (STRUCTURE, TEXT):
        FeatureField(features, torch.ones(count), "bench").save(scene.field_path(name))
    middle = np.zeros((height, width), bool)
    middle[height * 3 // 8 : height * 5 // 8, width * 3 // 8 : width * 5 // 8] = True
    texts = tuple(f"text {index}" for index in range(20))
    return _Subject(scene, {TEXT: _HashedWords()}, STRUCTURE, TEXT, texts, cameras[0], _strokes_on(middle))


def _strokes_on(thing: np.ndarray) -> tuple[Stroke, ...]:
    """A stroke in the middle of what is marked, and one along each side of the picture."""
    height, width = thing.shape
    rows, columns = np.nonzero(thing)
    x, y, reach = float(np.median(columns)), float(np.median(rows)), float(np.ptp(rows)) / 8
    radius = max(1.0, width / 160)
    sides = [((left, height / 8), (left, height * 7 / 8)) for left in (width / 20, width * 19 / 20)]
    return (
        Stroke(((x, y - reach), (x, y + reach)), radius),
        *(Stroke(points, radius, positive=False) for points in sides),
    )


ROWS: dict[str, Callable[..., dict[str, Any]]] = {"viewer": viewer_row}
