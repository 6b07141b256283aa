"""Jobs: a pretraining, how fast policies are to move, a search that goes on from it, an evaluation of a line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from render.errors import InputError
from render.progress import Progress, silent
from training.augmentation import POOLS, Augmentation, Policy
from training.augmentation.balanced import of_each_class, split_each_class
from training.augmentation.defaults import NAMED, TrivialWithDefaults
from training.augmentation.evaluation import Evaluation
from training.augmentation.moving import by_chance, size_of
from training.augmentation.networks import build_network
from training.augmentation.photos import Squares, squares_of
from training.augmentation.search import SearchNumbers, Variant
from training.augmentation.searching import Search
from training.loop import CHECKPOINT
from training.probing.data import open_data
from training.probing.photos import ProbeData
from training.reproduction.costs import last_logged, peak_of_job
from training.reproduction.jobs import Job
from training.reproduction.slack.plan import CHANCE, NONE, SLACK, UNIFORM, Plan

if TYPE_CHECKING:
    from training.distillation.specific.models import TaskModel
    from uplift.evaluation.store import FigureStore

DEVICE = "cpu"
HELD = 0.5  # of the training photos (section 3.4.1)
BASE = 1_400_000_000  # bytes of a process with its libraries and what it trains
# Seeds of evaluations, and how far those of two searches lie apart; those of searches begin with 0.
FIRST, STRIDE = 1000, 1000
PRETRAINING, SEARCH, EVALUATION, SPEED = "pretraining", "search", "evaluation", "speed"  # folders
TRIED = 12  # steps in which the size of alignments is measured
CHANCES = 4  # policies that chance leads to, for every search
STILL = 1e-9  # an upper rate at which a policy stays what it is


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

    def numbers(self, store: FigureStore) -> SearchNumbers:
        """Of all searches, once it is known how fast policies move.

        Raises:
            InputError: it is not known, or was measured with other settings.
        """
        known = store.get(SPEED)
        if known is None:
            raise InputError("How fast policies move is measured before the first search, found no figures of it.")
        return self.plan.numbers.at_speed(self.plan.speed, float(known["size"]), len(self.uniform().names))

    def search(
        self, variant: Variant, seed: int, numbers: SearchNumbers, out: Path, progress: Progress = silent
    ) -> Search:
        """A search whose pretraining those of all variants with this seed share."""
        parts = split_each_class(self.data.train, HELD, seed=seed)
        own, held = (Squares(photos, self.classes, self.side) for photos in parts)
        return Search(
            self.network,
            own,
            held,
            out,
            policy=self.uniform(),
            learning=self.plan.pretraining,
            numbers=numbers,
            variant=variant,
            classes=self.data.classes,
            seed=seed,
            device=DEVICE,
            pretraining=self.out / PRETRAINING / f"seed-{seed}",
            about={"data": self.data.name, "network": self.plan.network},
            progress=progress,
        )

    def augmentation(self, line: str, search: int, store: FigureStore) -> Augmentation:
        """Of an evaluation; of a line that was searched for, the policy that one of the searches has found.

        Policies of chance, which moved as SLACK's did but by alignments of other augmentations, tell what a search has
        learned from what any policy that is not uniform would be worth.

        Raises:
            InputError: it has found none yet.
        """
        if line == NONE:
            return Augmentation(None)
        if line in NAMED:
            return TrivialWithDefaults(NAMED[line])
        if line == UNIFORM:
            return Augmentation(self.uniform())
        found = store.get(searched(variant_of(line), search))
        if found is None:
            raise InputError(f"Expected a policy of search {search} of {line} before it is evaluated, found none.")
        last = found["chance"][0] if line == CHANCE else {name: found[name][-1] for name in ("logits", "bounds")}
        logits, bounds = (torch.tensor(last[name]) for name in ("logits", "bounds"))
        return Augmentation(Policy(found["names"], logits, bounds))

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
    train, test = (
        of_each_class(part, most) for part, most in zip((opened.train, opened.test), plan.photos, strict=True)
    )
    opened = replace(opened, train=train, test=test)
    data, side = squares_of(opened)
    return Opened(plan, Path(folder), Path(out), data, side)


def jobs_left(opened: Opened) -> list[Job]:
    """What is left to do, search by search, so that what is interrupted has whole ones.

    Raises:
        InputError: what is there was made with other settings.
    """
    plan, store, jobs = opened.plan, opened.store(), []
    given = (plan, opened.folder, opened.out)
    measured = store.get(SPEED) is not None
    for seed in range(plan.searches):
        left = [variant for variant in plan.variants if store.get(searched(variant, seed)) is None]
        first = f"{PRETRAINING} {seed}"
        if left:
            jobs.append(Job(first, pretrain, (*given, seed)))
        if left and not measured:
            jobs.append(Job(SPEED, find_speed, (*given, seed, store), (first,)))
            measured = True
        needed = [job.name for job in jobs if job.name in (first, SPEED)]
        jobs += [Job(f"{SEARCH} {one} {seed}", find, (*given, one, seed, store), tuple(needed)) for one in left]
        for run in range(plan.runs):
            for line in plan.lines:
                if store.get(evaluated(line, seed, run)) is None:
                    after = (f"{SEARCH} {variant_of(line)} {seed}",) if variant_of(line) in left else ()
                    jobs.append(Job(f"{line} {seed}-{run}", judge, (*given, line, seed, run, store), after))
    return jobs


def pretrain(plan: Plan, folder: Path, out: Path, seed: int, *, progress: Progress = silent) -> None:
    """The pretraining of the searches with a seed."""
    opened = open_slack(plan, folder, out)
    opened.search("slack", seed, plan.numbers, out / SEARCH / PRETRAINING, progress).pretrained()


def find_speed(
    plan: Plan, folder: Path, out: Path, seed: int, store: FigureStore, *, progress: Progress = silent
) -> None:
    """How large alignments are, in a round in which the policy stays what it is."""
    opened = open_slack(plan, folder, out)
    still = replace(plan.numbers, rounds=1, unrolled=min(TRIED, plan.numbers.unrolled), upper_rate=STILL, anchor=0.0)
    found = opened.search("slack", seed, still, out / SPEED, progress).run()
    store.put(SPEED, {"size": size_of(found.alignments[0]), "told": found.figures})
    _remove_checkpoints(out / SPEED)


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
    """A search, and where chance would have led; its rounds' checkpoints are removed when it is done."""
    opened = open_slack(plan, folder, out)
    numbers, at = opened.numbers(store), out / SEARCH / f"{variant}-{seed}"
    found = opened.search(variant, seed, numbers, at, progress).run()
    alignments = torch.stack(found.alignments)
    chances = [
        by_chance(opened.uniform(), alignments, numbers.of(variant), variant, seed=CHANCES * seed + number)
        for number in range(CHANCES)
    ]
    store.put(
        searched(variant, seed),
        {
            "names": found.policy.names,
            "logits": [one.logits.tolist() for one in found.policies],
            "bounds": [one.bounds.tolist() for one in found.policies],
            "chance": [{"logits": one.logits.tolist(), "bounds": one.bounds.tolist()} for one in chances],
            "size": size_of(alignments),
            "upper_rate": numbers.of(variant).upper_rate,
            "told": found.figures,
            "seconds": sum(last_logged(one, "seconds") for one in sorted(at.glob("round-*"))),
            **_peak(),
        },
    )
    _remove_checkpoints(at)


