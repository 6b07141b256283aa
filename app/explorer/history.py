"""Edits that were done, and those that were undone and can be done again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.explorer.document import Document

if TYPE_CHECKING:
    from app.explorer.commands import Command
    from app.explorer.session import Session

LIMIT = 1_000_000_000  # bytes of arrays that only the history keeps
MOST_EDITS = 1000


@dataclass(frozen=True, eq=False)
class Edit:
    """A command with what was there before it and after it.

    Attributes:
        command: What was done.
        before: The document that it was done to.
        after: The document that it made.
    """

    command: Command
    before: Document
    after: Document

    @property
    def title(self) -> str:
        """What was done, in a few words."""
        return self.command.title

    def do(self, session: Session) -> None:
        """Show what was made."""
        session.show(self.after)

    def undo(self, session: Session) -> None:
        """Show what was there before."""
        session.show(self.before)


class History:
    """A list of edits with a cursor: those before it are done, those after it undone.

    Args:
        limit: Bytes of different arrays that edits may hold together; the oldest edits are dropped above it, the
            last one never.
        most: How many edits are kept.
    """

    def __init__(self, limit: int = LIMIT, most: int = MOST_EDITS) -> None:
        self._limit, self._most = limit, most
        self._edits: list[Edit] = []
        self._cursor = 0
        self._uses: Counter[int] = Counter()  # of each array, by its id: edits hold it, so the id stays its own
        self._nbytes = 0

    @property
    def edits(self) -> Sequence[Edit]:
        """All edits, the oldest first; those from ``cursor`` on are undone."""
        return tuple(self._edits)

    @property
    def cursor(self) -> int:
        """How many edits are done."""
        return self._cursor

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays that edits hold, each counted once."""
        return self._nbytes

    @property
    def last(self) -> Edit | None:
        """The edit that would be undone."""
        return self._edits[self._cursor - 1] if self._cursor else None

    @property
    def next(self) -> Edit | None:
        """The edit that would be done again."""
        return self._edits[self._cursor] if self._cursor < len(self._edits) else None

    def push(self, edit: Edit) -> None:
        """Add an edit that was done; what was undone is forgotten."""
        while len(self._edits) > self._cursor:
            self._release(self._edits.pop())
        self._edits.append(edit)
        self._hold(edit)
        while len(self._edits) > 1 and (self._nbytes > self._limit or len(self._edits) > self._most):
            self._release(self._edits.pop(0))
        self._cursor = len(self._edits)

    def amended_by(self, command: Command) -> Sequence[Edit]:
        """The edits that a slider's command takes the place of: the last one if it differs in what sliders set alone.

        A prompt may be found beneath edits that adjust what it made; they follow it, to be done again.  Empty if
        there is none.
        """
        done = self._edits[: self._cursor]
        for index in reversed(range(len(done))):
            if done[index].command.target == command.target:
                return tuple(done[index:])
            if command.adjusts or not done[index].command.adjusts:
                break
        return ()

    def replace_last(self, *edits: Edit) -> None:
        """Put edits in the place of as many that were done last; what was undone is forgotten."""
        self._cursor = max(0, self._cursor - len(edits))
        for edit in edits:
            self.push(edit)

    def step_back(self) -> Edit | None:
        """Move the cursor before the last edit and return it; None if nothing is left to undo."""
        edit = self.last
        if edit is not None:
            self._cursor -= 1
        return edit

    def step_forward(self) -> Edit | None:
        """Move the cursor behind the next edit and return it; None if nothing is left to do again."""
        edit = self.next
        if edit is not None:
            self._cursor += 1
        return edit

    def _hold(self, edit: Edit) -> None:
        for document in (edit.before, edit.after):
            for tensor in document.tensors():
                if not self._uses[id(tensor)]:
                    self._nbytes += tensor.nbytes
                self._uses[id(tensor)] += 1

    def _release(self, edit: Edit) -> None:
        for document in (edit.before, edit.after):
            for tensor in document.tensors():
                self._uses[id(tensor)] -= 1
                if not self._uses[id(tensor)]:
                    self._nbytes -= tensor.nbytes
                    del self._uses[id(tensor)]
