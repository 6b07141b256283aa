"""Tables 5 to 8 of FiT3D: dimension of learned features, adapter, assembly, epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from render.progress import Progress, silent
from training.finetuning.task import Refresh
from training.probing.photos import Task
from training.reproduction.fit3d.places import BASE, Places
from training.reproduction.fit3d.plan import Plan, Row, Tuning, main_rows
from uplift.encoders.finetuned import Assembly

if TYPE_CHECKING:
    from training.fleet import Outcome, SceneJob

DIMENSIONS = (32, 64, 128)  # of learned features, table 5
PAPER_DIMENSION = 64
EPOCHS = (1, 2, 3)  # table 8
SEGMENTATION: tuple[Task, ...] = ("segmentation",)
ASSEMBLED: dict[Assembly, str] = {
    "added": "added",
    "fused": "fused by a linear layer",
    "alone": "fine-tuned alone",
}  # beside the default, table 7
REFRESH: Refresh = "every-epoch"  # as the main table has it; learned features stay, and so do those beside them
COMPARED: dict[tuple[str, str], str] = {
    ("once", "blurred"): "targets of the original network: lifted - blurred",
    ("fine-tuned", "blurred-again"): "targets made again every epoch: lifted - blurred",
    ("blurred-again", "blurred"): "blurred targets: made again - once",
    ("adapter", "fine-tuned"): "adapter - fine-tuning",
    **{(how, "twice"): f"{title} - original twice" for how, title in ASSEMBLED.items()},
    **{(f"learned-{count}", "twice"): f"learned, {count} channels - original twice" for count in DIMENSIONS},
    ("lifted-few", "twice"): "lifted onto sampled Gaussians of the same rooms - original twice",
    (
        "lifted-fitted",
        f"learned-{PAPER_DIMENSION}",
    ): f"lifted onto the same Gaussians - learned, {PAPER_DIMENSION} channels",
}
"""What is asked of pairs of rows, those of the main table among them."""
METHOD = "fit3d-small"  # of ns-train: the paper's method at the size of a CPU


def ablation_rows(plan: Plan) -> dict[str, list[Row]]:
    """The rows of each table, by its title; rows of the main table are among them where they are the same."""
    tuned, control = (next(row for row in main_rows(plan) if row.name == name) for name in ("fine-tuned", "blurred"))
    assembled = [
        replace(tuned, name=how, title=title, assembly=how, tasks=SEGMENTATION) for how, title in ASSEMBLED.items()
    ]
    return {
        "Assembly of original and fine-tuned features (FiT3D, table 7)": [
            replace(tuned, title="concatenated"),
            *assembled,
        ],
        "Epochs of fine-tuning (FiT3D, table 8)": [_of_epochs(tuned, count, plan) for count in EPOCHS],
        "Fine-tuning or adapter (FiT3D, table 6)": [
            replace(tuned, title="fine-tuning"),
            _row("adapter", "adapter", Tuning("adapter", "lifted", plan.epochs, REFRESH, adapter=True)),
        ],
        "Targets of the network as every epoch finds it, or as it was (FiT3D, algorithm 1)": [
            replace(tuned, title="made again every epoch"),
            _row("once", "of the original network", Tuning("once", "lifted", plan.epochs)),
            replace(control, title="control: blurred, of the original network"),
            _row(
                "blurred-again",
                "control: blurred every epoch",
                Tuning("blurred-again", "blurred", plan.epochs, REFRESH),
            ),
        ],
        "Dimension of the features that ns-train fit3d learns (FiT3D, table 5)": [
            *(_learned(dimension, plan) for dimension in DIMENSIONS),
            _few("lifted-fitted", "lifted onto the Gaussians that it fitted", str(PAPER_DIMENSION), plan),
            _few("lifted-few", "lifted onto sampled Gaussians of the same rooms", "few", plan),
        ],
    }


def learn(out: Path, plan: Plan, dimension: int, processes: int, *, progress: Progress = silent) -> list[Outcome]:
    """Let ``ns-train`` learn features of so many channels in the first rooms; what is done is kept.

    Args:
        out: Folder of the reproduction.
        plan: Its sizes.
        dimension: Channels of a Gaussian's feature.
        processes: Rooms at a time, at most.
        progress: Told of every room.

    Returns:
        The rooms that failed, each with its cause.

    Raises:
        InputError: what is there was made with other settings.
    """
    from training.fleet import Machine, fit_scene, pending, run_local, this_machine

    jobs = _jobs(Places(out, plan), dimension)
    waiting = [job for job in jobs if pending(job)]
    found = this_machine(gpus=True, most=processes)
    machine = Machine(found.memory, min(found.threads, processes), processes, found.devices)
    return [outcome for outcome in run_local(waiting, fit_scene, machine, progress) if outcome.failed is not None]


def learning_costs(places: Places, dimension: int) -> list[dict[str, float]]:
    """What stage I took of every room: ``seconds``, ``cpu`` and ``peak``; empty where it did not run."""
    from training.fleet import Record
    from training.fleet.stages import FIT

    costs = []
    for job in _jobs(places, dimension):
        done = Record.load(job.record, str(job.source)).stages.get(FIT)
        if done is not None and done.resumed_from is None:
            costs.append({"seconds": done.seconds, "cpu": done.cpu, "peak": float(done.peak)})
    return costs


def tunings(rows: Sequence[Row]) -> list[Tuning]:
    """The fine-tunings that rows need, each once."""
    return list(dict.fromkeys(row.tuning for row in rows if row.tuning is not None))


def _jobs(places: Places, dimension: int) -> list[SceneJob]:
    from training.fleet import EncoderChoice, SceneJob, Settings, memory_needed

    encoder, steps = places.encoder(BASE), str(places.plan.learned_steps)
    settings = Settings(
        method=METHOD,
        training=("--pipeline.model.feature-dim", str(dimension), "--max-num-iterations", steps),
        learned=EncoderChoice(BASE, BASE, None, encoder.fingerprint(), encoder.dimension),
        refit=True,
    )
    folders = places.room_folders("train")[: places.plan.learned_rooms]
    jobs = [
        SceneJob(folder.name, folder.resolve(), places.learned(dimension).resolve(), settings) for folder in folders
    ]
    return [replace(job, need=memory_needed(job)) for job in jobs]


def _of_epochs(tuned: Row, count: int, plan: Plan) -> Row:
    title = "1 epoch" if count == 1 else f"{count} epochs"
    if count == plan.epochs:
        return replace(tuned, title=title)
    return _row(f"epochs-{count}", title, Tuning(f"epochs-{count}", "lifted", count, REFRESH))


def _learned(dimension: int, plan: Plan) -> Row:
    tuning = Tuning(f"learned-{dimension}", "learned", plan.learned_epochs, scenes=str(dimension))
    return _row(tuning.name, f"learned, {dimension} channels", tuning)


def _few(name: str, title: str, scenes: str, plan: Plan) -> Row:
    return _row(name, title, Tuning(name, "lifted", plan.learned_epochs, scenes=scenes))


def _row(name: str, title: str, tuning: Tuning) -> Row:
    return Row(name, title, "tuned", tuning, tasks=SEGMENTATION)
