"""Feature maps of all photos of some data: computed in batches, kept in memory in half precision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from render.errors import InputError
from render.progress import Progress, silent
from training.probing.photos import ProbePhoto
from training.probing.sources import Described, EncoderSource, FeatureSource
from uplift.encoders.base import Encoder, TrainableEncoder

PATCHES_AT_ONCE = 8192  # that a network sees
Maps: TypeAlias = "dict[tuple[str, str], Described]"
"""What is known of photos, by group and name; fp16."""


class KeptMaps(FeatureSource):
    """Maps that are in memory.

    Args:
        name: As tables call them.
        maps: Of all photos that will be asked for.
    """

    def __init__(self, name: str, maps: Mapping[tuple[str, str], Described]) -> None:
        self.name, self._maps = name, maps

    def describe(self, photo: ProbePhoto, *, whole: bool = True) -> Described:  # noqa: ARG002  it is there
        """Features of a photo."""
        found = self._maps.get((photo.group, photo.name))
        if found is None:
            raise InputError(f"{self.name} has no features of {photo.name} of {photo.group}.")
        return Described(found.patches.float(), found.whole.float())

    def layers(self, photo: ProbePhoto) -> list[Described]:
        """There is one layer alone."""
        raise InputError(f"{self.name} keeps the last layer of {photo.name} alone; take the linear head.")


@torch.no_grad()
def describe_photos(
    encoder: Encoder,
    photos: Sequence[ProbePhoto],
    *,
    whole: bool = True,
    what: str = "features",
    progress: Progress = silent,
) -> Maps:
    """Features of photos; of those that fit into one window of a network several at once.

    Args:
        encoder: Describes them; finer maps of one that is no :class:`TrainableEncoder` are averaged to 8 pixels.
        photos: All of them.
        whole: Whether features of the whole photos are asked for; of photos that fit into a window they are there.
        what: How progress calls it.
        progress: Told of every photo.
    """
    network = encoder if isinstance(encoder, TrainableEncoder) else None
    single = EncoderSource(encoder) if network is None else EncoderSource(network, patch=network.patch)
    waiting: dict[tuple[int, ...], list[tuple[ProbePhoto, Tensor]]] = {}
    maps: Maps = {}
    for done, photo in enumerate(photos):
        progress(done, len(photos), what)
        image = photo.image()
        if network is None or not _fits(network, image.shape[0], image.shape[1]):
            found = single.describe(photo, whole=whole)
            maps[photo.group, photo.name] = Described(found.patches.half(), found.whole.half())
            continue
        alike = waiting.setdefault(image.shape, [])
        alike.append((photo, network.pixels(image)))
        if len(alike) * image.shape[0] * image.shape[1] >= PATCHES_AT_ONCE * network.patch**2:
            maps |= _described(network, alike)
            alike.clear()
    for alike in waiting.values():
        maps |= _described(network, alike) if network is not None and alike else {}
    progress(len(photos), len(photos), what)
    return maps


def stacked(maps: Mapping[tuple[str, str], Described], group: str, names: Iterable[str]) -> Tensor:
    """The patches of the views of a room below each other; ``[p, c]`` float32."""
    return torch.cat([maps[group, name].patches.flatten(0, 1) for name in names]).float()


def beside(a: Mapping[tuple[str, str], Described], b: Mapping[tuple[str, str], Described]) -> Maps:
    """Maps whose channels are put side by side."""
    pairs = {key: zip(one, b[key], strict=True) for key, one in a.items()}
    return {key: Described(*(torch.cat(parts, -1) for parts in pair)) for key, pair in pairs.items()}


def _fits(network: TrainableEncoder, height: int, width: int) -> bool:
    """Whether a photo is seen at once as it is."""
    return max(height, width) <= network.window and height % network.patch == width % network.patch == 0


def _described(encoder: TrainableEncoder, alike: Sequence[tuple[ProbePhoto, Tensor]]) -> Maps:
    tokens = encoder.tokens(torch.stack([pixels for _, pixels in alike]))
    result: Maps = {}
    for index, (photo, _) in enumerate(alike):
        patches = tokens.patches[index].cpu()
        result[photo.group, photo.name] = Described(patches.half().clone(), tokens.whole[index].cpu().half().clone())
    return result
