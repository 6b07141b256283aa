"""``fit3d distill task``: a head on a large frozen encoder teaches a small network one task."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from app.console import progress_bars, say, show, size, wrote
from training.layouts import Layout

if TYPE_CHECKING:
    from app.result_tables import ResultTable
    from render.progress import Progress
    from training.distillation.specific.losses import Weighting
    from training.distillation.specific.mixing import Mixed
    from training.distillation.specific.models import TaskModel
    from training.distillation.specific.rows import Row
    from training.distillation.specific.running import RowResult, Workbench
    from training.distillation.specific.settings import Family
    from training.probing import ProbeData

RESULTS, TABLES, EMBEDDING = "results.json", "results.md", "embedding.png"
TEACHER, STUDENT = "teacher", "student"
USUAL_TEACHER = "tiny-dino"
NONE, BLEND, FOLDER, DIFFUSION = "none", "blend", "folder:", "diffusion:"


@dataclass(frozen=True, kw_only=True)
class DistillTask:
    """Train a small network for one task with what a large one says of the same photos (Marrie et al. 2024).

    A head is trained on the teacher's frozen encoder first (--teacher-kind probed), or the teacher is fine-tuned; the
    student then learns from labels and from the teacher's predictions, half and half.  With --alone it learns from
    labels alone, with --probe nothing but a head on the student's encoder is.  Every seed has a teacher of its own,
    which begins and draws its photos independently of its student.  An interrupted command goes on where its last
    checkpoint was; several GPUs share the photos of a step: `accelerate launch -m app distill task ...`.

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
    teacher: str | None = None
    """Encoder of the teacher, such as dinov2-giant or timm:NAME; by default tiny-dino."""
    teacher_kind: Literal["probed", "tuned"] | None = None
    """probed, the default: its encoder stays as it is, a head is trained.  tuned: all of it is trained."""
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
    mixed_times: int | None = None
    """Images that the diffusion makes for every photo; by default 5, the text has 10 of small data sets."""
    alpha: float | None = None
    """Weight of the distillation, by default 0.5; that of the labels is 1 - alpha."""
    temperature: float | None = None
    """That softens both predictions; by default 2."""
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
    augmentation: str | None = None
    """What photos that the student learns from go through instead of random parts, other colours and mirrors: a file of
    fit3d augment search, uniform, trivial-ra, trivial-wide, or none (mirrors alone).  Mixup stays, and for segmentation
    crops.  Of a --probe features are then computed in every step instead of once."""
    flips: bool = True
    """With --augmentation: mirror photos half of the time."""
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
    teacher_batch: int | None = None
    """Photos of a step of the teacher; by default --batch."""
    teacher_augmented: bool = False
    """The head of a probed teacher learns from augmented photos, as it is asked about later, not from photos as they
    are; its encoder is then asked in every step.  With --scale paper it does anyway, but for --family fine-grained."""
    batch: int | None = None
    """Photos of a step, of the student; of the teacher too without --teacher-batch."""
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
    photo_memory: float = 2.0
    """Gigabytes for decoded photos and class maps, which are then read once."""
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
        from training.distillation.specific.searching import searched_rows
        from training.loop import place

        self._check()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        main = place(self.device).main
        tell = say if main else lambda _: None
        data = self._data()
        seeds = range(self.seed, self.seed + self.seeds)
        with progress_bars() as bars:
            progress: Progress = bars if main else silent
            bench = Workbench(
                data,
                self.task,
                self.out,
                device=self.device,
                precision=self.precision,
                memory=int(self.memory * GIGABYTE),
                photo_memory=int(self.photo_memory * GIGABYTE),
                progress=progress,
            )
            rows = self._rows(bench)
            self._check_effects(rows)
            made = self.mixed.startswith(DIFFUSION)
            models = bench.check(rows[-1], seeds, searched=self.search, mixed=not made)
            photos, features = bench.memory(rows)
            tell(f"{data.name}: {len(bench.data.train)} photos to learn from, {len(bench.data.test)} to measure")
            tell(f"memory: about {size(photos)} for photos" + f", up to {size(features)} for features" * (features > 0))
            if main:
                _tell_licences(models)
            if made:
                self._make_mixed(bench, progress)
                bench.check(rows[-1], seeds, searched=self.search)
            if self.search:
                rows = searched_rows(bench, rows, family=self._family, scale=self.scale, seed=self.seed, tell=tell)
            results = [bench.result(row, seeds) for row in rows]
        if not main:
            return
        self._write(bench.data, results)
        try:
            self._draw(bench, rows)
        except InputError as error:  # the results do not need it
            say(f"No picture of the features: {error}")

    def _check(self) -> None:
        from app.scenes import check_folder, check_positive
        from render.errors import InputError

        check_folder(self.out)
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
                "--teacher-batch": self.teacher_batch,
                "--batch": self.batch,
                "--seeds": self.seeds,
                "--train-photos": self.train_photos,
                "--test-photos": self.test_photos,
                "--memory": self.memory,
                "--photo-memory": self.photo_memory,
                "--threads": self.threads,
            }
        )
        if self.seed < 0:
            raise InputError(f"--seed must be at least 0, found {self.seed}.")
        prefix = next((one for one in (FOLDER, DIFFUSION) if self.mixed.startswith(one)), "")
        if self.mixed not in (NONE, BLEND) and (not prefix or self.mixed == prefix):
            raise InputError(f"Expected --mixed {NONE}, {BLEND}, {FOLDER}DIR or {DIFFUSION}DIR, found {self.mixed!r}.")
        if not self.flips and self.augmentation is None:
            raise InputError("--no-flips is about --augmentation: choose one, or leave --no-flips out.")
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
        if self.intra_class and self.task == "segmentation":
            raise InputError("Photos with a class for each pixel have no class of their own; leave --intra-class out.")
        self._check_idle()
        self._weighting()

    def _check_idle(self) -> None:
        """Refuse options that the others leave without an effect."""
        taught = {
            "--alpha": self.alpha,
            "--temperature": self.temperature,
            "--teacher": self.teacher,
            "--teacher-kind": self.teacher_kind,
            "--teacher-weights": self.teacher_weights,
            "--teacher-rate": self.teacher_rate,
            "--teacher-weight-decay": self.teacher_weight_decay,
            "--teacher-epochs": self.teacher_epochs,
            "--teacher-batch": self.teacher_batch,
            "--teacher-augmented": self.teacher_augmented or None,
        }
        if self.alone or self.probe:
            _refuse(taught, "there is no teacher with --alone or --probe")
        if self.teacher_kind == "tuned":
            _refuse({"--teacher-augmented": self.teacher_augmented or None}, "a tuned teacher learns from such photos")
        if self.mixed.startswith(FOLDER):
            _refuse({"--intra-class": self.intra_class or None}, "the images of a folder are mixed already")
        if not self.mixed.startswith(DIFFUSION):
            _refuse({"--mixed-times": self.mixed_times}, f"it is about images that --mixed {DIFFUSION}DIR makes")
        if self.task == "segmentation":
            family = None if self.family == "auto" else self.family
            photos = {"--blocks": self.blocks, "--mixup": self.mixup, "--least-crop": self.least_crop}
            _refuse({**photos, "--family": family}, "it is about photos with one class each")

    def _check_effects(self, rows: Sequence[Row]) -> None:
        """Refuse options that no network of these has a use for."""
        if "standard" not in {row.recipe.augment for row in rows}:
            _refuse({"--mixup": self.mixup}, "no transformer is trained on augmented photos here")
        if {row.recipe.augment for row in rows if row.recipe.augmentation is None} <= {"plain", "centre"}:
            _refuse({"--least-crop": self.least_crop}, "no network is trained on crops here")
        if all(row.spec.convolutional for row in rows):
            enlarge = None if self.enlarge == 1 else self.enlarge
            _refuse({"--enlarge": enlarge, "--blocks": self.blocks}, "there is no vision transformer")

    def _data(self) -> ProbeData:
        from training.probing.data import open_data

        return open_data(self.data, self.kind, train=self.train).limited(self.train_photos, self.test_photos)

    @property
    def _family(self) -> Family:
        if self.task == "segmentation":
            return "segmentation"
        return "fine-grained" if self.family == "fine-grained" else "domainnet"

    def _weighting(self) -> Weighting:
        from training.distillation.specific.losses import ALPHA, TEMPERATURE, Weighting

        return Weighting(
            alpha=ALPHA if self.alpha is None else self.alpha,
            temperature=TEMPERATURE if self.temperature is None else self.temperature,
        )

    def _rows(self, bench: Workbench) -> list[Row]:
        """The teacher if there is one, then the student."""
        from training.augmentation import augmentation_of
        from training.distillation.specific.rows import APART, Choice

        both: dict[str, Any] = {
            "side": self.side,
            "enlarge": self.enlarge,
            "blocks": self.blocks,
            "least_crop": self.least_crop,
            "mixup": self.mixup,
        }
        learns = Choice(
            network=self.student,
            weights=self.student_weights,
            frozen=self.probe,
            scratch=self.scratch,
            rate=self.rate,
            weight_decay=self.weight_decay,
            epochs=self.epochs,
            batch=self.batch,
            augmentation=None if self.augmentation is None else augmentation_of(self.augmentation, flip=self.flips),
            **both,
        )
        student = bench.row(STUDENT, learns, family=self._family, scale=self.scale)
        student = replace(student, weighting=self._weighting(), mixed=self._mixed(bench), mixed_in=self.mixed_in)
        if self.alone or self.probe:
            return [student]
        teaches = Choice(
            network=self.teacher or USUAL_TEACHER,
            weights=self.teacher_weights,
            frozen=self.teacher_kind != "tuned",
            rate=self.teacher_rate,
            weight_decay=self.teacher_weight_decay,
            epochs=self.teacher_epochs,
            batch=self.teacher_batch or self.batch,
            augment="standard" if self.teacher_augmented else None,
            **both,
        )
        teacher = replace(bench.row(TEACHER, teaches, family=self._family, scale=self.scale), apart=APART)
        return [teacher, replace(student, teacher=teacher)]

    def _mixed(self, bench: Workbench) -> Mixed | None:
        from training.distillation.specific.diffusion import folder_of
        from training.distillation.specific.mixing import Mixed

        if self.mixed == NONE:
            return None
        if self.mixed == BLEND:
            return Mixed(source="blend", intra=self.intra_class)
        if self.mixed.startswith(FOLDER):
            return Mixed(source="folder", folder=Path(self.mixed.removeprefix(FOLDER)))
        name = folder_of(
            Path(self.mixed.removeprefix(DIFFUSION)),
            bench.photos().fingerprint,
            times=self._times,
            intra=self.intra_class,
            seed=self.seed,
        )
        return Mixed(source="diffusion", folder=self.out / name)

    @property
    def _times(self) -> int:
        from training.distillation.specific.diffusion import TIMES

        return TIMES if self.mixed_times is None else self.mixed_times

    def _make_mixed(self, bench: Workbench, progress: Progress) -> None:
        """Let the diffusion mix photos, in every process a part of them."""
        from training.distillation.specific import diffusion
        from training.loop import main_first, place

        mixed = self._mixed(bench)
        if mixed is None or mixed.folder is None:
            return
        at = place(self.device)
        diffusion.make_mixed_images(
            lambda: diffusion.DiffusionPipeline(Path(self.mixed.removeprefix(DIFFUSION)), at.device),
            bench.data.train,
            mixed.folder,
            times=self._times,
            classes=bench.data.classes if self.intra_class else None,
            seed=self.seed,
            part=(at.rank, at.count),
            progress=progress,
        )
        with main_first(self.device):
            pass  # until every process has made its part

    def _draw(self, bench: Workbench, rows: Sequence[Row]) -> None:
        """Features by class: of the teacher, of the student before and after (figure 4.4)."""
        import numpy as np

        from app.pictures import panel_sheet, save_picture
        from app.probe_pictures import class_colours
        from training.distillation.specific.embedding import points_of, principal, scatter

        photos = bench.photos(test=self.task == "segmentation")
        colours = class_colours(np.arange(len(bench.data.classes), dtype=np.uint8)[None])[0]
        student = rows[-1]
        shown: list[tuple[str, TaskModel]] = [(row.name, bench.model(row, self.seed)) for row in rows]
        if not student.spec.frozen:
            shown.insert(-1, (f"{STUDENT}, as it began", bench.untrained(student, self.seed)))
        mixed = student.mixed
        mixer = None if mixed is None else mixed.mixer(bench.photos(), bench.data.classes, student.recipe)
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


def _refuse(options: Mapping[str, object], reason: str) -> None:
    """Raise InputError if one of the options was given."""
    from render.errors import InputError

    given = [name for name, value in options.items() if value is not None]
    if given:
        raise InputError(f"{' and '.join(given)} would have no effect, for {reason}; leave it out.")


def _said(row: Row) -> str:
    """A line of the table in words."""
    trained = "probed" if row.spec.frozen else "from scratch" if row.begins_blank else "fine-tuned"
    if row.teacher is None:
        words = f"{row.spec.name}, {trained}"
    else:
        words = f"{row.spec.name}, {trained}, taught by {_said(row.teacher).replace(', ', ' (', 1)})"
    if row.mixed is None:
        return words
    return f"{words}, mixed images ({row.mixed.source})" + (", in the task" * (row.mixed_in == "task"))
