"""The search for a policy: one round of algorithm 1 as a task of the training loop (section 3.3.3)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from render.errors import InputError
from training.augmentation.applying import HALF, Augmentation, digest
from training.augmentation.estimate import align, mean_over_processes, policy_gradient
from training.augmentation.learning import Scale, sgd
from training.augmentation.moving import Velocity, move, size_of
from training.augmentation.numbers import item_seeds, uniform_numbers
from training.augmentation.photos import Squares
from training.augmentation.policy import UNIFORMS, Draws, Policy
from training.augmentation.transformations import NOISE, composed
from training.distillation.specific.measuring import figures_on
from training.distillation.specific.models import TaskModel
from training.loop import Schedule, Task
from training.loop.processes import several_processes
from training.loop.schedule import Precision

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.random import Generator

Variant: TypeAlias = Literal["slack", "no-kl", "unrolled", "entropy", "warm", "pi", "mu"]
"""slack = as section 3.3.3 has it; no-kl = without the anchor; unrolled = one long round without the anchor; entropy =
one long round whose anchor is the uniform policy; warm = rounds go on from the network of the one before; pi, mu = of
the policy, what is drawn or how strong it is alone is learned."""
VARIANTS: tuple[Variant, ...] = get_args(Variant)
ONE_ROUND = ("unrolled", "entropy")
SLOWER = 4  # times slower are policies of table A.7 learned: an upper rate of 0.25 in the place of 1
BOUNDS_SLOWER = 40  # times slower than logits are bounds (A.2.4); without an anchor 10, so that they are as fast
MEASURED = 256  # held photos at a time


@dataclass(frozen=True, kw_only=True)
class SearchNumbers:
    """How long and how fast a policy is searched for (table A.4).

    Those of the text for CIFAR-10.  Its other data have others: CIFAR-100 a rate of 0.1; ImageNet-100 2000 steps of
    re-training and 800 unrolled ones of 256 photos at 0.1, an upper rate of 0.5 and a product with the anchor's weight
    of 0.005; DomainNet 800 to 1200, 400, 128, 0.1, 0.625 to 1.25 and 0.01.

    Attributes:
        rounds: Each begins with the pretrained network.
        retrain: Steps of a round in which the policy stays as it is.
        unrolled: Steps after them, in which it is learned.
        augmentations: That a step of the latter draws, each for the whole batch.
        repeats: How often a photo of a batch is seen in one of the former, under an augmentation of its own each time;
            the text draws augmentations for whole batches there too, of which the mean gradient is the same.
        batch: Photos of a step, and held photos.
        rate: Of the network at the beginning of a round; it falls to 0 along half a cosine.  The estimate's step ahead
            is as long in all steps (A.2.1).
        weight_decay: Of convolutions and matrices, not of norms (the text does not say); 2e-4 in the text for CIFAR-10
            with WRN-40-2.
        momentum: Of the policy, which has none as a round begins; the network has the training loop's.
        upper_rate: Of the logits.
        bounds_slower: The rate of the bounds is so many times smaller.
        anchor: Weight of the divergence from the anchor; see :attr:`strength`.

    Raises:
        InputError: a number is out of its range.
    """

    rounds: int = 10
    retrain: int = 1000
    unrolled: int = 400
    augmentations: int = 8
    repeats: int = 8
    batch: int = 128
    rate: float = 0.4
    weight_decay: float = 5e-4
    momentum: float = 0.9
    upper_rate: float = 1.0
    bounds_slower: float = BOUNDS_SLOWER
    anchor: float = 0.02

    def __post_init__(self) -> None:
        least = {"rounds": 1, "retrain": 0, "unrolled": 1, "augmentations": 2, "repeats": 1, "batch": 2}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InputError(f"Expected {name} to be {lowest} or more, found {getattr(self, name)}.")
        if not self.rate > 0 or not self.upper_rate > 0 or not self.bounds_slower > 0 or not 0 <= self.momentum < 1:
            raise InputError(
                "Expected rate, upper_rate and bounds_slower above 0 and a momentum from 0 to below 1, found "
                f"{self.rate:g}, {self.upper_rate:g}, {self.bounds_slower:g} and {self.momentum:g}."
            )
        if not self.anchor >= 0 or not self.weight_decay >= 0:
            raise InputError(
                f"Expected an anchor and a weight_decay of 0 or more, found {self.anchor:g} and {self.weight_decay:g}."
            )

    @property
    def steps(self) -> int:
        """Of a round."""
        return self.retrain + self.unrolled

    @property
    def strength(self) -> float:
        """How far the anchor pulls the policy back in a round; 80 for CIFAR in the text, however long rounds are.

        The weight times the upper rate (0.02 in the text) times the steps of a round (400), with what momentum makes
        of a rate.  A logit of probability p goes back as ``exp(-p * strength)`` in a round.
        """
        return self.anchor * self.upper_rate * self.unrolled / (1 - self.momentum)

    def at_speed(self, speed: float, size: float, transformations: int) -> SearchNumbers:
        """The same with an upper rate at which policies of all data move equally fast, and as strong an anchor.

        The text chooses its rates so, for gradients differ in their norms from data to data (A.2.4, ii).

        Args:
            speed: By how much a step moves a logit of the uniform policy, if its alignments are mere chance; a
                standard deviation.
            size: Of alignments, see :func:`training.augmentation.moving.size_of`.
            transformations: How many there are to choose from.

        Raises:
            InputError: the alignments are 0.
        """
        if not size > 0:
            raise InputError(f"Expected alignments other than 0, found a size of {size:g}.")
        chance = 1 / transformations
        score = math.sqrt(chance * (1 - chance) / self.augmentations)
        return self.with_upper_rate(speed * (1 - self.momentum) / (self.rate * size * score))

    def with_upper_rate(self, rate: float) -> SearchNumbers:
        """The same with another upper rate, and as strong an anchor (A.2.4): :attr:`strength` stays as it is.

        Raises:
            InputError: the rate is not above 0.
        """
        if not rate > 0:
            raise InputError(f"Expected an upper rate above 0, found {rate:g}.")
        return replace(self, upper_rate=rate, anchor=self.anchor * self.upper_rate / rate)

    def schedule(self, *, seed: int, precision: Precision = "auto") -> Schedule:
        """Of a round."""
        return sgd(self.steps, self.rate, self.weight_decay, seed=seed, precision=precision)

    def of(self, variant: Variant) -> SearchNumbers:
        """The numbers of a variant, which are as fast as tables A.4 and A.7 have them relative to SLACK's."""
        if variant == "no-kl":
            free = self.bounds_slower / SLOWER
            return replace(self, upper_rate=self.upper_rate / SLOWER, bounds_slower=free, anchor=0.0)
        if variant not in ONE_ROUND:
            return self
        # 10000 steps for 10 rounds of 400 in the text; the networks are as good as trained, so nothing is re-trained.
        unrolled = round(2.5 * self.rounds * self.unrolled)
        one = replace(self, rounds=1, retrain=0, unrolled=unrolled, upper_rate=self.upper_rate / SLOWER)
        if variant == "entropy":
            return replace(one, anchor=self.anchor / SLOWER)
        return replace(one, bounds_slower=self.bounds_slower / SLOWER, anchor=0.0)

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


