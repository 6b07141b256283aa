"""``fit3d info``: what a scene has, what it lacks, what the next steps will need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from app.console import say, show, size

if TYPE_CHECKING:
    from rich.table import Table

    from render.gaussians import Gaussians
    from render.scene import Scene

TYPICAL_GRID = 16  # pixels per patch of a vision transformer
DIMENSIONS = (40, 384, 768)


@dataclass(frozen=True)
class Info:
    """List what is in a scene folder, what is missing, and the memory that the next steps will need."""

    scene: tyro.conf.Positional[Path]
    """Scene folder, or a data folder with transforms.json and photos."""

    def run(self) -> None:
        """Print the lists."""
        from render.scene import Scene

        scene = Scene.open(self.scene)
        problems = scene.check()
        has_gaussians = scene.gaussians_path.is_file()
        gaussians = None
        if has_gaussians and not any(str(scene.gaussians_path) in problem for problem in problems):
            gaussians = scene.gaussians
        show(_contents(scene, gaussians))
        for problem in problems:
            say(f"missing: {problem}")
        if not scene.fields:
            say(f"no fields yet: fit3d lift {scene.path} --encoder dense-descriptors")
        if gaussians is not None and len(gaussians) and scene.views:
            show(_needs(scene, gaussians))


def _contents(scene: Scene, gaussians: Gaussians | None) -> Table:
    from rich.table import Table

    from render.readers.capture import name_some

    table = Table(title=str(scene.path), title_justify="left", show_header=False)
    sizes = sorted({(v.camera.width, v.camera.height) for v in scene.views})
    distorted = sum(v.lens is not None and v.lens.distorted for v in scene.views)
    names = [view.name for view in scene.views]
    table.add_row("photos", f"{len(names)}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}")
    table.add_row("view sizes", name_some([f"{w}x{h}" for w, h in sizes]) + _lenses(distorted, len(scene.views)))
    if gaussians is not None:
        low, high = gaussians.means.amin(0).tolist(), gaussians.means.amax(0).tolist()
        table.add_row("Gaussians", f"{len(gaussians)}, SH degree {gaussians.sh_degree}, {_bytes(scene.gaussians_path)}")
        table.add_row("extent", " x ".join(f"[{a:.3g}, {b:.3g}]" for a, b in zip(low, high, strict=True)))
    else:
        table.add_row("Gaussians", "none")
    for name, path in scene.fields.items():
        table.add_row(f"field {name}", _field(path, None if gaussians is None else len(gaussians)))
    for name, path in scene.selections.items():
        table.add_row(f"selection {name}", _bytes(path))
    return table


def _lenses(distorted: int, total: int) -> str:
    if not distorted:
        return ""
    return ", undistorted when read" if distorted == total else f", {distorted} undistorted when read"


def _field(path: Path, count: int | None) -> str:
    from render.errors import InputError
    from uplift.field import FeatureField

    try:
        field = FeatureField.load(path, n=count)
    except InputError as error:
        return f"unusable: {error}"
    seen = float((field.weights > 0).float().mean())
    about = field.metadata
    source = f" (reduced from {about['reduced_from']})" if about.get("reduced_from") else ""
    kept = f", {about['keep']} kept" if about.get("keep") else ""
    weights = f", weights {about['weights'][:12]}" if about.get("weights") else ""
    licence = f", licence {field.licence}" if field.licence else ""
    return (
        f"{field.dimension} dimensions{source} by {field.encoder}, {seen:.0%} of the Gaussians seen{kept}, "
        f"{_bytes(path)}{weights}{licence}"
    )


def _needs(scene: Scene, gaussians: Gaussians) -> Table:
    """Memory of the next steps, beside that of Python and torch."""
    from rich.table import Table

    from uplift.graph import NEIGHBOURS, graph_memory
    from uplift.lifting import lift_memory
    from uplift.segmentation import prompt_memory

    cameras = [view.camera for view in scene.views]
    height, width = max(((c.height, c.width) for c in cameras), key=lambda s: s[0] * s[1])
    n, views = len(gaussians), len(cameras)
    loaded = sum(
        t.numel() * t.element_size() for t in (gaussians.means, gaussians.quats, gaussians.scales, gaussians.sh)
    )
    grid = (max(1, height // TYPICAL_GRID), max(1, width // TYPICAL_GRID))
    table = Table("step", "memory", "on disk", title="what the next steps need", title_justify="left")
    table.add_row("load the scene", size(loaded), "")
    table.add_row("lift rgb (full-size maps)", size(lift_memory(n, 3, (height, width), views=views)), size(n * 10))
    for dimension in DIMENSIONS:
        needed = lift_memory(n, dimension, (height, width), grid, views=views)
        table.add_row(
            f"lift {dimension} dimensions on {grid[1]}x{grid[0]} patches", size(needed), size(n * (2 * dimension + 4))
        )
    table.add_row("render a view", size(64 * n + 20 * height * width), "")
    edges = int(1.3 * n * NEIGHBOURS)
    table.add_row("neighbour graph of a field", size(graph_memory(n, NEIGHBOURS)), size(8 * edges + 16 * n))
    table.add_row("segment by strokes", size(prompt_memory(n, edges, height * width)), size(5 * n))
    return table


def _bytes(path: Path) -> str:
    return size(path.stat().st_size)
