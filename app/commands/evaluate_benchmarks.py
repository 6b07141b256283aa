"""``fit3d evaluate nvos``, ``spin-nerf`` and ``lerf``: the benchmarks of LUDVIG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from app.console import progress_bars, say, show, wrote

if TYPE_CHECKING:
    from render.progress import Progress
    from render.scene import Scene
    from uplift.evaluation.lerf import LabelledFrame
    from uplift.evaluation.store import FigureStore
    from uplift.evaluation.tasks import Task
    from uplift.evaluation.variants import Setting

PAPER_ENCODER = "dinov2-reg-giant"
PAPER_CLIP = "clip:ViT-B-16/laion2b_s34b_b88k"
Figures = dict[str, Any]
PaperTable = Mapping[str, Mapping[str, "float | None"]]


@dataclass(frozen=True, kw_only=True)
class Figured:
    """Where figures go, and what all of them depend on."""

    out: Path
    """Folder for the figures (JSON), masks and heat maps (PNG).  What is finished there is not computed again."""
    overwrite: bool = False
    """Compute everything again."""
    seed: int = 0
    """Of all random choices."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def store(self, inputs: Mapping[str, Mapping[str, str]] | None = None, /, **settings: Any) -> FigureStore:
        """The folder of the figures, which depend on these settings and, task by task, on digests of inputs."""
        from uplift.evaluation.store import FigureStore

        return FigureStore(self.out, {**settings, "seed": self.seed}, overwrite=self.overwrite, inputs=inputs)


@dataclass(frozen=True, kw_only=True)
class Results(Figured):
    """Where figures and pictures go."""

    figures_only: bool = False
    """Write no masks and no heat maps."""

    def pictures(self, store: FigureStore, task: str) -> Path | None:
        """Where the pictures of a task go; None = nowhere."""
        return None if self.figures_only else store.path(task)


@dataclass(frozen=True, kw_only=True)
class _Segmentation(Results):
    """What the two segmentation benchmarks take."""

    data: tyro.conf.Positional[Path]
    """Folder of the data set, as it is published."""
    scenes: Path
    """Folder with the splats: SCENE/ is a scene folder of fit3d or an output folder of 3DGS (also SCENE/gs,
    SCENE/output, SCENE/output/SCENE)."""
    encoder: str = PAPER_ENCODER
    """Encoder of the features.  A scene's own field of that name is used; else it is lifted once, into OUT/fields."""
    weights: Path | None = None
    """File with the encoder's weights."""
    reduce: int | None = None
    """Reduce the features to so many dimensions by a PCA over each scene, weighted by its eigenvalues (paper: 40)."""
    sam: str | None = None
    """File with weights of Segment Anything, or the name tiny-sam; without, the variants with SAM are left out."""
    tau: float | None = None
    """Of the SAM route; by default 0.4 for masks and 1 for scribbles."""
    only: tuple[str, ...] = ()
    """Only these scenes."""
    variants: tuple[str, ...] = ()
    """Only these rows, such as "geometry only" or "random walker"; an unknown name lists all."""

    def measure(
        self, benchmark: str, title: str, tasks: Sequence[Task], beside: Mapping[str, str], *papers: PaperTable
    ) -> None:
        """Measure the tasks; print them beside the first table of the paper, and the averages of the last."""
        from app.evaluation_tables import others_line, scene_table
        from uplift.evaluation.runs import Features, choose_variants, open_setting
        from uplift.evaluation.segmentation import evaluate_task
        from uplift.evaluation.splats import open_splats
        from uplift.evaluation.store import files_digest

        variants = choose_variants(self.variants)
        chosen = chosen_of([task.name for task in tasks], self.only)
        names = [variant.name for variant in variants]
        settings = {"encoder": self.encoder, "reduce": self.reduce, "tau": self.tau, "sam": str(self.sam)}
        features = Features(
            encoder=self.encoder,
            weights=self.weights,
            reduce=self.reduce,
            folder=self.out / "fields",
            device=self.device,
        )
        splats = {name: open_splats(self.scenes, name) for name in {t.splats for t in tasks if t.name in chosen}}
        of_splats = {name: inputs_of(scene, features.name) for name, scene in splats.items()}
        inputs = {t.name: {"files": files_digest(t.files), **of_splats[t.splats]} for t in tasks if t.name in chosen}
        store = self.store(inputs, benchmark=benchmark, variants=names, **settings)
        store.check(chosen)
        done: list[Figures] = []
        opened: tuple[str, Setting] | None = None
        with progress_bars() as progress:
            for task in (task for task in tasks if task.name in chosen):
                figures = store.get(task.name)
                if figures is None:
                    if opened is None or opened[0] != task.splats:
                        setting = open_setting(
                            self.scenes,
                            task.splats,
                            features,
                            sam=self.sam,
                            tau=self.tau,
                            seed=self.seed,
                            progress=progress,
                        )
                        opened = task.splats, setting
                    pictures = self.pictures(store, task.name)
                    figures = evaluate_task(task, opened[1], variants, pictures=pictures, progress=progress)
                    store.put(task.name, figures)
                done.append(figures)
        say_skipped(done)
        show(scene_table(title, done, beside, papers[0]))
        say(others_line(papers[-1], ["DINOv2", "SAM", "SAM2"]))
        wrote(store.finish({task["task"]: task for task in done}))


