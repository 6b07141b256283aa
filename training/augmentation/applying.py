"""Augmentations as the training loops take them: photos and seeds in, photos out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from render.errors import InputError
from training.augmentation.files import load_policy
from training.augmentation.numbers import uniform_numbers
from training.augmentation.policy import UNIFORMS, Policy
from training.augmentation.transformations import NOISE, POOL, POOLS, VOID, check_batch, composed_with_labels
from training.augmentation.trivial import NUMBERS, SPACES, Space, trivially_changed

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Int64, UInt8

NONE, UNIFORM = "none", "uniform"
TRIVIAL: dict[str, Space] = {f"trivial-{space}": space for space in SPACES}
HALF = 0.5
BYTE = 255


class Augmentation:
    """What photos of a training go through: a mirror half of the time, and a policy, TrivialAugment or nothing.

    All that happens to a photo follows from its seed: neither the rest of its batch nor what was drawn before counts.
    Two are equal if they do the same.

    Attributes:
        title: Of it: a name, or of a policy the digest of its numbers.
        flip: Whether photos are mirrored half of the time, before all else.
    """

    def __init__(self, source: Policy | Space | None, *, flip: bool = True, still: bool = False) -> None:
        """Set up.

        Args:
            source: A policy, which is copied to the CPU; a space of TrivialAugment; or None.
            flip: See above.
            still: Whether pixels stay where they are: nothing that moves or hides them is drawn, the rest as often as
                it is when none of that is.

        Raises:
            InputError: pixels are to stay, but photos to be mirrored, or a policy does nothing else.
        """
        if still and flip:
            raise InputError("Pixels that stay where they are cannot be mirrored; choose one of both.")
        self.flip = flip
        self._policy, self._space, self._still = None, None, still
        if isinstance(source, Policy):
            self._policy = (_without_motions(source) if still else _copied(source)).requires_grad_(False)
        else:
            self._space = source
        self.title = self._title()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Augmentation) and other.title == self.title

    def __hash__(self) -> int:
        return hash(self.title)

    def __call__(
        self, images: Float[Tensor, "b 3 h w"], seeds: Sequence[int] | Int64[Tensor, " b"]
    ) -> Float[Tensor, "b 3 h w"]:
        """Photos after an augmentation each.

        Args:
            images: In [0, 1]; they are not changed.
            seeds: Of them, integers of 64 bits.

        Raises:
            InputError: shapes do not fit.
        """
        return self._applied(images, None, seeds, VOID)[0]

    def on_bytes(
        self, images: UInt8[Tensor, "b 3 h w"], seeds: Sequence[int] | Int64[Tensor, " b"]
    ) -> UInt8[Tensor, "b 3 h w"]:
        """Photos of 8 bits after an augmentation each, rounded."""
        return (self(images.float() / BYTE, seeds) * BYTE).round().to(torch.uint8)

    def with_labels(
        self,
        images: Float[Tensor, "b 3 h w"],
        labels: Int[Tensor, "b h w"],
        seeds: Sequence[int] | Int64[Tensor, " b"],
        *,
        void: int = VOID,
    ) -> tuple[Float[Tensor, "b 3 h w"], Int[Tensor, "b h w"]]:
        """Photos and label maps after an augmentation each; labels move with the photo and are void where it is not.

        Args:
            images: In [0, 1].
            labels: Of their pixels.
            seeds: Of the photos.
            void: The label of no label.

        Raises:
            InputError: shapes do not fit.
        """
        found, moved = self._applied(images, labels, seeds, void)
        return found, cast("Tensor", moved)

    def still(self) -> Augmentation:
        """The same with pixels that stay where they are, for targets that do not move with the photo.

        Raises:
            InputError: a policy does nothing else than to move and hide pixels.
        """
        return Augmentation(self._space if self._policy is None else self._policy, flip=False, still=True)

    def _title(self) -> str:
        if self._policy is not None:
            name = f"policy {digest(self._policy)}"
        else:
            name = NONE if self._space is None else f"trivial-{self._space}"
        ways = [way for way, known in (("flips", self.flip), ("still", self._still)) if known]
        return f"{name} ({', '.join(ways)})" if ways else name

    def _applied(
        self, images: Tensor, labels: Tensor | None, seeds: Sequence[int] | Tensor, void: int
    ) -> tuple[Tensor, Tensor | None]:
        steps = 0 if self._policy is None else self._policy.steps
        count = NUMBERS if self._space is not None else steps * (UNIFORMS + NOISE)
        first, own = uniform_numbers(seeds, 1 + count).split([1, count], 1)
        check_batch(images, labels, first)
        if self.flip:
            mirrored = (first[:, 0] < HALF).to(images.device)
            images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
            labels = None if labels is None else torch.where(mirrored[:, None, None], labels.flip(-1), labels)
        if self._space is not None:
            images, labels = trivially_changed(images, labels, self._space, own, still=self._still, void=void)
        elif self._policy is not None:
            own = own.unflatten(1, (steps, -1))
            chosen, magnitudes = (one.to(images.device) for one in self._policy.drawn(own[..., :UNIFORMS]))
            noise = own[..., UNIFORMS:].to(images)
            images, labels = composed_with_labels(
                images, labels, self._policy.names, chosen, magnitudes, noise, void=void
            )
        return images, labels


def augmentation_of(text: str, *, flip: bool = True) -> Augmentation:
    """The augmentation that a command line names.

    Args:
        text: ``none``, ``uniform`` (of CIFAR's pool, which searches begin with unless they are given another),
            ``trivial-ra``, ``trivial-wide``, or the file of a policy.
        flip: Whether photos are mirrored half of the time besides.

    Raises:
        InputError: there is no such file, or it is no policy.
    """
    if text == NONE or text in TRIVIAL:
        return Augmentation(TRIVIAL.get(text), flip=flip)
    if text == UNIFORM:
        return Augmentation(Policy.uniform(POOLS["cifar"]), flip=flip)
    if not Path(text).is_file():
        named = ", ".join((NONE, UNIFORM, *TRIVIAL))
        raise InputError(f"Expected {named} or the file of a policy, found no file {text or 'at all'}.")
    return Augmentation(load_policy(text).policy, flip=flip)


def digest(policy: Policy) -> str:
    """Twelve letters that tell policies apart."""
    numbers = [one.detach().double().cpu().numpy().tobytes() for one in (policy.logits, policy.bounds)]
    named = repr((policy.names, policy.deviation)).encode()
    return hashlib.sha256(b"".join((named, *numbers))).hexdigest()[:12]


def _copied(policy: Policy) -> Policy:
    return Policy(policy.names, policy.logits.cpu(), policy.bounds.cpu(), deviation=policy.deviation)


def _without_motions(policy: Policy) -> Policy:
    """A policy of what is left, each step's distribution given that it draws none of what is not."""
    kept = [place for place, name in enumerate(policy.names) if not POOL[name].geometric]
    if not kept:
        raise InputError(
            "This policy only moves and hides pixels, and here they must stay where they are; choose another."
        )
    names = [policy.names[place] for place in kept]
    return Policy(names, policy.logits[:, kept].cpu(), policy.bounds[kept].cpu(), deviation=policy.deviation)
