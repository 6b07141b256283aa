"""A teacher's decoder on a frozen student (Sariyildiz et al. 2025, DUNE, section 4.4).

Once a student is there, its projectors are not needed: each task's decoder is fine-tuned on the student's own features.
Here the specialist is ``tiny-depth``: a linear layer brings a student's tokens to the decoder's channels, and both
learn the depth of rooms.
"""

from __future__ import annotations

import copy
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from render.errors import InputError
from render.progress import Progress, silent
from training.loop.processes import resolve_precision
from training.probing.bins import scale_invariant_loss
from training.probing.data.rooms import check_apart, room_photos
from training.probing.kept import Maps, describe_photos
from training.probing.linear import require_finite
from training.probing.photos import ProbePhoto
from training.probing.running import truth_of
from training.probing.scores import ScoreKeeper, Scores, as_json
from training.randomness import seeded
from training.rooms.reading import RoomScene
from training.tiny.depth import depth_at_nodes
from uplift.encoders.base import Encoder
from uplift.encoders.tiny_depth import FOCAL, DepthDecoder, TinyDepthEncoder

if TYPE_CHECKING:
    from jaxtyping import Float

LEAST_DEVIATION = 1e-4  # of a channel that says nothing
AT_ONCE = 32  # photos whose features are summed up in double precision at once
Tell = Callable[[ProbePhoto, float], Iterator[np.ndarray]]
"""From a photo and its focal length in pixels to what each head tells of it: depth in metres, of any size."""


@dataclass(frozen=True, kw_only=True)
class DecoderSettings:
    """How a decoder is fine-tuned: AdamW, a rate that falls to zero along half a cosine."""

    steps: int = 400
    """Optimizer steps."""
    batch: int = 8
    """Photos of a step."""
    rate: float = 1e-3
    """Learning rate in the beginning."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    photos: int = 600
    """Photos that are learned from, at most; evenly spaced over all.  Their features are kept in memory."""

    def __post_init__(self) -> None:
        numbers = (self.steps, self.batch, self.rate, self.photos)
        if not all(0 < number < math.inf for number in numbers) or not 0 <= self.weight_decay < math.inf:
            raise InputError(
                "A decoder takes steps, batch, rate and photos above 0 and a weight decay of at least 0, found "
                f"{self.steps}, {self.batch}, {self.rate:g}, {self.photos} and {self.weight_decay:g}."
            )


class StudentDecoder(nn.Module):
    """A copy of a teacher's decoder behind linear layers from a student's tokens, which are standardized.

    Args:
        decoder: The teacher's; it stays as it is.
        patches: Mean and deviation of each channel of the student's patches; ``[2, c]``.
        whole: The same of its features of whole photos.
    """

    patches_statistics: Tensor
    whole_statistics: Tensor

    def __init__(self, decoder: DepthDecoder, patches: Float[Tensor, "2 c"], whole: Float[Tensor, "2 c"]) -> None:
        super().__init__()
        wanted = decoder.patches.in_channels
        self.patches, self.whole = (nn.Linear(one.shape[1], wanted) for one in (patches, whole))
        self.decoder = copy.deepcopy(decoder).requires_grad_(True)
        self.register_buffer("patches_statistics", patches.clone())
        self.register_buffer("whole_statistics", whole.clone())

    def forward(self, patches: Float[Tensor, "b gh gw c"], whole: Float[Tensor, "b c"]) -> Float[Tensor, "b 2gh 2gw"]:
        """Depth at two nodes along a patch, in metres for the focal length ``uplift.encoders.tiny_depth.FOCAL``."""
        rows = self.patches(_standardized(patches, self.patches_statistics))
        told: Tensor = self.decoder(rows, self.whole(_standardized(whole, self.whole_statistics)))
        return told


@dataclass(frozen=True, eq=False)
class FittedDecoder:
    """Decoders of several seeds on one student, and how well they tell depth.

    Attributes:
        source: Name of the student.
        seeds: Of the decoders.
        decoders: One for each seed.
        scores: On the test photos: RMSE in metres and AbsRel, by room.
        seconds: That features, fitting and measuring took.
        told: What the first seed told of the photos that were to be shown, by their index among the test photos;
            metres.
    """

    source: str
    seeds: tuple[int, ...]
    decoders: tuple[StudentDecoder, ...]
    scores: Scores
    seconds: float
    told: Mapping[int, np.ndarray] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """As JSON values, without pictures."""
        about = {"source": self.source, "task": "depth", "head": "decoder", "seeds": list(self.seeds)}
        return {**about, "seconds": round(self.seconds, 1), **as_json(self.scores)}


def fit_decoder(
    encoder: Encoder,
    decoder: DepthDecoder,
    train: Sequence[RoomScene],
    test: Sequence[RoomScene],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    settings: DecoderSettings | None = None,
    maps: Maps | None = None,
    show: Collection[int] = (),
    device: str | torch.device = "cpu",
    progress: Progress = silent,
) -> FittedDecoder:
    """Fine-tune a teacher's decoder on a frozen encoder's features of rooms, and measure it in other rooms.

    Depths are learned and told for the focal lengths that the photos have, as the decoder's teacher did.

    Args:
        encoder: Of the features; a student, such as ``distilled:FILE``, or any other. It stays as it is.
        decoder: The teacher's; a copy is fine-tuned.
        train: Rooms to learn from, with photos of one size.
        test: Other rooms, to measure.
        seeds: One decoder for each: of the linear layers' first weights and of the batches.
        settings: How they are fine-tuned.
        maps: Features of photos that are known already, as :func:`describe_photos` gives them, such as those that a
            probe of the same encoder took; of the others they are computed.
        show: Indices of test photos that depths are kept of.
        device: Where decoders are fine-tuned.
        progress: Told of photos and steps.

    Raises:
        InputError: a room is in both or twice in one, photos differ in size, seeds are missing or twice, no depth is
            known, or a decoder diverges.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"A decoder takes different seeds, at least one; found {list(seeds)}.")
    check_apart(train, test)
    start, settings = time.perf_counter(), settings or DecoderSettings()
    known = dict(maps or {})
    learned = _examples(encoder, train, settings.photos, known, progress)
    where = torch.device(device)
    statistics = (channel_statistics(learned.patches), channel_statistics(learned.whole))
    fitted = []
    for seed in seeds:
        with seeded(seed):
            head = StudentDecoder(decoder, *statistics).to(where)
        fitted.append(_fitted(head, learned, settings, seed, f"decoder of {encoder.name}: seed {seed}", progress))
    measured = _described(encoder, room_photos(test), known, progress)

    def tell(photo: ProbePhoto, focal: float) -> Iterator[np.ndarray]:
        found = measured[photo.group, photo.name]
        for one in fitted:
            told = one(found.patches[None].to(where).float(), found.whole[None].to(where).float())
            yield (told[0] * focal / FOCAL).cpu().numpy()

    scores, told = measure_depths(tell, test, seeds=len(seeds), show=show, progress=progress)
    return FittedDecoder(encoder.name, tuple(seeds), tuple(fitted), scores, time.perf_counter() - start, told)


