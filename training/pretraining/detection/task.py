"""Detection as a task of the training loop, and its figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from render.errors import InputError
from render.progress import Progress, silent
from render.spacing import evenly_spaced
from training.augmentation import Augmentation
from training.loop import Schedule, Task
from training.loop.schedule import Precision
from training.pretraining.detection.data import RoomThings, Scene
from training.pretraining.detection.model import ThingDetector
from training.pretraining.mask3d.settings import CLIP, MOMENTUM, WARM, Scale
from training.sheets import sheet
from uplift.encoders.checkpoints import hash_of

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from numpy.random import Generator

HALF = 0.5  # of the photos are mirrored; of a mask's probability
PANELS, SURE = 4, 0.5  # photos of a picture, and how sure a detection is that is drawn
FIGURES = {"map": "ap", "map_50": "ap50", "map_75": "ap75"}
KINDS = {"bbox": "box", "segm": "mask"}  # what torchmetrics calls them
HUES = np.array([(230, 60, 60), (60, 160, 230), (80, 200, 90), (240, 180, 40), (170, 90, 210), (60, 200, 200)], float)


class Item(NamedTuple):
    """One photo of a batch.

    Attributes:
        photo: Its index.
        flipped: Mirrored or not.
        seed: Of the choice of proposals and boxes.
    """

    photo: int
    flipped: bool
    seed: int


@dataclass(frozen=True, kw_only=True)
class DetectionNumbers:
    """How long and how fast a detector is fine-tuned.

    Attributes:
        size: Height and width of photos in pixels.
        width: Channels of the pyramid and of the heads.
        boxes: Of a photo that heads learn from.
        batch: Photos of a step.
        epochs: How often a photo is seen on average.
        rate: Learning rate after the warm-up.
        weight_decay: Of matrices.

    Raises:
        InputError: a number is out of its range.
    """

    size: tuple[int, int]
    width: int
    boxes: int
    batch: int
    epochs: float
    rate: float
    weight_decay: float

    def __post_init__(self) -> None:
        if min(*self.size, self.width, self.boxes, self.batch) < 1 or not self.epochs > 0:
            raise InputError(
                f"Expected a size, a width, boxes and a batch of 1 or more and epochs above 0, found {self.size}, "
                f"{self.width}, {self.boxes}, {self.batch} and {self.epochs:g}."
            )

    def schedule(self, scale: Scale, photos: int, *, seed: int, precision: Precision = "auto") -> Schedule:
        """SGD (``paper``) or AdamW (``small``), with a warm-up and half a cosine.

        Detectron2's 1x schedule has two falls by ten in the place of the cosine.
        """
        steps = max(1, round(self.epochs * photos / self.batch))
        return Schedule(
            steps=steps,
            rate=self.rate,
            weight_decay=self.weight_decay,
            optimizer="sgd" if scale == "paper" else "adamw",
            momentum=MOMENTUM,
            warmup=WARM,
            clip=CLIP,
            seed=seed,
            precision=precision,
            validate_every=0,
            picture_every=steps,
        )

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


DETECTION: dict[Scale, DetectionNumbers] = {
    "paper": DetectionNumbers(size=(480, 640), width=256, boxes=512, batch=16, epochs=12, rate=0.02, weight_decay=1e-4),
    "small": DetectionNumbers(size=(128, 128), width=64, boxes=64, batch=8, epochs=12, rate=5e-4, weight_decay=0.05),
}
"""Detectron2's 1x schedule is twelve epochs of COCO; and what takes minutes on a processor."""


