"""The figures of ``fit3d reproduce slack`` as tables and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.figure_cells import gap_cell, gap_note, mean_cell
from app.reproduction_tables import cost_table
from app.result_tables import ResultTable
from training.probing.scores import FIGURES
from training.reproduction.slack.results import shares_of

if TYPE_CHECKING:
    from training.reproduction.slack.results import Results

ACCURACY = FIGURES["classification"]["accuracy"]
TITLES = {
    "none": "none",
    "uniform": "uniform policy",
    "trivial-ra-cifar": "TrivialAugment (RA), crop and Cutout",
    "trivial-wide-cifar": "TrivialAugment (Wide), crop and Cutout",
    "slack": "SLACK",
    "no-kl": "SLACK without the anchor",
    "pi": "SLACK, only what is drawn",
    "mu": "SLACK, only how strong",
}
HOW_SURE = (
    "better or worse = both 95 % intervals, over photos and over evaluations, lie on one side of zero (never with a "
    "single evaluation); evaluations of one policy share its search"
)


def tables_of(found: Results) -> list[ResultTable]:
    """All tables: lines, comparisons, policies, costs."""
    tables = [_line_table(found), _answer_table(found)]
    tables += [_policy_table(found)] if found.policies else []
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
        [TITLES[name], str(len(line.titles)), mean_cell(line.mean, ACCURACY), mean_cell(line.over_searches, ACCURACY)]
        for name, line in found.lines.items()
    ]
    plan = found.plan
    notes = [
        f"{plan.network}, {found.photos[0]} photos to learn from, {found.photos[1]} to measure, "
        f"{plan.learning.epochs:g} epochs, {plan.evaluations} evaluations of each line",
        "± half of Student's 95 % interval over all evaluations, and over the means of searches",
        "photos are mirrored half of the time besides",
    ]
    if found.missing:
        notes.append(f"left out, for evaluations of them are missing: {', '.join(found.missing)}")
    columns = ["augmentation", "policies", ACCURACY.title, "by search"]
    return ResultTable("Accuracies (table 3.1)", columns, rows, "; ".join(notes))


def _answer_table(found: Results) -> ResultTable:
    rows = [
        [
            answer.question.text,
            f"{TITLES[answer.one]} against {TITLES[answer.other]}",
            f"{gap_cell(answer.better, ACCURACY)}: {answer.verdict}",
            answer.question.claimed,
        ]
        for answer in found.answers
    ]
    gaps = gap_note([answer.better for answer in found.answers], "photos").replace("seeds", "evaluations")
    note = f"by how many points it is better; {gaps}; {HOW_SURE}"
    return ResultTable("Verdicts", ["question", "pair", "difference", "the text"], rows, note)


def _policy_table(found: Results) -> ResultTable:
    """How often each transformation is drawn, and how strong it is at most, means over searches."""
    first = next(iter(found.policies.values()))[0][-1]
    shares, bounds = (
        {variant: np.mean([of(search[-1]) for search in searches], 0) for variant, searches in found.policies.items()}
        for of in (shares_of, lambda policy: policy.bounds.tolist())
    )

    def cell(variant: str, place: int) -> str:
        strength = f", {bounds[variant][place]:.2f}" if bool(first.adjustable[place]) else ""
        return f"{100 * shares[variant][place]:.1f}{strength}"

    order = np.argsort(-next(iter(shares.values())), kind="stable")
    rows = [[first.names[place], *(cell(variant, int(place)) for variant in found.policies)] for place in order]
    note = "percent of what is drawn, and the largest magnitude; means over searches and steps of an augmentation"
    return ResultTable("Policies (figure A.1)", ["transformation", *(TITLES[v] for v in found.policies)], rows, note)