def measure_teacher(encoder: TinyDepthEncoder, test: Sequence[RoomScene], *, progress: Progress = silent) -> Scores:
    """How well the teacher tells depth with the decoder that it was trained with; of one seed.

    Args:
        encoder: The teacher.
        test: Rooms that it was not trained on.
        progress: Told of photos.

    Raises:
        InputError: no depth is known, or a room is there twice.
    """

    def tell(photo: ProbePhoto, focal: float) -> Iterator[np.ndarray]:
        yield encoder.depth(photo.image(), focal).cpu().numpy()

    return measure_depths(tell, test, progress=progress)[0]


@torch.no_grad()
def measure_depths(
    tell: Tell,
    rooms: Sequence[RoomScene],
    *,
    seeds: int = 1,
    show: Collection[int] = (),
    progress: Progress = silent,
) -> tuple[Scores, dict[int, np.ndarray]]:
    """RMSE and AbsRel of told depths, by room.

    Args:
        tell: Gives what each head tells; smaller maps are interpolated to the photo.
        rooms: All of their photos are measured.
        seeds: How many heads there are.
        show: Indices of photos that depths are kept of.
        progress: Told of photos.

    Returns:
        The scores, and what the first head told of the photos to be shown.

    Raises:
        InputError: no depth is known, or a room is there twice.
    """
    keeper = ScoreKeeper("depth", (), seeds)
    shown: dict[int, np.ndarray] = {}
    photos, focals = room_photos(rooms), _focals(rooms)
    for index, photo in enumerate(photos):
        progress(index, len(photos), "measuring depth")
        truth = truth_of(photo, "depth")
        for seed, values in enumerate(tell(photo, focals[photo.group, photo.name])):
            sized = nn.functional.interpolate(
                torch.from_numpy(values)[None, None], truth.shape, mode="bilinear", align_corners=False
            )
            told = sized[0, 0].numpy()
            keeper.add_depth(photo.group, seed, told, truth)
            if seed == 0 and index in show:
                shown[index] = told
    progress(len(photos), len(photos), "measuring depth")
    return keeper.scores(), shown


