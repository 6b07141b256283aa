"""Masked pretraining as a task of the training loop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from render.errors import InputError
from render.spacing import evenly_spaced
from training.augmentation import Augmentation
from training.loop import Task
from training.pretraining.mask3d.frames import Frames
from training.pretraining.mask3d.losses import COLOUR_FLOOR, in_patches, patch_losses, standardized
from training.pretraining.mask3d.model import COLOURS, MaskedModel
from training.pretraining.mask3d.pictures import Told, sheets
from training.pretraining.mask3d.seeing import Kept, Shown, draw_kept, part_of, shown
from training.pretraining.mask3d.settings import Augment, Masking, Numbers, Shape
from uplift.encoders.vit import ViTEncoder

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from numpy.random import Generator

PANELS = 4  # frames that pictures show
VALIDATED = 64  # frames at most, that figures are of
AT_ONCE = 16  # of them


class Item(NamedTuple):
    """One frame of a batch, as small as it is drawn.

    Attributes:
        frame: Its index.
        seed: Of the part of it that is shown, and of the patches.
    """

    frame: int
    seed: int


class MaskedPretraining(Task):
    """A colour encoder learns what lies behind patches that it does not see (Mask3D, section 3.1).

    Attributes:
        model: What is trained.
        steps: Of all epochs.
    """

    name = "pretrain"

    def __init__(
        self,
        encoder: ViTEncoder,
        frames: Frames,
        numbers: Numbers,
        masking: Masking,
        shape: Shape,
        *,
        scratch: bool = True,
        validation: Frames | None = None,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        """Set up.

        Args:
            encoder: Its copy is trained.
            frames: To learn from.
            numbers: Of frames: size, augmentation, batch.
            masking: What is kept and told.
            shape: Of the decoder and of the depth encoder.
            scratch: The encoder's weights are random ones.
            validation: Frames that are not trained on; pictures are of them.
            augmentation: What the colours of frames go through.  Nothing of it moves pixels, whose depth would stay.
            seed: Of the weights.

        Raises:
            InputError: what is seen is not made of whole patches.
        """
        super().__init__()
        if any(side % encoder.patch for side in numbers.size):
            raise InputError(
                f"{encoder.name} sees patches of {encoder.patch} pixels, expected a size in multiples of it, found "
                f"{numbers.size[0]} x {numbers.size[1]}."
            )
        self.model = MaskedModel(encoder, masking, shape, scratch=scratch, seed=seed)
        self.steps = numbers.steps(len(frames))
        self._began_as = encoder.fingerprint()
        self._frames, self._validation = frames, validation
        self._numbers, self._masking, self._shape = numbers, masking, shape
        height, width = numbers.size
        self._augmentation = None if augmentation is None else augmentation.still()
        self._grid = (height // encoder.patch, width // encoder.patch)

    def batch(self, random: Generator) -> Sequence[Item]:
        """Frames drawn from all."""
        count = self._numbers.batch
        frames, seeds = random.integers(len(self._frames), size=count), random.integers(2**62, size=count)
        return [Item(int(frame), int(seed)) for frame, seed in zip(frames, seeds, strict=True)]

    def forward(self, items: Sequence[Item], progress: float) -> tuple[Tensor, dict[str, float]]:  # noqa: ARG002
        """The loss, a mean over the items, and its parts."""
        # Networks alone compute in another precision, depth is looked at in full.
        with torch.autocast(self.device.type, enabled=False):
            seen, kept = self._seen(self._frames, items, self._numbers.augment)
            if self._augmentation is not None:
                seen = seen._replace(pixels=self._augmentation(seen.pixels, [item.seed for item in items]))
        losses = self._losses(seen, kept, self.model(seen, kept))
        figures = {f"{name}_loss": float(loss.detach().mean()) for name, loss in losses.items()}
        return torch.stack(list(losses.values())).sum(0).mean(), figures

    def trained(self) -> Iterable[nn.Parameter]:
        """All that the loss depends on, but for positions."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def validate(self) -> dict[str, float]:
        """The loss on frames that are not trained on, shown whole, with the same patches every time."""
        frames = self._validation
        if frames is None:
            return {}
        items = _evenly(len(frames), VALIDATED)
        sums: dict[str, float] = {}
        for start in range(0, len(items), AT_ONCE):
            seen, kept = self._seen(frames, items[start : start + AT_ONCE], "none")
            for name, loss in self._losses(seen, kept, self.model(seen, kept)).items():
                sums[f"{name}_loss"] = sums.get(f"{name}_loss", 0.0) + float(loss.sum())
        return {name: value / len(items) for name, value in sums.items()}

    def pictures(self) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
        """Fixed frames: kept colours, kept depth, what is told, what is true (figure 6)."""
        frames = self._validation or self._frames
        seen, kept = self._seen(frames, _evenly(len(frames), PANELS), "none")
        return sheets(Told(seen, kept, self.model(seen, kept)), self._masking.normalize, self._grid, self.model.patch)

    def identity(self) -> dict[str, Any]:
        """Encoder, frames, what is shown and told, the other parts."""
        numbers = self._numbers
        return {
            "encoder": self._began_as,
            "frames": self._frames.fingerprint,
            "count": len(self._frames),
            "masking": self._masking.json(),
            "shape": self._shape.json(),
            "size": list(numbers.size),
            "augment": numbers.augment,
            "least": numbers.least,
            "batch": numbers.batch,
            **({} if self._augmentation is None else {"augmentation": self._augmentation.title}),
        }

    def _seen(self, frames: Frames, items: Sequence[Item], augment: Augment) -> tuple[Shown, Kept]:
        """What the network is shown of frames, and which of their patches."""
        places = self._grid[0] * self._grid[1]
        parts, kept = [], []
        for item in items:
            random = np.random.default_rng(item.seed)
            parts.append(part_of(frames[item.frame], self._numbers.size, augment, self._numbers.least, random))
            kept.append(draw_kept(places, *self._masking.counts(places), random))
        chosen = (torch.from_numpy(np.stack(one)).to(self.device) for one in zip(*kept, strict=True))
        return shown(parts, self.device), Kept(*chosen)

    def _losses(self, seen: Shown, kept: Kept, told: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of every frame, by what is told."""
        found, normalize = {}, self._masking.normalize
        with torch.autocast(self.device.type, enabled=False):
            if "depth" in told:
                depth = standardized(seen.depth, seen.known) if normalize == "none" else seen.depth
                true, known = (in_patches(values, self.model.patch) for values in (depth, seen.known))
                counted = self._counted(kept.depth)
                found["depth"] = patch_losses(told["depth"], true, known, counted, normalize=normalize)
            if "colour" in told:
                colours = [in_patches(seen.pixels[:, i], self.model.patch) for i in range(COLOURS)]
                true = torch.cat(colours, -1)
                found["colour"] = patch_losses(
                    told["colour"],
                    true,
                    torch.ones_like(true, dtype=torch.bool),
                    self._counted(kept.colour),
                    normalize=normalize,
                    floor=COLOUR_FLOOR,
                )
        return found

    def _counted(self, kept: Tensor) -> Tensor | None:
        """Patches that have a loss."""
        if self._masking.loss_on == "all":
            return None
        hidden = torch.ones(len(kept), self._grid[0] * self._grid[1], dtype=torch.bool, device=kept.device)
        return hidden.scatter(1, kept, False)


def _evenly(count: int, most: int) -> list[Item]:
    """So many frames at most, evenly spaced, each with a seed of its own."""
    return [Item(frame, seed) for seed, frame in enumerate(evenly_spaced(count, most))]