SEARCH: dict[Scale, SearchNumbers] = {
    "paper": SearchNumbers(),
    "small": SearchNumbers(
        rounds=4,
        retrain=54,
        unrolled=36,
        repeats=4,
        batch=32,
        rate=0.02,
        momentum=0.5,
        upper_rate=38.0,
        bounds_slower=80,
        anchor=1.1 / 38.0,
    ),
}
"""Table A.4 for CIFAR-10, and what takes minutes on a processor.

Of the latter, a round's networks are re-trained for about as large a part of it as in the text, at a rate that leaves
the loss on held photos about alike: of a WRN-10-1 and 500 photos it went from 1.63 to 1.68, and at five times the rate
to 1.75.  There are a thirtieth of the steps in which the policy is learned; it moves faster, its momentum is shorter,
for it begins anew with every round, and the anchor is as strong over a round.  The upper rate is right where alignments
have a size of about 0.9; :meth:`SearchNumbers.at_speed` has it for others.  Bounds are half as fast beside logits as in
the text: as fast, chance alone would take them anywhere."""


class Item(NamedTuple):
    """What a step takes of one training photo and one held photo.

    Attributes:
        member: Which network sees them.
        photo: Index of the training photo.
        held: Index of the held photo.
        seed: Of all that is drawn for both.
        draws: Seed of the augmentations of the step; the same in all items of a member.
    """

    member: int
    photo: int
    held: int
    seed: int
    draws: int


