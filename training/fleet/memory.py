"""How much memory a scene will take, so that no more scenes are worked on than fit."""

from __future__ import annotations

from render.errors import InputError
from render.readers import read_capture
from render.views import View
from training.fleet.jobs import SceneJob
from training.fleet.sources import kind_of
from uplift.lifting import lift_memory

# Measured on CPUs with methods of this package, rounded up; beside them counts what grows with the scene.
FIT_BASE = 1_300_000_000
LIFT_BASE = 900_000_000
BYTES_PER_PHOTO_PIXEL = 8  # the photo, its undistorted copy, and what its reader held
BYTES_PER_PIXEL = 400  # of the photo that is being fitted
BYTES_PER_GAUSSIAN = 1800  # parameters, moments, gradients, blending
MOST_GAUSSIANS = {"fit3d-small": 100_000}
MANY_GAUSSIANS = 1_000_000  # of methods without a limit
PATCH = 14


def memory_needed(job: SceneJob) -> int:
    """Estimate the bytes of the largest command of a scene, GPU memory apart.

    A source that cannot be read needs little: it will fail at once.
    """
    kind = kind_of(job.source)
    if kind == "run":
        return LIFT_BASE
    try:
        views = read_capture(job.source).views
    except (InputError, OSError):
        return LIFT_BASE
    fitted = not job.in_place and (kind != "output" or job.settings.refit)
    return max(_fit(job, views) if fitted else 0, _lift(job, views))


def _fit(job: SceneJob, views: list[View]) -> int:
    pixels = [view.camera.height * view.camera.width for view in views]
    gaussians = MOST_GAUSSIANS.get(job.settings.method, MANY_GAUSSIANS)
    size = BYTES_PER_PHOTO_PIXEL * sum(pixels) + BYTES_PER_PIXEL * max(pixels, default=0)
    return FIT_BASE + size + BYTES_PER_GAUSSIAN * gaussians


def _lift(job: SceneJob, views: list[View]) -> int:
    if not views or not job.settings.encoders:
        return LIFT_BASE
    camera = max((view.camera for view in views), key=lambda c: c.height * c.width)
    grid = (max(1, camera.height // PATCH), max(1, camera.width // PATCH))
    count = MOST_GAUSSIANS.get(job.settings.method, MANY_GAUSSIANS)
    channels = max(choice.dimension for choice in job.settings.encoders)
    return LIFT_BASE + lift_memory(count, channels, (camera.height, camera.width), grid, views=len(views))
