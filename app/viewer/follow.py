"""A nerfstudio run in the explorer: its newest checkpoint, and every newer one once it is written.

The run is read and nothing more.  A checkpoint becomes a scene folder in the user's cache; what pages export goes into
``RUN/exports``, for the scenes of older checkpoints are removed.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
import shutil
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from app.console import progress_bars, say
from app.explorer.document import Document
from app.explorer.session import Session
from app.explorer.worker import Cancelled
from render.errors import InputError
from render.files import cache_folder
from render.progress import Progress, silent
from render.scene import TRANSFORMS, Scene

if TYPE_CHECKING:
    from app.explorer.commands import Command
    from app.explorer.history import Edit
    from app.viewer.explorer import Explorer

log = logging.getLogger(__name__)

CONFIG, DATAPARSER, MODELS, EXPORTS = "config.yml", "dataparser_transforms.json", "nerfstudio_models", "exports"
CHECKPOINT = re.compile(r"step-(\d+)\.ckpt")
SCENES = "step-*"  # folders of imported checkpoints
LOOK = 2.0  # seconds between looks at the run
MOST_FAILURES = 5  # of one checkpoint, after which it is given up with a warning
FAILURES = (InputError, OSError, RuntimeError, ValueError, pickle.UnpicklingError)
EARLIER = "what was done in an earlier session"


@dataclass(frozen=True, order=True)
class Checkpoint:
    """A checkpoint as it lies on the disk now; later ones are greater.

    Attributes:
        step: Of the training.
        written: When the file was changed last, in nanoseconds.
        path: The file.
    """

    step: int
    written: int
    path: Path


class Run:
    """A run of ``ns-train`` whose checkpoints are imported one after the other.

    Args:
        path: The folder with ``config.yml``, or that file.
    """

    def __init__(self, path: Path) -> None:
        self.path = (path.parent if path.name == CONFIG else path).resolve()
        name = f"{self.path.name}-{hashlib.sha256(str(self.path).encode()).hexdigest()[:12]}"
        self.folder = cache_folder() / "runs" / name
        """Where its scenes lie."""

    @staticmethod
    def at(path: Path) -> Run | None:
        """The run at a path; None if there is none."""
        is_file = path.name == CONFIG and path.is_file()
        return Run(path) if is_file or ((path / CONFIG).is_file() and not (path / TRANSFORMS).is_file()) else None

    def checkpoints(self) -> list[Checkpoint]:
        """Those that lie there now, the latest first; the last of them may be half written."""
        found = []
        for path in (self.path / MODELS).glob("step-*.ckpt"):
            match = CHECKPOINT.fullmatch(path.name)
            try:
                if match is not None:
                    found.append(Checkpoint(int(match[1]), path.stat().st_mtime_ns, path))
            except FileNotFoundError:
                continue  # the trainer has removed it meanwhile
        return sorted(found, reverse=True)

    def steps_per_save(self) -> int | None:
        """After how many steps the trainer writes a checkpoint; None if the run does not tell."""
        from training.import_run import read_config

        steps = read_config(self.path / CONFIG).get("steps_per_save")
        return steps if isinstance(steps, int) else None

    def open(self, checkpoint: Checkpoint, progress: Progress = silent) -> Scene:
        """The scene of a checkpoint; imported unless that was done already.

        Raises:
            InputError: the checkpoint is damaged, half written or gone, or of no use.
            OSError: the disk is full, or the cache cannot be written.
        """
        path = self.folder / f"step-{checkpoint.step:09d}-{checkpoint.written:x}"
        if not (path / TRANSFORMS).is_file():
            self._import(checkpoint, path, progress)
        exports = path / EXPORTS
        if not exports.is_symlink():
            exports.symlink_to(self.path / EXPORTS)
        return Scene.open(path)

    def remove_others(self, kept: Scene) -> None:
        """Remove the scenes of other checkpoints, but for those in which somebody kept selections."""
        for path in self.folder.glob(SCENES):
            if path == kept.path:
                continue
            if any((path / "selections").glob("*.npz")):
                log.info("%s stays, for selections were kept there.", path)
            else:
                shutil.rmtree(path, ignore_errors=True)

    def _import(self, checkpoint: Checkpoint, path: Path, progress: Progress) -> None:
        from training.import_run import import_run

        self.folder.mkdir(parents=True, exist_ok=True)
        with self._with_one(checkpoint) as run:
            try:
                import_run(run, path, link=True, progress=progress)
            except InputError as error:
                raise InputError(str(error).replace(str(run), str(self.path))) from error

    @contextmanager
    def _with_one(self, checkpoint: Checkpoint) -> Iterator[Path]:
        """The run with one checkpoint alone: a moment later the trainer may have written the next."""
        with TemporaryDirectory(prefix=".run-", dir=self.folder) as name:
            folder = Path(name)
            (folder / MODELS).mkdir()
            for part in (CONFIG, DATAPARSER, f"{MODELS}/{checkpoint.path.name}"):
                (folder / part).symlink_to(self.path / part)
            yield folder


def first_scene(run: Run, every: float = LOOK) -> tuple[Checkpoint, Scene]:
    """The scene of a run's latest checkpoint; waits for the first one.

    Raises:
        InputError: the run cannot be imported.
    """
    told = False
    while True:
        for checkpoint in run.checkpoints():
            try:
                with progress_bars() as progress:
                    return checkpoint, run.open(checkpoint, progress)
            except (InputError, pickle.UnpicklingError):
                if zipfile.is_zipfile(checkpoint.path):
                    raise  # it is whole, so that time will not help
        if not told:
            say(_waiting(run))
        told = True
        time.sleep(every)


class Repetition:
    """The edits of one session, done again in another."""

    def __init__(self, before: Session, after: Session) -> None:
        self._before, self._after = before, after
        self._done: list[tuple[Edit, bool, bool]] = []  # with whether it changed something, and whether it failed

    @property
    def left_out(self) -> list[str]:
        """What cannot be done again."""
        history, document = self._before.history, self._before.document
        edits = history.edits[: history.cursor]
        base = edits[0].before if edits else document
        earlier = [] if base.equal(Document.new(base.n)) else [EARLIER]
        return list(dict.fromkeys(earlier + [edit.title for edit, _, failed in self._done if failed]))

    def catch_up(self, progress: Progress = silent) -> None:
        """Do what was not done again yet, and take back what is undone there meanwhile."""
        history = self._before.history
        edits = history.edits[: history.cursor]
        known = takewhile(lambda pair: pair[0][0] is pair[1], zip(self._done, edits, strict=False))
        same = sum(1 for _ in known)
        while len(self._done) > same:
            if self._done.pop()[1]:
                self._after.undo()
        for number, edit in enumerate(edits[same:], same):
            progress(number, len(edits), "doing edits again")
            self._done.append((edit, *self._repeat(edit.command, progress)))

    def _repeat(self, command: Command, progress: Progress) -> tuple[bool, bool]:
        before = self._after.document
        try:
            return self._after.run(command, progress) is not before, False
        except InputError as error:
            log.info("%s is not done again: %s", command.title, error)
            return False, True


class Follower:
    """Looks for newer checkpoints of a run and changes the explorer over to them.

    Args:
        explorer: Where the run is shown.
        run: The run.
        shown: The checkpoint that is shown.
        every: Seconds between looks.
    """

    def __init__(self, explorer: Explorer, run: Run, shown: Checkpoint, *, every: float = LOOK) -> None:
        self.shown = shown
        """The checkpoint that is shown now."""
        self._explorer, self._run, self._every = explorer, run, every
        self._failures: Counter[Checkpoint] = Counter()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="explorer-follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closing.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._closing.wait(self._every):
            try:
                self._look()
            except Cancelled:
                return

    def _look(self) -> None:
        """Show the latest checkpoint that can be read; one that is half written is tried again."""
        for checkpoint in self._run.checkpoints():
            if checkpoint <= self.shown:
                return
            if self._failures[checkpoint] >= MOST_FAILURES:
                continue
            try:
                self._take(checkpoint)
                return
            except FAILURES as error:
                self._failed(checkpoint, error)

    def _failed(self, checkpoint: Checkpoint, error: Exception) -> None:
        self._failures[checkpoint] += 1
        if self._failures[checkpoint] < MOST_FAILURES or not checkpoint.path.exists():
            return
        from app.main import sentence

        text = f"Step {checkpoint.step:,} of the run is not shown: {sentence(error)}"
        log.warning("%s", text)
        for page in self._explorer.pages:
            page.complain(InputError(text))

    def _take(self, checkpoint: Checkpoint) -> None:
        """Import a checkpoint, do there what was done, and only then show it."""
        before = self._explorer.session
        scene = self._run.open(checkpoint, self._go_on)
        _keep_colours(before, scene)
        with ExitStack() as stack:
            session = Session(scene, device=before.device)
            stack.callback(session.close)
            if session.default_field is not None:
                session.segmenter(session.default_field, progress=self._go_on)
            repetition = Repetition(before, session)
            repetition.catch_up(self._go_on)
            self._change_over(repetition, session)
            stack.pop_all()
        self.shown = checkpoint
        self._tell(session, repetition.left_out)
        # Behind what was asked of the scene that goes.
        self._explorer.compute.submit("tidy", lambda _: self._run.remove_others(scene), _ignored)

    def _change_over(self, repetition: Repetition, session: Session) -> None:
        """In the thread that computes, so that nothing is done to the old session meanwhile."""

        def work(progress: Progress) -> None:
            with self._explorer.editing:
                repetition.catch_up(progress)
                self._explorer.change_over(session)

        result: Any = Cancelled()
        # A person who cancels does not mean this work.
        while isinstance(result, Cancelled):
            answers: list[object] = []
            answered = threading.Event()
            self._explorer.compute.submit("change over", work, partial(_answer, answers, answered))
            while not answered.wait(0.05):
                self._go_on()
            (result,) = answers
        if isinstance(result, Exception):
            raise result

    def _go_on(self, *_: object) -> None:
        """A progress that ends what is done when nobody follows any more."""
        if self._closing.is_set():
            raise Cancelled("The run is not followed any more.")

    def _tell(self, session: Session, left_out: list[str]) -> None:
        text = f"Step {self.shown.step:,} is shown now ({session.n:,} Gaussians)."
        if left_out:
            text += f" Not done again: {'; '.join(left_out)}."
        say(text)
        for page in self._explorer.pages:
            page.tell(text)


def _keep_colours(before: Session, scene: Scene) -> None:
    """Give the fields of a scene PCA colours that resemble those of the same fields before: nothing flips."""
    from app.explorer.pca_focus import resembling
    from uplift.field import FeatureField

    for name in sorted(set(before.field_names) & set(scene.fields)):
        old, new = before.field(name), FeatureField.load(scene.fields[name])
        if old.pca is not None and new.pca is not None and old.dimension == new.dimension:
            rows = new.values[new.weights > 0]
            replace(new, pca=resembling(new.pca, old.pca, rows)).save(scene.fields[name])


def _waiting(run: Run) -> str:
    steps = run.steps_per_save()
    when = "" if steps is None else f"; the trainer writes one every {steps:,} steps (ns-train ... --steps-per-save)"
    return f"{run.path} has no checkpoint yet{when}; waiting for it, Ctrl-C ends"


def _answer(answers: list[object], answered: threading.Event, result: object) -> None:
    answers.append(result)
    answered.set()


def _ignored(_: object) -> None:
    """What was not removed is the next time."""
