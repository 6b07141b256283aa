"""``fit3d pretrain detect``: fine-tunes a pretrained encoder for things and their masks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from app.console import GIGABYTE, progress_bars, say, size

if TYPE_CHECKING:
    from training.pretraining.detection.task import DetectionNumbers
    from training.rooms.reading import RoomScene

TITLES = {"ap50": "AP@0.5", "ap75": "AP@0.75", "ap": "AP"}


@dataclass(frozen=True)
class PretrainDetect:
    """Fine-tune an encoder for the things in rooms and their masks, and measure average precisions.

    The detector is Mask R-CNN on a simple feature pyramid of the encoder's last tokens (ViTDet).  Writes
    OUT/results.json and results.md; OUT/seed-N/pictures shows photos, what is told of them and what is true.  An
    interrupted fine-tuning goes on where its last checkpoint was.
    """

    train: tyro.conf.Positional[Path]
    """First folder: rooms to learn from."""
    test: tyro.conf.Positional[Path]
    """Second folder: other rooms, which are measured."""
    out: Path
    """Folder of the fine-tunings and of the results."""
    encoder: str = "tiny-dino"
    """What it begins with, such as mask3d:FILE, mae-base or tiny-dino."""
    weights: Path | None = None
    """File with its weights; without it they are downloaded, or bundled."""
    scratch: bool = False
    """Draw its weights anew."""
    seeds: int = 1
    """How many fine-tunings, for means and intervals."""
    seed: int = 0
    """The first of them."""
    scale: Literal["small", "paper"] = "small"
    """Numbers for a processor (AdamW at 0.0005, batch 8, 12 epochs, 128x128 pixels, 64 channels), or those of
    Detectron2's 1x schedule (SGD at 0.02, batch 16, 12 epochs, 480x640 pixels, 256 channels)."""
    size: tuple[int, int] | None = None
    """Height and width of photos in pixels."""
    width: int | None = None
    """Channels of the pyramid and of the heads."""
    augmentation: str | None = None
    """Change the colours of photos: a file of fit3d augment search, uniform, trivial-ra or trivial-wide.  Of these
    nothing that moves pixels is drawn, whose boxes and masks would stay."""
    epochs: float | None = None
    """How often a photo is seen on average."""
    batch: int | None = None
    """Photos of a step."""
    rate: float | None = None
    """Learning rate."""
    weight_decay: float | None = None
    """Of matrices."""
    photo_memory: float = 2.0
    """Gigabytes for decoded photos, which are then read once; in each process."""
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Of the encoder's forward pass."""
    threads: int | None = None
    """Processor threads; by default all."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Train, measure and write."""
        import torch

        from app.pretraining import begin_with
        from render.progress import silent
        from training.augmentation import augmentation_of
        from training.loop import place
        from training.pretraining.detection.running import detect_things

        self._check()
        augmentation = None if self.augmentation is None else augmentation_of(self.augmentation).still()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        at, (learned, measured) = place(self.device), self._rooms()
        numbers = self._numbers()
        if at.main:
            photos, others = (sum(len(room.views) for room in rooms) for rooms in (learned, measured))
            steps = numbers.schedule(self.scale, photos, seed=self.seed).steps
            say(f"{photos} photos of {len(learned)} rooms to learn from, {others} of {len(measured)} to measure")
            say(f"{self.encoder}, {self.seeds} times {steps} steps")
            say(f"memory: up to {size(self.photo_memory * GIGABYTE)} for photos")
        found: list[dict[str, float]] = []
        with progress_bars() as bars:
            for seed in range(self.seed, self.seed + self.seeds):
                encoder = begin_with(self.encoder, self.weights, at.device, scratch=self.scratch, seed=seed)
                if at.main and not found and encoder.licence:
                    say(f"{encoder.name}: the licence of the weights is {encoder.licence}")
                found.append(
                    detect_things(
                        encoder,
                        learned,
                        measured,
                        self.out / f"seed-{seed}",
                        scale=self.scale,
                        numbers=numbers,
                        augmentation=augmentation,
                        photo_memory=int(self.photo_memory * GIGABYTE),
                        seed=seed,
                        precision=self.precision,
                        device=self.device,
                        progress=bars if at.main else silent,
                    )
                )
        if at.main:
            title = "usual" if augmentation is None else augmentation.title
            self._write(numbers, found, len(learned), len(measured), title)

    def _rooms(self) -> tuple[list[RoomScene], list[RoomScene]]:
        from training.probing.data.rooms import check_apart, opened

        learned, measured = opened(self.train), opened(self.test)
        check_apart(learned, measured)
        return learned, measured

    def _numbers(self) -> DetectionNumbers:
        from app.scenes import asked_for
        from training.pretraining.detection.task import DETECTION

        given = {
            "size": self.size,
            "width": self.width,
            "epochs": self.epochs,
            "batch": self.batch,
            "rate": self.rate,
            "weight_decay": self.weight_decay,
        }
        return replace(DETECTION[self.scale], **asked_for(given))

    def _write(
        self, numbers: DetectionNumbers, found: list[dict[str, float]], learned: int, measured: int, augmentation: str
    ) -> None:
        from app.pretraining import write_figures
        from training.probing.scores import Figure

        kinds = {
            f"{kind}_{short}": Figure(f"{kind} {title}", 100, 1, higher=True)
            for kind in ("box", "mask")
            for short, title in TITLES.items()
        }
        about = {
            "encoder": self.encoder,
            "scratch": self.scratch,
            "scale": self.scale,
            "numbers": numbers.json(),
            "augmentation": augmentation,
            "rooms": [learned, measured],
            "seeds": list(range(self.seed, self.seed + self.seeds)),
        }
        figures = {name: [one[name] for one in found] for name in kinds}
        row = f"{self.encoder}, {'from nothing' if self.scratch else 'fine-tuned'}"
        write_figures(
            self.out, f"Things in {measured} rooms", row, figures, kinds, {"about": about, "figures": figures}
        )

    def _check(self) -> None:
        from app.pretraining import check_begin
        from app.scenes import check_folder, check_positive

        check_folder(self.out)
        check_begin(self.weights, scratch=self.scratch)
        check_positive(
            {
                "--seeds": self.seeds,
                "--width": self.width,
                "--epochs": self.epochs,
                "--size": None if self.size is None else min(self.size),
                "--batch": self.batch,
                "--rate": self.rate,
                "--photo-memory": self.photo_memory,
                "--threads": self.threads,
            }
        )