class SearchRound(Task):
    """Networks are trained with a policy, and after a while the policy is learned with them.

    In the last ``unrolled`` steps the gradient of the networks' loss is computed by :func:`align` along with the
    policy's; the loss that the training loop differentiates has just that gradient.  The policy is changed after the
    step of the networks.  Several networks (A.3.4) are trained apart; what they say of the policy is averaged.

    Attributes:
        members: The networks.
        policy: What is learned.
        alignments: Of every step in which it is learned and every augmentation, of a single network; of several ``[0,
            A]``.
        held_losses: The first network's on all held photos, as the round began and before the first step in which the
            policy is learned: they should be alike, the second one a little lower (A.2.4, i).
    """

    name = "augment-search"

    def __init__(
        self,
        members: Sequence[TaskModel],
        policy: Policy,
        photos: Squares,
        held: Squares,
        numbers: SearchNumbers,
        *,
        anchor: Policy | None = None,
        variant: Variant = "slack",
        flip: bool = True,
        classes: Sequence[str] = (),
    ) -> None:
        """Set up.

        Args:
            members: The networks as the round begins; they are changed.
            policy: As the round begins; it is not changed.
            photos: That networks are trained on.
            held: That the policy is judged by.
            numbers: How long and how fast, those of the variant.
            anchor: What the policy stays near to; None = what it begins as.
            variant: What is learned; see :data:`Variant`.
            flip: Whether photos are mirrored half of the time, which is not learned.
            classes: Names of the classes.

        Raises:
            InputError: there are fewer photos of either kind than a batch has.
        """
        super().__init__()
        if numbers.batch > min(len(photos), len(held)):
            raise InputError(
                f"A batch of {numbers.batch} needs as many photos to train on and as many held ones, found "
                f"{len(photos)} and {len(held)}; choose a smaller batch."
            )
        self.members = nn.ModuleList(members)
        self.policy = deepcopy(policy).requires_grad_(False)
        self.register_buffer("logits_speed", torch.zeros_like(policy.logits.detach()))
        self.register_buffer("bounds_speed", torch.zeros_like(policy.bounds.detach()))
        self.alignments: Tensor
        self.held_losses: Tensor
        self.register_buffer("alignments", torch.zeros(numbers.unrolled * (len(members) == 1), numbers.augmentations))
        self.register_buffer("held_losses", torch.zeros(2))
        self._began_as = [member.fingerprint() for member in members]
        self._begin, self._anchor = digest(policy), (deepcopy(anchor or policy).requires_grad_(False),)
        self._photos, self._held, self._numbers, self._variant = photos, held, numbers, variant
        self._flip, self._classes = flip, tuple(classes)
        self._before = Augmentation(policy, flip=flip)  # of the steps in which the policy stays as it is
        self._found: tuple[Tensor, Tensor] | None = None  # gradients of the policy, until the step is done
        # Several networks are in several processes, each of which has nothing for the others'.
        self.partly = len(members) > 1
        self.cuttable = False

    def begin(self, progress: float) -> None:
        """Measure what the round begins with."""
        if progress == 0:
            self.held_losses.fill_(self._held_loss())

    def batch(self, random: Generator) -> Sequence[Item]:
        """Different photos for every network; those of a network are as many places apart as there are networks."""
        count = len(self.members)
        columns = []
        for member in range(count):
            photos = random.choice(len(self._photos), self._numbers.batch, replace=False).tolist()
            held = random.choice(len(self._held), self._numbers.batch, replace=False).tolist()
            seeds = random.integers(2**62, size=self._numbers.batch).tolist()
            draws = int(random.integers(2**62))
            columns.append([Item(member, *one, draws) for one in zip(photos, held, seeds, strict=True)])
        return [item for row in zip(*columns, strict=True) for item in row]

    def forward(self, items: Sequence[Item], progress: float) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy, a mean over the items."""
        of_member: dict[int, list[Item]] = {}
        for item in items:
            of_member.setdefault(item.member, []).append(item)
        place = round(progress * self._numbers.steps) - self._numbers.retrain
        learned = place >= 0
        if place == 0:
            self.held_losses[1] = self._held_loss()
        parts = [self._unrolled(m, some, place) if learned else self._plain(m, some) for m, some in of_member.items()]
        loss = torch.stack([part.loss for part in parts]).mean()
        if learned:
            gradients = [part.gradients for part in parts if part.gradients is not None]
            self._found = self._joined([torch.stack(kind).mean(0) for kind in zip(*gradients, strict=True)])
        figures = {name: sum(part.figures[name] for part in parts) / len(parts) for name in parts[0].figures}
        # The mean over members is for the log: each has the gradient of its own loss.
        return loss.detach() + len(self.members) * (loss - loss.detach()), figures

    def trained(self) -> Iterable[nn.Parameter]:
        """All parameters of the networks; the policy is not the optimizer's."""
        return self.members.parameters()

    def count(self, items: Sequence[Item]) -> int:
        """Photos of a step in which the policy is learned, under every augmentation."""
        return len(items) * self._numbers.augmentations

    @torch.no_grad()
    def after_step(self, progress: float) -> None:  # noqa: ARG002  Task's
        """Move the policy."""
        if self._found is None:
            return
        found, self._found = self._found, None
        velocity = Velocity(self.logits_speed, self.bounds_speed)
        move(self.policy, found, velocity, self._numbers, self._variant, self._anchor_here())

    def validate(self) -> dict[str, float]:
        """Of the first network on held photos, and how far the policy is from the uniform one."""
        found = figures_on(self._first, self._held.photos, self._classes)
        begun, retrained = self.held_losses.tolist()
        entropy = float(self.policy.entropy())
        return {**found, "entropy": entropy, "held_loss_begun": begun, "held_loss_retrained": retrained}

    def identity(self) -> dict[str, Any]:
        """Networks, policy, photos, numbers."""
        return {
            "networks": self._began_as,
            "policy": self._begin,
            "anchor": digest(self._anchor[0]),
            "photos": self._photos.fingerprint,
            "held": self._held.fingerprint,
            "side": self._photos.side,
            "numbers": self._numbers.json(),
            "variant": self._variant,
            "flip": self._flip,
        }

    @property
    def _first(self) -> TaskModel:
        first = self.members[0]
        if not isinstance(first, TaskModel):
            raise TypeError(f"expected a network, found {type(first).__name__}")
        return first

    @torch.no_grad()
    def _held_loss(self) -> float:
        """Cross-entropy of the first network on all held photos, seen as in a test."""
        network, total = self._first, 0.0
        training = network.training
        network.eval()
        with torch.autocast(self.device.type, enabled=False):
            for first in range(0, len(self._held), MEASURED):
                some = range(first, min(first + MEASURED, len(self._held)))
                logits, targets = network(self._held.pixels(some).to(self.device)), self._held.targets(some)
                total += float(functional.cross_entropy(logits, targets.to(self.device), reduction="sum"))
        network.train(training)
        return total / len(self._held)

    def _anchor_here(self) -> Policy:
        return self._anchor[0].to(self.policy.logits.device)

    def _plain(self, member: int, items: Sequence[Item]) -> _Part:
        """A step in which the policy stays as it is: every photo has augmentations of its own."""
        photos, seeds = [item.photo for item in items], [item.seed for item in items]
        repeats = self._numbers.repeats
        with torch.autocast(self.device.type, enabled=False):
            pixels = self._photos.pixels(photos, seeds).repeat(repeats, 1, 1, 1)
            own = torch.cat([item_seeds(0, time, seeds) for time in range(repeats)])
            pixels = self._before(pixels.to(self.device), own)
        targets = self._photos.targets(photos).repeat(repeats).to(self.device)
        logits = self.members[member](pixels).float()
        right = float((logits.detach().argmax(1) == targets).float().mean())
        return _Part(functional.cross_entropy(logits, targets), {"accuracy": right}, None)

    def _unrolled(self, member: int, items: Sequence[Item], place: int) -> _Part:
        """One of the steps in which the policy is learned: all photos have the same augmentations."""
        network, rate = self.members[member], self._numbers.rate
        photos, held = [item.photo for item in items], [item.held for item in items]
        seeds = [item.seed for item in items]
        with torch.autocast(self.device.type, enabled=False):
            draws = self._drawn(items[0].draws)
            pictures = self._pictures(self._photos.pixels(photos, seeds).to(self.device), seeds, draws)
            held_pixels = self._held.pixels(held).to(self.device)
        targets, held_targets = self._photos.targets(photos), self._held.targets(held)
        told = align(
            network,
            pictures,
            targets.to(self.device),
            held_pixels,
            held_targets.to(self.device),
            rate=rate,
            shared=self._shares,
        )
        with torch.autocast(self.device.type, enabled=False):
            gradients = policy_gradient(self.policy, draws, told.alignments, rate)
            linear = torch.stack(
                [(value * told.gradients[name]).sum() for name, value in network.named_parameters()]
            ).sum()
        if len(self.alignments):
            self.alignments[place] = told.alignments
        figures = {
            "accuracy": told.accuracy,
            "held_loss": told.held_loss,
            "alignment": float(told.alignments.mean()),
            "alignment_size": size_of(told.alignments),
            "divergence": float(self.policy.divergence(self._anchor_here())),
        }
        return _Part(told.losses.mean() + linear - linear.detach(), figures, gradients)

    def _drawn(self, seed: int) -> Draws:
        """The augmentations of a step."""
        numbers = uniform_numbers(item_seeds(seed, 0, range(self._numbers.augmentations)), self.policy.steps * UNIFORMS)
        return self.policy.drawn(numbers.unflatten(1, (self.policy.steps, UNIFORMS)).to(self.device))

    def _pictures(
        self, pixels: Float[Tensor, "b 3 s s"], seeds: Sequence[int], draws: Draws
    ) -> Float[Tensor, "A*b 3 s s"]:
        """A batch after each augmentation; directions, places and mirrors are each photo's own, every time."""
        steps, count = self.policy.steps, len(draws.chosen)
        own = torch.cat([item_seeds(1, time, seeds) for time in range(count)])
        numbers = uniform_numbers(own, 1 + steps * NOISE)
        pixels = pixels.repeat(count, 1, 1, 1)
        if self._flip:
            mirrored = (numbers[:, 0] < HALF).to(pixels.device)
            pixels = torch.where(mirrored[:, None, None, None], pixels.flip(-1), pixels)
        noise = numbers[:, 1:].unflatten(1, (steps, NOISE)).to(pixels)
        chosen, magnitudes = (one.repeat_interleave(len(seeds), 0) for one in draws)
        return composed(pixels, self.policy.names, chosen, magnitudes, noise)

    @property
    def _shares(self) -> bool:
        """Whether other processes have other photos of the batch of the one network."""
        return several_processes() and len(self.members) == 1

    def _joined(self, gradients: list[Tensor]) -> tuple[Tensor, Tensor]:
        """What the networks of all processes say of the policy; of a single network all processes know it already."""
        logits, bounds = gradients
        if several_processes() and len(self.members) > 1:
            logits, bounds = mean_over_processes(logits), mean_over_processes(bounds)
        return logits, bounds


class _Part(NamedTuple):
    """What a step says of one network.

    Attributes:
        loss: Differentiable in its parameters.
        figures: For the log.
        gradients: Of the policy's logits and bounds; None where it stays as it is.
    """

    loss: Tensor
    figures: dict[str, float]
    gradients: tuple[Tensor, Tensor] | None
