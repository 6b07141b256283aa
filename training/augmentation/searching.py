"""Algorithm 1 of SLACK from its beginning to its end: pretraining, rounds, the policy's file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

from render.errors import InputError
from render.progress import Progress, silent
from training.augmentation.applying import Augmentation
from training.augmentation.files import save_policy
from training.augmentation.learning import Learning, LearningNumbers
from training.augmentation.networks import apart
from training.augmentation.photos import Squares
from training.augmentation.policy import Policy
from training.augmentation.search import SearchNumbers, SearchRound, Variant
from training.distillation.specific.models import TaskModel
from training.loop import Schedule, Task, check, place, train
from training.loop.processes import resolve_precision
from training.loop.schedule import Precision

if TYPE_CHECKING:
    from jaxtyping import Float

State: TypeAlias = dict[str, Tensor]
"""Of a network, by the names of its parameters and buffers."""
POLICY = "policy.safetensors"
STRIDE = 1000  # between the seeds of networks and rounds of one search


@dataclass(frozen=True, eq=False)
class Found:
    """What a search has found.

    Attributes:
        policies: Before the first round, and after each.
        figures: Of the pretraining and of each round: the accuracy on held photos and more.
        alignments: Of each round, its steps and their augmentations; see :class:`SearchRound`.
    """

    policies: list[Policy]
    figures: list[dict[str, float]]
    alignments: list[Float[Tensor, "u A"]]

    @property
    def policy(self) -> Policy:
        """The last one."""
        return self.policies[-1]


class Search:
    """A search on the photos of one split.

    Writes into its folder ``pretraining/`` (of several networks ``pretraining-0/`` and so on), ``round-01/`` and so on,
    each with its checkpoint, its log and, of rounds, the policy after it; and ``policy.safetensors``, the last one.  An
    interrupted search goes on where its last checkpoint was.
    """

    def __init__(
        self,
        make: Callable[[int], TaskModel],
        photos: Squares,
        held: Squares,
        out: str | Path,
        *,
        policy: Policy,
        learning: LearningNumbers,
        numbers: SearchNumbers,
        variant: Variant = "slack",
        members: int = 1,
        flip: bool = True,
        classes: Sequence[str] = (),
        seed: int = 0,
        precision: Precision = "auto",
        device: str | torch.device = "auto",
        pretraining: str | Path | None = None,
        about: dict[str, Any] | None = None,
        progress: Progress = silent,
    ) -> None:
        """Set up, and refuse what a later step would refuse.

        Args:
            make: Gives a network of random weights for a seed.
            photos: That networks are trained on.
            held: That the policy is judged by.
            out: Folder.
            policy: The uniform one.
            learning: Of the pretraining.
            numbers: Of the rounds, SLACK's; those of the variant follow from them.
            variant: See there.
            members: Networks, each with a pretraining of its own, whose estimates are averaged (A.3.4); as many
                processes train one each.
            flip: Whether photos are mirrored half of the time.
            classes: Their names.
            seed: Of weights, batches and augmentations.
            precision: Of the forward pass.
            device: auto, cpu, cuda or cuda:N.
            pretraining: Folder of the pretraining, which several searches of the same seed share; only once it is done
                may they do so at the same time.  None = one in ``out``.
            about: What the policy's file says of how it was found; JSON values.
            progress: Told of steps.

        Raises:
            InputError: a batch is too large or cannot be shared, or a folder has another training in it.
        """
        if members < 1:
            raise InputError(f"A search needs 1 network or more, found {members}.")
        self._make, self._photos, self._held, self._out = make, photos, held, Path(out)
        self._uniform, self._learning, self._variant = policy, learning, variant
        self._numbers = numbers.of(variant)
        self._members, self._flip, self._classes, self._seed = members, flip, tuple(classes), seed
        self._pretrained = self._out / "pretraining" if pretraining is None else Path(pretraining)
        self._at, self._device, self._progress = place(device), device, progress
        # Gradients that are computed apart from the training loop have no scaled losses, which half precision needs.
        half = resolve_precision(precision, self._at.device) == "fp16"
        self._precision: Precision = "no" if half else precision
        self._about = {"variant": variant, "seed": seed, "numbers": self._numbers.json(), **(about or {})}
        self._check()

    @property
    def steps(self) -> int:
        """Of all trainings."""
        pretraining = self._members * self._learning.steps(len(self._photos))
        return pretraining + self._numbers.rounds * self._numbers.steps

    def run(self) -> Found:
        """All steps that are not done yet."""
        states, told = self.pretrained()
        found = Found([_plain(self._uniform)], [told], [])
        for number in range(1, self._numbers.rounds + 1):
            task, folder = self._round(found.policy, states, number), self._out / f"round-{number:02d}"
            schedule = self._numbers.schedule(seed=self._seed + STRIDE * number, precision=self._precision)
            found.figures.append(self._train(task, folder, schedule))
            found.policies.append(_plain(task.policy))
            found.alignments.append(task.alignments.detach().cpu().clone())
            if self._variant == "warm":
                states = [_state(member) for member in task.members]
            self._save(folder / POLICY, found)
        self._save(self._out / POLICY, found)
        return found

    def pretrained(self) -> tuple[list[State], dict[str, float]]:
        """The networks that rounds begin with, trained where they are not yet, and what the first one tells."""
        told, states = [], []
        for member in range(self._members):
            task = self._pretraining(member)
            told.append(self._train(task, self._folder(member), self._schedule(member)))
            states.append(_state(task.network))
        return states, told[0]

    def _check(self) -> None:
        count = self._at.count
        if self._members > 1 and count not in (1, self._members):
            raise InputError(
                f"{self._members} networks are searched with in 1 process or in {self._members}, found {count}."
            )
        for member in range(self._members):
            check(self._pretraining(member), self._schedule(member), self._at, self._folder(member))
        first = self._round(self._uniform, [_state(self._network(0))] * self._members, 1)
        schedule = self._numbers.schedule(seed=self._seed + STRIDE, precision=self._precision)
        check(first, schedule, self._at, self._out / "round-01", unknown=["networks"])

    def _folder(self, member: int) -> Path:
        folder = self._pretrained
        return folder if self._members == 1 else folder.with_name(f"{folder.name}-{member}")

    def _schedule(self, member: int) -> Schedule:
        """Of a pretraining; the networks of a search have other weights and batches each."""
        return self._learning.schedule(len(self._photos), seed=self._seed + member, precision=self._precision)

    def _network(self, member: int) -> TaskModel:
        network = self._make(self._seed + member)
        return network if self._members == 1 else apart(network)

    def _pretraining(self, member: int) -> Learning:
        """As the evaluation of the uniform policy trains, but without the held photos."""
        task = Learning(
            self._make(self._seed + member),
            self._photos,
            Augmentation(self._uniform, flip=self._flip),
            batch=self._learning.batch,
            held=self._held.photos,
            classes=self._classes,
        )
        task.name = "augment-pretrain"
        return task

    def _round(self, policy: Policy, states: Sequence[State], number: int) -> SearchRound:
        members = [self._network(member) for member in range(self._members)]
        for member, state in zip(members, states, strict=True):
            member.load_state_dict(state)
        task = SearchRound(
            members,
            policy,
            self._photos,
            self._held,
            self._numbers,
            anchor=self._uniform if self._variant == "entropy" else policy,
            variant=self._variant,
            flip=self._flip,
            classes=self._classes,
        )
        task.name = f"augment-round-{number}"
        return task

    def _train(self, task: Task, folder: Path, schedule: Schedule) -> dict[str, float]:
        return train(task, schedule, folder, device=self._device, progress=self._progress)

    def _save(self, path: Path, found: Found) -> None:
        if self._at.main:
            save_policy(path, found.policy, {**self._about, "rounds": len(found.policies) - 1, **found.figures[-1]})


def _state(network: nn.Module) -> State:
    """The weights of a network as they are now."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def _plain(policy: Policy) -> Policy:
    """A copy on the CPU that does not change."""
    logits, bounds = policy.logits.detach().cpu(), policy.bounds.detach().cpu()
    return Policy(policy.names, logits, bounds, deviation=policy.deviation).requires_grad_(False)
