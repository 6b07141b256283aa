"""``fit3d distill co``: one encoder from several."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from app.console import progress_bars, say, size, wrote

if TYPE_CHECKING:
    import torch

    from render.progress import Progress
    from training.distillation.co.photos import Photos
    from training.distillation.co.seeing import Stages
    from training.distillation.co.task import CoDistillation
    from training.distillation.co.teachers import Teacher
    from uplift.encoders.base import Encoder, TrainableEncoder

LOOK_EVERY = 500  # steps between validations and pictures
CACHE = "teachers"  # folder of what teachers say of whole photos
ANALYSES = "analyses.json"


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
    """Encoders to learn from, such as tiny-dino tiny-clip dinov2-reg-large clip:ViT-L-14/openai sam-vit-l."""
    data: tuple[str, ...]
    """Photos as NAME=FOLDER: a teacher's own, or generic=FOLDER.  A folder holds photos (also in folders of its own), a
    scene or scenes.  Of all that are given photos are drawn equally often."""
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
    rungs: int = 4
    """Of a ladder: perceptrons at so many evenly spaced blocks."""
    keep: tuple[str, ...] = ()
    """Teachers whose projectors stay in the file of the student."""
    stages: tuple[str, ...] = ()
    """Sides of what the student sees, as SIDE:SHARE of the steps, such as 336:0.9 448:0.1; by default its window."""
    augment: Literal["crops", "flips"] = "crops"
    """crops: random resized crops, mirrored half of the time.  flips: whole photos, mirrored half of the time and the
    teachers' maps with them, so that teachers see each photo once: for small studies."""
    crop_scale: float = 0.32
    """Smallest part of a photo's area that a crop shows."""
    cache: Path | None = None
    """Folder of what teachers say of whole photos, which several trainings may share; by default OUT/teachers."""
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
        from training.distillation.co.task import CoDistillation
        from training.loop import check, place, train

        self._check()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        at = place(self.device)
        photos, validation = self._photos()
        start = self._student(at.device)
        stages = self._stages(start)
        with progress_bars() as bars:
            progress: Progress = bars if at.main else silent
            teachers = self._teachers(at.device, photos, progress)
            if at.main:
                self._announce(start, teachers, photos, validation, stages)
            task = CoDistillation(
                start,
                teachers,
                photos,
                steps=self.steps,
                validation=validation,
                sharing=self.sharing,
                projector=self.projector,
                rungs=self.rungs,
                stages=stages,
                augment=self.augment,
                scale=(self.crop_scale, 1.0),
                batch=self.batch,
                drop=self.drop,
                seed=self.seed,
                cache=self.cache or self.out / CACHE,
                progress=progress,
            )
            schedule = self._schedule()
            check(task, schedule, at, self.out)
            figures = train(task, schedule, self.out, device=self.device, progress=progress)
            if not at.main:
                return
            written = self._write(task, start, figures, progress)
        say(", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
        for path in written:
            wrote(path)

    def _write(
        self, task: CoDistillation, start: TrainableEncoder, figures: Mapping[str, float], progress: Progress
    ) -> list[Path]:
        """The student, the losses, the analyses and their figures."""
        from app.distill_pictures import correlation_plot, explained_plot, panel_picture
        from app.pictures import save_picture
        from render.files import atomic_file
        from training.distillation.co.analyses import analyse
        from training.distillation.co.export import export, save_losses

        about = {"steps": self.steps, "rate": self.rate, "seed": self.seed, "scratch": self.scratch}
        begun = None if self.scratch else start
        paths = [
            export(task, self.out, start=begun, keep=self.keep, about=about | {"figures": dict(figures)}),
            save_losses(task, self.out),
        ]
        found = analyse(task, progress)
        with atomic_file(self.out / ANALYSES) as temporary:
            temporary.write_text(json.dumps(found.as_json() | {"validation": dict(figures)}, indent=1) + "\n")
        pictures = {"explained-variance": explained_plot(found), "panels": panel_picture(task)}
        if len(task.teachers) > 1:
            pictures["loss-correlation"] = correlation_plot(found)
        for name, picture in pictures.items():
            save_picture(self.out / f"{name}.png", picture)
        return [*paths, self.out / ANALYSES, *(self.out / f"{name}.png" for name in pictures)]

    def _photos(self) -> tuple[Photos, Photos]:
        """What is trained on, and what is validated on."""
        from training.distillation.co.photos import GENERIC, Photos, held_out, open_source, parse_sources

        sources = [open_source(*pair) for pair in parse_sources(self.data, self.teachers)]
        if self.validation:
            return Photos(sources), Photos([open_source(GENERIC, folder) for folder in self.validation])
        parts = [held_out(source) for source in sources]
        return Photos([train for train, _ in parts]), Photos([held for _, held in parts])

    def _student(self, device: torch.device) -> TrainableEncoder:
        from uplift.encoders import load_encoder
        from uplift.encoders.finetuned import trainable
        from uplift.encoders.untrained import make_blank

        if self.scratch:
            return make_blank(self.student, device, seed=self.seed)
        return trainable(load_encoder(self.student, self.weights, device))

    def _stages(self, student: TrainableEncoder) -> Stages:
        from training.distillation.co.seeing import Stages

        return Stages.parse(self.stages or [str(student.window)], student.patch)

    def _teachers(self, device: torch.device, photos: Photos, progress: Progress) -> list[Teacher]:
        from training.distillation.co.teachers import Teacher
        from uplift.encoders import load_encoder

        weights = _named(self.teacher_weights, "--teacher-weights NAME=FILE", self.teachers)
        sides = _sides(_named(self.teacher_sides, "--teacher-sides NAME=SIDE", self.teachers))
        found = []
        for name in self.teachers:
            encoder = load_encoder(name, weights.get(name), device)
            _fit(encoder, photos, progress)
            found.append(Teacher(name, encoder, side=sides.get(name)))
        return found

    def _announce(
        self,
        student: TrainableEncoder,
        teachers: Sequence[Teacher],
        photos: Photos,
        validation: Photos,
        stages: Stages,
    ) -> None:
        made_from = [*([] if self.scratch else [student]), *(teacher.encoder for teacher in teachers)]
        for encoder in made_from:
            if encoder.licence:
                say(f"{encoder.name}: the licence of the weights is {encoder.licence}")
        begun = "from scratch" if self.scratch else "as it is"
        say(f"student: {student.name} {begun}, {student.dimension} channels, {list(stages.sides)} pixels")
        for source in photos.sources:
            say(f"{len(source.photos)} {source.owner} photos in {source.name}")
        say(f"{len(validation)} photos for validation")
        if self.augment == "flips":
            patches = sum((side // student.patch) ** 2 for side in dict.fromkeys(stages.sides))
            channels = sum(teacher.dimension for teacher in teachers)
            needed = 2 * len(photos) * patches * channels
            say(f"what teachers say: {size(needed)} at most in {self.cache or self.out / CACHE}")

    def _schedule(self) -> Any:
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
        from app.scenes import check_positive
        from render.errors import InputError
        from training.distillation.co.export import check_kept
        from training.distillation.co.photos import allowed, parse_sources

        check_positive(
            {
                "--steps": self.steps,
                "--batch": self.batch,
                "--rate": self.rate,
                "--rungs": self.rungs,
                "--crop-scale": self.crop_scale,
                "--accumulate": self.accumulate,
                "--threads": self.threads,
            }
        )
        if not self.teachers or len(set(self.teachers)) < len(self.teachers):
            raise InputError(
                f"Co-distillation takes one teacher or more, each once; found {', '.join(self.teachers) or 'none'}."
            )
        if self.scratch and self.weights is not None:
            raise InputError(f"A student from scratch takes no weights, found {self.weights}; leave one of both out.")
        owners = [owner for owner, _ in parse_sources(self.data, self.teachers)]
        allowed(owners, self.teachers, self.sharing)
        check_kept(self.keep, self.teachers)


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


def _fit(encoder: Encoder, photos: Photos, progress: Progress) -> None:
    """Fit an encoder that adapts to its photos to some of all sources."""
    if encoder.fitted:
        return
    chosen = photos.evenly(max(1, encoder.photos_to_fit // len(photos.sources)))
    encoder.fit([photos.image(index) for index in chosen], progress)