@dataclass(frozen=True, kw_only=True)
class EvaluateNvos(_Segmentation):
    """NVOS (Ren et al. 2022), tables 5.1 and C.3: from scribbles in one view to the mask of another.

    Reads masks/SCENE/NAME_mask.png, reference_image/SCENE/NAME.JPG and scribbles/SCENE/pos_*.png, neg_*.png.
    """

    def run(self) -> None:
        """Measure and print."""
        from uplift.evaluation.paper import NVOS
        from uplift.evaluation.tasks import read_nvos

        beside = {"uplifting + diffusion": "DINOv2", "uplifting SAM": "SAM"}
        self.measure("nvos", "NVOS: IoU in percent", read_nvos(self.data), beside, NVOS)


@dataclass(frozen=True, kw_only=True)
class EvaluateSpinNerf(_Segmentation):
    """SPIn-NeRF (Mirzaei et al. 2023), tables 5.1, 5.2, C.2 and C.4: from the first mask to those of other views.

    Reads FOLDER/NAME.png of the ten published folders, such as "orchids (llff)".
    """

    def run(self) -> None:
        """Measure and print."""
        from uplift.evaluation.paper import SPIN_NERF, SPIN_NERF_ABLATION
        from uplift.evaluation.tasks import read_spin_nerf

        beside = {
            "geometry only": "geometry only",
            "single view": "single view DINOv2",
            "single view SAM": "single view SAM2",
            "uplifting": "uplifting DINOv2",
            "uplifting SAM": "uplifting SAM2",
            "uplifting + diffusion": "uplifting + diffusion DINOv2",
        }
        tasks = read_spin_nerf(self.data)
        self.measure("spin-nerf", "SPIn-NeRF: IoU in percent", tasks, beside, SPIN_NERF_ABLATION, SPIN_NERF)


