"""``fit3d pretrain segment``: fine-tunes a pretrained encoder for the classes of pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from app.console import progress_bars, say
from training.layouts import Layout

if TYPE_CHECKING:
    from training.pretraining.segmentation import TuningNumbers
    from training.probing.photos import ProbeData
    from training.probing.scores import Scores


@dataclass(frozen=True)
class PretrainSegment:
    """Fine-tune an encoder, and the decoder of its pretraining, for the classes of pixels, and measure it.

    Data are what `fit3d probe` reads: rooms (train/ROOM, test/ROOM), CamVid, ScanNet, NYUv2 and others.  Writes
    OUT/results.json and results.md.  An interrupted fine-tuning goes on where its last checkpoint was.
    """

    data: tyro.conf.Positional[Path]
    """Folder of the data; of rooms, with --train, those that are measured."""
    out: Path
    """Folder of the fine-tunings and of the results."""
    encoder: str = "tiny-dino"
    """What it begins with, such as mask3d:FILE, mae-base or tiny-dino."""
    weights: Path | None = None
    """File with its weights; without it they are downloaded, or bundled."""
    scratch: bool = False
    """Draw its weights anew."""
    decoder: Literal["auto", "pretrained", "new", "none"] = "auto"
    """That of the pretraining (mask3d:FILE alone has one), one of random weights, or none; auto = the pretraining's
    where there is one."""
    share: float = 1.0
    """Learn from this part of the labelled photos, evenly spaced."""
    seeds: int = 1
    """How many fine-tunings, for means and intervals."""
    seed: int = 0
    """The first of them."""
    scale: Literal["small", "paper"] = "small"
    """Numbers for a processor (AdamW at 0.0005, batch 8, 30 epochs, crops of 128 pixels), or those of the paper (SGD at
    0.01 that falls as a polynomial, batch 8, 80 epochs, 240 pixels)."""
    layout: Layout = "auto"
    """How the folder is laid out, where its files do not tell."""
    train: tuple[Path, ...] = ()
    """Folders of rooms to learn from."""
    test_photos: int | None = None
    """Measure so many photos at most, evenly spaced."""
    side: int | None = None
    """Pixels of crops, and of the shorter side of photos that are measured."""
    finer: int = 4
    """Nodes of the head along a patch."""
    augmentation: str | None = None
    """What crops and their class maps go through in the place of mirrors and other colours: a file of fit3d augment
    search, uniform, trivial-ra, trivial-wide, or none (mirrors alone)."""
    epochs: float | None = None
    """How often a photo is seen on average."""
    batch: int | None = None
    """Photos of a step."""
    rate: float | None = None
    """Learning rate."""
    weight_decay: float | None = None
    """Of matrices."""
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Of the forward pass."""
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
        from training.pretraining.segmentation import decoder_of, fine_tune, of_share
        from training.probing.data import open_data
        from training.probing.statistics import joined

        self._check()
        augmentation = None if self.augmentation is None else augmentation_of(self.augmentation)
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        at = place(self.device)
        opened = open_data(self.data, self.layout, train=self.train).limited(test=self.test_photos)
        data = replace(opened, side=None, enlarge=False, square=False).for_task("segmentation")
        numbers = self._numbers()
        if at.main:
            learned = len(of_share(data.train, self.share))
            photos = f"{learned} of {len(data.train)} labelled photos to learn from, {len(data.test)} to measure"
            steps = numbers.schedule(self.scale, learned, seed=self.seed).steps
            say(f"{data.name}: {photos}; {self.encoder}, {self.seeds} times {steps} steps")
        parts: list[Scores] = []
        with progress_bars() as bars:
            for seed in range(self.seed, self.seed + self.seeds):
                encoder = begin_with(self.encoder, self.weights, at.device, scratch=self.scratch, seed=seed)
                if at.main and not parts and encoder.licence:
                    say(f"{encoder.name}: the licence of the weights is {encoder.licence}")
                parts.append(
                    fine_tune(
                        encoder,
                        decoder_of(encoder, self.decoder, seed=seed),
                        data,
                        self.out / f"seed-{seed}",
                        scale=self.scale,
                        numbers=numbers,
                        share=self.share,
                        finer=self.finer,
                        augmentation=augmentation,
                        seed=seed,
                        precision=self.precision,
                        device=self.device,
                        progress=bars if at.main else silent,
                    )
                )
        if at.main:
            self._write(data, numbers, joined(parts), "usual" if augmentation is None else augmentation.title)

    def _numbers(self) -> TuningNumbers:
        from app.scenes import asked_for
        from training.pretraining.segmentation import TUNING

        given = {
            "side": self.side,
            "epochs": self.epochs,
            "batch": self.batch,
            "rate": self.rate,
            "weight_decay": self.weight_decay,
        }
        return replace(TUNING[self.scale], **asked_for(given))

    def _write(self, data: ProbeData, numbers: TuningNumbers, scores: Scores, augmentation: str) -> None:
        from app.pretraining import write_figures
        from training.probing.scores import FIGURES, as_json, figures_of

        about = {
            "data": data.name,
            "encoder": self.encoder,
            "scratch": self.scratch,
            "decoder": self.decoder,
            "share": self.share,
            "scale": self.scale,
            "numbers": numbers.json(),
            "augmentation": augmentation,
            "seeds": list(range(self.seed, self.seed + self.seeds)),
        }
        title = f"Segmentation, {data.name}, {len(data.test)} photos, {100 * self.share:g} % of the labels"
        row = f"{self.encoder}, {'from nothing' if self.scratch else 'fine-tuned'}"
        content = {"about": about, **as_json(scores)}
        write_figures(self.out, title, row, figures_of(scores), FIGURES["segmentation"], content)

    def _check(self) -> None:
        from app.pretraining import check_begin
        from app.scenes import check_folder, check_positive
        from render.errors import InputError

        check_folder(self.out)
        check_begin(self.weights, scratch=self.scratch)
        if not 0 < self.share <= 1:
            raise InputError(f"Expected --share above 0 and up to 1, found {self.share:g}.")
        check_positive(
            {
                "--seeds": self.seeds,
                "--side": self.side,
                "--finer": self.finer,
                "--epochs": self.epochs,
                "--batch": self.batch,
                "--rate": self.rate,
                "--test-photos": self.test_photos,
                "--threads": self.threads,
            }
        )
