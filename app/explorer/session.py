"""A person's work on a scene: what is selected, hidden and removed, changed by commands that can be undone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import torch

from app.explorer.autosave import Autosave
from app.explorer.cache import Cache
from app.explorer.commands import Command
from app.explorer.commands.base import Same, Work, check_name
from app.explorer.document import Document
from app.explorer.history import Edit, History
from app.explorer.resources import Resources
from app.explorer.threads import libraries_with_one_thread
from app.scenes import gaussians_of, save_selection
from render.devices import resolve_device
from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.scene import Scene
from uplift.field import FeatureField
from uplift.graph import NeighbourGraph
from uplift.scene_graph import SceneGraph
from uplift.search import Searcher, TextEncoder
from uplift.segmentation import Segmenter

if TYPE_CHECKING:
    from jaxtyping import Int

Subscriber: TypeAlias = Callable[[Document, Document], None]
V = TypeVar("V")

ANSWERS_KEPT = 4  # of prompts, for a slider that moves their threshold
VISIBLE_KEPT = 4  # opacities: what is shown now, and what a video or picture of before still shows


class Session:
    """One scene with a document, a history, and what prompts need.

    Reading is for any thread.  Commands are run one after the other: a second caller waits.  Undo and redo do not: a
    command that is being computed meanwhile is computed again, for the document that is shown then.  A document never
    changes, so whoever holds one may read it for as long as it likes.

    Args:
        scene: The scene.
        device: Where it is computed: auto, cpu, cuda or cuda:N.
        autosave: Keep the document in ``SCENE/session`` after edits, and begin with the one that is kept there; not
            while another session does so.
        text_encoders: Encoders of texts by the name of the field, instead of those that the fields name.
        text_weights: A file with the weights of those that the fields name.

    Raises:
        InputError: the scene has no Gaussians, or there is no such device.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        device: str | torch.device = "auto",
        autosave: bool = True,
        text_encoders: Mapping[str, TextEncoder] | None = None,
        text_weights: Path | None = None,
    ) -> None:
        self.scene = scene
        self.gaussians: Gaussians = gaussians_of(scene).to(resolve_device(device))
        self.history = History()
        self._resources = Resources(scene, self.gaussians, text_encoders or {}, text_weights)
        self._commanding = threading.RLock()  # held while a command is computed,
        self._editing = threading.RLock()  # and while the document changes: undo does not wait for what is computed
        self._subscribers: list[Subscriber] = []
        self._visible = Cache(limit=None, count=VISIBLE_KEPT)
        self._answers = Cache(limit=None, count=ANSWERS_KEPT)
        self._autosave = Autosave(scene) if autosave else None
        recovered = None if self._autosave is None else self._autosave.read()
        self.recovered = recovered is not None
        """Whether the document is one that an earlier session left."""
        self.kept_elsewhere = self._autosave is not None and self._autosave.elsewhere
        """Whether another explorer keeps its work on the scene, so that this session's is not kept."""
        self.begun_anew = None if self._autosave is None else self._autosave.begun_anew
        """Why what an earlier session left is not used, and where it lies now; None if it is used."""
        self._document = Document.new(self.n) if recovered is None else recovered

    @property
    def n(self) -> int:
        """How many Gaussians the scene has, hidden and removed ones too."""
        return len(self.gaussians)

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return self.gaussians.device

    @property
    def document(self) -> Document:
        """What is selected, hidden and removed now."""
        return self._document

    @property
    def visible_gaussians(self) -> Gaussians:
        """All Gaussians of the scene, on the device; hidden and removed ones have opacity 0."""
        return self.visible_in(self._document)

    def visible_in(self, document: Document) -> Gaussians:
        """All Gaussians, with opacity 0 where a document hides or removes them; the same object while it does not
        change what is hidden or removed."""
        if document.all_visible:
            return self.gaussians

        def make() -> Gaussians:
            visible = document.visible.to(self.device)
            return self.gaussians.with_values(opacities=self.gaussians.opacities * visible)

        return self._visible.get((Same(document.hidden), Same(document.removed)), make)

    @property
    def field_names(self) -> list[str]:
        """The scene's fields, sorted."""
        return self._resources.field_names

    @property
    def text_field_names(self) -> list[str]:
        """Fields that can be searched for texts."""
        return self._resources.text_field_names

    @property
    def default_field(self) -> str | None:
        """The field that prompts use unless another one is chosen: one that does not read texts, if there is one."""
        names, texts = self.field_names, self.text_field_names
        return next((name for name in names if name not in texts), names[0] if names else None)

    @property
    def default_text_field(self) -> str | None:
        """The field that texts are searched in unless another one is chosen."""
        return next(iter(self.text_field_names), None)

    def field(self, name: str) -> FeatureField:
        """A field on the device; read once.  InputError: there is none, or it belongs to other Gaussians."""
        return self._resources.field(name)

    def segmenter(self, field: str, document: Document | None = None, progress: Progress = silent) -> Segmenter:
        """Answers prompts on what a document (by default the one that is shown) does not hide or remove."""
        gaussians = self.visible_in(self._document if document is None else document)
        return self._resources.segmenter(field, gaussians, progress)

    def searcher(self, field: str, structure: str | None = None, progress: Progress | None = None) -> Searcher:
        """Answers texts; refined along the features of ``structure``, by default the field's own.

        With a progress, the graph is made now; else when a text first needs it.

        Raises:
            InputError: there is no such field, or it does not read texts.
        """
        return self._resources.searcher(field, structure, progress)

    def graph(self, field: str | None = None, progress: Progress = silent) -> NeighbourGraph:
        """The neighbour graph of all Gaussians, with a field's features if one is named."""
        return self._resources.graph(field, progress)

    def scene_graph(self, field: str, progress: Progress = silent) -> SceneGraph:
        """The graph of a field, and what the photos see of each Gaussian."""
        return self._resources.scene_graph(field, progress)

    def nearest_seen(self, field: str) -> Int[torch.Tensor, " n"]:
        """For each Gaussian the nearest one that the field's photos show; itself where they show it."""
        return self._resources.nearest_seen(field)

    def answer(self, key: Hashable, make: Callable[[], V]) -> V:
        """What ``make`` returns, remembered for the last few keys: a slider asks for the same again and again."""
        return self._answers.get(key, make)

    def run(self, command: Command, progress: Progress = silent) -> Document:
        """Do a command; whatever is raised leaves everything as it was.

        Args:
            command: What to do.
            progress: Told of long work; raising from it cancels.

        Returns:
            The document that is shown now; the same one if the command had nothing to change.

        Raises:
            InputError: it cannot be done.
        """
        return self._edit(command, progress, amending=False)

    def amend(self, command: Command, progress: Progress = silent) -> Document:
        """As :meth:`run`, but in the place of the last edit if that differs in what sliders set alone.

        A threshold that was moved since, and how the selection is shown, stay as they are.
        """
        return self._edit(command, progress, amending=True)

    def undo(self) -> Edit | None:
        """Take the last edit back; None if there is none."""
        with self._editing:
            before, edit = self._document, self.history.step_back()
            if edit is not None:
                edit.undo(self)
                self._keep()
        if edit is not None:
            self._tell(before, edit.before)
        return edit

    def redo(self) -> Edit | None:
        """Do again what was taken back last; None if there is nothing."""
        with self._editing:
            before, edit = self._document, self.history.step_forward()
            if edit is not None:
                edit.do(self)
                self._keep()
        if edit is not None:
            self._tell(before, edit.after)
        return edit

    def show(self, document: Document) -> None:
        """Show a document without a word to anybody; what :class:`Edit` does.

        Raises:
            InputError: it is one of other Gaussians.
        """
        if document.n != self.n:
            raise InputError(f"The document is one of {document.n} Gaussians, but the scene has {self.n}.")
        self._document = document

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Have ``callback(before, after)`` called after every change, in the thread that made it.

        Returns:
            What to call to hear no more.
        """
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    def save_selection(self, name: str | None = None, *, overwrite: bool = False) -> Path:
        """Write the active selection into the scene's folder; says which file that is.

        Args:
            name: What it is called there; None = as it is here.
            overwrite: Replace a selection of that name.

        Raises:
            InputError: the name cannot be one, or is taken.
            OSError: the disk is full, or the folder cannot be written.
        """
        document = self._document
        name = document.active if name is None else name
        check_name(name)
        if not overwrite and name in self.scene.selections:
            raise InputError(
                f"The scene keeps a selection {name!r} already, which is not overwritten; take another name."
            )
        return save_selection(self.scene, name, document.selection)

    def flush(self) -> None:
        """Write what is not kept yet, now, and wait for it."""
        if self._autosave is not None:
            self._autosave.flush()

    def close(self) -> None:
        """Write what is not written yet; nobody hears of changes any more."""
        self._subscribers.clear()
        if self._autosave is not None:
            self._autosave.close()

    def _edit(self, command: Command, progress: Progress, *, amending: bool) -> Document:
        with self._commanding:
            while (done := self._attempt(command, progress, amending=amending)) is None:
                pass
        before, after = done
        if after is not before:
            self._tell(before, after)
        return after

    def _attempt(self, command: Command, progress: Progress, *, amending: bool) -> tuple[Document, Document] | None:
        """The documents before and after a command; None if something was undone or done again meanwhile."""
        with self._editing:
            before, last = self._document, self.history.last
            amended = self.history.amended_by(command) if amending else ()
        if amended:
            edits = self._again(command, amended, progress)
        else:
            edits = [Edit(command, before, self._apply(command, before, progress))]
        after = edits[-1].after
        with self._editing:
            if self._document is not before or self.history.last is not last:
                return None
            progress(1, 1, command.title)  # what was cancelled meanwhile must not come after an undo
            if amended:
                self.history.replace_last(*edits)
            elif after is not before:
                self.history.push(edits[0])
            else:
                return before, after
            self._document = after
            self._keep()
        return before, after

    def _again(self, command: Command, amended: Sequence[Edit], progress: Progress) -> list[Edit]:
        """A command in the place of the first of some edits, and what the others did after it."""
        edits: list[Edit] = []
        document = amended[0].before
        for one in (command, *(edit.command for edit in amended[1:])):
            edits.append(Edit(one, document, self._apply(one, document, progress)))
            document = edits[-1].after
        return edits

    def _apply(self, command: Command, document: Document, progress: Progress) -> Document:
        with libraries_with_one_thread(), torch.no_grad():
            return command.apply(Work(self, document, progress))

    def _keep(self) -> None:
        """Have what is shown now written soon; under the lock, so that a later document never comes first."""
        if self._autosave is not None:
            self._autosave.changed(self._document)

    def _tell(self, before: Document, after: Document) -> None:
        for callback in list(self._subscribers):
            callback(before, after)
