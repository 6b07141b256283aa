"""``fit3d import``: a nerfstudio run, a 3DGS output folder or a capture plus a .ply becomes a scene folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from app.console import progress_bars, say, wrote

if TYPE_CHECKING:
    from render.progress import Progress
    from render.readers import Capture

RUN_FILE = "config.yml"


@dataclass(frozen=True)
class Import:
    """Make a scene folder: posed photos, Gaussians and, where there are any, learned features.

    SOURCE is one of
    (1) a nerfstudio run: the folder with config.yml that ns-train wrote;
    (2) an output folder of 3D Gaussian splatting: cameras.json and point_cloud/iteration_N;
    (3) a COLMAP model or a transforms.json with its photos, together with --ply.
    Coordinates stay those of the source's cameras.
    """

    source: tyro.conf.Positional[Path]
    """What to import."""
    scene: tyro.conf.Positional[Path]
    """Folder to write; it must not exist, or be empty."""
    ply: Path | None = None
    """Gaussians in the standard 3DGS layout, in the frame of the source's cameras."""
    images: Path | None = None
    """Folder of the photos, where the source does not tell or tells a place that is gone."""
    overwrite: bool = False
    """Replace a scene that exists, with its fields and selections."""

    def run(self) -> None:
        """Import."""
        from app.scenes import refuse_existing
        from render.errors import InputError

        if not self.source.exists():
            raise InputError(f"There is nothing at {self.source}; expected a folder to import.")
        refuse_existing(self.scene, self.overwrite)
        run = _nerfstudio_run(self.source)
        with progress_bars() as progress:
            if run is None:
                self._import_capture(progress)
            else:
                self._import_run(run, progress)
        wrote(self.scene)
        say(f"next: fit3d info {self.scene}")

    def _import_run(self, run: Path, progress: Progress) -> None:
        from render.errors import InputError
        from training.import_run import import_run

        unused = [flag for flag, value in (("--ply", self.ply), ("--images", self.images)) if value is not None]
        if unused:
            raise InputError(
                f"{run} is a nerfstudio run, which has Gaussians and photos; leave {' and '.join(unused)} out."
            )
        import_run(run, self.scene, overwrite=self.overwrite, progress=progress)

    def _import_capture(self, progress: Progress) -> None:
        from render.errors import InputError
        from render.scene import write_scene

        capture = self._capture()
        gaussians = self.ply or capture.gaussians
        if gaussians is None:
            raise InputError(
                f"{self.source} has photos and poses but no Gaussians; name their file with --ply, or fit "
                "them with ns-train fit3d-small and import that run."
            )
        write_scene(
            self.scene,
            gaussians,
            capture.transforms,
            capture.photos,
            points=None if capture.points is None else capture.points(),
            attachments=capture.attachments,
            overwrite=self.overwrite,
            progress=progress,
        )

    def _capture(self) -> Capture:
        from render.errors import InputError
        from render.readers import detect, read_capture, read_colmap, read_inria

        kind = detect(self.source)
        if self.images is None:
            return read_capture(self.source)
        if not self.images.is_dir():
            raise InputError(f"Expected the folder of the photos at {self.images}, found nothing.")
        if kind == "colmap":
            return read_colmap(self.source, images=self.images)
        if kind == "inria":
            return read_inria(self.source, images=self.images)
        raise InputError("transforms.json names its photos itself; leave --images out.")


def _nerfstudio_run(source: Path) -> Path | None:
    """The folder of a nerfstudio run, if the source is one."""
    if source.name == RUN_FILE and source.is_file():
        return source.parent
    return source if (source / RUN_FILE).is_file() else None