class DetectionTraining(Task):
    """A detector of things learns from rooms.

    Attributes:
        model: What is trained.
    """

    name = "detect"
    partly = True  # no thing in a share of a batch: nothing for the heads of masks

    def __init__(
        self,
        model: ThingDetector,
        things: RoomThings,
        *,
        batch: int,
        validation: RoomThings | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        """Set up.

        Args:
            model: It is changed.
            things: To learn from.
            batch: Photos of a step.
            validation: Photos of other rooms, for figures and pictures.
            augmentation: What the colours of photos go through.  Nothing of it moves pixels, whose boxes would stay.
        """
        super().__init__()
        self._augmentation = None if augmentation is None else augmentation.still()
        self.model = model
        self._things, self._batch, self._validation = things, batch, validation
        self._began_as = hash_of(model)

    def batch(self, random: Generator) -> Sequence[Item]:
        """Photos drawn from all, mirrored or not."""
        chosen = random.integers(len(self._things), size=self._batch)
        flipped, seeds = random.random(self._batch) < HALF, random.integers(2**62, size=self._batch)
        return [Item(int(i), bool(f), int(seed)) for i, f, seed in zip(chosen, flipped, seeds, strict=True)]

    def forward(self, items: Sequence[Item], progress: float) -> tuple[Tensor, dict[str, float]]:  # noqa: ARG002
        """The sum of torchvision's five losses, a mean over the photos."""
        scenes = [self._things.scene(item.photo, flipped=item.flipped) for item in items]
        if self._augmentation is not None:
            pixels = self._augmentation(torch.stack([one.pixels for one in scenes]), [item.seed for item in items])
            scenes = [one._replace(pixels=changed) for one, changed in zip(scenes, pixels, strict=True)]
        losses = self.model.losses(scenes, [item.seed for item in items])
        figures = {name: float(values.detach().mean()) for name, values in losses.items()}
        return torch.stack(list(losses.values())).sum(0).mean(), figures

    def trained(self) -> Iterable[nn.Parameter]:
        """All that the losses depend on."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def validate(self) -> dict[str, float]:
        """Average precisions on photos of other rooms."""
        return {} if self._validation is None else average_precisions(self.model, self._validation)

    def pictures(self) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
        """Photos with what is told and what is true."""
        things = self._validation or self._things
        rows = []
        for index in evenly_spaced(len(things), PANELS):
            scene = things.scene(index)
            said = self.model.detect(scene.pixels[None])[0]
            sure = said["scores"] > SURE
            told = _drawn(scene, said["masks"][sure, 0] > HALF, said["labels"][sure])
            photo = (scene.pixels.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
            rows.append((photo, told, _drawn(scene, scene.masks > 0, scene.labels)))
        return {"things": sheet(rows)}

    def identity(self) -> dict[str, Any]:
        """Network, photos, batch."""
        other = {} if self._augmentation is None else {"augmentation": self._augmentation.title}
        return {"began_as": self._began_as, "photos": self._things.fingerprint, "batch": self._batch, **other}


@torch.no_grad()
def average_precisions(model: ThingDetector, things: RoomThings, progress: Progress = silent) -> dict[str, float]:
    """COCO's average precisions of boxes and masks, over photos at the size that the model sees.

    Args:
        model: In evaluation mode.
        things: Photos that were not learned from.
        progress: Told of the photos.

    Returns:
        ``box_ap``, ``box_ap50``, ``box_ap75`` and the same of masks, parts of 1; of classes that are nowhere there is
        none.
    """
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(iou_type=("bbox", "segm"))
    for index in range(len(things)):
        progress(index, len(things), "measuring")
        scene = things.scene(index)
        said = {name: values.cpu() for name, values in model.detect(scene.pixels[None])[0].items()}
        told = said | {"masks": said["masks"][:, 0] > HALF}
        metric.update([told], [scene.target(torch.device("cpu")) | {"masks": scene.masks > 0}])
    progress(len(things), len(things), "measuring")
    found = metric.compute()
    return {
        f"{name}_{short}": float(found[f"{kind}_{figure}"])
        for kind, name in KINDS.items()
        for figure, short in FIGURES.items()
    }


def _drawn(scene: Scene, masks: Tensor, labels: Tensor) -> UInt8[np.ndarray, "h w 3"]:
    """Masks over a photo, a colour for each class."""
    picture = scene.pixels.permute(1, 2, 0).numpy() * 255
    for mask, label in zip(masks.cpu().numpy(), labels.tolist(), strict=True):
        picture = np.where(mask[..., None], (picture + 2 * HUES[label % len(HUES)]) / 3, picture)
    found: np.ndarray = picture.round().clip(0, 255).astype(np.uint8)
    return found
