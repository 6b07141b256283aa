"""``fit3d evaluate capture``: own masks of a capture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from app.commands.evaluate_benchmarks import Figures, Results, inputs_of, say_skipped
from app.console import progress_bars, show, wrote

if TYPE_CHECKING:
    from render.gaussians import Gaussians
    from render.progress import Progress
    from render.scene import Scene
    from uplift.evaluation.tasks import Task
    from uplift.evaluation.variants import Variant


@dataclass(frozen=True, kw_only=True)
class EvaluateCapture(Results):
    """Own masks of a capture: every variant of table 5.2, from the object in one view to its masks in others.

    Nothing but the reference view is looked at to choose bandwidths and thresholds.
    """

    scene: tyro.conf.Positional[Path]
    """Scene folder with lifted fields."""
    masks: Path
    """Folder with a mask VIEW.png for each masked view: at the photo's size, 255 = object."""
    reference: str
    """The view that the object is given in."""
    scribbles: Path | None = None
    """Scribbles on it (PNG: red = object, blue = background, transparent elsewhere); measured beside its mask."""
    field: tuple[str, ...] = ()
    """Fields to use; by default all of the scene."""
    weights: Path | None = None
    """File with the weights of a field's encoder, for the variant of single views."""
    sam: str | None = None
    """File with weights of Segment Anything, or the name tiny-sam; without, the variants with SAM are left out."""
    neighbours: tuple[int, ...] = ()
    """Measure the variants that use the graph for each of these numbers of neighbours, such as 16 32 50 100 200."""
    variants: tuple[str, ...] = ()
    """Only these rows; an unknown name lists all."""
    tolerance: float = 2.0
    """Pixels this near to the true border are not counted in one of the columns."""

    def run(self) -> None:
        """Measure and print."""
        from app.evaluation_tables import neighbour_table, view_table
        from app.scenes import choose_field, gaussians_of
        from render.devices import resolve_device
        from render.scene import Scene
        from uplift.evaluation.runs import choose_variants
        from uplift.evaluation.store import files_digest
        from uplift.evaluation.tasks import read_capture_task

        variants = choose_variants(self.variants)
        scene = Scene.open(self.scene)
        fields = (
            [choose_field(scene, name) for name in self.field] or sorted(scene.fields) or [choose_field(scene, None)]
        )
        gaussians = gaussians_of(scene).to(resolve_device(self.device))
        scene.require_photos()
        drawn = dict.fromkeys([None] if self.scribbles is None else [None, self.scribbles])
        if self.scribbles is not None and not (self.masks / f"{self.reference}.png").is_file():
            del drawn[None]
        tasks = [read_capture_task(scene, self.masks, self.reference, scribbles) for scribbles in drawn]
        names = [variant.name for variant in variants]
        settings = {"reference": self.reference, "tolerance": self.tolerance, "neighbours": list(self.neighbours)}
        jobs = {f"{task.kind}-{field}": (task, field) for task in tasks for field in fields}
        of_fields = {field: inputs_of(scene, field) for field in fields}
        inputs = {job: {"files": files_digest(task.files), **of_fields[field]} for job, (task, field) in jobs.items()}
        store = self.store(inputs, benchmark="capture", fields=fields, variants=names, sam=str(self.sam), **settings)
        store.check(list(jobs))
        done: dict[str, Figures] = {}
        with progress_bars() as progress:
            for job, (task, field) in jobs.items():
                # What does not depend on the features is measured once.
                running = [v for v in variants if v.of_features or field == fields[0]]
                done[job] = store.get(job) or self._measure(
                    scene, gaussians, task, field, running, self.pictures(store, job), progress
                )
                store.put(job, done[job])
        say_skipped(list(done.values()))
        for task in tasks:
            rows = [
                (f"{field}: {name}" if _of_features(name) else name, figures)
                for job, (of, field) in jobs.items()
                if of is task
                for name, figures in done[job]["variants"].items()
            ]
            title = f"{scene.path.name}, from the {task.kind} on {self.reference}: IoU in percent"
            show(view_table(title, rows, self.tolerance))
        if self.neighbours:
            groups = {f"{field} from the {task.kind}": [done[job]] for job, (task, field) in jobs.items()}
            show(neighbour_table("IoU in percent against the number of neighbours", groups, self.neighbours))
        wrote(store.finish(done))

    def _measure(
        self,
        scene: Scene,
        gaussians: Gaussians,
        task: Task,
        name: str,
        variants: Sequence[Variant],
        pictures: Path | None,
        progress: Progress,
    ) -> Figures:
        from app.scenes import load_field
        from uplift.evaluation.fields import encoder_of
        from uplift.evaluation.runs import evaluate_at_neighbours, sam_route, settings_at
        from uplift.evaluation.variants import make_setting

        field = load_field(scene, name)
        encoder = encoder_of(field, self.weights, self.device)
        sam = sam_route(self.sam, scene, gaussians, self.out / "maps")
        setting = make_setting(scene, gaussians, field, encoder, sam=sam, seed=self.seed, progress=progress)
        return evaluate_at_neighbours(
            task,
            setting,
            variants,
            settings_at(setting, self.neighbours, progress=progress),
            tolerance=self.tolerance,
            pictures=pictures,
            progress=progress,
        )


def _of_features(name: str) -> bool:
    """Whether a row depends on the features."""
    from uplift.evaluation.variants import VARIANTS

    return not any(variant.name == name and not variant.of_features for variant in VARIANTS)
