"""Everything that a first prompt or text would wait for, done before anybody asks."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch

from render.camera import Camera
from render.gaussians import Gaussians
from render.progress import Progress, silent

if TYPE_CHECKING:
    from app.explorer.session import Session
    from render.scene import Scene

SIDE, WIDTH, HEIGHT = 48, 96, 72  # Gaussians along a wall, and pixels of its photo: kernels for many are needed too
FIELD = "sides"


def prepare_prompts(session: Session, progress: Progress = silent) -> None:
    """Make the default field's graph and solver, and have everything that answers prompts compiled and imported.

    Raises:
        InputError: the field cannot be read, or belongs to other Gaussians.
    """
    if session.default_field is not None:
        session.segmenter(session.default_field, progress=progress)
        progress(0, 1, "rehearsal")
        rehearse(session.device)
        progress(1, 1, "rehearsal")


def prepare_texts(session: Session, progress: Progress = silent) -> None:
    """Load the encoder of the default field for texts until it has encoded one, and make what refines its answers.

    Args:
        session: The scene.
        progress: Called before each of both.

    Raises:
        InputError: the field cannot be read, or its encoder cannot be loaded.
    """
    name = session.default_text_field
    if name is not None:
        progress(0, 2, "texts")
        session.searcher(name).prepare(diffusion=False)
        progress(1, 2, "texts")
        session.searcher(name, session.default_field).prepare()


def rehearse(device: torch.device) -> None:
    """Scribble, click, cut and look once in a tiny scene, as a person will in a large one."""
    from app.explorer.commands import Click, Hide, Scribble, Stroke, Threshold, Viewpoint
    from app.explorer.frames import frame
    from app.explorer.looks import Look, splats
    from app.explorer.session import Session

    with TemporaryDirectory() as folder:
        scene = _wall(Path(folder) / "scene")
        session = Session(scene, device=device, autosave=False)
        camera = scene.views[0].camera
        viewpoint = Viewpoint.of(camera)
        left, right = (((x * WIDTH, 0.3 * HEIGHT), (x * WIDTH, 0.7 * HEIGHT)) for x in (0.3, 0.7))
        strokes = Stroke(left, 2.0), Stroke(right, 2.0, positive=False)
        look = Look("pca", field=FIELD)
        for command in (
            Scribble(viewpoint, strokes, FIELD),
            Threshold(0.4),
            Click(viewpoint, (left[0],), field=FIELD),
            Hide(),
        ):
            session.run(command)
            frame(session, look, camera)
            splats(session, look)
        session.close()


def _wall(folder: Path) -> Scene:
    """A wall whose left side has other features than its right."""
    from render.scene import Scene, frame_of, write_scene
    from uplift.field import FeatureField

    across, up = torch.meshgrid(torch.linspace(-1, 1, SIDE), torch.linspace(-0.75, 0.75, SIDE), indexing="xy")
    means = torch.stack([across.ravel(), up.ravel(), torch.full((SIDE * SIDE,), 2.0)], dim=1)
    n = len(means)
    quats = torch.tensor([1.0, 0, 0, 0]).expand(n, 4)
    wall = Gaussians(means, quats, torch.full((n, 3), 1.5 / SIDE), torch.full((n,), 0.9), torch.zeros(n, 1, 3))
    K = torch.tensor([[WIDTH, 0, WIDTH / 2], [0, WIDTH, HEIGHT / 2], [0, 0, 1.0]])
    camera = Camera(K, torch.eye(4), WIDTH, HEIGHT)
    transforms = {"camera_model": "PINHOLE", "frames": [frame_of(camera, "images/wall.png")]}
    write_scene(folder, wall, transforms, [np.zeros((HEIGHT, WIDTH, 3), np.uint8)])
    scene = Scene.open(folder)
    side = (means[:, :1] > 0).float()
    waves = 0.1 * torch.sin(20 * means)
    FeatureField(torch.cat([side, 1 - side, waves], dim=1), torch.ones(n), "rehearsal").save(scene.field_path(FIELD))
    return scene
