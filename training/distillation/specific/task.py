"""Training of one network for a task, alone or taught by another, as a task of the training loop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from render.errors import InputError
from training.distillation.specific.augmentation import Drawn, Recipe, make_sample
from training.distillation.specific.features import Described, FrozenFeatures
from training.distillation.specific.losses import Weighting, distillation_losses, task_losses
from training.distillation.specific.measuring import figures_on
from training.distillation.specific.mixing import ImageMixer, Mix
from training.distillation.specific.models import TaskModel, at_pixels
from training.distillation.specific.norms import SharedBatchNorm
from training.distillation.specific.reading import side_by_side
from training.distillation.specific.samples import Sample, TaskPhotos
from training.loop import Task
from training.probing.photos import ProbePhoto

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.random import Generator

MixedIn: TypeAlias = Literal["distillation", "task"]
"""Whether mixed images teach by the distillation alone, as they should, or by the task's loss as well (table 4.5)."""


class Item(NamedTuple):
    """One image of a batch.

    Attributes:
        drawn: A photo; of a mixed image nothing.
        partner: What Mixup blends it with.
        share: Of the photo, where it has a partner.
        mix: A mixed image.
        seed: Of what networks draw.
        task: How much its task loss counts.
        distillation: How much its distillation loss counts.
    """

    drawn: Drawn | None
    partner: Drawn | None
    share: float
    mix: Mix | None
    seed: int
    task: float
    distillation: float


class Batch(NamedTuple):
    """Images side by side; see :class:`Sample`."""

    pixels: Tensor
    truth: Tensor
    inside: Tensor | None


