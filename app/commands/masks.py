"""``fit3d masks``: a selection as one mask for every photo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from app.console import progress_bars, say, wrote


@dataclass(frozen=True)
class Masks:
    """Write a selection as one PNG for every photo, OUT/VIEW.png, 255 = selected, 0 = not.

    Masks have the size of the photo files and their lens distortion, so that they lie on them pixel by pixel.
    """

    scene: tyro.conf.Positional[Path]
    """Scene folder."""
    selection: tyro.conf.Positional[str]
    """Name of the selection."""
    out: Path
    """Folder to write; it must not exist, or be empty."""
    view: tuple[str, ...] = ()
    """Only these views; by default all."""
    overwrite: bool = False
    """Replace the folder if it exists."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Render the masks."""
        from app.exports import write_masks
        from app.scenes import gaussians_of, load_selection, refuse_existing, refuse_to_replace_others
        from render.devices import resolve_device
        from render.scene import Scene

        refuse_existing(self.out, self.overwrite)
        refuse_to_replace_others(self.out, (".png",))
        device = resolve_device(self.device)
        scene = Scene.open(self.scene)
        views = [scene.view(name) for name in self.view] or list(scene.views)
        gaussians = gaussians_of(scene).to(device)
        selection = load_selection(scene, self.selection).to(device)
        with progress_bars() as progress:
            shown = write_masks(self.out, views, gaussians, selection, overwrite=self.overwrite, progress=progress)
        say(f"{self.selection} is seen in {shown} of {len(views)} photos")
        wrote(self.out)
