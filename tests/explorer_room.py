"""A small furnished scene for the tests of the explorer: fields that know what things are, and words for them."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.explorer.commands import Stroke, Viewpoint
from app.explorer.session import Session
from render.scene import Scene
from tests.corner import Corner, corner
from tests.room import HEIGHT, VIEWS, WIDTH
from uplift.evaluation.scribbles import draw_scribbles
from uplift.field import FeatureField
from uplift.relevancy import CANONICAL

THINGS, WORDS = "things", "words"  # the fields: one to tell things apart, and one to search


@cache
def room() -> Corner:
    """The corner that the scene is a copy of."""
    return corner(count=2000, views=VIEWS, width=WIDTH, height=HEIGHT)


def explorer_scene(folder: Path) -> Path:
    """A scene folder with two fields, which the test may change."""
    path = Path(shutil.copytree(room().scene.path, folder / "scene"))
    scene = Scene.open(path)
    labels = torch.from_numpy(room().labels.astype(np.int64))
    random = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.randn(len(labels), len(room().names) + 1, generator=random)
    known = torch.nn.functional.one_hot(labels, len(room().names) + 1) + noise
    for name, encoder in ((THINGS, "planted"), (WORDS, "clip:planted")):
        FeatureField(known, torch.ones(len(labels)), encoder).save(scene.field_path(name))
    return path


class Words:
    """Reads the names of the room's things."""

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        names = room().names
        columns = [len(names) if text in CANONICAL else names.index(text) for text in texts]
        return torch.nn.functional.one_hot(torch.tensor(columns), len(names) + 1).float()


def open_session(path: Path, **options: Any) -> Session:
    """A session of the scene that reads words; without autosave unless it is asked for."""
    defaults = {"device": "cpu", "autosave": False, "text_encoders": {WORDS: Words()}}
    return Session(Scene.open(path), **{**defaults, **options})


def thing(name: str) -> tuple[int, Viewpoint]:
    """The index of a thing, and the viewpoint that shows it best."""
    index = room().names.index(name)
    return index, Viewpoint.of(room().scene.view(room().best_view(index)).camera)


@cache
def strokes_on(name: str) -> tuple[Viewpoint, tuple[Stroke, ...]]:
    """Strokes as a person would draw them on a thing and around it, in the view that shows it best."""
    index, viewpoint = thing(name)
    drawn = draw_scribbles(room().mask(room().best_view(index), index))
    return viewpoint, tuple(
        Stroke(((float(x) + 0.5, float(y) + 0.5),), 0.5, positive)
        for mask, positive in zip(drawn, (True, False), strict=True)
        for y, x in np.argwhere(mask)[::3]
    )


@cache
def middle_of(name: str) -> tuple[Viewpoint, tuple[float, float]]:
    """A pixel well inside a thing, in the view that shows it best."""
    from scipy.ndimage import distance_transform_edt

    index, viewpoint = thing(name)
    depths = distance_transform_edt(room().mask(room().best_view(index), index))
    y, x = np.unravel_index(depths.argmax(), depths.shape)
    return viewpoint, (float(x) + 0.5, float(y) + 0.5)


@cache
def box_around(name: str) -> tuple[Viewpoint, tuple[float, float, float, float]]:
    """The smallest rectangle around a thing, in the view that shows it best."""
    index, viewpoint = thing(name)
    rows, columns = np.nonzero(room().mask(room().best_view(index), index))
    return viewpoint, (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))


def of(name: str) -> torch.Tensor:
    """The Gaussians of a thing."""
    return torch.from_numpy(room().labels == room().names.index(name))


def overlap(mask: torch.Tensor, truth: torch.Tensor) -> float:
    """Intersection over union."""
    return float((mask & truth).sum() / max(1, int((mask | truth).sum())))
