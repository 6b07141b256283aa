"""``tiny-sam``: Segment Anything at small size, trained on points, boxes and the things of rooms.

As Kirillov et al. 2023 do it: of three masks for an ambiguous prompt the best one learns, a fourth answers prompts
that say more; a head learns how much each overlaps; and prompts go on with a point where the last mask was wrong.
What differs serves a short training from nothing:

- At first the photo is not told of the prompts (:func:`decode_apart`): the prompts of a photo then share its
  upsampled embedding, so that many of them cost less than the embedding, and all of a step goes into learning what is
  one thing.  Only then the whole decoder learns, with masks among its prompts, in a part of the steps.
- Meanwhile a loss on pairs of patches tells the image encoder what is one thing before masks can.
- Attention begins by looking at the place that a point names (:func:`begin_at_points`).
- In a plain cross entropy a small thing's few cells weigh more.  The focal loss spends hundreds of steps on learning
  that most of a photo is not the thing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from torch import Tensor, nn

from render.spacing import evenly_spaced
from training.tiny.card import About, Recipe
from training.tiny.images import RoomImages
from training.tiny.sam_decoder import begin_at_points, decode, decode_apart
from training.tiny.sam_measures import measure_masks
from training.tiny.sam_prompts import Prompts, draw_prompts
from training.tiny.task import TinyTask
from uplift.encoders.tiny_sam import SHAPE, Shape, build_tiny_sam, predictor_of

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.random import Generator

    from training.augmentation import Augmentation

PROMPTS, PROMPTS_TOLD = 16, 6  # of every photo, where it is not told of them and where it is
MOST_POINTS = 5
ENTROPY, DICE, OVERLAP, GROUPS = 2.0, 1.0, 1.0, 1.0  # weights of the losses
GROUPED, SCALE, CELLS = 64, 10.0, 192  # channels in which patches of a thing agree, how sharply, and how many are told
APART = 0.78  # part of the training, in which the photo is not told of the prompts
TOLD = 0.7  # part of the steps after it, in which it is
SMALLEST_PART = 1e-3  # of a photo, for the weight of a thing's cells
ONE_POINT, BOX = 0.5, 0.25  # part of the steps that begin with one point, or with a box
SINGLE_FOR_ONE_POINT = 0.25  # weight of the fourth mask where the prompt is ambiguous
WITH_MASK = 0.5  # part of the second rounds that are told the first one's mask
VALIDATED = 40  # photos
ABOUT = About(
    title="Segment Anything's image encoder, prompt encoder and mask decoder at small size, for masks from clicks and "
    "boxes where the published weights cannot be had.",
    training="Points, boxes and corrections of them on things of synthetic rooms (furniture, walls, small objects), "
    "each a whole thing; cross entropy and Dice loss, the best of three masks learns, a head predicts the overlap.",
    limits=(
        "photographs: it has never seen one, and finds parts of what is there at best",
        "clean masks: many hold patches of other things, even outside a box; corrections help little",
        "parts of things (a chair's leg, a cup's handle): it was taught whole things",
        "things thinner than about two pixels of 192, and exact borders: its masks have 96 x 96 logits",
        "crowds of small things, such as the books of a shelf, seen from afar",
    ),
)
RECIPE = Recipe(ABOUT, steps=2950, batch=6, rate=1e-3)


class SamTask(TinyTask):
    """Trains ``tiny-sam``; see the module."""

    name = "tiny-sam"

    def __init__(
        self,
        images: RoomImages,
        validation: RoomImages,
        *,
        batch: int = RECIPE.batch,
        seed: int = 0,
        device: torch.device,
        augmentation: Augmentation | None = None,
        prompts: int = PROMPTS,
        shape: Shape = SHAPE,
    ) -> None:
        super().__init__(augmentation)
        torch.manual_seed(seed)
        self.photos = batch
        self._images, self._prompts = images, prompts
        self._shape = shape
        chosen = evenly_spaced(len(validation), VALIDATED)
        self._photos, self._instances = validation.photos[chosen], validation.instances[chosen]
        self.model = build_tiny_sam(shape).to(device)
        self._grouping = nn.Linear(shape.channels, GROUPED).to(device)
        begin_at_points(self.model.mask_decoder, self.model.prompt_encoder)
        # Weights travel in half precision: these frequencies are not trained, and would come back as others.
        frequencies = self.model.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
        frequencies.copy_(frequencies.half())

    def trained(self) -> Iterable[nn.Parameter]:
        """The model's, and those of the projection of the loss of groups."""
        return self.parameters()

    def step(self, random: Generator, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The losses of a batch of crops, of their first prompts and of half of them once corrected."""
        told = progress >= APART and random.random() < TOLD
        prompts = min(self._prompts, PROMPTS_TOLD) if told else self._prompts
        given = draw_prompts(
            self._images, random, batch=self.photos, prompts=prompts, points=MOST_POINTS, side=self._shape.side
        )
        shares = given.shares(self._shape.patch // 4)
        # A quarter of the cells, others in every step, teaches as much as all.
        quarter = None if told else int(random.integers(4))
        if quarter is not None:
            shares = np.ascontiguousarray(shares[..., quarter // 2 :: 2, quarter % 2 :: 2])
        truth = torch.from_numpy(shares).to(self.device)
        embeddings = self.model.image_encoder(self._pixels(random, given))
        kind = random.random()
        several = 1 if kind < ONE_POINT else int(random.integers(2, MOST_POINTS + 1))
        points = torch.from_numpy(given.points[:, :, :several]).to(self.device)
        labels = torch.ones(points.shape[:3], device=self.device)
        boxes = None
        if kind > 1 - BOX:
            boxes, several = torch.from_numpy(given.boxes).to(self.device), 0
            points, labels = points[:, :, :0], labels[:, :, :0]
        logits, guesses = self._decode(embeddings, points, labels, boxes, None, told=told, quarter=quarter)
        loss, figures = self._losses(logits, guesses, truth, ambiguous=several == 1)

        # The second round: a point where the mask was wrong, for half of the prompts.
        half = prompts // 2
        shown = logits[:, :half, 1:] if several == 1 else logits[:, :half, :1]
        held = guesses[:, :half, 1:] if several == 1 else guesses[:, :half, :1]
        best = held.argmax(2)[..., None, None, None].expand(-1, -1, 1, *shown.shape[-2:])
        last = shown.gather(2, best)[:, :, 0].detach().float()
        point, label = self._correction(random, last > 0, given, truth[:, :half])
        again, more = self._decode(
            embeddings,
            torch.cat([points[:, :half], point[:, :, None]], 2),
            torch.cat([labels[:, :half], label[:, :, None]], 2),
            None if boxes is None else boxes[:, :half],
            last if told and random.random() < WITH_MASK else None,
            told=told,
            quarter=quarter,
        )
        second, corrected = self._losses(again, more, truth[:, :half], ambiguous=False)
        figures |= {f"corrected_{name}": value for name, value in corrected.items()}
        if told:
            return loss + 0.5 * second, figures
        groups = self._group_loss(random, embeddings, given)
        return loss + 0.5 * second + GROUPS * groups, figures | {"groups": float(groups.detach())}

    def after_step(self, progress: float) -> None:
        """Nothing follows."""

    def validate(self) -> dict[str, float]:
        """Mean IoU of masks of things in unseen rooms, through the predictor."""
        self.model.eval()
        figures = measure_masks(predictor_of(self.model), self._photos, self._instances)
        self.model.train()
        return figures

    def exported(self) -> tuple[nn.Module, dict[str, str]]:
        """The model."""
        return self.model, {}

    def _pixels(self, random: Generator, given: Prompts) -> Float[Tensor, "b 3 s s"]:
        """Jittered crops, normalised and padded as the model does it."""
        values = torch.from_numpy(self.coloured(random, given.crops, 0.6)).to(self.device).permute(0, 3, 1, 2)
        there = torch.from_numpy(given.there).to(self.device)[:, None]
        return ((255 * values - self.model.pixel_mean) / self.model.pixel_std * there).contiguous()

    def _decode(
        self,
        embeddings: Float[Tensor, "b c h w"],
        points: Float[Tensor, "b p m 2"],
        labels: Float[Tensor, "b p m"],
        boxes: Float[Tensor, "b p 4"] | None,
        masks: Float[Tensor, "b p H W"] | None,
        *,
        told: bool,
        quarter: int | None,
    ) -> tuple[Float[Tensor, "b p 4 H W"], Float[Tensor, "b p 4"]]:
        """Logits and predicted overlaps of four masks for every prompt."""
        encoder = self.model.prompt_encoder
        b, p, m = labels.shape
        # In half precision the sines of positions would be some pixels off.
        with torch.autocast(self.device.type, enabled=False):
            sparse, dense = encoder(
                (points.flatten(0, 1), labels.flatten(0, 1)) if m else None,
                None if boxes is None else boxes.flatten(0, 1),
                None if masks is None else masks.flatten(0, 1)[:, None],
            )
            positions = encoder.get_dense_pe()
        if told:
            logits, guesses = decode(self.model.mask_decoder, embeddings, positions, sparse, dense)
        else:
            nothing = encoder.no_mask_embed.weight
            logits, guesses = decode_apart(self.model.mask_decoder, embeddings, positions, sparse, nothing, quarter)
        return logits.float().unflatten(0, (b, p)), guesses.float().unflatten(0, (b, p))

    def _losses(
        self,
        logits: Float[Tensor, "b p 4 H W"],
        guesses: Float[Tensor, "b p 4"],
        truth: Float[Tensor, "b p H W"],
        *,
        ambiguous: bool,
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss, and figures for the log."""
        each, overlaps = mask_losses(logits, truth)
        single = SINGLE_FOR_ONE_POINT if ambiguous else 1.0
        masks = each[..., 1:].amin(-1).mean() + single * each[..., 0].mean()
        guess = F.mse_loss(guesses, overlaps)
        shown = overlaps[..., 1:].amax(-1) if ambiguous else overlaps[..., 0]
        return masks + OVERLAP * guess, {"masks": float(masks.detach()), "iou": float(shown.mean())}

    def _group_loss(self, random: Generator, embeddings: Float[Tensor, "b c h w"], given: Prompts) -> Tensor:
        """Whether any two patches are of one thing, told from their embeddings: what masks need, learned directly.

        The pairs that are and those that are not weigh the same.
        """
        _, _, h, w = embeddings.shape
        cell = self._shape.patch
        told = random.permutation(h * w)[:CELLS]
        middle = given.instances[:, cell // 2 :: cell, cell // 2 :: cell].reshape(-1, h * w)[:, told].astype(np.int64)
        thing = torch.from_numpy(middle).to(self.device)
        patches = embeddings.flatten(2)[:, :, torch.from_numpy(told).to(self.device)].transpose(1, 2)
        rows = F.normalize(self._grouping(patches).float(), dim=-1)
        alike = SCALE * (rows @ rows.transpose(1, 2)).float() - SCALE / 2
        known = (thing[:, :, None] >= 0) & (thing[:, None] >= 0)
        same = known & (thing[:, :, None] == thing[:, None])
        other = known & ~same
        apart = (F.softplus(alike) * other).sum() / other.sum().clamp_min(1)
        return apart + (F.softplus(-alike) * same).sum() / same.sum().clamp_min(1)

    def _correction(
        self, random: Generator, masks: Tensor, given: Prompts, truth: Float[Tensor, "b p H W"]
    ) -> tuple[Float[Tensor, "b p 2"], Float[Tensor, "b p"]]:
        """A pixel where the mask is wrong, drawn uniformly, and whether it is the thing's; any pixel of its border
        cells where the mask is right everywhere."""
        b, p, h, w = masks.shape
        wrong = (masks != (truth > 0.5)).float() + 1e-6 * (truth > 0)
        there = torch.from_numpy(given.there).to(self.device)
        cell = there.shape[1] // h
        wrong *= there[:, None, ::cell, ::cell]
        noise = torch.from_numpy(random.random((b, p, h * w), np.float32)).to(self.device)
        # The largest of u^(1/w) is a draw by weight w.
        drawn = (noise.clamp_min(1e-12).log() / wrong.flatten(2).clamp_min(1e-12)).argmax(-1)
        offset = random.integers(0, cell, (2, b, p))
        x = (drawn % w).cpu().numpy() * cell + offset[0]
        y = (drawn // w).cpu().numpy() * cell + offset[1]
        label = given.instances[np.arange(b)[:, None], y, x] == given.wanted[:, :p]
        point = np.stack([x, y], -1).astype(np.float32)
        return torch.from_numpy(point).to(self.device), torch.from_numpy(label.astype(np.float32)).to(self.device)


def mask_losses(
    logits: Float[Tensor, "*n k H W"], truth: Float[Tensor, "*n H W"]
) -> tuple[Float[Tensor, "*n k"], Float[Tensor, "*n k"]]:
    """Cross entropy and Dice loss of every mask against the part of each cell that is the thing's, and their overlap.

    A cell of a thing that fills the part ``a`` of the photo weighs ``1 / sqrt(a)``, between equal weights for all
    cells and equal weights for thing and surroundings.  Parts of cells instead of ones and zeros let logits, once
    interpolated, find borders finer than the cells.

    Args:
        logits: Of ``k`` masks.
        truth: Between 0 and 1.

    Returns:
        The loss, and the intersection over union of the cells without a gradient.
    """
    wanted = truth[..., None, :, :].expand_as(logits)
    probability = logits.sigmoid()
    weight = truth.mean((-2, -1)).clamp_min(SMALLEST_PART).rsqrt()[..., None, None, None]
    # As binary_cross_entropy_with_logits with a pos_weight for each mask.
    entropy = F.softplus(logits) * (1 + (weight - 1) * wanted) - weight * wanted * logits
    entropy = entropy.mean((-2, -1))
    both = (probability * wanted).sum((-2, -1))
    dice = 1 - (2 * both + 1) / (probability.sum((-2, -1)) + wanted.sum((-2, -1)) + 1)
    with torch.no_grad():
        inside = (logits > 0).to(wanted)
        common = (inside * wanted).sum((-2, -1))
        overlap = common / (inside.sum((-2, -1)) + wanted.sum((-2, -1)) - common).clamp_min(1e-6)
    return ENTROPY * entropy + DICE * dice, overlap
