"""``fit3d augment search``: learns which transformations of photos help, and how strong they should be (SLACK)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from app.console import GIGABYTE, progress_bars, say, size, wrote
from training.layouts import Layout

if TYPE_CHECKING:
    from training.augmentation.learning import LearningNumbers
    from training.augmentation.photos import Squares
    from training.augmentation.search import SearchNumbers
    from training.augmentation.searching import Found

PIE, EVOLUTION, SAMPLES = "pie.png", "evolution.png", "samples.png"
SHOWN = 4  # photos of the sheet of samples


@dataclass(frozen=True, kw_only=True)
class AugmentSearch:
    """Learn a policy of data augmentation for photos with a class each, without a default transformation (SLACK).

    A network is pretrained with the uniform policy on one part of the training photos; then rounds begin with it again,
    in whose last steps the policy is moved to where the network tells the other part better.  The test photos are not
    looked at.

    Writes OUT/policy.safetensors, which `fit3d augment evaluate` and --augmentation of other commands take, pie.png
    (what is drawn, how strong), evolution.png and samples.png; and in OUT/pretraining and OUT/round-NN checkpoints and
    logs: an interrupted search goes on where the last one was.  Several GPUs share the photos of a step, or with
    --members train a network each: `accelerate launch -m app augment search ...`.
    """

    data: tyro.conf.Positional[Path]
    """Folder with train.npz and test.npz (images, labels, classes), or with train/CLASS and test/CLASS."""
    out: Path
    """Folder of the search."""
    layout: Layout = "auto"
    """How the folder is laid out, where its files do not tell."""
    network: str = "wrn-16-2"
    """wrn-DEPTH-WIDTH for photos of about 32 pixels (the text: wrn-40-2, wrn-28-10), or resnet18."""
    scale: Literal["small", "paper"] = "small"
    """Numbers for a processor and some thousand photos (4 rounds of 54 steps of re-training and 36 that learn the
    policy, 32 photos, 8 augmentations, rates of 0.02 and 38), or those of the text for CIFAR-10 (tables A.4, A.5)."""
    variant: Literal["slack", "no-kl", "unrolled", "entropy", "warm", "pi", "mu"] = "slack"
    """slack; without the divergence from an anchor (no-kl); in one long round without it, or with the uniform policy as
    the anchor (unrolled, entropy); with rounds that go on from each other's network (warm); or learning only what is
    drawn (pi) or how strong it is (mu)."""
    members: int = 1
    """Networks whose estimates are averaged, each with a pretraining of its own; as many processes train one each."""
    pool: Literal["standard", "cifar", "imagenet", "domainnet"] = "cifar"
    """Transformations to choose from: the 15 usual ones, or with those that are otherwise hard-coded for these data."""
    transformations: int = 3
    """How many follow each other in an augmentation."""
    held: float = 0.5
    """Part of the training photos that the policy is judged by and networks are not trained on."""
    side: int | None = None
    """Pixels of the squares that networks see; by default those of the photos, 224 at most."""
    no_flip: bool = False
    """Do not mirror photos half of the time besides."""
    epochs: float | None = None
    """Of the pretraining with the uniform policy."""
    pretraining_rate: float | None = None
    """Learning rate of the pretraining."""
    weight_decay: float | None = None
    """Of networks; in the text 0.0002 for CIFAR-10 with wrn-40-2."""
    rounds: int | None = None
    """Each begins with the pretrained network."""
    retrain: int | None = None
    """Steps at the beginning of a round in which the policy stays as it is."""
    unrolled: int | None = None
    """Steps at the end of a round, in which the policy is learned."""
    augmentations: int | None = None
    """Augmentations that a step draws in which the policy is learned, each for all of its photos."""
    batch: int | None = None
    """Photos of a step."""
    rate: float | None = None
    """Learning rate of the network at the beginning of a round; in the text 0.1 for all data but CIFAR-10 (0.4)."""
    upper_rate: float | None = None
    """Learning rate of the policy. How fast it moves depends on how large the alignments of augmentations are (logs
    have it as alignment_size): the one of --scale small is for about 0.9.  Without --anchor the divergence weighs
    the more the smaller this is, so that it pulls as strongly."""
    anchor: float | None = None
    """Weight of the divergence from the policy at the beginning of a round."""
    train_photos: int | None = None
    """Take so many training photos at most, evenly spaced, both parts together."""
    photo_memory: float = 2.0
    """Gigabytes for decoded photos, which are then read once."""
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Of the forward pass; with fp16 the search computes in float32."""
    seed: int = 0
    """Of the split, weights, batches and augmentations."""
    threads: int | None = None
    """Processor threads; by default all."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Search and write."""
        import torch

        from render.progress import silent
        from training.augmentation import POOLS, Policy
        from training.augmentation.networks import build_network
        from training.augmentation.photos import Squares, squares_of
        from training.augmentation.searching import Search
        from training.distillation.specific.splitting import split_by_group
        from training.loop import place
        from training.probing.data import open_data

        self._check()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        at = place(self.device)
        opened = open_data(self.data, self.layout).limited(train=self.train_photos)
        data, side = squares_of(opened, self.side, memory=int(self.photo_memory * GIGABYTE))
        classes = len(data.classes)
        own, held = (Squares(photos, classes, side) for photos in split_by_group(data.train, self.held, seed=self.seed))
        with progress_bars() as bars:
            search = Search(
                lambda seed: build_network(self.network, classes, side, seed=seed),
                own,
                held,
                self.out,
                policy=Policy.uniform(POOLS[self.pool], steps=self.transformations),
                learning=self._learning(),
                numbers=self._numbers(),
                variant=self.variant,
                members=self.members,
                flip=not self.no_flip,
                classes=data.classes,
                seed=self.seed,
                precision=self.precision,
                device=self.device,
                about={"data": data.name, "network": self.network, "pool": self.pool, "members": self.members},
                progress=bars if at.main else silent,
            )
            if at.main:
                photos = f"{len(own)} photos to train on, {len(held)} to judge by, {side} pixels"
                say(f"{data.name}: {photos}; {self.network}, {search.steps} steps")
                say(f"memory: up to {size(self.photo_memory * GIGABYTE)} for photos")
            found = search.run()
        if at.main:
            self._write(found, own)

    def _learning(self) -> LearningNumbers:
        from app.scenes import asked_for
        from training.augmentation.learning import LEARNING

        given = {
            "epochs": self.epochs,
            "rate": self.pretraining_rate,
            "weight_decay": self.weight_decay,
            "batch": self.batch,
        }
        return replace(LEARNING[self.scale], **asked_for(given))

    def _numbers(self) -> SearchNumbers:
        from app.scenes import asked_for
        from training.augmentation.search import SEARCH

        given = {
            "rounds": self.rounds,
            "retrain": self.retrain,
            "unrolled": self.unrolled,
            "augmentations": self.augmentations,
            "batch": self.batch,
            "rate": self.rate,
            "weight_decay": self.weight_decay,
            "anchor": self.anchor,
        }
        usual = SEARCH[self.scale]
        return replace(
            usual if self.upper_rate is None else usual.with_upper_rate(self.upper_rate),
            **asked_for(given),
        )

    def _write(self, found: Found, photos: Squares) -> None:
        """Show the policy, and draw it."""
        import numpy as np

        from app.augmentation_pictures import evolution_plot, likely_sheet, policy_pie
        from app.pictures import save_picture
        from render.spacing import evenly_spaced
        from training.augmentation.searching import POLICY

        policy = found.policy
        shares, first = policy.probabilities().mean(0).tolist(), found.policies[0]
        names = sorted(range(len(shares)), key=lambda index: -shares[index])
        drawn = ", ".join(f"{policy.names[i]} {100 * shares[i]:.1f} %" for i in names)
        told = ", ".join(f"{100 * figures['accuracy']:.1f} %" for figures in found.figures)
        say(f"accuracy on the photos to judge by, after the pretraining and each round: {told}")
        say(f"drawn: {drawn}")
        history = np.stack([one.probabilities().detach().numpy() for one in found.policies])
        chosen = evenly_spaced(len(photos), SHOWN)
        shown = (photos.pixels(chosen) * 255).round().byte().permute(0, 2, 3, 1).numpy()
        wrote(self.out / POLICY)
        pictures = {
            PIE: policy_pie(policy, initial=float(first.bounds[0])),
            EVOLUTION: evolution_plot(history, policy.names),
            SAMPLES: likely_sheet(policy, list(shown)),
        }
        for name, picture in pictures.items():
            save_picture(self.out / name, picture)
            wrote(self.out / name)

    def _check(self) -> None:
        from app.scenes import check_folder, check_positive
        from render.errors import InputError

        check_folder(self.out)
        check_positive(
            {
                "--members": self.members,
                "--transformations": self.transformations,
                "--side": self.side,
                "--epochs": self.epochs,
                "--pretraining-rate": self.pretraining_rate,
                "--rounds": self.rounds,
                "--unrolled": self.unrolled,
                "--batch": self.batch,
                "--rate": self.rate,
                "--upper-rate": self.upper_rate,
                "--train-photos": self.train_photos,
                "--photo-memory": self.photo_memory,
                "--threads": self.threads,
            }
        )
        if not 0 < self.held < 1:
            raise InputError(f"Expected --held above 0 and below 1, found {self.held:g}.")
        if self.seed < 0:
            raise InputError(f"--seed must be at least 0, found {self.seed}.")
        if self.variant in ("no-kl", "unrolled") and self.anchor is not None:
            raise InputError(f"--anchor would have no effect, for {self.variant} has none; leave it out.")
