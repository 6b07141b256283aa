"""Training of one network for a task, alone or taught by another, as a task of the training loop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from render.errors import InputError
from render.progress import Progress, silent
from training.distillation.specific.augmentation import Drawn, Recipe, make_sample, plain_samples
from training.distillation.specific.losses import Weighting, distillation_losses, task_losses
from training.distillation.specific.measuring import figures_on
from training.distillation.specific.mixing import ImageMixer, Mix
from training.distillation.specific.models import TaskModel, at_pixels
from training.distillation.specific.samples import Sample, TaskPhotos
from training.loop import Task
from training.probing.photos import ProbePhoto

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.random import Generator

MixedIn: TypeAlias = Literal["distillation", "task"]
"""Whether mixed images teach by the distillation alone, as they should, or by the task's loss as well (table 4.5)."""
CHUNK = 32  # samples whose features are computed at once, before the first step


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
        memory: int = 0,
        progress: Progress = silent,
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
            memory: Bytes for features of a frozen transformer on photos that are not augmented; of more, features are
                computed in every step.
            progress: Told while such features are computed.

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
        self._memory, self._progress = memory, progress
        self._known: list[list[Sample]] = []  # features and truths of photos whose encoder is frozen
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
                None if shares is None else drawn[(k + 1) % len(drawn)],
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

    def begin(self, progress: float) -> None:  # noqa: ARG002  the same whenever it is made
        """Compute what a frozen transformer says of photos that are not augmented."""
        self._known = []
        if self.model.spec.frozen and self._recipe.augment == "plain" and self._memory > 0 and not self._taught:
            self._known = self._described()

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
        return figures_on(self.model, self._validation, self._classes)

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
        known: dict[Drawn, Sample] = {}

        def original(drawn: Drawn) -> Sample:
            if drawn not in known:
                known[drawn] = self._sample(drawn)
            return known[drawn]

        samples = []
        for item in items:
            if item.mix is not None and self._mixer is not None:
                samples.append(self._mixer.make(item.mix))
            elif item.drawn is not None:
                first = original(item.drawn)
                samples.append(first if item.partner is None else blended(first, original(item.partner), item.share))
        pixels = torch.stack([one.pixels for one in samples]).to(self.device)
        truth = torch.stack([one.truth for one in samples]).to(self.device)
        inside = [one.inside for one in samples if one.inside is not None]
        return Batch(pixels.float(), truth, torch.stack(inside).to(self.device) if inside else None)

    def _sample(self, drawn: Drawn) -> Sample:
        if not self._known:
            return make_sample(self._photos, drawn, self._recipe)
        windows = self._known[drawn.photo]
        return windows[drawn.seed % len(windows)]

    @torch.no_grad()
    def _described(self) -> list[list[Sample]]:
        """Features in half precision in the place of the pixels; nothing where they need more than the memory."""
        found: list[list[Sample]] = []
        waiting: list[tuple[list[Sample], Sample]] = []
        used = 0

        def compute() -> None:
            nonlocal used
            pixels = torch.stack([sample.pixels for _, sample in waiting]).to(self.device)
            features = self.model.features(pixels).half().cpu()
            for (of_photo, sample), feature in zip(waiting, features, strict=True):
                of_photo.append(sample._replace(pixels=feature.clone()))
                used += feature.numel() * feature.element_size()
            waiting.clear()

        for index in range(len(self._photos)):
            self._progress(index, len(self._photos), "features of the frozen encoder")
            image = self._photos.image(index)
            truth = self._photos.truth(index, (image.shape[1], image.shape[2]))
            found.append([])
            for sample in plain_samples(image, truth, self._photos.goal, self._recipe.side):
                waiting.append((found[-1], sample))
                if len(waiting) == CHUNK:
                    compute()
            if used > self._memory:
                return []
        if waiting:
            compute()
        if used > self._memory:
            return []
        self._progress(len(self._photos), len(self._photos), "features of the frozen encoder")
        return found


def blended(first: Sample, second: Sample, share: float) -> Sample:
    """Mixup (Zhang et al. 2018): two photos, one seen through the other, and their labels by the same shares."""
    pixels: Float[Tensor, "3 s s"] = share * first.pixels + (1 - share) * second.pixels
    return Sample(pixels, share * first.truth + (1 - share) * second.truth, None)
