"""What sliders asked for and is on its way."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.explorer.commands import Command


class Wanted:
    """The last command that a page's sliders made of each target, until it has been done.

    Answers come late while a slider is dragged: an older one must not move it back, and a second slider goes on from
    what the first one asked for.
    """

    def __init__(self) -> None:
        self._commands: dict[Hashable, Command] = {}

    def ask(self, command: Command) -> None:
        """A slider asked for a command."""
        self._commands[command.target] = command

    def latest(self, command: Command) -> Command:
        """What sliders made of a command, whether it has been done yet or not."""
        return self._commands.get(command.target, command)

    def settle(self, done: Iterable[Command]) -> None:
        """Forget all but what differs from something that was done in the numbers of sliders alone."""
        here = {command.target: command for command in done}
        self._commands = {
            target: command for target, command in self._commands.items() if target in here and here[target] != command
        }

    def awaits(self, command: Command) -> bool:
        """Whether something newer than a command that was done is on its way."""
        return command.target in self._commands