class TaskTraining(Task):
    """A network learns a task: from labels, and from what a teacher says of the same images.

    Without a teacher the loss is the task's (equation 4.1): probing where the network's transformer is frozen, else
    fine-tuning, or training from scratch.  With one it is ``(1 - alpha) task + alpha distillation`` (equation 4.2).

    Mixed images enlarge the set that the distillation's expectation is over (4.3.2): a batch of originals is joined by
    half as many mixed images, and both kinds have half of the distillation loss each, which is what drawing them with
    equal frequency is in expectation; the task's loss is the mean over the originals, as without mixed images.  (The
    text reports 1.5 times the time for training with them.)  Mixup is for originals alone.

    Mixup blends a photo with the one half a batch away: whichever processes share the batch, both are most often in
    the same one, which then reads and augments them once.

    Attributes:
        model: What is trained.
    """

    name = "distill-task"

    def __init__(
        self,
        model: TaskModel,
        photos: TaskPhotos,
        recipe: Recipe,
        *,
        batch: int,
        teacher: TaskModel | None = None,
        weighting: Weighting | None = None,
        mixer: ImageMixer | None = None,
        mixed_in: MixedIn = "distillation",
        validation: Sequence[ProbePhoto] = (),
        classes: Sequence[str] = (),
        features: FrozenFeatures | None = None,
    ) -> None:
        """Set up.

        Args:
            model: What is trained; it is changed.
            photos: It learns from.
            recipe: How they are augmented.
            batch: Photos of a step, mixed images not counted.
            teacher: What it learns from as well; it is only asked.
            weighting: Of both losses; None = the text's.
            mixer: Of mixed images.
            mixed_in: Where these teach.
            validation: Photos that figures are measured on at the end, by the names of the classes.
            classes: Their names.
            features: Keeps what a frozen transformer says of photos that are not augmented; None = it is asked in every
                step.

        Raises:
            InputError: the batch is too small, or images that are mixed teach nothing of the task.
        """
        super().__init__()
        if batch < 2:
            raise InputError(f"A batch norm needs a batch of 2 photos at least, found {batch}.")
        if mixer is not None and teacher is None and mixed_in == "distillation":
            raise InputError("Mixed images teach by distillation: name a teacher, or let them teach the task.")
        if mixer is not None and mixed_in == "task" and not mixer.labelled:
            raise InputError(
                "What the mixed images show is not known, so they cannot teach the task: mix with blend, or give a "
                "folder with a folder of images for each class."
            )
        self.model = model
        self._teacher = (teacher,)  # no module of this one: it is made again and does not change
        self._taught_by = None if teacher is None else teacher.fingerprint()
        self._began_as = model.fingerprint()
        self._photos, self._recipe, self._mixer, self._mixed_in = photos, recipe, mixer, mixed_in
        self._weighting = weighting or Weighting()
        self._originals, self._mixed = batch, batch // 2 if mixer else 0
        self._validation, self._classes = list(validation), tuple(classes)
        self._features = features
        self._known: Described = []  # features and truths of photos whose encoder is frozen
        # Such a norm is over the photos of all processes, but over one part of what a process accumulates.
        self.cuttable = not any(isinstance(module, SharedBatchNorm) for module in model.modules())
        if teacher is not None:
            teacher.eval().requires_grad_(False)

    def batch(self, random: Generator) -> Sequence[Item]:
        """Originals, of which some are blended by Mixup, and mixed images."""
        chosen = random.integers(len(self._photos), size=self._originals)
        seeds = random.integers(2**62, size=self._originals)
        drawn = [Drawn(int(i), int(seed)) for i, seed in zip(chosen, seeds, strict=True)]
        shares = random.beta(self._recipe.mixup, self._recipe.mixup, self._originals) if self._blends else None
        task, originals, mixed = self._weights()
        items = [
            Item(
                one,
                None if shares is None else drawn[(k + self._originals // 2) % len(drawn)],
                1.0 if shares is None else float(shares[k]),
                None,
                one.seed,
                task,
                originals,
            )
            for k, one in enumerate(drawn)
        ]
        if self._mixer is not None:
            also = task if self._mixed_in == "task" else 0.0
            for _ in range(self._mixed):
                mix = self._mixer.draw(random)
                # They are half as many as the originals and count twice as much.
                items.append(Item(None, None, 1.0, mix, mix.seed, also * self._originals / self._mixed, mixed))
        return items

    def begin(self, progress: float) -> None:
        """Ask a frozen transformer once for all photos, if they are not augmented."""
        self._known = []
        plain = self.model.spec.frozen and self._recipe.plain and not self._taught
        if plain and self._features is not None and progress < 1:
            self._known = self._features.learned(self.model, self._photos, self._recipe.side)

    def forward(self, items: Sequence[Item], progress: float) -> tuple[Tensor, dict[str, float]]:  # noqa: ARG002
        """The weighted losses, means over the items."""
        # Networks alone compute in another precision, photos are changed in full.
        with torch.autocast(self.device.type, enabled=False):
            batch = self._gathered(items)
        seeds = [item.seed for item in items]
        size = (self._recipe.side, self._recipe.side)
        pixelwise = self._photos.goal == "segmentation"
        logits = self.model.read(batch.pixels, seeds) if self._known else self.model(batch.pixels, seeds)
        logits = at_pixels(logits, size) if pixelwise else logits
        alpha = self._weighting.alpha if self._taught else 0.0
        weights = torch.tensor([item.task for item in items], device=logits.device)
        # What no label is asked of may have none: its loss is nought, whatever it counts.
        task = (weights * task_losses(logits, batch.truth)).mean()
        loss, figures = (1 - alpha) * task, {"task": float(task.detach())}
        teacher = self._teacher[0]
        if teacher is not None:
            with torch.no_grad():
                told = teacher(batch.pixels)
                told = at_pixels(told, size) if pixelwise else told
            apart = distillation_losses(logits, told, self._weighting.temperature, batch.inside)
            weights = torch.tensor([item.distillation for item in items], device=logits.device)
            distillation = (weights * apart).mean()
            loss = loss + alpha * distillation
            figures["distillation"] = float(distillation.detach())
        return loss, figures

    def trained(self) -> Iterable[nn.Parameter]:
        """The network's parameters that are not frozen."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def validate(self) -> dict[str, float]:
        """Figures on photos that are not trained on."""
        if not self._validation:
            return {}
        return figures_on(self.model, self._validation, self._classes, self._features)

    def identity(self) -> dict[str, Any]:
        """Network, photos, augmentation, teacher, mixed images."""
        return {
            "model": self.model.spec.json(),
            "began_as": self._began_as,
            "photos": self._photos.fingerprint,
            "recipe": self._recipe.json(),
            "batch": self._originals,
            "teacher": self._taught_by,
            "weighting": asdict(self._weighting) if self._taught else None,
            "mixed": None if self._mixer is None else self._mixer.identity() | {"in": self._mixed_in},
        }

    @property
    def _taught(self) -> bool:
        return self._teacher[0] is not None

    @property
    def _blends(self) -> bool:
        return self._photos.goal == "classification" and self._recipe.augment == "standard" and self._recipe.mixup > 0

    def _weights(self) -> tuple[float, float, float]:
        """How much an original counts in the task's loss and in the distillation's, and a mixed image in the latter.

        The loop takes means over all items of a batch; each of these weights makes a mean over one kind of them.
        """
        if not self._mixed:
            return 1.0, 1.0, 0.0
        every = self._originals + self._mixed
        half = every / (2 * self._originals)
        task = half if self._mixed_in == "task" else 2 * half
        return task, half, every / (2 * self._mixed)

    def _gathered(self, items: Sequence[Item]) -> Batch:
        wanted: list[Drawn | Mix | None] = [one for item in items for one in (item.drawn, item.partner, item.mix)]
        distinct = [one for one in dict.fromkeys(wanted) if one is not None]
        made = dict(zip(distinct, side_by_side(self._made, distinct), strict=True))
        samples = []
        for item in items:
            first = item.mix or item.drawn
            if first is not None:
                sample = made[first]
                samples.append(sample if item.partner is None else blended(sample, made[item.partner], item.share))
        pixels = torch.stack([one.pixels for one in samples]).to(self.device)
        truth = torch.stack([one.truth for one in samples]).to(self.device)
        inside = [one.inside for one in samples if one.inside is not None]
        return Batch(pixels.float(), truth, torch.stack(inside).to(self.device) if inside else None)

    def _made(self, drawn: Drawn | Mix) -> Sample:
        if isinstance(drawn, Mix):
            if self._mixer is None:
                raise ValueError("a mixed image was drawn without a mixer")
            return self._mixer.make(drawn)
        if not self._known:
            return make_sample(self._photos, drawn, self._recipe)
        windows = self._known[drawn.photo]
        return windows[drawn.seed % len(windows)]


def blended(first: Sample, second: Sample, share: float) -> Sample:
    """Mixup (Zhang et al. 2018): two photos, one seen through the other, and their labels by the same shares."""
    pixels: Float[Tensor, "3 s s"] = share * first.pixels + (1 - share) * second.pixels
    return Sample(pixels, share * first.truth + (1 - share) * second.truth, None)
