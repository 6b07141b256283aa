"""``fit3d edit``: what the explorer's window does, from a list of commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from app.console import progress_bars, say, wrote

if TYPE_CHECKING:
    from app.explorer.commands import Command
    from app.explorer.document import Document
    from app.explorer.session import Session
    from render.scene import Scene

LARGEST_FILE = 100_000_000  # bytes of a list of commands


@dataclass(frozen=True)
class Edit:
    """Run a list of the explorer's commands on a scene, as its window would, and take away what is left.

    COMMANDS.json is a list of objects such as {"kind": "text", "text": "chair", "field": "tiny-clip"}; without one all
    kinds and their fields are listed.  The kinds: scribble, click, rectangle, lasso, text, similar, grow, shrink,
    largest, invert, clear, all, threshold, new-selection, rename, delete, activate, show, show-others, colour, hide,
    isolate, show-all, remove, restore, load.  A viewpoint is the name of a photo, whose undistorted pixels are meant
    then, or an object with K, world_to_camera, width and height.  Selections and files are written with --save and
    --out alone, and none if a command fails; the scene keeps its neighbour graph for the next time.
    """

    scene: tyro.conf.Positional[Path]
    """Scene folder."""
    commands: tyro.conf.Positional[Path | None] = None
    """JSON file with the list of commands; left out: say what commands there are."""
    out: Path | None = None
    """Write the Gaussians that are not removed, FILE.ply."""
    save: str | None = None
    """Save the active selection under this name."""
    weights: Path | None = None
    """File with the weights of the field's encoder that texts need."""
    overwrite: bool = False
    """Replace the file and the selection if they exist."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Run the commands, then write what was asked for."""
        from app.explorer.commands.base import check_name
        from app.explorer.session import Session
        from app.exports import check_export, note_path
        from app.scenes import refuse_existing
        from render.errors import InputError
        from render.scene import Scene

        scene = Scene.open(self.scene)
        if self.commands is None:
            self._list_commands(scene)
            return
        if self.out is not None:
            check_export(scene, self.out)
            refuse_existing(self.out, self.overwrite)
            refuse_existing(note_path(self.out), self.overwrite)
        if self.save is not None:
            check_name(self.save)
            refuse_existing(scene.selection_path(self.save), self.overwrite)
        commands = read_commands(self.commands, scene)
        if not commands and self.save is not None:
            raise InputError(
                f"{self.commands} lists no commands, so nothing is selected that could be saved as {self.save!r}; "
                "list some, or leave --save out."
            )
        if not commands:
            say(f"{self.commands} lists no commands; nothing is selected, hidden or removed")
        session = Session(scene, device=self.device, autosave=False, text_weights=self.weights)
        _run_all(session, commands)
        self._write(session)
        session.close()

    def _list_commands(self, scene: Scene) -> None:
        from app.explorer.commands import KINDS, Stroke, fields_in_words
        from render.errors import InputError

        if self.out is not None or self.save is not None:
            raise InputError("--out and --save need a JSON file with a list of commands; name one after the scene.")
        for kind, command in KINDS.items():
            say(f"{kind}: {str(command.__doc__).splitlines()[0].replace('``', '')}")
            if fields := fields_in_words(command):
                say(f"    {fields}")
        say(f"a stroke: an object with {fields_in_words(Stroke)}")
        say(f"a viewpoint: the name of a photo ({', '.join(view.name for view in scene.views[:3])}, ...) or a camera")
        say(f"fields of the scene: {', '.join(scene.fields) or 'none'}")

    def _write(self, session: Session) -> None:
        from app.exports import export
        from render.errors import InputError

        keep = ~session.document.removed
        if self.out is not None and not bool(keep.any()):
            raise InputError(f"All Gaussians are removed, so there is nothing to write to {self.out}.")
        if self.save is not None:
            wrote(session.save_selection(self.save, overwrite=self.overwrite))
        if self.out is not None:
            edits = [edit.title for edit in session.history.edits]
            for path in export(session.scene, self.out, keep, {"part": "all but the removed", "edits": edits}):
                wrote(path)


def read_commands(path: Path, scene: Scene) -> list[Command]:
    """The commands of a file.

    Args:
        path: A JSON list.
        scene: Whose photos may be named as viewpoints.

    Raises:
        InputError: it cannot be read, is no list, or a command is none: the sentence says which and why.
    """
    import json

    from app.explorer.commands import command_from_json
    from render.errors import InputError

    if not path.is_file():
        found = f"{path} is a folder" if path.is_dir() else f"There is no file {path}"
        raise InputError(f"{found}; expected a JSON list of commands.")
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(f"{path} has more than {LARGEST_FILE // 1_000_000} MB; split the commands.")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # editors of Windows put a mark at the beginning
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8; expected a JSON list of commands.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a JSON file ({error}); expected a list of commands.") from error
    if not isinstance(content, list):
        raise InputError(f"{path} must hold a list of commands, each an object with a kind.")
    commands = []
    for number, value in enumerate(content, 1):
        try:
            commands.append(command_from_json(_with_viewpoint(value, scene)))
        except InputError as error:
            raise InputError(f"{path}, command {number}: {error}") from error
    return commands


def _with_viewpoint(value: Any, scene: Scene) -> Any:
    """The same command with the camera of a photo in the place of its name."""
    from dataclasses import asdict

    from app.explorer.commands import Viewpoint

    if not isinstance(value, dict) or not isinstance(value.get("viewpoint"), str):
        return value
    return {**value, "viewpoint": asdict(Viewpoint.of(scene.view(value["viewpoint"]).camera))}


def _run_all(session: Session, commands: list[Command]) -> None:
    from render.errors import InputError

    with progress_bars() as progress:
        for number, command in enumerate(commands, 1):
            try:
                document = session.run(command, progress)
            except InputError as error:
                raise InputError(f"Command {number}, {command.title}: {error}") from error
            say(f"{number}. {command.title}: {_state(document)}")


def _state(document: Document) -> str:
    """What a document holds, in a few words."""
    counts = {"selected in " + repr(document.active): len(document.selection)}
    counts |= {"hidden": int(document.hidden.sum()), "removed": int(document.removed.sum())}
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count or what.startswith("selected"))
