"""``fit3d augment evaluate``: trains a network with each of several augmentations, and measures it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from app.console import GIGABYTE, progress_bars, say, show, wrote
from training.layouts import Layout

if TYPE_CHECKING:
    from training.augmentation.evaluation import Contender, Outcome
    from training.augmentation.learning import LearningNumbers
    from training.probing import ProbeData

RESULTS, TABLES = "results.json", "results.md"
NONE, UNIFORM, TRIVIAL = "none", "uniform", ("trivial-ra", "trivial-wide")
KNOWN = (NONE, UNIFORM, *TRIVIAL)
MIRRORED = {False: "Photos are mirrored half of the time besides.", True: "Photos are not mirrored."}


@dataclass(frozen=True, kw_only=True)
class AugmentEvaluate:
    """Train a network from nothing with each of several augmentations, several times, and measure it on the test.

    Writes OUT/results.json and results.md: accuracies, means and 95 % intervals over all evaluations, and how much more
    each line tells rightly than the first one, evaluations of the same seeds paired.  An interrupted evaluation goes on
    where its last checkpoint was.
    """

    data: tyro.conf.Positional[Path]
    """Folder with train.npz and test.npz (images, labels, classes), or with train/CLASS and test/CLASS."""
    out: Path
    """Folder of the trainings and results."""
    policies: tuple[str, ...] = (UNIFORM, NONE, *TRIVIAL)
    """Lines of the table: none; uniform (what a search begins with); trivial-ra, trivial-wide (TrivialAugment alone, in
    both of its spaces); trivial-ra-cifar, trivial-wide-cifar (as published for CIFAR, with a crop and Cutout always);
    the file of a policy; or NAME=FILE,FILE,... with those of several searches in one line.  The others are compared
    with the first."""
    runs: int = 3
    """Trainings with each file, and in other lines as many as the line with the most files has in all."""
    layout: Layout = "auto"
    """How the folder is laid out, where its files do not tell."""
    network: str = "wrn-16-2"
    """wrn-DEPTH-WIDTH for photos of about 32 pixels (the text: wrn-40-2, wrn-28-10), or resnet18."""
    scale: Literal["small", "paper"] = "small"
    """Epochs for a processor, or those of the text for CIFAR (table A.5)."""
    pool: Literal["standard", "cifar", "imagenet", "domainnet"] = "cifar"
    """Transformations of the uniform policy."""
    transformations: int = 3
    """How many follow each other in it."""
    side: int | None = None
    """Pixels of the squares that networks see; by default those of the photos, 224 at most."""
    no_flip: bool = False
    """Do not mirror photos half of the time besides."""
    epochs: float | None = None
    """How often a photo is seen."""
    batch: int | None = None
    """Photos of a step."""
    rate: float | None = None
    """Learning rate."""
    weight_decay: float | None = None
    """Of convolutions and matrices."""
    train_photos: int | None = None
    """Learn from so many photos at most, evenly spaced."""
    test_photos: int | None = None
    """Measure so many photos at most, evenly spaced."""
    photo_memory: float = 2.0
    """Gigabytes for decoded photos, which are then read once."""
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Of the forward pass."""
    seed: int = 0
    """Of the first training of every line."""
    threads: int | None = None
    """Processor threads; by default all."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Train, measure, print and write."""
        import torch

        from render.progress import silent
        from training.augmentation.evaluation import Evaluation
        from training.augmentation.networks import build_network
        from training.augmentation.photos import Squares, squares_of
        from training.loop import place
        from training.probing.data import open_data

        self._check()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        lines = [self._line(text) for text in self.policies]
        most = max(len(line.augmentations) for line in lines)
        runs = [self.runs if _is_found(text) else self.runs * most for text in self.policies]
        at = place(self.device)
        opened = open_data(self.data, self.layout).limited(self.train_photos, self.test_photos)
        data, side = squares_of(opened, self.side, memory=int(self.photo_memory * GIGABYTE))
        classes = len(data.classes)
        with progress_bars() as bars:
            evaluation = Evaluation(
                lambda seed: build_network(self.network, classes, side, seed=seed),
                Squares(data.train, classes, side),
                data.test,
                self.out,
                learning=self._learning(),
                classes=data.classes,
                seed=self.seed,
                precision=self.precision,
                device=self.device,
                progress=bars if at.main else silent,
            )
            for line, count in zip(lines, runs, strict=True):
                evaluation.check(line, count)
            if at.main:
                trainings = sum(len(line.augmentations) * count for line, count in zip(lines, runs, strict=True))
                photos = f"{len(data.train)} photos to learn from, {len(data.test)} to measure, {side} pixels"
                say(f"{data.name}: {photos}; {self.network}, {trainings} trainings")
            outcomes = [evaluation.outcome(line, count) for line, count in zip(lines, runs, strict=True)]
        if at.main:
            self._write(data, outcomes)

    def _line(self, text: str) -> Contender:
        """What one of the policies asks for."""
        from render.errors import InputError
        from training.augmentation import POOLS, Augmentation, Policy, augmentation_of
        from training.augmentation.defaults import NAMED, TrivialWithDefaults
        from training.augmentation.evaluation import Contender

        flip = not self.no_flip
        if _is_named(text):
            name, _, files = text.partition("=")
            return Contender(name, tuple(augmentation_of(file, flip=flip) for file in files.split(",")))
        if text in NAMED:
            return Contender(text, (TrivialWithDefaults(NAMED[text], flip=flip),))
        if text == UNIFORM:
            policy = Policy.uniform(POOLS[self.pool], steps=self.transformations)
            return Contender(text, (Augmentation(policy, flip=flip),))
        path = Path(text)
        if text not in KNOWN and not path.is_file():
            known = ", ".join((*KNOWN, *NAMED))
            raise InputError(f"Expected {known}, the file of a policy or NAME=FILE,..., found no file {text}.")
        name = text if text in KNOWN else f"{path.parent.name}-{path.stem}".strip("-")
        return Contender(name, (augmentation_of(text, flip=flip),))

    def _learning(self) -> LearningNumbers:
        from app.scenes import asked_for
        from training.augmentation.learning import LEARNING

        given = {
            "epochs": self.epochs,
            "batch": self.batch,
            "rate": self.rate,
            "weight_decay": self.weight_decay,
        }
        return replace(LEARNING[self.scale], **asked_for(given))

    def _write(self, data: ProbeData, outcomes: Sequence[Outcome]) -> None:
        from app.figure_cells import gap_cell, mean_cell
        from app.result_tables import ResultTable, write_markdown
        from render.files import atomic_file
        from training.probing.scores import FIGURES

        figure, base = FIGURES["classification"]["accuracy"], outcomes[0]
        gains = {one.name: one.gain(base) for one in outcomes[1:]}
        rows = [
            [
                one.name,
                str(len(one.titles)),
                str(len(one.right)),
                mean_cell(one.mean, figure),
                gap_cell(gains[one.name], figure) if one.name in gains else "",
            ]
            for one in outcomes
        ]
        title = f"Augmentations, {data.name}, {self.network}, {len(data.test)} test photos"
        note = (
            "± half of Student's 95 % interval over all evaluations, of differences over those with the same seed; in "
            f"brackets the 95 % interval of a paired bootstrap over photos. {MIRRORED[self.no_flip]}"
        )
        columns = ["augmentation", "policies", "evaluations", figure.title, f"more than {base.name}"]
        table = ResultTable(title, columns, rows, note)
        show(table.rich())
        write_markdown(self.out / TABLES, title, [table])
        content = {
            "data": data.name,
            "network": self.network,
            "numbers": self._learning().json(),
            "seed": self.seed,
            "lines": {one.name: one.json() for one in outcomes},
            "gains": {name: gain.json() for name, gain in gains.items()},
        }
        with atomic_file(self.out / RESULTS) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        wrote(self.out / TABLES)
        wrote(self.out / RESULTS)

    def _check(self) -> None:
        from app.scenes import check_folder, check_positive
        from render.errors import InputError

        check_folder(self.out)
        check_positive(
            {
                "--runs": self.runs,
                "--transformations": self.transformations,
                "--side": self.side,
                "--epochs": self.epochs,
                "--batch": self.batch,
                "--rate": self.rate,
                "--train-photos": self.train_photos,
                "--test-photos": self.test_photos,
                "--photo-memory": self.photo_memory,
                "--threads": self.threads,
            }
        )
        if self.seed < 0:
            raise InputError(f"--seed must be at least 0, found {self.seed}.")
        names = [self._line(text).name for text in self.policies]
        if not names or len(set(names)) < len(names):
            raise InputError(
                f"Expected --policies with different names, found {', '.join(names) or 'none'}; name files with "
                "NAME=FILE."
            )


def _is_found(text: str) -> bool:
    """Whether a line is of policies that were found: a file or NAME=FILE,..., for it has no other known name."""
    from training.augmentation.defaults import NAMED

    return text not in KNOWN and text not in NAMED


def _is_named(text: str) -> bool:
    """Whether a line is NAME=FILE,...; an equals sign in a path comes after its first folder."""
    name, separate, _ = text.partition("=")
    # Path.is_file refuses texts that are longer than a name of a file can be.
    return bool(separate) and name not in ("", "..") and Path(name).name == name and not os.path.isfile(text)
