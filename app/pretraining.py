"""What the commands that fine-tune a pretrained encoder have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.console import show, wrote

if TYPE_CHECKING:
    import torch

    from training.probing.scores import Figure
    from uplift.encoders.base import TrainableEncoder

RESULTS, TABLES = "results.json", "results.md"


def begin_with(name: str, weights: Path | None, device: torch.device, *, scratch: bool, seed: int) -> TrainableEncoder:
    """The encoder of a fine-tuning, with its own weights or with ones that are drawn from a seed.

    Raises:
        InputError: it cannot be had, not be trained, or not be made without its weights.
    """
    from uplift.encoders import load_encoder
    from uplift.encoders.finetuned import trainable
    from uplift.encoders.untrained import make_blank

    if scratch:
        return make_blank(name, device, seed=seed)
    return trainable(load_encoder(name, weights, device))


def check_begin(weights: Path | None, *, scratch: bool) -> None:
    """Raise InputError, before any work is done, for weights of an encoder that begins from nothing."""
    from render.errors import InputError

    if scratch and weights is not None:
        raise InputError(f"An encoder from nothing takes no weights, found {weights}; leave one of both out.")


def write_figures(
    out: Path,
    title: str,
    row: str,
    figures: Mapping[str, Sequence[float]],
    kinds: Mapping[str, Figure],
    content: Mapping[str, Any],
) -> None:
    """Show a table of one row, and write it and all that was found.

    Args:
        out: Folder.
        title: Of the table.
        row: What was measured.
        figures: Of every seed, by name.
        kinds: What they are.
        content: JSON values.
    """
    from app.figure_cells import mean_cell
    from app.result_tables import ResultTable, write_markdown
    from render.files import atomic_file
    from training.probing import interval_over_seeds

    cells = [mean_cell(interval_over_seeds(list(figures[name])), kind) for name, kind in kinds.items()]
    seeds = len(next(iter(figures.values())))
    note = f"means over {seeds} seeds; ± half of Student's 95 % interval" if seeds > 1 else ""
    table = ResultTable(title, ["network", *(kind.title for kind in kinds.values())], [[row, *cells]], note)
    show(table.rich())
    write_markdown(out / TABLES, title, [table])
    with atomic_file(out / RESULTS) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    wrote(out / TABLES)
    wrote(out / RESULTS)
