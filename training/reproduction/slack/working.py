"""Jobs: a pretraining, a search that goes on from it, an evaluation of a line with a seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from render.progress import Progress, silent
from training.augmentation import POOLS, Augmentation, Policy, augmentation_of
from training.augmentation.defaults import NAMED, TrivialWithDefaults
from training.augmentation.evaluation import Evaluation
from training.augmentation.networks import build_network
from training.augmentation.photos import Squares, squares_of
from training.augmentation.search import Variant
from training.augmentation.searching import POLICY, Search
from training.distillation.specific.splitting import split_by_group
from training.loop import CHECKPOINT
from training.probing.data import open_data
from training.probing.photos import ProbeData
from training.reproduction.costs import last_logged, peak_of_job
from training.reproduction.jobs import Job
from training.reproduction.slack.plan import NONE, Plan

if TYPE_CHECKING:
    from training.distillation.specific.models import TaskModel
    from uplift.evaluation.store import FigureStore

DEVICE = "cpu"
HELD = 0.5  # of the training photos (section 3.4.1)
BASE = 1_400_000_000  # bytes of a process with its libraries and what it trains
FIRST = 100  # seed of the first evaluation of a line; those of searches begin with 0
PRETRAINING, SEARCH, EVALUATION = "pretraining", "search", "evaluation"  # folders


@dataclass(frozen=True, eq=False)
class Opened:
    """A reproduction with its photos.

    Attributes:
        plan: What is trained.
        folder: Of the data.
        out: Of the reproduction.
        data: The photos.
        side: Pixels of what networks see.
    """

    plan: Plan
    folder: Path
    out: Path
    data: ProbeData
    side: int

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.data.classes)

    def network(self, seed: int) -> TaskModel:
        """With random weights."""
        return build_network(self.plan.network, self.classes, self.side, seed=seed)

    def uniform(self) -> Policy:
        """What searches begin with."""
        return Policy.uniform(POOLS["cifar"])

    def store(self) -> FigureStore:
        """What was found and measured."""
        from training.loop.processes import resolve_precision
        from uplift.evaluation.store import FigureStore

        prints = [Squares(some, self.classes, self.side).fingerprint for some in (self.data.train, self.data.test)]
        about = {**self.plan.json(), "photos": prints, "precision": resolve_precision("auto", torch.device(DEVICE))}
        advice = f"give another folder, or delete {self.out} to train again"
        return FigureStore(self.out / "figures", about, advice=advice)

    def search(self, variant: Variant, seed: int, progress: Progress = silent) -> Search:
        """A search whose pretraining those of all variants with this seed share."""
        parts = split_by_group(self.data.train, HELD, seed=seed)
        own, held = (Squares(photos, self.classes, self.side) for photos in parts)
        return Search(
            self.network,
            own,
            held,
            self.out / SEARCH / f"{variant}-{seed}",
            policy=self.uniform(),
            learning=self.plan.pretraining,
            numbers=self.plan.numbers,
            variant=variant,
            classes=self.data.classes,
            seed=seed,
            device=DEVICE,
            pretraining=self.out / PRETRAINING / f"seed-{seed}",
            about={"data": self.data.name, "network": self.plan.network},
            progress=progress,
        )

    def augmentation(self, line: str, place: int) -> Augmentation:
        """Of an evaluation; of a line that was searched for, the policy of one of the searches."""
        if line == NONE:
            return Augmentation(None)
        if line in NAMED:
            return TrivialWithDefaults(NAMED[line])
        if line not in self.plan.variants:
            return Augmentation(self.uniform())
        return augmentation_of(str(self.out / SEARCH / f"{line}-{place // self.plan.runs}" / POLICY))

    def evaluation(self, progress: Progress = silent) -> Evaluation:
        """Trains and measures."""
        return Evaluation(
            self.network,
            Squares(self.data.train, self.classes, self.side),
            self.data.test,
            self.out / EVALUATION,
            learning=self.plan.learning,
            classes=self.data.classes,
            device=DEVICE,
            progress=progress,
        )


def open_slack(plan: Plan, folder: str | Path, out: str | Path) -> Opened:
    """Read the photos; nothing is trained.

    Args:
        plan: What is trained.
        folder: With ``train.npz`` and ``test.npz``.
        out: Of the reproduction.

    Raises:
        InputError: photos are missing or damaged.
    """
    opened = open_data(folder)
    if plan.photos is not None:
        opened = opened.limited(*plan.photos)
    data, side = squares_of(opened)
    return Opened(plan, Path(folder), Path(out), data, side)


def jobs_left(opened: Opened) -> list[Job]:
    """What is left to do, search by search, so that what is interrupted has whole ones.

    Raises:
        InputError: what is there was made with other settings.
    """
    plan, store, jobs = opened.plan, opened.store(), []
    given = (plan, opened.folder, opened.out)
    for seed in range(plan.searches):
        left = [variant for variant in plan.variants if store.get(searched(variant, seed)) is None]
        first = f"{PRETRAINING} {seed}"
        if left:
            jobs.append(Job(first, pretrain, (*given, seed)))
        jobs += [Job(f"{SEARCH} {one} {seed}", find, (*given, one, seed, store), (first,)) for one in left]
        for place in range(seed * plan.runs, (seed + 1) * plan.runs):
            for line in plan.lines:
                if store.get(evaluated(line, place)) is None:
                    after = (f"{SEARCH} {line} {seed}",) if line in left else ()
                    jobs.append(Job(f"{line} {place}", judge, (*given, line, place, store), after))
    return jobs


def pretrain(plan: Plan, folder: Path, out: Path, seed: int, *, progress: Progress = silent) -> None:
    """The pretraining of the searches with a seed."""
    open_slack(plan, folder, out).search(plan.variants[0], seed, progress).pretrained()


def find(
    plan: Plan,
    folder: Path,
    out: Path,
    variant: Variant,
    seed: int,
    store: FigureStore,
    *,
    progress: Progress = silent,
) -> None:
    """A search; its rounds' checkpoints are removed when it is done."""
    search = open_slack(plan, folder, out).search(variant, seed, progress)
    found = search.run()
    rounds = sorted((out / SEARCH / f"{variant}-{seed}").glob("round-*"))
    store.put(
        searched(variant, seed),
        {
            "names": found.policy.names,
            "logits": [one.logits.tolist() for one in found.policies],
            "bounds": [one.bounds.tolist() for one in found.policies],
            "told": found.figures,
            "seconds": sum(last_logged(one, "seconds") for one in rounds),
            **_peak(),
        },
    )
    for one in rounds:
        (one / CHECKPOINT).unlink(missing_ok=True)


def judge(
    plan: Plan, folder: Path, out: Path, line: str, place: int, store: FigureStore, *, progress: Progress = silent
) -> None:
    """An evaluation; its checkpoint is removed when it is done."""
    opened = open_slack(plan, folder, out)
    evaluation = opened.evaluation(progress)
    right = evaluation.right(line, FIRST + place, opened.augmentation(line, place))
    at = evaluation.folder(line, FIRST + place)
    seconds = last_logged(at, "seconds")
    store.put(evaluated(line, place), {"right": right.astype(int).tolist(), "seconds": seconds, **_peak()})
    (at / CHECKPOINT).unlink(missing_ok=True)


def searched(variant: str, seed: int) -> str:
    """The name of what a search found, in the store."""
    return f"{SEARCH}/{variant}-{seed}"


def evaluated(line: str, place: int) -> str:
    """The name of what an evaluation measured, in the store."""
    return f"{EVALUATION}/{line}-{place}"


def _peak() -> dict[str, Any]:
    peak = peak_of_job()
    return {} if peak is None else {"peak": peak}
