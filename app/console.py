"""What the command line prints: lines, tables, progress bars, sizes, errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rich.table import Table

    from render.progress import Progress


GIGABYTE = 10**9
READER_LEFT = 141  # what shells call a program that ended because nobody reads what it prints


def reader_left() -> NoReturn:
    """End without a word: who read standard output has left, as ``head`` does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes at its end
    raise SystemExit(READER_LEFT)


def say(text: str) -> None:
    """Print one line to standard output, as it is."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        reader_left()


def wrote(path: str | Path) -> None:
    """Tell which file or folder was written."""
    say(f"wrote {path}")


def show(table: Table) -> None:
    """Print a table, as wide as it needs to be where nobody's terminal limits it."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160)
    with console.capture() as printed:
        console.print(table)
    say(printed.get().rstrip("\n"))


def size(count: float) -> str:
    """Bytes for people: ``3.2 GB``."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def duration(seconds: float) -> str:
    """Seconds for people: ``45 s``, ``3 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def sentence(error: BaseException) -> str:
    """An exception as one line; its type is named where the text alone would not say what went wrong."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    elif isinstance(error, (OSError, ValueError, ImportError)) and str(error):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return " ".join(text.split())


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """One bar per kind of work, with the time that is left; nothing is drawn where there is no terminal.

    Yields:
        The callback that long work takes; of ``KIND: DETAILS`` the details may change, the bar stays.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:

        def report(done: int, total: int, what: str) -> None:
            kind = what.partition(": ")[0]
            if kind not in tasks:
                tasks[kind] = bars.add_task(what, total=total)
            bars.update(tasks[kind], description=what, completed=done, total=total)

        yield report
