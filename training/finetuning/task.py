"""3D-aware fine-tuning as a task of the training loop (FiT3D, algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from render.errors import InputError
from render.progress import Progress, silent
from training.augmentation import Augmentation
from training.finetuning.measures import inconsistency
from training.finetuning.panels import panels
from training.finetuning.scenes import Forward, TunedScenes
from training.finetuning.targets import Target, Targets
from training.loop import Task
from training.randomness import seeded
from uplift.encoders.adapter import SwinAdapter
from uplift.encoders.base import TrainableEncoder

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from numpy.random import Generator

Refresh: TypeAlias = Literal["once", "every-epoch"]
"""Whether targets are those of the original network, or of the network as every epoch finds it."""

BATCH, RATE, WEIGHT_DECAY, EPOCHS = 2, 1e-5, 1e-4, 1  # FiT3D, section 4.2
FLIPPED = 0.5  # of the photos are mirrored, and their targets with them
PANELS = 4  # photos that pictures show


class Item(NamedTuple):
    """One photo of a batch.

    Attributes:
        scene: Number of its scene.
        view: Its number there.
        flipped: Mirrored or not.
        seed: Of its augmentation, where there is one.
    """

    scene: int
    view: int
    flipped: bool
    seed: int = 0


class Student(nn.Module):
    """The network that is trained, or a frozen one with an adapter that is (FiT3D, table 6).

    Args:
        encoder: As it was; it stays so.
        adapter: Freeze the network and train an adapter on top of it.
    """

    def __init__(self, encoder: TrainableEncoder, *, adapter: bool = False) -> None:
        super().__init__()
        own = encoder.copied()
        self._own = (own,)  # not a module, and its network is listed below
        self.network = own.network.requires_grad_(not adapter)
        self.adapter = SwinAdapter(encoder.dimension).to(encoder.device) if adapter else None
        if not adapter:
            _freeze_what_tokens_do_not_need(own)

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b gh gw c"]:
        """Patch tokens of photos with values in [0, 1]."""
        if self.adapter is None:
            return self._own[0].tokens(pixels).patches
        with torch.no_grad():
            patches = self._own[0].tokens(pixels).patches
        found: Tensor = self.adapter(patches)
        return found.to(torch.float32)


class FineTuning(Task):
    """A network learns to say of one photo what all photos of the scene say together (FiT3D, section 3.2).

    A view is drawn from all training views; photo and target are mirrored half of the time; the loss is the mean
    absolute difference between tokens and target over the patches that have one.

    Attributes:
        encoder: The original.
        student: What is trained.
        targets: What it learns.
    """

    name = "finetune"

    def __init__(
        self,
        encoder: TrainableEncoder,
        targets: Targets,
        *,
        validation: TunedScenes | None = None,
        batch: int = BATCH,
        epochs: int = EPOCHS,
        refresh: Refresh = "once",
        adapter: bool = False,
        prepared: bool = False,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> None:
        """Set up; targets are computed when the training begins.

        Args:
            encoder: The original; it stays as it is.
            targets: Of the training scenes.
            validation: Scenes that are not trained on.
            batch: Photos of a step.
            epochs: There are ``epochs x views / batch`` steps: how often a view is seen on average.
            refresh: When targets are computed.
            adapter: Freeze the network and train an adapter on top of it.
            prepared: Targets of the original network are there already, and are not made again: several trainings share
                them.
            augmentation: What the colours of photos go through before the network sees them; targets stay those of the
                photos as they are.  Nothing of it moves pixels: targets are of patches, which would not move by parts.
            seed: Of the adapter's weights.
            progress: Told while targets are made.

        Raises:
            InputError: numbers below 1, or targets to be refreshed that do not follow the network.
        """
        super().__init__()
        if batch < 1 or epochs < 1:
            raise InputError(f"Fine-tuning needs a batch and epochs of 1 or more, found {batch} and {epochs}.")
        if refresh == "every-epoch" and not targets.follows:
            raise InputError("Learned targets stay as they were learned: choose --refresh once.")
        self.encoder, self.targets = encoder, targets
        self._validation, self._batch, self._epochs = validation, batch, epochs
        self._refresh, self._prepared, self._progress = refresh, prepared, progress
        self._augmentation = None if augmentation is None else augmentation.still()
        # What does not change of the pictures: the original's map of a photo, and of a validation scene the lifted one.
        self._shown: dict[tuple[int, int], tuple[Tensor, Tensor | None]] = {}
        with seeded(seed):
            self.student = Student(encoder, adapter=adapter)
        # What made the targets of this epoch, so that a training that goes on in its middle makes the same ones.
        self.teacher = Student(encoder, adapter=adapter).requires_grad_(False) if refresh == "every-epoch" else None
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        if self.teacher is not None:
            self.teacher.load_state_dict(self.student.state_dict())

    @property
    def steps(self) -> int:
        """Steps of all epochs."""
        return max(1, round(self._epochs * len(self.targets.scenes) / self._batch))

    def batch(self, random: Generator) -> Sequence[Item]:
        """Views drawn from all, mirrored or not."""
        index = self.targets.scenes.index
        chosen = random.integers(len(index), size=self._batch)
        flipped = random.random(self._batch) < FLIPPED
        # Nothing more is drawn than is needed, so that trainings from before there was an augmentation go on.
        seeds = np.zeros(self._batch, int) if self._augmentation is None else random.integers(2**62, size=self._batch)
        drawn = zip(chosen, flipped, seeds, strict=True)
        return [Item(index[i][0], index[i][1], bool(flip), int(seed)) for i, flip, seed in drawn]

    def begin(self, progress: float) -> None:  # noqa: ARG002  the epoch is in the checkpoint
        """Make the targets; those of an epoch that was interrupted are the same again."""
        # Nothing is learned before the second epoch: an adapter too begins as the network that it stands on.
        if not (self._prepared and int(self.epoch) == 0):
            self._prepare()

    def forward(self, items: Sequence[Item], progress: float) -> tuple[Tensor, dict[str, float]]:
        """Mean absolute difference to the targets, a mean over the items."""
        self._refreshed(progress)
        losses, known = [], []
        for alike in _of_one_grid(items, self.targets.scenes):
            pixels = torch.stack([self._pixels(item) for item in alike])
            targets = [self._target(item) for item in alike]
            wanted, mask = (torch.stack([t[part] for t in targets]).to(pixels.device) for part in (0, 1))
            apart = (self.student(pixels) - wanted).abs().mean(-1) * mask
            patches = mask.sum((1, 2))
            losses.append(apart.sum((1, 2)) / patches.clamp_min(1))
            known.append(patches / mask[0].numel())
        return torch.cat(losses).mean(), {"patches_with_target": float(torch.cat(known).mean())}

    def trained(self) -> Iterable[nn.Parameter]:
        """The network's parameters, or the adapter's."""
        return [parameter for parameter in self.student.parameters() if parameter.requires_grad]

    def validate(self) -> dict[str, float]:
        """On scenes that are not trained on: inconsistency now and before, and how far the features went."""
        if self._validation is None:
            return {}
        rows = []
        for scene in range(len(self._validation.scenes)):
            transport = self._validation.transport(scene)
            now = self._validation.tokens(scene, self.student)
            before = self._validation.tokens(scene, self.original)
            spread = (before - before.mean(0)).abs().mean().clamp_min(1e-12)
            moved = float((now - before).abs().mean() / spread)
            rows.append((inconsistency(now, transport), inconsistency(before, transport), moved))
        means = np.nanmean(np.array(rows), 0).tolist()
        return dict(zip(("inconsistency", "inconsistency_original", "moved"), means, strict=True))

    def pictures(self) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
        """Panels of fixed photos, as PCA colours and as clusters: photo, original, fine-tuned, target.

        Validation scenes have no targets: the last column is then what lifting the original's features gives.
        """
        scenes, rows = self._validation or self.targets.scenes, []
        step = max(1, len(scenes) // PANELS)
        for scene, view in scenes.index[::step][:PANELS]:
            if (scene, view) not in self._shown:
                self._shown[scene, view] = self._unchanging(scene, view)
            before, lifted = self._shown[scene, view]
            wanted = self.targets.of(scene, view).features if lifted is None else lifted
            now = self.student(scenes.pixels(scene, view)[None])[0]
            rows.append((scenes.photo(scene, view), before, now, wanted))
        return panels(rows)

    def identity(self) -> dict[str, Any]:
        """Encoder, scenes and what is in them, targets."""
        scenes = self.targets.scenes
        return {
            "encoder": self.encoder.fingerprint(),
            "scenes": [scene.path.name for scene in scenes.scenes],
            "contents": scenes.fingerprint,
            "views": len(scenes),
            "side": scenes.side,
            "targets": self.targets.kind,
            **self.targets.identity(),
            "refresh": self._refresh,
            "batch": self._batch,
            "epochs": self._epochs,
            "adapter": self.student.adapter is not None,
            **({} if self._augmentation is None else {"augmentation": self._augmentation.title}),
        }

    def original(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b gh gw c"]:
        """What the original network says of photos with values in [0, 1]."""
        return self.encoder.tokens(pixels).patches

    def _prepare(self) -> None:
        maker: Forward = self.original if self.teacher is None else self.teacher
        # Epochs begin in a forward pass, whose casts are not for targets.
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            self.targets.prepare(maker, self._progress)

    def _refreshed(self, progress: float) -> None:
        """At the beginning of an epoch after the first, let the network be its own teacher."""
        epoch = min(self._epochs - 1, int(progress * self._epochs + 1e-9))
        if self.teacher is not None and epoch > int(self.epoch):
            self.teacher.load_state_dict(self.student.state_dict())
            self.epoch.fill_(epoch)
            self._prepare()

    def _pixels(self, item: Item) -> Float[Tensor, "3 h w"]:
        pixels = self.targets.scenes.pixels(item.scene, item.view)
        if self._augmentation is not None:
            pixels = self._augmentation(pixels[None], [item.seed])[0]
        return pixels.flip(-1) if item.flipped else pixels

    def _target(self, item: Item) -> Target:
        with torch.autocast(self.device.type, enabled=False):
            features, mask = self.targets.of(item.scene, item.view)
        return Target(features.flip(1), mask.flip(1)) if item.flipped else Target(features, mask)

    def _unchanging(self, scene: int, view: int) -> tuple[Tensor, Tensor | None]:
        """What the original says of a photo of a panel, and what lifting it gives where targets are not known."""
        if self._validation is None:
            return self.original(self.targets.scenes.pixels(scene, view)[None])[0], None
        # Validation needs the matrix and all tokens of these scenes too.
        transport = self._validation.transport(scene)
        before = self._validation.tokens(scene, self.original)
        rows, grid = transport.rows(view), transport.grids[view]
        return before[rows].reshape(*grid, -1), transport.apply(before)[rows].reshape(*grid, -1)


def _of_one_grid(items: Sequence[Item], scenes: TunedScenes) -> list[list[Item]]:
    """Items whose maps have the same shape, together."""
    groups: dict[tuple[int, int], list[Item]] = {}
    for item in items:
        groups.setdefault(scenes.grids[item.scene][item.view], []).append(item)
    return list(groups.values())


def _freeze_what_tokens_do_not_need(encoder: TrainableEncoder) -> None:
    """Parameters that no patch token depends on get no gradient, for which several processes would wait."""
    with torch.enable_grad():
        pixels = torch.rand(1, 3, 2 * encoder.patch, 2 * encoder.patch, device=encoder.device)
        encoder.tokens(pixels).patches.square().sum().backward()
    for parameter in encoder.network.parameters():
        if parameter.grad is None:
            parameter.requires_grad_(False)
        parameter.grad = None
