"""Learning rates and weight decays from table B.2, chosen by photos that are kept back (sections 4.4.1, B.1.2)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from render.errors import InputError
from render.files import atomic_file
from training.distillation.specific.measuring import CHOSEN_BY
from training.distillation.specific.models import TaskModel
from training.distillation.specific.rows import Row
from training.distillation.specific.running import SEARCHED, Workbench
from training.distillation.specific.settings import Family, Numbers, Scale, grid_of
from training.distillation.specific.splitting import split_by_group
from training.loop import CHECKPOINT, DivergedError
from training.probing.photos import ProbePhoto


def searched(
    bench: Workbench,
    row: Row,
    grid: Sequence[Numbers],
    *,
    seed: int = 0,
    split: tuple[Sequence[ProbePhoto], Sequence[ProbePhoto]] | None = None,
) -> Row:
    """The line with the numbers of a grid that are best on photos kept back.

    A tenth of the training photos, whole groups of them, is kept back where the data have no validation split; the
    line is trained on all of them afterwards.  A teacher is trained without them too.  Mixed images are left out: they
    are used with the numbers found without them (B.1.2).  Numbers with which the training diverges are the worst.

    Writes ``search.json`` after every training, from which an interrupted search goes on; checkpoints are deleted when
    nothing needs them any more.

    Args:
        bench: Of the data.
        row: The line; its teacher with the numbers that it is to have.
        grid: Numbers to try.
        seed: Of the split and of the trainings.
        split: Photos of the bench to learn from, and those that are kept back; None = as above.

    Raises:
        InputError: the file is of another search, or all trainings diverge, or that of the teacher.
    """
    learned, kept = split or split_by_group(bench.data.train, seed=seed)
    path = bench.out / row.name / SEARCHED
    folder = path.parent / "search"
    plain, figure = replace(row, mixed=None), CHOSEN_BY[bench.goal]
    of = _identity(bench, plain, grid, seed) | ({} if split is None else {"split": _names(split)})
    tried = _tried(path, of)
    if len(tried) < len(grid):
        teacher = None
        if row.teacher is not None:
            teacher = _taught_by(bench, row.teacher, seed, learned, folder / "teacher")
        for numbers in grid[len(tried) :]:
            name = f"rate-{numbers.rate:g}-decay-{numbers.weight_decay:g}"
            one = replace(plain, numbers=numbers)
            entry: dict[str, Any] = {"numbers": numbers.json()}
            try:
                entry |= bench.fit(one, seed, learned, folder / name, teacher=teacher, held=kept)[1]
            except DivergedError:
                entry["diverged"] = True
            else:
                entry["diverged"] = not math.isfinite(entry[figure])
                entry = {key: value for key, value in entry.items() if not _is_nan(value)}
            tried.append(entry)
            if bench.main:
                content = {"of": of, "photos": [len(learned), len(kept)], "figure": figure, "tried": tried}
                _write(path, {**content, "best": _best(tried, figure)})
                (folder / name / CHECKPOINT).unlink(missing_ok=True)
    if bench.main:
        for checkpoint in folder.glob(f"*/{CHECKPOINT}"):
            checkpoint.unlink()
    best = _best(tried, figure)
    if best is None:
        raise InputError(
            f"All {len(grid)} trainings of the search for {row.name} diverged; see {path}, and give a smaller rate in "
            "the place of the search."
        )
    return replace(row, numbers=grid[best])


def searched_rows(
    bench: Workbench,
    rows: Sequence[Row],
    *,
    family: Family,
    scale: Scale,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Lines with the numbers that searches find; a teacher stands before what it teaches.

    Args:
        bench: Of the data.
        rows: The lines.
        family: Row of table B.2.
        scale: Of its rates.
        seed: Of splits and trainings.
        tell: Told what was found.

    Raises:
        InputError: see :func:`searched`.
    """
    found: dict[str, Row] = {}
    for row in rows:
        asked = row if row.teacher is None else replace(row, teacher=found[row.teacher.name])
        width = bench.width(row) if scale == "paper" else None
        grid = grid_of(row.spec, family, scale, row.numbers, width=width)
        if len(grid) > 1:
            asked = searched(bench, asked, grid, seed=seed)
            numbers = asked.numbers
            tell(f"{row.name}: of {len(grid)} the rate {numbers.rate:g} with weight decay {numbers.weight_decay:g}")
        found[row.name] = asked
    return list(found.values())


def _taught_by(bench: Workbench, row: Row, seed: int, photos: Sequence[ProbePhoto], folder: Path) -> TaskModel:
    try:
        return bench.fit(row, seed, photos, folder)[0]
    except DivergedError as error:
        raise InputError(
            f"The training of {row.name} diverged ({error}), and nothing can be searched for without it; give it a "
            "smaller rate in the place of the search."
        ) from error


def _names(split: Sequence[Sequence[ProbePhoto]]) -> str:
    names = [[photo.name for photo in some] for some in split]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def _identity(bench: Workbench, row: Row, grid: Sequence[Numbers], seed: int) -> dict[str, Any]:
    """What a search must agree with to be gone on with."""
    lines = [{**one.json(), "began_as": bench.untrained(one, seed).fingerprint()} for one in row.lineage()]
    del lines[-1]["numbers"]
    of = {"rows": lines, "grid": [one.json() for one in grid], "seed": seed, "photos": bench.photos().fingerprint}
    return dict(json.loads(json.dumps(of)))


def _tried(path: Path, of: dict[str, Any]) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        known, tried = found["of"], list(found["tried"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}); delete it to search anew.") from error
    if known != of:
        differing = [name for name in of if known.get(name) != of[name]]
        raise InputError(
            f"{path} belongs to another search, with other {' and '.join(differing)}; choose another folder, or delete "
            f"{path.parent} to search anew."
        )
    return tried


def _best(tried: Sequence[dict[str, Any]], figure: str) -> int | None:
    """Which entry has the largest figure; None where all diverged."""
    reached = {index: float(entry[figure]) for index, entry in enumerate(tried) if not entry["diverged"]}
    return max(reached, key=reached.__getitem__) if reached else None


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _write(path: Path, content: dict[str, Any]) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