def channel_statistics(rows: Float[Tensor, "... c"]) -> Float[Tensor, "2 c"]:
    """Mean and deviation of every channel; that of one which says nothing is not 0."""
    count, sums = rows.shape[:-1].numel(), torch.zeros(2, rows.shape[-1], dtype=torch.float64, device=rows.device)
    for part in rows.split(AT_ONCE):  # a copy of all of them in full precision would not be small
        values = part.flatten(0, -2).double()
        sums += torch.stack([values.sum(0), values.square().sum(0)])
    mean, square = sums / count
    deviation = (square - mean.square()).clamp_min(0).sqrt()
    return torch.stack([mean, deviation.clamp_min(LEAST_DEVIATION)]).float()


class _Examples(NamedTuple):
    """What is learned from: patches ``[n, gh, gw, c]`` and features of whole photos ``[n, c]`` in half precision, and
    depth at the decoder's nodes ``[n, 2gh, 2gw]``."""

    patches: Tensor
    whole: Tensor
    depths: Tensor


def _described(encoder: Encoder, photos: Sequence[ProbePhoto], known: Maps, progress: Progress) -> Maps:
    """Features of photos; what is known of them is not computed again."""
    missing = [photo for photo in photos if (photo.group, photo.name) not in known]
    if not missing:
        return known
    return known | describe_photos(encoder, missing, what=f"features of {encoder.name}", progress=progress)


def _examples(encoder: Encoder, rooms: Sequence[RoomScene], most: int, known: Maps, progress: Progress) -> _Examples:
    photos, focals = room_photos(rooms, most), _focals(rooms)
    maps = _described(encoder, photos, known, progress)
    found = [maps[photo.group, photo.name] for photo in photos]
    grids = {(one.patches.shape[0], one.patches.shape[1]) for one in found}
    if len(grids) > 1:
        sizes = ", ".join(f"{rows}x{columns}" for rows, columns in sorted(grids))
        raise InputError(f"A decoder learns from photos of one size, found maps of {sizes} patches; give other rooms.")
    grid = grids.pop()
    depths = [depth_at_nodes(truth_of(photo, "depth"), grid, focals[photo.group, photo.name]) for photo in photos]
    if not any((depth > 0).any() for depth in depths):
        raise InputError("A decoder learns from depth, found none in the photos of the rooms.")
    patches, whole = (torch.stack(list(parts)) for parts in zip(*found, strict=True))
    return _Examples(patches, whole, torch.from_numpy(np.stack(depths)))


def _fitted(
    head: StudentDecoder, examples: _Examples, settings: DecoderSettings, seed: int, what: str, progress: Progress
) -> StudentDecoder:
    """The decoder, changed in place: fine-tuned and frozen."""
    device = head.patches.weight.device
    random, quick = np.random.default_rng(seed), resolve_precision("auto", device) == "bf16"
    head.train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=settings.rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    for step in range(settings.steps):
        progress(step, settings.steps, what)
        chosen = torch.from_numpy(random.integers(len(examples.patches), size=settings.batch))
        patches, whole, depths = (part[chosen].to(device).float() for part in examples)
        known = depths > 0
        if int(known.sum()) > 1:  # a single value has no variance
            with torch.autocast(device.type, torch.bfloat16, enabled=quick):
                told = head(patches, whole)
            optimizer.zero_grad()
            scale_invariant_loss(told[known], depths[known]).backward()
            optimizer.step()
        schedule.step()
    progress(settings.steps, settings.steps, what)
    require_finite(head, what)
    return head.eval().requires_grad_(False)


def _focals(rooms: Sequence[RoomScene]) -> dict[tuple[str, str], float]:
    """Focal lengths in pixels by the names of room and photo; InputError if a room's name does not tell which it is."""
    names = [room.path.resolve().name for room in rooms]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(f"Expected rooms of different names, found {', '.join(twice)} twice; give every room once.")
    return {
        (name, view.name): float(view.camera.K[0, 0])
        for name, room in zip(names, rooms, strict=True)
        for view in room.scene.views
    }


def _standardized(rows: Float[Tensor, "... c"], statistics: Float[Tensor, "2 c"]) -> Float[Tensor, "... c"]:
    return (rows - statistics[0]) / statistics[1]