@dataclass(frozen=True, kw_only=True)
class EvaluateLerf(Results):
    """The extended LERF set of LangSplat, tables 5.3 and 5.4: what texts name, found and masked.

    Reads label/SCENE/frame_*.json.
    """

    data: tyro.conf.Positional[Path]
    """Folder of the data set (lerf_ovs), as it is published."""
    scenes: Path | None = None
    """Folder with the splats, as for nvos; by default the data set's own (SCENE/output/SCENE)."""
    clip: str = PAPER_CLIP
    """Encoder with a text side.  A scene's own field of that name is used; else it is lifted once, into OUT/fields."""
    clip_weights: Path | None = None
    """File with its weights."""
    encoder: str = PAPER_ENCODER
    """Encoder of the features that guide diffusion."""
    weights: Path | None = None
    """File with its weights."""
    reduce: int | None = None
    """Reduce those to so many dimensions by a PCA over each scene, weighted by its eigenvalues."""
    sam: str | None = None
    """File with weights of Segment Anything, or the name tiny-sam; without, the rows with SAM are left out."""
    only: tuple[str, ...] = ()
    """Only these scenes."""

    def run(self) -> None:
        """Measure and print."""
        from app.evaluation_tables import others_line, scene_table
        from uplift.evaluation.lerf import read_lerf
        from uplift.evaluation.paper import LERF_2D, LERF_3D, LERF_LOCALIZATION

        frames = read_lerf(self.data)
        names = chosen_of(list(frames), self.only)
        settings = {"clip": self.clip, "encoder": self.encoder, "reduce": self.reduce, "sam": str(self.sam)}
        store = self.store({name: self._inputs(name) for name in names}, benchmark="lerf", **settings)
        store.check(names)
        done: list[Figures] = []
        with progress_bars() as progress:
            for name in names:
                figures = store.get(name) or self._measure(name, frames[name], self.pictures(store, name), progress)
                store.put(name, figures)
                done.append(figures)
        say_skipped(done)
        beside = {"2D SAM + diffusion": "LUDVIG", "3D + diffusion": "LUDVIG", "localization": "LUDVIG"}
        for kind, paper, key in (
            ("localization", LERF_LOCALIZATION, "accuracy"),
            ("2D", LERF_2D, "iou"),
            ("3D", LERF_3D, "iou"),
        ):
            shown = [
                task | {"variants": {v: row for v, row in task["variants"].items() if v.startswith(kind)}}
                for task in done
            ]
            title = "localization: accuracy" if key == "accuracy" else f"{kind} protocol: IoU"
            show(scene_table(f"LERF, {title} in percent", shown, beside, paper, key=key))
            say(others_line(paper, ["LUDVIG"]))
        wrote(store.finish({task["task"]: task for task in done}))

    def _inputs(self, name: str) -> dict[str, str]:
        """Digests of the labels and the splats of a scene."""
        from uplift.evaluation.splats import open_splats
        from uplift.evaluation.store import files_digest

        scene = open_splats(self.scenes or self.data, name, images=self.data / name / "images")
        guide = self.encoder if self.reduce is None else f"{self.encoder}-{self.reduce}"
        labels = sorted((self.data / "label" / name).glob("*.json"))
        return {"files": files_digest(labels), **inputs_of(scene, self.clip, guide)}

    def _measure(
        self, name: str, frames: Sequence[LabelledFrame], pictures: Path | None, progress: Progress
    ) -> Figures:
        from render.devices import resolve_device
        from uplift.evaluation.lerf import evaluate_lerf_scene
        from uplift.evaluation.runs import Features, sam_predictor
        from uplift.evaluation.splats import open_splats
        from uplift.search import Searcher

        device = resolve_device(self.device)
        scene = open_splats(self.scenes or self.data, name, images=self.data / name / "images")
        gaussians = scene.gaussians.to(device)
        folder = self.out / "fields"
        texts = Features(encoder=self.clip, weights=self.clip_weights, folder=folder, device=self.device)
        guides = Features(
            encoder=self.encoder, weights=self.weights, reduce=self.reduce, folder=folder, device=self.device
        )
        searcher = Searcher(
            gaussians,
            texts.field(scene, gaussians, name, progress),
            weights=self.clip_weights,
            structure=guides.field(scene, gaussians, name, progress),
            seed=self.seed,
            progress=progress,
        )
        sam = sam_predictor(self.sam, device)
        return evaluate_lerf_scene(name, frames, scene, searcher, sam=sam, pictures=pictures, progress=progress)


def inputs_of(scene: Scene, *fields: str) -> dict[str, str]:
    """Digests of the Gaussians and of those fields that the scene itself has."""
    from uplift.evaluation.store import files_digest

    own = scene.fields
    found = {"gaussians": files_digest([scene.gaussians_path])}
    return found | {"own fields": files_digest(own[name] for name in fields if name in own)}


def chosen_of(names: Sequence[str], only: Sequence[str]) -> list[str]:
    """Those of the names that were asked for; all if none was.

    Raises:
        InputError: a name is unknown.
    """
    from render.errors import InputError

    unknown = [name for name in only if name not in names]
    if unknown:
        raise InputError(f"There is no {unknown[0]!r} here; --only takes {', '.join(names)}.")
    return [name for name in names if not only or name in only]


def say_skipped(done: Sequence[Figures]) -> None:
    """Print why some rows are missing, each reason once."""
    reasons = {f"{name} is left out: {why}" for figures in done for name, why in figures["skipped"].items()}
    for reason in sorted(reasons):
        say(reason)
