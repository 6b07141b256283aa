"""``fit3d evaluate capture`` and ``demo``: own masks of a capture, and the objects of the demo scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from app.commands.evaluate_benchmarks import Figures, Results, chosen_of, inputs_of, say_skipped
from app.console import progress_bars, show, wrote

if TYPE_CHECKING:
    import torch

    from render.gaussians import Gaussians
    from render.progress import Progress
    from render.scene import Scene
    from uplift.evaluation.store import FigureStore
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


@dataclass(frozen=True, kw_only=True)
class EvaluateDemo(Results):
    """The demo scene: every object from one scribble in the view that shows most of it, masked in all other views.

    The true masks come from casting rays, so that even the true Gaussians (row "true labels") miss their borders by
    a pixel.  Also: what is still seen of an object after its selection is removed.
    """

    encoders: tuple[str, ...] = ("rgb", "dense-descriptors")
    """Encoders of the features; lifted once, into OUT/fields."""
    neighbours: tuple[int, ...] = ()
    """Measure the variants that use the graph for each of these numbers of neighbours, such as 16 32 50 100 200."""
    variants: tuple[str, ...] = ("geometry only", "uplifting", "uplifting + diffusion", "random walker", "default")
    """The rows; an unknown name lists all."""
    only: tuple[str, ...] = ()
    """Only these objects."""
    gaussians: int = 50_000
    """About how many Gaussians."""
    views: int = 12
    """How many photos."""
    width: int = 480
    """Width of the photos in pixels."""
    height: int = 360
    """Height of the photos in pixels."""

    def run(self) -> None:
        """Measure and print."""
        from app.evaluation_tables import neighbour_table, object_table
        from uplift.evaluation.runs import choose_variants
        from uplift.evaluation.segmentation import TOLERANCE

        variants = choose_variants(self.variants)
        with progress_bars() as progress:
            tasks, members, scene = self._tasks(progress)
            settings = {"encoders": list(self.encoders), "neighbours": list(self.neighbours)}
            sizes = {"gaussians": self.gaussians, "views": self.views, "size": [self.width, self.height]}
            store = self.store(benchmark="demo", variants=[v.name for v in variants], **settings, **sizes)
            jobs = {f"{encoder}/{task.name}": (encoder, task) for encoder in self.encoders for task in tasks}
            store.check(list(jobs))
            done = self._measure(jobs, members, scene, variants, store, progress)
        groups = {
            encoder: [done[job] for job, (name, _) in jobs.items() if name == encoder] for encoder in self.encoders
        }
        for encoder, figures in groups.items():
            show(object_table(f"{encoder}: IoU in percent over the other views", figures, key="iou"))
            title = f"{encoder}: the same, pixels within {TOLERANCE:g} px of the true border not counted"
            show(object_table(title, figures, key="iou_tolerant"))
            show(object_table(f"{encoder}: percent of pixels left after the removal", figures, key="left"))
        if self.neighbours:
            show(neighbour_table("mean IoU in percent against the number of neighbours", groups, self.neighbours))
        wrote(store.finish(done))

    def _tasks(self, progress: Progress) -> tuple[list[Task], dict[str, torch.Tensor], Scene]:
        """A task for every object, the Gaussians that it is made of, and the scene."""
        import torch

        from assets.demo_scene import demo_objects
        from uplift.evaluation.scribbles import draw_scribbles
        from uplift.evaluation.tasks import object_task

        objects = demo_objects(
            count=self.gaussians, views=self.views, width=self.width, height=self.height, progress=progress
        )
        names = [objects.names[thing] for thing in objects.things]
        tasks, members = [], {}
        for thing in objects.things:
            name, best = objects.names[thing], objects.best_view(thing)
            if name not in chosen_of(names, self.only):
                continue
            positive, negative = draw_scribbles(objects.mask(best, thing), seed=self.seed)
            masks = {view: objects.mask(view, thing) for view in objects.maps if view != best}
            tasks.append(object_task(name, best, positive, negative, masks))
            members[name] = torch.from_numpy(objects.labels == thing)
        return tasks, members, objects.scene

    def _measure(
        self,
        jobs: Mapping[str, tuple[str, Task]],
        members: Mapping[str, torch.Tensor],
        scene: Scene,
        variants: Sequence[Variant],
        store: FigureStore,
        progress: Progress,
    ) -> dict[str, Figures]:
        from render.devices import resolve_device
        from uplift.evaluation.fields import encoder_of
        from uplift.evaluation.runs import Features, evaluate_at_neighbours, settings_at
        from uplift.evaluation.variants import make_setting, true_labels

        gaussians = scene.gaussians.to(resolve_device(self.device))
        done: dict[str, Figures] = {}
        for encoder in self.encoders:
            mine = {job: task for job, (name, task) in jobs.items() if name == encoder}
            found = {job: store.get(job) for job in mine}
            done |= {job: figures for job, figures in found.items() if figures is not None}
            if len(done) and all(figures is not None for figures in found.values()):
                continue
            features = Features(encoder=encoder, folder=self.out / "fields", device=self.device)
            field = features.field(scene, gaussians, scene.path.name, progress)
            known = encoder_of(field, None, self.device)
            setting = make_setting(scene, gaussians, field, known, seed=self.seed, progress=progress)
            others = settings_at(setting, self.neighbours, progress=progress)
            for job, task in mine.items():
                if job not in done:
                    done[job] = evaluate_at_neighbours(
                        task,
                        setting,
                        [true_labels(members[task.name]), *variants],
                        others,
                        pictures=self.pictures(store, job),
                        members=members[task.name],
                        progress=progress,
                    )
                    store.put(job, done[job])
        return done


def _of_features(name: str) -> bool:
    """Whether a row depends on the features."""
    from uplift.evaluation.variants import VARIANTS

    return not any(variant.name == name and not variant.of_features for variant in VARIANTS)
