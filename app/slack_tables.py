"""The figures of ``fit3d reproduce slack`` as tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.figure_cells import gap_cell, gap_note, mean_cell
from app.reproduction_tables import cost_table
from app.result_tables import ResultTable
from training.probing.scores import FIGURES
from training.reproduction.slack.results import ALIKE, HARMFUL, shares_of

if TYPE_CHECKING:
    from training.augmentation import Policy
    from training.reproduction.slack.results import PolicyAnswer, Results

ACCURACY = FIGURES["classification"]["accuracy"]
TITLES = {
    "none": "none",
    "uniform": "uniform policy",
    "trivial-wide-cifar": "TrivialAugment (Wide), crop and Cutout",
    "chance": "where chance leads SLACK",
    "slack": "SLACK",
    "no-kl": "SLACK without the anchor",
    "pi": "SLACK, only what is drawn",
    "mu": "SLACK, only how strong",
}
HOW_SURE = (
    "better or worse = both 95 % intervals, over photos and over searches, lie on one side of zero (never with one "
    f"search); as good = both within {100 * ALIKE:g} point of zero; told from = the smallest difference that intervals "
    "as wide would have told; the text's differences, on all of CIFAR-10, are of 0.0 to 0.4 points"
)
RATES = (
    "pi and mu have SLACK's rates, where the text adjusts them to each line; without the anchor policies learn a "
    "quarter as fast, and move as far"
)


def tables_of(found: Results) -> list[ResultTable]:
    """All tables: lines, comparisons, what policies say, policies, re-training, costs."""
    tables = [_line_table(found), _answer_table(found)]
    tables += [_policy_answer_table(found), _policy_table(found), _loss_table(found)] if found.policies else []
    return [*tables, cost_table(found.costs)]


def save_pictures(out: Path, found: Results) -> list[Path]:
    """Write a pie and the evolution of every policy that SLACK found; the files."""
    from app.augmentation_pictures import evolution_plot, policy_pie
    from app.pictures import save_picture

    paths = []
    for number, policies in enumerate(found.policies.get("slack", [])):
        history = np.stack([one.probabilities().detach().numpy() for one in policies])
        pictures = {"pie": policy_pie(policies[-1]), "evolution": evolution_plot(history, policies[-1].names)}
        for name, picture in pictures.items():
            paths.append(out / f"{name}-{number}.png")
            save_picture(paths[-1], picture)
    return paths


def _line_table(found: Results) -> ResultTable:
    rows = [
        [
            TITLES[name],
            str(len(line.accuracies)),
            mean_cell(line.over_searches, ACCURACY),
            f"{100 * found.learned[name]:.1f}",
        ]
        for name, line in found.lines.items()
    ]
    plan = found.plan
    notes = [
        f"{plan.network}, {found.photos[0]} photos to learn from, {found.photos[1]} to measure, "
        f"{plan.learning.epochs:g} epochs, evaluations of each line: {plan.evaluations}",
        "± half of Student's 95 % interval over searches; lines without one have the same seeds",
        "learned = of the last photos that were learned from, as augmented",
        "photos are mirrored half of the time besides",
        "policies of chance moved as SLACK's, but augmentations were told each other's alignment",
    ]
    if found.missing:
        notes.append(f"left out, for evaluations of them are missing: {', '.join(found.missing)}")
    columns = ["augmentation", "evaluations", ACCURACY.title, "learned"]
    return ResultTable("Accuracies (table 3.1)", columns, rows, "; ".join(notes))


def _answer_table(found: Results) -> ResultTable:
    rows = [
        [
            answer.question.text,
            f"{TITLES[answer.one]} against {TITLES[answer.other]}",
            f"{gap_cell(answer.better, ACCURACY)}: {answer.verdict}",
            "-" if answer.least is None else f"{100 * answer.least:.1f}",
            answer.question.claimed,
        ]
        for answer in found.answers
    ]
    gaps = gap_note([answer.better for answer in found.answers], "photos").replace("seeds", "searches")
    note = f"by how many points it is better; {gaps}; {HOW_SURE}; {RATES}"
    return ResultTable("Verdicts", ["question", "pair", "difference", "told from", "the text"], rows, note)


def _policy_answer_table(found: Results) -> ResultTable:
    """Whether searches find what the text's do."""
    rows = [
        [answer.text, TITLES[answer.variant], f"{_moved(answer)}: {answer.verdict}", answer.claimed]
        for answer in found.policy_answers
    ]
    note = (
        f"points of what is drawn that it is more than the mean of the others but {' and '.join(HARMFUL)}, or nats of "
        "the divergence from the uniform policy that it is more than chance leads to; means over searches ± half of "
        "Student's 95 % interval over them, which decides; chance = a standard deviation of what searches end with "
        "whose augmentations are told each other's alignment"
    )
    return ResultTable("What policies say (A.3.2)", ["question", "search", "found", "the text"], rows, note)


