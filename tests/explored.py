"""A session of the corner of a room whose features know its things: what tests of the explorer draw and ask."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import numpy as np
import torch

from app.explorer.document import Named
from app.explorer.session import Session
from render.camera import Camera
from render.scene import Scene
from tests.corner import KEPT, Corner, corner
from uplift.field import FeatureField
from uplift.selection import Selection

COUNT, VIEWS, WIDTH, HEIGHT = 4000, 4, 120, 90
CHANNELS = 32
FIELD, OTHER = "words", "other"


class Words:
    """A text encoder that knows the corner's things by orthogonal directions."""

    def __init__(self, known: tuple[str, ...]) -> None:
        random = torch.Generator().manual_seed(3)
        self.directions = torch.linalg.qr(torch.randn(CHANNELS, CHANNELS, generator=random)).Q
        self.known = known

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        """A direction for each thing; other words share the last."""
        return torch.stack([self.directions[self.known.index(t) if t in self.known else -1] for t in texts])


@cache
def room() -> Corner:
    """The corner; not to be changed."""
    return corner(count=COUNT, views=VIEWS, width=WIDTH, height=HEIGHT)


@cache
def folder() -> Path:
    """The corner with two fields, not to be changed."""
    from tempfile import TemporaryDirectory

    temporary = TemporaryDirectory(prefix="fit3d-tests-")
    KEPT.append(temporary)
    path = Path(temporary.name) / "corner"
    shutil.copytree(room().scene.path, path)
    scene = Scene.open(path)
    random = torch.Generator().manual_seed(5)
    features = words().directions[labels()] + 0.1 * torch.randn(len(labels()), CHANNELS, generator=random)
    weights = torch.ones(len(labels()))
    FeatureField(features, weights, "planted").save(scene.field_path(FIELD))
    FeatureField(torch.tanh(scene.gaussians.means), weights, "planted").save(scene.field_path(OTHER))
    return path


def words() -> Words:
    """The text encoder of the field."""
    return Words(room().names)


def labels() -> torch.Tensor:
    """The thing of every Gaussian; ``[n]`` int64."""
    return torch.from_numpy(room().labels.astype(np.int64))


def session() -> Session:
    """A new session; nothing is selected."""
    return Session(Scene.open(folder()), device="cpu", autosave=False, text_encoders={FIELD: words()})


def camera(width: int = WIDTH, height: int = HEIGHT, view: int = 1) -> Camera:
    """One of the photos' cameras."""
    return room().scene.views[view].camera.resized(width, height)


def of(name: str) -> torch.Tensor:
    """The Gaussians of a thing; ``[n]`` bool."""
    return labels() == room().names.index(name)


def select(shown: Session, *chosen: tuple[str, tuple[int, int, int]]) -> None:
    """Make the things the session's selections, each in its colour."""
    document = shown.document
    for name, colour in chosen:
        document = document.with_named(name, Named(Selection.from_mask(of(name)), colour))
    shown.show(document)