def judge(
    plan: Plan,
    folder: Path,
    out: Path,
    line: str,
    search: int,
    run: int,
    store: FigureStore,
    *,
    progress: Progress = silent,
) -> None:
    """An evaluation, whose seed those of all lines with this search and run share; its checkpoint is removed."""
    opened = open_slack(plan, folder, out)
    evaluation, seed = opened.evaluation(progress), seed_of(search, run)
    right = evaluation.right(line, seed, opened.augmentation(line, search, store))
    at = evaluation.folder(line, seed)
    figures = {"seconds": last_logged(at, "seconds"), "learned": last_logged(at, "accuracy"), **_peak()}
    store.put(evaluated(line, search, run), {"right": right.astype(int).tolist(), **figures})
    (at / CHECKPOINT).unlink(missing_ok=True)


def variant_of(line: str) -> str:
    """Whose searches a line needs."""
    return SLACK if line == CHANCE else line


def searched(variant: str, seed: int) -> str:
    """The name of what a search found, in the store."""
    return f"{SEARCH}/{variant}-{seed}"


def evaluated(line: str, search: int, run: int) -> str:
    """The name of what an evaluation measured, in the store; further searches and runs change no other's."""
    return f"{EVALUATION}/{line}-{search}-{run}"


def seed_of(search: int, run: int) -> int:
    """Of an evaluation."""
    return FIRST + STRIDE * search + run


def _remove_checkpoints(folder: Path) -> None:
    for one in folder.glob("round-*"):
        (one / CHECKPOINT).unlink(missing_ok=True)


def _peak() -> dict[str, Any]:
    peak = peak_of_job()
    return {} if peak is None else {"peak": peak}
