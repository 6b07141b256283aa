"""The entry point of ``fit3d``: subcommands, exit codes, and errors in one sentence."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Annotated, TypeAlias

import tyro

from app.commands.augment import Augment
from app.commands.bench import Bench
from app.commands.combine import Combine
from app.commands.demo import Demo
from app.commands.distill import Distill
from app.commands.edit import Edit
from app.commands.evaluate import Evaluate
from app.commands.extract import Extract
from app.commands.finetune import Finetune
from app.commands.fit_scenes import FitScenes
from app.commands.import_ import Import
from app.commands.info import Info
from app.commands.lift import Lift
from app.commands.masks import Masks
from app.commands.pretrain import Pretrain
from app.commands.probe import Probe
from app.commands.query import Query
from app.commands.remove import Remove
from app.commands.render import Render
from app.commands.reproduce import Reproduce
from app.commands.rooms import Rooms
from app.commands.segment import Segment
from app.commands.tiny import Tiny
from app.commands.view import View
from app.console import reader_left, sentence

OK, FAILURE, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
TRACEBACK_VARIABLE = "FIT3D_TRACEBACK"
DESCRIPTION = "Interactive 3D feature explorer: lifts the features of 2D vision models onto Gaussian-splat scenes."

Command: TypeAlias = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[View, tyro.conf.subcommand("view")]
    | Annotated[Import, tyro.conf.subcommand("import")]
    | Annotated[Info, tyro.conf.subcommand("info")]
    | Annotated[Lift, tyro.conf.subcommand("lift")]
    | Annotated[Render, tyro.conf.subcommand("render")]
    | Annotated[Segment, tyro.conf.subcommand("segment")]
    | Annotated[Query, tyro.conf.subcommand("query")]
    | Annotated[Combine, tyro.conf.subcommand("combine")]
    | Annotated[Edit, tyro.conf.subcommand("edit")]
    | Annotated[Extract, tyro.conf.subcommand("extract")]
    | Annotated[Remove, tyro.conf.subcommand("remove")]
    | Annotated[Masks, tyro.conf.subcommand("masks")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Finetune, tyro.conf.subcommand("finetune")]
    | Annotated[Distill, tyro.conf.subcommand("distill")]
    | Annotated[Pretrain, tyro.conf.subcommand("pretrain")]
    | Annotated[Augment, tyro.conf.subcommand("augment")]
    | Annotated[FitScenes, tyro.conf.subcommand("fit-scenes")]
    | Annotated[Tiny, tyro.conf.subcommand("tiny")]
    | Annotated[Rooms, tyro.conf.subcommand("rooms")]
    | Annotated[Probe, tyro.conf.subcommand("probe")]
    | Annotated[Reproduce, tyro.conf.subcommand("reproduce")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
)


def parse(arguments: Sequence[str]) -> Command:
    """Turn arguments into a command that can ``run()``.

    Raises:
        SystemExit: 0 after printing help, 2 for arguments that do not fit.
    """
    return tyro.cli(
        Command,
        prog="fit3d",
        description=DESCRIPTION,
        args=list(arguments),
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What follows ``fit3d``; None = the process's own.

    Returns:
        0, 2 for bad input, 130 after Ctrl-C, 1 for what the machine could not do (a full disk, no memory).
        What can only be a defect of the program is raised.
    """
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        return _report("Interrupted; only what is listed above as written was changed.", INTERRUPTED)


def entrypoint() -> None:
    """The console script ``fit3d``."""
    sys.excepthook = _one_sentence
    # Warnings are sentences; a library that configured logging first would put names of modules before them.
    logging.basicConfig(format="%(message)s")
    sys.exit(main())


def _run(arguments: Sequence[str]) -> int:
    try:
        try:
            command = parse(arguments)
        finally:
            sys.stdout.flush()  # help: here, where a reader who has left is no defect
    except BrokenPipeError:
        reader_left()
    # After parsing: this import brings torch along, and --help shall be quick.
    from render.errors import InputError

    try:
        command.run()
    except (InputError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        return _report(sentence(error), BAD_INPUT)
    except (OSError, MemoryError, RuntimeError, ImportError) as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        return _report(sentence(error), FAILURE)
    return OK


def _report(text: str, code: int) -> int:
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    print(text, file=sys.stderr)
    return code


def _one_sentence(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """What Python calls for an exception that nobody expected, before it exits with 1."""
    if os.environ.get(TRACEBACK_VARIABLE):
        sys.__excepthook__(kind, error, traceback)
        return
    text = f"{kind.__name__}: {error}".rstrip(". ")
    print(f"fit3d failed ({' '.join(text.split())}); set {TRACEBACK_VARIABLE}=1 to see where.", file=sys.stderr)