def _moved(answer: PolicyAnswer) -> str:
    factor, digits = (100, 1) if answer.unit == "share" else (1, 3)
    mean, high = answer.found.mean, answer.found.high
    reach = "" if high is None else f" ± {factor * (high - mean):.{digits}f}"
    return f"{factor * mean:+.{digits}f}{reach} (chance {factor * answer.chance:.{digits}f})"


def _loss_table(found: Results) -> ResultTable:
    """Whether re-training makes of a network what the pretraining did."""
    rows = []
    for variant, searches in found.losses.items():
        for number, pairs in enumerate(np.array(searches).transpose(1, 0, 2), 1):
            begun, retrained = pairs.mean(0)
            rows.append([TITLES[variant], str(number), f"{begun:.3f}", f"{retrained:.3f}"])
    note = (
        "cross-entropy on the photos that policies are judged by, means over searches; the text asks that re-training "
        "leaves it alike or a little lower (A.2.4)"
    )
    return ResultTable("Re-training", ["search", "round", "as it began", "re-trained"], rows, note)


def _policy_table(found: Results) -> ResultTable:
    """How often each transformation is drawn, and how strong it is at most, means over searches."""
    first = next(iter(found.policies.values()))[0][-1]
    shares, bounds = (
        {variant: np.mean([of(search[-1]) for search in searches], 0) for variant, searches in found.policies.items()}
        for of in (shares_of, lambda policy: policy.bounds.tolist())
    )

    chances = {variant: _spreads([one for some in every for one in some]) for variant, every in found.chances.items()}

    def strength(value: float, place: int) -> str:
        return f", {value:.2f}" if bool(first.adjustable[place]) else ""

    def cell(variant: str, place: int) -> str:
        return f"{100 * shares[variant][place]:.1f}{strength(bounds[variant][place], place)}"

    order = np.argsort(-next(iter(shares.values())), kind="stable")
    rows = [[first.names[place], *(cell(variant, int(place)) for variant in found.policies)] for place in order]
    rows.append(
        ["chance, of one search", *(f"± {100 * chances[v][0]:.1f}, ± {chances[v][1]:.2f}" for v in found.policies)]
    )
    note = (
        "percent of what is drawn, and the largest magnitude; means over searches and steps of an augmentation; chance "
        "= a standard deviation over transformations and searches whose augmentations are told each other's alignment"
    )
    note += (
        "" if found.size is None else f"; alignments had a size of {found.size:.3g}, which the upper rate follows from"
    )
    return ResultTable("Policies (figure A.1)", ["transformation", *(TITLES[v] for v in found.policies)], rows, note)


def _spreads(policies: Sequence[Policy]) -> tuple[float, float]:
    """Standard deviations of shares, and of bounds that matter."""
    shares = np.array([shares_of(one) for one in policies])
    bounds = np.array([one.bounds[one.adjustable].tolist() for one in policies])
    return float((shares - 1 / shares.shape[1]).std()), float(bounds.std())
