"""``fit3d remove``: the scene without a selection."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Remove:
    """Write the scene without the selected Gaussians as a standard .ply, with every attribute of its file.

    With them goes a margin, or a shell of rims and hidden sides would stay: Gaussians with a score of 0.2 or
    more, and their neighbours.  The scene itself stays as it is.  Coordinates are those of the scene; a note
    beside the file, FILE.json, says so in numbers.
    """

    scene: tyro.conf.Positional[Path]
    """Scene folder."""
    selection: tyro.conf.Positional[str]
    """Name of the selection."""
    out: Path
    """File to write, FILE.ply."""
    exact: bool = False
    """Take exactly the selected Gaussians away, without the margin."""
    overwrite: bool = False
    """Replace the file if it exists."""

    def run(self) -> None:
        """Write what is left."""
        from app.commands.extract import write_part

        write_part(self.scene, self.selection, self.out, self.overwrite, inside=False, margin=not self.exact)
