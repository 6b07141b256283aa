"""``fit3d distill task``: a head on a large frozen encoder teaches a small network one task."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from app.console import progress_bars, say, show, wrote
from training.layouts import Layout

if TYPE_CHECKING:
    from app.result_tables import ResultTable
    from render.progress import Progress
    from training.distillation.specific.models import TaskModel
    from training.distillation.specific.running import Row, RowResult, Workbench
    from training.distillation.specific.settings import Family, Numbers
    from training.probing import ProbeData

RESULTS, TABLES, EMBEDDING, MIXED = "results.json", "results.md", "embedding.png", "mixed"
TEACHER, STUDENT = "teacher", "student"
NONE, BLEND, FOLDER, DIFFUSION = "none", "blend", "folder:", "diffusion:"


@dataclass(frozen=True, kw_only=True)
class DistillTask:
    """Train a small network for one task with what a large one says of the same photos (Marrie et al. 2024).

    A head is trained on the teacher's frozen encoder first (--teacher-kind probed), or the teacher is fine-tuned; the
    student then learns from labels and from the teacher's predictions, half and half.  With --alone it learns from
    labels alone, with --probe nothing but a head on the student's encoder is.  Every seed has a teacher of its own.
    An interrupted command goes on where its last checkpoint was; several GPUs share the photos of a step:
    `accelerate launch -m app distill task ...`.

    Writes OUT/results.json and results.md (means and Student's 95 % intervals over the seeds), embedding.png (features
    by class), OUT/student/seed-0/model.safetensors, and of a vision transformer encoder.safetensors: use it as the
    encoder distilled:OUT/student/seed-0/encoder.safetensors in any command.
    """

    kind: tyro.conf.Positional[Layout]
    """How the data are laid out, as fit3d probe knows them: auto, camvid, rooms, ade20k, voc, folder, arrays (train.npz
    and test.npz, such as CIFAR-10), image-folders, ..."""
    data: tyro.conf.Positional[Path]
    """Folder of the data."""
    out: Path
    """Folder of the trainings and results."""
    task: Literal["segmentation", "classification"] = "segmentation"
    """What is told: the class of every pixel, or of every photo."""
    teacher: str = "tiny-dino"
    """Encoder of the teacher, such as tiny-dino, dinov2-giant or timm:NAME."""
    teacher_kind: Literal["probed", "tuned"] = "probed"
    """probed: its encoder stays as it is, a head is trained.  tuned: all of it is trained."""
    teacher_weights: Path | None = None
    """File with its weights; without it they are downloaded, or bundled."""
    student: str = "tiny-dino"
    """A vision transformer by its name as an encoder; for photos resnet18 or resnet50, for pixels deeplabv3-resnet18 or
    deeplabv3-resnet50."""
    student_weights: Path | None = None
    """File with the weights that it begins with; of convolutional networks those of torchvision's ResNet, else they
    begin with random ones."""
    scratch: bool = False
    """A vision transformer begins with random weights too."""
    alone: bool = False
    """The student without a teacher: fine-tuning, or training from scratch."""
    probe: bool = False
    """A head on the student's frozen encoder alone."""
    mixed: str = NONE
    """Mixed images that the teacher is asked of as well: none; blend = regions of two photos; folder:DIR = images made
    elsewhere (in DIR, or in DIR/CLASS if they are of one class each); diffusion:DIR = made by the pipeline of diffusers
    whose weights are in DIR."""
    mixed_in: Literal["distillation", "task"] = "distillation"
    """Let them teach the distillation alone, or the task as well, which the text found to be worse (table 4.5)."""
    intra_class: bool = False
    """Mix photos of one class alone."""
    mixed_times: int = 5
    """Images that the diffusion makes for every photo; the text has 10 of small data sets."""
    alpha: float = 0.5
    """Weight of the distillation; that of the labels is 1 - alpha."""
    temperature: float = 2.0
    """That softens both predictions."""
    scale: Literal["small", "paper"] = "small"
    """Sides of photos, batches, epochs and rates for a processor and small networks, or those of the text."""
    family: Literal["auto", "domainnet", "fine-grained"] = "auto"
    """Which rows of table B.2 are meant for classification: photos of many kinds (auto), or of kinds much alike."""
    side: int | None = None
    """Pixels of what networks see, along each side; by default 224, 560 for segmentation; at the small scale at most 96
    and 176, and those of the photos."""
    enlarge: int = 1
    """Vision transformers see photos enlarged so many times; tiny ones have few patches else."""
    blocks: int | None = None
    """Classification: heads read the [CLS] tokens of so many last blocks; by default 4, fine-grained 3."""
    least_crop: float | None = None
    """Classification: the least part of a photo that a crop shows; by default 0.08, of photos below 64 pixels 0.4."""
    mixup: float | None = None
    """Classification by vision transformers: how strongly photos are blended in pairs; by default 0.2, 0 = not."""
    search: bool = False
    """Choose rates and weight decays from table B.2 (rates of vision transformers times ten at the small scale) by a
    tenth of the training photos."""
    rate: float | None = None
    """Learning rate of the student."""
    weight_decay: float | None = None
    """Of the student."""
    epochs: float | None = None
    """How often the student sees a photo."""
    teacher_rate: float | None = None
    """Learning rate of the teacher."""
    teacher_weight_decay: float | None = None
    """Of the teacher."""
    teacher_epochs: float | None = None
    """How often the teacher sees a photo."""
    batch: int | None = None
    """Photos of a step, of teacher and student."""
    seeds: int = 3
    """How many teachers and students are trained; from them are the means and the intervals."""
    seed: int = 0
    """The first of them."""
    train: tuple[Path, ...] = ()
    """Folders of rooms to learn from."""
    train_photos: int | None = None
    """Learn from so many photos at most, evenly spaced."""
    test_photos: int | None = None
    """Measure so many photos at most, evenly spaced."""
    memory: float = 1.0
    """Gigabytes for features of a frozen encoder, which are computed once where photos are not augmented."""
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Of the forward pass."""
    threads: int | None = None
    """Processor threads; by default all."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Train teachers and students, measure, print and write."""
        import torch

        from render.errors import InputError
        from render.progress import silent
        from training.distillation.specific.running import GIGABYTE, Workbench
        from training.loop import place

        self._check()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        main = place(self.device).main
        data = self._data()
        with progress_bars() as bars:
            progress: Progress = bars if main else silent
            bench = Workbench(
                data,
                self.task,
                self.out,
                device=self.device,
                precision=self.precision,
                memory=int(self.memory * GIGABYTE),
                progress=progress,
            )
            if self.mixed.startswith(DIFFUSION):
                self._make_mixed(bench.data, progress)
            rows = self._rows(bench)
            models = bench.check(rows[-1])
            if main:
                say(f"{data.name}: {len(bench.data.train)} photos to learn from, {len(bench.data.test)} to measure")
                _tell_licences(models)
            rows = self._searched(bench, rows, say if main else lambda _: None)
            seeds = range(self.seed, self.seed + self.seeds)
            results = [bench.result(row, seeds) for row in rows]
        if not main:
            return
        self._write(bench.data, results)
        try:
            self._draw(bench, rows)
        except InputError as error:  # the results do not need it
            say(f"No picture of the features: {error}")

    def _check(self) -> None:
        from app.scenes import check_positive
        from render.errors import InputError
        from training.distillation.specific.losses import Weighting

        check_positive(
            {
                "--mixed-times": self.mixed_times,
                "--side": self.side,
                "--enlarge": self.enlarge,
                "--blocks": self.blocks,
                "--least-crop": self.least_crop,
                "--rate": self.rate,
                "--epochs": self.epochs,
                "--teacher-rate": self.teacher_rate,
                "--teacher-epochs": self.teacher_epochs,
                "--batch": self.batch,
                "--seeds": self.seeds,
                "--train-photos": self.train_photos,
                "--test-photos": self.test_photos,
                "--memory": self.memory,
                "--threads": self.threads,
            }
        )
        if self.seed < 0:
            raise InputError(f"--seed must be at least 0, found {self.seed}.")
        Weighting(alpha=self.alpha, temperature=self.temperature)
        prefix = next((one for one in (FOLDER, DIFFUSION) if self.mixed.startswith(one)), "")
        if self.mixed not in (NONE, BLEND) and (not prefix or self.mixed == prefix):
            raise InputError(f"Expected --mixed {NONE}, {BLEND}, {FOLDER}DIR or {DIFFUSION}DIR, found {self.mixed!r}.")
        if self.alone and self.probe:
            raise InputError("--alone trains all of the student and --probe its head alone; choose one of them.")
        if self.mixed == NONE and (self.intra_class or self.mixed_in == "task"):
            raise InputError("--intra-class and --mixed-in are about mixed images: choose some with --mixed.")
        if self.probe and self.mixed != NONE:
            raise InputError("A probe is trained on photos as they are; leave --mixed or --probe out.")
        if self.scratch and (self.student_weights is not None or self.probe):
            raise InputError("A student from scratch takes no weights and cannot be probed; leave --scratch out.")
        chosen = (self.rate, self.weight_decay, self.teacher_rate, self.teacher_weight_decay)
        if self.search and chosen != (None,) * len(chosen):
            raise InputError("--search chooses rates and weight decays; give none, or leave --search out.")

    def _data(self) -> ProbeData:
        from training.probing.data import open_data

        return open_data(self.data, self.kind, train=self.train).limited(self.train_photos, self.test_photos)

    @property
    def _family(self) -> Family:
        if self.task == "segmentation":
            return "segmentation"
        return "fine-grained" if self.family == "fine-grained" else "domainnet"

    def _rows(self, bench: Workbench) -> list[Row]:
        """The teacher if there is one, then the student."""
        from training.distillation.specific.losses import Weighting

        weighting = Weighting(alpha=self.alpha, temperature=self.temperature)
        student = self._row(bench, STUDENT, self.student, frozen=self.probe)
        student = replace(student, weights=self.student_weights, weighting=weighting, mixed_in=self.mixed_in)
        if self.mixed != NONE:
            student = replace(student, mixed=self.mixed, mixer=self._mixer(bench))
        if self.alone or self.probe:
            return [student]
        teacher = self._row(bench, TEACHER, self.teacher, frozen=self.teacher_kind == "probed")
        teacher = replace(teacher, weights=self.teacher_weights)
        return [teacher, replace(student, teacher=teacher)]

    def _row(self, bench: Workbench, name: str, network: str, *, frozen: bool) -> Row:
        from training.distillation.specific.models import ModelSpec
        from training.distillation.specific.running import Row
        from training.distillation.specific.settings import numbers_for, recipe_for, side_for

        first = bench.data.train[0].image()
        photo_side = min(first.shape[:2])
        side = self.side or side_for(self.task, self.scale, photo_side)
        fine = self._family == "fine-grained"
        spec = ModelSpec(
            name=network,
            goal=self.task,
            classes=len(bench.data.classes),
            frozen=frozen,
            scratch=self.scratch and name == STUDENT,
            side=side,
            blocks=self.blocks or (3 if fine else 4),
            mean_patch=not fine,
            enlarge=self.enlarge,
        )
        recipe = recipe_for(spec, self._family, self.scale, photo_side)
        if self.least_crop is not None:
            recipe = replace(recipe, scale=self.least_crop)
        if self.mixup is not None:
            recipe = replace(recipe, mixup=self.mixup)
        numbers = self._numbers(numbers_for(spec, self._family, self.scale), name)
        return Row(name=name, spec=spec, numbers=numbers, recipe=recipe)

    def _numbers(self, usual: Numbers, name: str) -> Numbers:
        given: dict[str, float | int | None] = {
            "rate": self.teacher_rate if name == TEACHER else self.rate,
            "weight_decay": self.teacher_weight_decay if name == TEACHER else self.weight_decay,
            "epochs": self.teacher_epochs if name == TEACHER else self.epochs,
            "batch": self.batch,
        }
        changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        return replace(usual, **changes)

    def _mixer(self, bench: Workbench) -> Any:
        """What makes the mixer of some training photos."""
        from training.distillation.specific.mixing import FolderMixer, RegionMixer

        if self.mixed == BLEND:
            return lambda photos, recipe: RegionMixer(photos, recipe, intra=self.intra_class)
        given = self.mixed.startswith(FOLDER)
        folder = Path(self.mixed.removeprefix(FOLDER)) if given else self.out / MIXED
        return lambda photos, recipe: FolderMixer(folder, photos, bench.data.classes, recipe)

    def _make_mixed(self, data: ProbeData, progress: Progress) -> None:
        """Let the diffusion mix photos, in one process."""
        from render.errors import InputError
        from training.distillation.specific.diffusion import DiffusionPipeline, make_mixed_images
        from training.loop import main_first, place

        if self.intra_class and self.task == "segmentation":
            raise InputError("Photos with a class for each pixel have no class of their own; leave --intra-class out.")
        with main_first(self.device):
            if place(self.device).main:
                pipeline = DiffusionPipeline(Path(self.mixed.removeprefix(DIFFUSION)), place(self.device).device)
                make_mixed_images(
                    pipeline,
                    data.train,
                    self.out / MIXED,
                    times=self.mixed_times,
                    classes=data.classes if self.intra_class else None,
                    seed=self.seed,
                    progress=progress,
                )

    def _searched(self, bench: Workbench, rows: Sequence[Row], tell: Callable[[str], None]) -> list[Row]:
        """Rows with the numbers that a search found, the teacher's first."""
        if not self.search:
            return list(rows)
        from training.distillation.specific.settings import grid_of

        found: list[Row] = []
        for row in rows:
            asked = replace(row, teacher=found[0]) if row.teacher is not None else row
            grid = grid_of(row.spec, self._family, self.scale, row.numbers)
            found.append(bench.searched(asked, grid, seed=self.seed) if len(grid) > 1 else asked)
            numbers = found[-1].numbers
            if len(grid) > 1:
                tell(f"{row.name}: of {len(grid)} the rate {numbers.rate:g} with weight decay {numbers.weight_decay:g}")
        return found

    def _draw(self, bench: Workbench, rows: Sequence[Row]) -> None:
        """Features by class: of the teacher, of the student before and after (figure 4.4)."""
        import numpy as np

        from app.pictures import panel_sheet, save_picture
        from app.probe_pictures import class_colours
        from training.distillation.specific.embedding import points_of, principal, scatter

        photos = bench.photos(bench.data.test if self.task == "segmentation" else bench.data.train)
        colours = class_colours(np.arange(len(bench.data.classes), dtype=np.uint8)[None])[0]
        student = rows[-1]
        shown: list[tuple[str, TaskModel]] = [(row.name, bench.model(row, self.seed)) for row in rows]
        if not student.spec.frozen:
            shown.insert(-1, (f"{STUDENT}, as it began", bench.untrained(student, self.seed)))
        mixer = None if student.mixer is None else student.mixer(bench.photos(), student.recipe)
        panels = []
        for title, model in shown:
            # As in figure 4.1, the teacher is shown with the mixed images that it is asked of.
            points = points_of(model, photos, mixer if title == TEACHER else None)
            panels.append((title, scatter(principal(points), points.labels, colours)))
        save_picture(self.out / EMBEDDING, panel_sheet(panels, len(panels)))
        wrote(self.out / EMBEDDING)

    def _write(self, data: ProbeData, results: Sequence[RowResult]) -> None:
        from app.result_tables import write_markdown
        from render.files import atomic_file
        from training.distillation.specific.files import ENCODER
        from training.probing import interval_over_seeds
        from training.probing.scores import figures_of

        table = self._table(data, results)
        show(table.rich())
        write_markdown(self.out / TABLES, f"{self.task.capitalize()}, {data.name}", [table])
        wrote(self.out / TABLES)
        entries = []
        for result in results:
            found = figures_of(result.scores)
            intervals = {name: interval_over_seeds(values).json() for name, values in found.items()}
            entries.append({**result.json(), "intervals": intervals})
        content = {
            "data": {"name": data.name, "train": len(data.train), "test": len(data.test)},
            "task": self.task,
            "rows": entries,
        }
        with atomic_file(self.out / RESULTS) as temporary:
            temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        wrote(self.out / RESULTS)
        encoder = self.out / STUDENT / f"seed-{self.seed}" / ENCODER
        if encoder.is_file():
            wrote(encoder)

    def _table(self, data: ProbeData, results: Sequence[RowResult]) -> ResultTable:
        from app.figure_cells import mean_cell
        from app.result_tables import ResultTable
        from training.probing import interval_over_seeds
        from training.probing.scores import FIGURES, figures_of

        kinds = FIGURES[self.task]
        rows = []
        for result in results:
            found = figures_of(result.scores)
            cells = [mean_cell(interval_over_seeds(found[name]), kind) for name, kind in kinds.items()]
            rows.append([_said(result.row), *cells])
        note = f"means over {self.seeds} seeds; ± half of Student's 95 % interval" if self.seeds > 1 else ""
        title = f"{self.task.capitalize()}, {data.name}, {len(data.test)} photos"
        return ResultTable(title, ["network", *(kind.title for kind in kinds.values())], rows, note)


def _tell_licences(models: Sequence[TaskModel]) -> None:
    from training.distillation.specific.models import VitModel

    encoders = [model.base[0] for model in models if isinstance(model, VitModel) and not model.spec.scratch]
    for name, licence in dict.fromkeys((one.name, one.licence) for one in encoders if one.licence):
        say(f"{name}: the licence of the weights is {licence}")


def _said(row: Row) -> str:
    """A line of the table in words."""
    begun = row.spec.scratch or (row.spec.convolutional and row.weights is None)
    trained = "probed" if row.spec.frozen else "from scratch" if begun else "fine-tuned"
    if row.teacher is None:
        words = f"{row.spec.name}, {trained}"
    else:
        words = f"{row.spec.name}, {trained}, taught by {_said(row.teacher)}"
    if row.mixed == NONE:
        return words
    return f"{words}, mixed images ({row.mixed.partition(':')[0]})" + (", in the task" * (row.mixed_in == "task"))
