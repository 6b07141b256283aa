"""Lifted fields of the scenes of a benchmark: the scene's own, else lifted once and kept beside the results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.scene import Scene
from uplift.encoders.base import Encoder
from uplift.evaluation.store import plain_name
from uplift.field import FeatureField
from uplift.lifting import lift

EncoderSource = Callable[[], Encoder]


def field_of(
    scene: Scene,
    gaussians: Gaussians,
    name: str,
    encoder: EncoderSource,
    folder: str | Path,
    *,
    progress: Progress = silent,
) -> FeatureField:
    """The field of a scene.

    Args:
        scene: The scene.
        gaussians: Its Gaussians, on the device to lift on.
        name: The field's name; ``fields/NAME.safetensors`` of the scene is taken if it is there.
        encoder: Makes the encoder if the field has to be lifted.
        folder: Where lifted fields are kept, and found the next time.
        progress: Told while it is lifted.

    Raises:
        InputError: the field belongs to other Gaussians, or the encoder cannot be loaded.
    """
    if name in scene.fields:
        return FeatureField.load(scene.fields[name], n=len(gaussians))
    path = Path(folder) / f"{plain_name(name)}.safetensors"
    if path.is_file():
        return FeatureField.load(path, n=len(gaussians))
    made = lift(gaussians, scene.views, encoder(), progress=progress)
    made.save(path)
    # As it will be read the next time, so that figures do not depend on who lifted it.
    return FeatureField.load(path, n=len(gaussians))


def encoder_of(field: FeatureField, weights: str | Path | None, device: str) -> Encoder | str:
    """The encoder that made a field, or the sentence that says why it cannot be had."""
    try:
        return field.load_encoder(weights, device)
    except InputError as error:
        return str(error)
