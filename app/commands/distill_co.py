"""``fit3d distill co``: one encoder from several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.console import duration, progress_bars, say, size, wrote

if TYPE_CHECKING:
    import torch

    from render.progress import Progress
    from training.distillation.co.photos import Photos
    from training.distillation.co.running import CoDistilled
    from training.distillation.co.settings import Settings
    from training.distillation.co.task import CoDistillation
    from training.distillation.co.teachers import Teacher
    from training.loop import Schedule
    from uplift.encoders.base import Encoder, TrainableEncoder

LOOK_EVERY = 500  # steps between validations and pictures
CACHE = "teachers"  # folder of what teachers say of whole photos


@dataclass(frozen=True)
class DistillCo:
    """Let one vision transformer learn from several encoders, whatever each was made for (DUNE).

    Writes OUT/encoder.safetensors: use it as the encoder distilled:OUT/encoder.safetensors in any command, and
    distilled:OUT/encoder.safetensors@TEACHER for the features of a teacher that --keep names.  Beside it are the log,
    TensorBoard's files, pictures, losses.npz (of every step and teacher) and analyses.json with its figures.  An
    interrupted training goes on where its last checkpoint was.  Several GPUs share the photos of a step:
    `accelerate launch -m app distill co ...`.
    """

    teachers: tuple[str, ...]
    """Encoders to learn from, such as tiny-dino tiny-clip dinov2-reg-large sam-vit-l or the image tower
    timm:vit_large_patch14_clip_224.openai; clip:NAME describes thousands of crops of a photo and takes long."""
    data: tuple[str, ...]
    """Photos as NAME=FOLDER: a teacher's own, or generic=FOLDER.  A folder holds photos (also in folders of its own), a
    scene or scenes.  Of all owners photos are drawn equally often, and of each owner's folders."""
    out: Path
    """Folder of the training: checkpoint, log, pictures, and in the end the student."""
    student: str = "tiny-dino"
    """Which vision transformer learns, such as tiny-dino, dinov2-small or timm:NAME."""
    scratch: bool = False
    """Draw the student's weights anew instead of beginning with those that it has."""
    weights: Path | None = None
    """File with the student's weights; without it they are downloaded, or bundled."""
    teacher_weights: tuple[str, ...] = ()
    """Files with the teachers' weights, as NAME=FILE."""
    teacher_sides: tuple[str, ...] = ()
    """What teachers see, as NAME=SIDE in pixels; without it what the student sees, to whole patches of their own."""
    validation: tuple[Path, ...] = ()
    """Photos or scenes that are not trained on; without it every twentieth photo of each folder is kept back."""
    sharing: Literal["none", "generic", "full"] = "full"
    """Whose photos a teacher's projector learns from: its own (generic ones, if it has none), those and generic ones,
    or all."""
    projector: Literal["transformer", "ladder", "simple"] = "transformer"
    """From student to teacher: a transformer block and a linear layer; perceptrons at several depths; or one at the
    end."""
    rungs: int | None = None
    """Of a ladder: perceptrons at so many evenly spaced blocks, 4 by default."""
    keep: tuple[str, ...] = ()
    """Teachers whose projectors stay in the file of the student."""
    stages: tuple[str, ...] = ()
    """Sides of what the student sees, as SIDE:SHARE of the steps, such as 336:0.9 448:0.1; by default its window."""
    augment: Literal["crops", "flips"] = "crops"
    """crops: random resized crops, mirrored half of the time.  flips: whole photos, mirrored half of the time and the
    teachers' maps with them, so that teachers see each photo once: for small studies."""
    crop_scale: float | None = None
    """Smallest part of a photo's area that a crop shows, 0.32 by default."""
    plain_colours: bool = False
    """Leave the colours of crops as they are; otherwise they vary, and teachers and student see the same."""
    augmentation: str | None = None
    """What crops go through in the place of varying colours: a file of fit3d augment search, uniform, trivial-ra or
    trivial-wide."""
    photos: int | None = None
    """Most photos of each folder, evenly spaced; by default all."""
    cache: Path | None = None
    """Folder of what teachers say of whole photos (with flips all, with crops those for validation), which several
    trainings may share; by default OUT/teachers."""
    steps: int = 2000
    """Steps of the optimizer."""
    batch: int = 16
    """Photos of a step."""
    rate: float = 5e-4
    """Learning rate of AdamW after the warm-up; it falls along a cosine."""
    weight_decay: float = 0.03
    """Of AdamW."""
    warmup: float = 0.05
    """Part of the steps in which the rate rises."""
    drop: float = 0.5
    """How often a teacher that is not the worst for a photo is dropped."""
    accumulate: int = 1
    """Work on a batch in so many parts, one after the other, to need less memory."""
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Of the forward pass."""
    seed: int = 0
    """Of weights, batches, crops and dropping."""
    threads: int | None = None
    """Processor threads; by default all."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Train and write."""
        import torch

        from render.progress import silent
        from training.distillation.co.early import check_early
        from training.distillation.co.running import make_task, run_task
        from training.loop import check, place
        from training.loop.processes import resolve_precision

        settings, schedule = self._settings(), self._schedule()
        self._check()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        at = place(self.device)
        resolve_precision(self.precision, at.device)
        photos, validation = self._photos()
        start = self._student(at.device)
        check_early(start, self.teachers, photos, schedule, settings, validation=validation, at=at, out=self.out)
        with progress_bars() as bars:
            progress: Progress = bars if at.main else silent
            task = make_task(
                start,
                self._teachers(at.device, photos, progress),
                photos,
                schedule,
                settings,
                validation=validation,
                outputs=self.cache or self.out / CACHE,
                progress=progress,
            )
            check(task, schedule, at, self.out)
            if at.main:
                self._announce(start, task, photos, validation, at.count)
            done = run_task(
                task,
                schedule,
                self.out,
                start=None if self.scratch else start,
                keep=self.keep,
                device=self.device,
                progress=progress,
            )
            if not at.main:
                return
            written = [done.encoder, done.losses, *self._analysed(done, progress)]
        say(", ".join(f"{name} {value:.4g}" for name, value in done.figures.items()))
        for path in written:
            wrote(path)

    def _analysed(self, done: CoDistilled, progress: Progress) -> list[Path]:
        """The analyses and their figures."""
        from app.distill_pictures import correlation_plot, explained_plot, panel_picture
        from app.pictures import save_picture
        from training.distillation.co.analyses import analyse
        from training.distillation.co.export import save_analyses

        found = analyse(done.task, progress)
        path = save_analyses(found, self.out, done.figures)
        pictures = {"explained-variance": explained_plot(found), "panels": panel_picture(done.task)}
        if len(done.task.teachers) > 1:
            pictures["loss-correlation"] = correlation_plot(found)
        for name, picture in pictures.items():
            save_picture(self.out / f"{name}.png", picture)
        return [path, *(self.out / f"{name}.png" for name in pictures)]

    def _photos(self) -> tuple[Photos, Photos]:
        """What is trained on, and what is validated on."""
        from training.distillation.co.photos import GENERIC, Photos, held_out, open_source, parse_sources, thinned

        pairs = parse_sources(self.data, self.teachers)
        sources = [thinned(open_source(*pair, without=self.out), self.photos) for pair in pairs]
        if self.validation:
            held = [open_source(GENERIC, folder, without=self.out) for folder in self.validation]
            return Photos(sources), Photos(held)
        parts = [held_out(source) for source in sources]
        return Photos([train for train, _ in parts]), Photos([held for _, held in parts])

    def _student(self, device: torch.device) -> TrainableEncoder:
        from uplift.encoders import load_encoder
        from uplift.encoders.finetuned import trainable
        from uplift.encoders.untrained import make_blank

        if self.scratch:
            return make_blank(self.student, device, seed=self.seed)
        return trainable(load_encoder(self.student, self.weights, device))

    def _teachers(self, device: torch.device, photos: Photos, progress: Progress) -> list[Teacher]:
        from training.distillation.co.teachers import Teacher, check_side, fit_to

        weights, sides = self._of_teachers()
        loaded = {name: _load_teacher(name, weights.get(name), device) for name in self.teachers}
        for name, encoder in loaded.items():
            check_side(name, encoder, sides.get(name))
        for encoder in loaded.values():
            fit_to(encoder, photos, progress)
        return [Teacher(name, encoder, side=sides.get(name)) for name, encoder in loaded.items()]

    def _of_teachers(self) -> tuple[dict[str, str], dict[str, int]]:
        """Files of weights and sides, by teacher."""
        weights = _named(self.teacher_weights, "--teacher-weights NAME=FILE", self.teachers)
        return weights, _sides(_named(self.teacher_sides, "--teacher-sides NAME=SIDE", self.teachers))

    def _announce(
        self, student: TrainableEncoder, task: CoDistillation, photos: Photos, validation: Photos, processes: int
    ) -> None:
        made_from = [*([] if self.scratch else [student]), *(teacher.encoder for teacher in task.teachers)]
        for encoder in made_from:
            if encoder.licence:
                say(f"{encoder.name}: the licence of the weights is {encoder.licence}")
        begun = "from scratch" if self.scratch else "as it is"
        sides = list(task.sight.stages.sides)
        say(f"student: {student.name} {begun}, {student.dimension} channels, {sides} pixels")
        for source in photos.sources:
            say(f"{len(source.photos)} {source.owner} photos in {source.name}")
        say(f"{len(validation)} photos for validation")
        needs, pace = task.needs(), task.pace()
        each = f", in each of {processes} processes" if processes > 1 else ""
        say(f"memory: about {size(needs.memory)} beside the networks{each}")
        whole = f"the {needs.photos} photos to be drawn and " if needs.photos else ""
        where = self.cache or self.out / CACHE
        say(f"disk: about {size(needs.disk)} in {where}, what teachers say of {whole}those for validation")
        say(f"time: teachers describe these in about {duration(pace.ahead / processes)}, but for what is there already")
        if pace.step:
            say(f"time: teachers take about {duration(pace.step / processes)} of every step")

    def _settings(self) -> Settings:
        from training.augmentation import augmentation_of
        from training.distillation.co.settings import Settings

        return Settings(
            sharing=self.sharing,
            projector=self.projector,
            rungs=self.rungs,
            stages=self.stages,
            augment=self.augment,
            crop_scale=self.crop_scale,
            colours=False if self.plain_colours else None,
            # Crops are mirrored already.
            augmentation=None if self.augmentation is None else augmentation_of(self.augmentation, flip=False),
            batch=self.batch,
            drop=self.drop,
        )

    def _schedule(self) -> Schedule:
        from training.loop import Schedule

        return Schedule(
            steps=self.steps,
            rate=self.rate,
            weight_decay=self.weight_decay,
            warmup=self.warmup,
            seed=self.seed,
            accumulate=self.accumulate,
            precision=self.precision,
            validate_every=LOOK_EVERY,
            picture_every=LOOK_EVERY,
        )

    def _check(self) -> None:
        """Refuse, before anything is loaded, what can be known to be refused later."""
        from app.scenes import check_folder, check_positive
        from render.errors import InputError
        from training.distillation.co.export import check_kept
        from training.distillation.co.photos import parse_sources
        from training.distillation.co.sampling import allowed

        check_positive({"--photos": self.photos, "--threads": self.threads})
        if not self.teachers or len(set(self.teachers)) < len(self.teachers):
            raise InputError(
                f"Co-distillation takes one teacher or more, each once; found {', '.join(self.teachers) or 'none'}."
            )
        check_folder(self.out)
        if self.scratch and self.weights is not None:
            raise InputError(f"A student from scratch takes no weights, found {self.weights}; leave one of both out.")
        if self.plain_colours and self.augment != "crops":
            raise InputError(f"--plain-colours is for --augment crops, found {self.augment}; leave it out.")
        self._of_teachers()
        owners = [owner for owner, _ in parse_sources(self.data, self.teachers)]
        allowed(owners, self.teachers, self.sharing)
        check_kept(self.keep, self.teachers)


def _load_teacher(name: str, weights: str | None, device: torch.device) -> Encoder:
    """An encoder; what it says of --weights, which are the student's here, is said of the teacher's."""
    import re

    from render.errors import InputError
    from uplift.encoders import load_encoder

    try:
        return load_encoder(name, weights, device)
    except InputError as error:
        said = re.sub(r"--weights\b(?: FILE)?", f"--teacher-weights {name}=FILE", str(error))
        raise InputError(said) from error


def _named(texts: Sequence[str], what: str, teachers: Sequence[str]) -> dict[str, str]:
    """Values that are given as NAME=VALUE, by teacher."""
    from render.errors import InputError

    found = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not value or name not in teachers:
            raise InputError(f"Expected {what} with one of the teachers {', '.join(teachers)}; found {text!r}.")
        found[name] = value
    return found


def _sides(texts: Mapping[str, str]) -> dict[str, int]:
    from render.errors import InputError

    for name, text in texts.items():
        if not text.isdigit():
            raise InputError(f"What a teacher sees is given in pixels, found {text!r} for {name}.")
    return {name: int(text) for name, text in texts.items()}
