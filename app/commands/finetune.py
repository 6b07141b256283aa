"""``fit3d finetune``: teaches a 2D encoder what the photos of a scene say together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from app.console import progress_bars, say, size, wrote

if TYPE_CHECKING:
    import torch

    from render.progress import Progress
    from training.finetuning.scenes import TunedScenes
    from uplift.encoders.base import TrainableEncoder

LOOK_EVERY = 1000  # steps between validations and pictures, which come at the end of every epoch too


@dataclass(frozen=True)
class Finetune:
    """Fine-tune a vision transformer with features that all photos of a scene agree on (FiT3D, stage II).

    Writes OUT/encoder.safetensors: use it as the encoder fit3d:OUT/encoder.safetensors in any command.  Beside it
    are the log, TensorBoard's files and pictures of the features before and after.  An interrupted fine-tuning goes on
    where its last checkpoint was.  Several GPUs share the photos of a step:
    `accelerate launch -m app finetune ...`.
    """

    scenes: tyro.conf.Positional[tuple[Path, ...]]
    """Scene folders with Gaussians, or folders of such scenes."""
    out: Path
    """Folder of the fine-tuning: checkpoint, log, pictures, and in the end the encoder."""
    encoder: str = "tiny-dino"
    """Which vision transformer, such as tiny-dino, dinov2-small or timm:NAME."""
    weights: Path | None = None
    """File with its weights; without it they are downloaded, or bundled."""
    targets: Literal["lifted", "rendered", "learned", "blurred", "own-view"] = "lifted"
    """lifted: features of all photos, carried to the Gaussians and back.  rendered: the same, rendered on the fly, for
    scenes of very many photos.  learned: the field that `ns-train fit3d` learned.  Controls that know one view alone:
    blurred as far as lifting moves the features, or own-view, the lifting without the other views."""
    refresh: Literal["once", "every-epoch"] = "once"
    """Compute targets from the original network alone, or anew from the network that every epoch begins with."""
    validation: tuple[Path, ...] = ()
    """Scenes that are not trained on, to measure how much views disagree about the same place, and for pictures."""
    epochs: int = 1
    """How often a photo is seen on average: epochs x photos / batch steps are made, each on photos drawn at random."""
    rate: float = 1e-5
    """Learning rate of AdamW; small encoders and few scenes need a larger one, such as 3e-4."""
    decay: Literal["constant", "cosine"] = "constant"
    """Whether the rate stays or falls."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    batch: int = 2
    """Photos of a step."""
    augmentation: str | None = None
    """Change the colours of photos, whose targets stay: a file of fit3d augment search, uniform, trivial-ra or
    trivial-wide.  Of these nothing that moves pixels is drawn, since targets are of patches."""
    accumulate: int = 1
    """Work on a batch in so many parts, one after the other, to need less memory."""
    adapter: bool = False
    """Freeze the network and train one Swin block on top of it."""
    assembly: Literal["concatenated", "alone", "added", "fused"] = "concatenated"
    """How the written encoder puts original and fine-tuned features together; fit3d:FILE@alone asks for another way."""
    side: int | None = None
    """Shrink larger photos until their longer side has so many pixels."""
    most: int | None = None
    """Use only so many scenes."""
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Of the training's forward pass; targets are always computed in full precision."""
    seed: int = 0
    """Of the choice of photos, and of the adapter's weights."""
    threads: int | None = None
    """Processor threads; by default all."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Fine-tune and write."""
        import torch

        from render.progress import silent
        from training.augmentation import augmentation_of
        from training.finetuning.export import export
        from training.finetuning.scenes import TunedScenes
        from training.finetuning.targets import make_targets
        from training.finetuning.task import FineTuning
        from training.loop import check, place, train
        from training.scenes import open_scenes

        self._check()
        augmentation = None if self.augmentation is None else augmentation_of(self.augmentation).still()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        at = place(self.device)
        encoder = self._encoder(at.device)
        scenes = TunedScenes(open_scenes(self.scenes, self.most), encoder, side=self.side)
        validation = TunedScenes(open_scenes(self.validation), encoder, side=self.side) if self.validation else None
        if at.main:
            self._announce(encoder, scenes)
        with progress_bars() as bars:
            progress: Progress = bars if at.main else silent
            task = FineTuning(
                encoder,
                make_targets(self.targets, scenes),
                validation=validation,
                batch=self.batch,
                epochs=self.epochs,
                refresh=self.refresh,
                adapter=self.adapter,
                augmentation=augmentation,
                seed=self.seed,
                progress=progress,
            )
            schedule = self._schedule(task.steps)
            check(task, schedule, at, self.out)
            if self.targets in ("lifted", "blurred", "own-view"):
                self._transports(scenes, progress)
            figures = train(task, schedule, self.out, device=self.device, progress=progress)
            if not at.main:
                return
            about = {"steps": schedule.steps, "rate": self.rate, "seed": self.seed, "validation": figures}
            path = export(task, self.out, assembly=self.assembly, about=about, progress=progress)
        if figures:
            say(", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
        wrote(path)

    def _encoder(self, device: torch.device) -> TrainableEncoder:
        from uplift.encoders import load_encoder
        from uplift.encoders.finetuned import trainable

        return trainable(load_encoder(self.encoder, self.weights, device))

    def _announce(self, encoder: TrainableEncoder, scenes: TunedScenes) -> None:
        from training.finetuning.scenes import memory

        if encoder.licence:
            say(f"{encoder.name}: the licence of the weights is {encoder.licence}")
        say(f"{len(scenes)} photos of {len(scenes.scenes)} scenes, {encoder.dimension} channels")
        needed = memory(scenes, rendered=self.targets in ("rendered", "learned"))
        say(f"memory: about {size(needed)} beside the networks")

    def _transports(self, scenes: TunedScenes, progress: Progress) -> None:
        """Compute what carries features to the Gaussians and back in one process; the others read it."""
        from training.loop import main_first

        with main_first(self.device):
            for scene in range(len(scenes.scenes)):
                progress(scene, len(scenes.scenes), "carrying patches to Gaussians and back")
                scenes.transport(scene)
        progress(len(scenes.scenes), len(scenes.scenes), "carrying patches to Gaussians and back")

    def _schedule(self, steps: int) -> Any:
        from training.loop import Schedule

        return Schedule(
            steps=steps,
            rate=self.rate,
            weight_decay=self.weight_decay,
            warmup=0.0,
            decay=self.decay,
            clip=None,
            seed=self.seed,
            accumulate=self.accumulate,
            precision=self.precision,
            validate_every=LOOK_EVERY,
            picture_every=LOOK_EVERY,
            epochs=self.epochs,
        )

    def _check(self) -> None:
        from app.scenes import check_folder, check_positive
        from render.errors import InputError

        check_folder(self.out)
        if not self.scenes:
            raise InputError("Fine-tuning needs scenes: give scene folders, or a folder of scenes.")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"--weight-decay must be a number of at least 0, found {self.weight_decay:g}.")
        check_positive(
            {
                "--epochs": self.epochs,
                "--rate": self.rate,
                "--batch": self.batch,
                "--accumulate": self.accumulate,
                "--side": self.side,
                "--most": self.most,
                "--threads": self.threads,
            }
        )
