"""``fit3d extract``: a selection as a scene of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from app.console import say, wrote


@dataclass(frozen=True)
class Extract:
    """Write the selected Gaussians as a standard .ply, with every attribute that the scene's file has.

    Coordinates are those of the scene; a note beside the file, FILE.json, says so in numbers.
    """

    scene: tyro.conf.Positional[Path]
    """Scene folder."""
    selection: tyro.conf.Positional[str]
    """Name of the selection."""
    out: Path
    """File to write, FILE.ply."""
    overwrite: bool = False
    """Replace the file if it exists."""

    def run(self) -> None:
        """Write the object."""
        write_part(self.scene, self.selection, self.out, self.overwrite, inside=True)


def write_part(path: Path, name: str, out: Path, overwrite: bool, *, inside: bool, margin: bool = False) -> None:
    """Write what a selection holds, or what it leaves; with a margin, more is taken than was selected."""
    from app.exports import check_export, export, note_path
    from app.scenes import gaussians_of, load_selection, refuse_existing
    from render.scene import Scene
    from uplift.graph import knn_graph

    scene = Scene.open(path)
    check_export(scene, out)
    refuse_existing(out, overwrite)
    refuse_existing(note_path(out), overwrite)
    gaussians = gaussians_of(scene)
    selection = load_selection(scene, name)
    if margin and len(selection) and selection.n > 1:
        selection = selection.with_margin(knn_graph(gaussians))
    keep = selection.mask if inside else ~selection.mask
    about = {"selection": name, "part": "selected" if inside else "all but the selected", "made": dict(selection.about)}
    files = export(scene, out, keep, about)
    say(f"{int(keep.sum())} of {selection.n} Gaussians written, {int((~keep).sum())} left out")
    for file in files:
        wrote(file)
