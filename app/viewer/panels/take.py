"""What leaves the explorer: Gaussians, masks, pictures, videos, a page; and selections that are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.console import size
from app.exports import note_path
from app.viewer.cameras import WIDEST
from app.viewer.panels.values import NONE
from render.errors import InputError
from render.progress import Progress

if TYPE_CHECKING:
    import viser

    from app.viewer.page import Page
    from render.camera import Camera

SELECTED, REST, LEFT = "the selection", "all but the selection", "the scene as it is now"
LARGEST_DOWNLOAD = 256_000_000  # bytes; larger files are only written beside the scene
MOST_EXPORTS = 8  # at a time, of all pages; the others wait, and hold what they will write
OTHER = "another size"
SIZES = {"as the window": 0, "720 rows": 720, "1080 rows": 1080, "2160 rows": 2160, OTHER: 1}
ROWS = 4320  # of another size, until somebody says how many
NOW, PLAIN = "as shown now", "the scene's own"


class TakePanel:
    """The tab *Take*."""

    def __init__(self, page: Page, tabs: viser.GuiTabGroupHandle) -> None:
        self._page = page
        self._stops: list[Camera] = []
        self._named = page.session.document.active
        gui = page.client.gui
        with tabs.add_tab("Take"):
            self._name = gui.add_text("Name", page.session.document.active, hint="of the files")
            with gui.add_folder("Gaussians"):
                self._part = gui.add_dropdown(
                    "Part", (SELECTED, REST, LEFT), hint="Which Gaussians are written; removed ones never are"
                )
                gui.add_button("Export .ply", hint="Write them, with a note of how they were selected").on_click(
                    lambda _: self._ply()
                )
            with gui.add_folder("Selection"):
                gui.add_button("Masks for all photos", hint="Write where each photo shows the selection").on_click(
                    lambda _: self._masks()
                )
                gui.add_button(
                    "Keep in the scene", hint="Under the name above, for other commands of fit3d too"
                ).on_click(lambda _: self._keep())
                known = tuple(page.session.scene.selections) or (NONE,)
                self._kept = gui.add_dropdown("Kept", known, hint="Selections that the scene keeps")
                gui.add_button("Load", hint="Make a kept selection the active one").on_click(lambda _: self._load())
            with gui.add_folder("Picture"):
                self._size = gui.add_dropdown("Size", tuple(SIZES), hint="Of the picture; its shape is the window's")
                self._rows = gui.add_number(
                    "Rows", ROWS, min=1, max=WIDEST, step=1, visible=False, hint="Pixels from top to bottom"
                )
                gui.add_button("Save PNG", hint="Write what is looked at, without panels").on_click(
                    lambda _: self._still()
                )
            with gui.add_folder("Video"):
                stops = gui.add_button_group(
                    "Path", ("Add this view", "Start over"), hint="The views that the camera goes through, two or more"
                )
                self._seconds = gui.add_slider("Seconds", 1.0, 60.0, 0.5, 6.0, hint="How long the video is")
                gui.add_button("Save MP4", hint="Write the way through the views as a video").on_click(
                    lambda _: self._video()
                )
                self._count = gui.add_markdown("no view yet")
            with gui.add_folder("Page"):
                self._colours = gui.add_dropdown(
                    "Colours", (NOW, PLAIN), hint="of the file's Gaussians; of two pictures the left one's"
                )
                gui.add_button(
                    "Save as one HTML file", hint="Opens in any browser, without a server or network"
                ).on_click(lambda _: self._html())
        stops.on_click(lambda _: self._stop(stops.value))
        self._size.on_update(lambda _: self._show_rows())

    def refresh(self) -> None:
        """Show which selections the scene keeps, and name files after the active one unless somebody named them."""
        active = self._page.session.document.active
        if self._name.value == self._named:
            self._name.value = active
        self._named = active
        known = tuple(self._page.session.scene.selections) or (NONE,)
        if tuple(self._kept.options) != known:
            self._kept.options = known

    def _ply(self) -> None:
        from app.exports import check_export, export

        session, part = self._page.session, self._part.value
        document = session.document
        inside = document.selection.mask
        keep = {SELECTED: inside, REST: ~inside, LEFT: ~document.removed}[part] & ~document.removed
        about = {"part": part, "made": dict(document.selection.about) if part != LEFT else {}}

        def work(path: Path, _: Progress) -> None:
            check_export(session.scene, path)
            export(session.scene, path, keep, about)

        self._make(".ply", work)

    def _masks(self) -> None:
        from app.exports import write_masks

        session = self._page.session
        selection, gaussians = session.document.selection, session.visible_gaussians
        if not bool(selection.mask.any()):
            self._page.complain(InputError("Nothing is selected, so every mask would be empty; select something."))
            return

        def work(path: Path, progress: Progress) -> None:
            write_masks(path, session.scene.views, gaussians, selection.to(session.device), progress=progress)

        self._make("", work)

    def _keep(self) -> None:
        page, name = self._page, self._name.value
        page.explorer.submit(
            page,
            page.explorer.name("keep"),
            lambda _: page.session.save_selection(name),
            self._kept_as,
        )

    def _kept_as(self, path: Path) -> None:
        self._page.tell(f"Kept as {path.stem}; fit3d extract, remove and masks know it.")
        self.refresh()

    def _load(self) -> None:
        from app.explorer.commands import Load

        if self._kept.value != NONE:
            self._page.attempt(lambda: Load(self._kept.value))

    def _still(self) -> None:
        from app.explorer.taking import still

        page = self._page
        session, look, document = page.session, page.look, page.session.document
        rows = int(self._rows.value) if self._size.value == OTHER else SIZES[self._size.value]
        try:
            camera = page.camera(rows or page.height)
        except InputError as error:
            page.complain(error)
            return
        self._make(
            ".png",
            lambda path, progress: still(session, look, camera, path, document=document, progress=progress),
        )

    def _show_rows(self) -> None:
        self._rows.visible = self._size.value == OTHER

    def _video(self) -> None:
        from app.explorer.camera_path import camera_path
        from app.explorer.taking import video

        page, stops, seconds = self._page, list(self._stops), float(self._seconds.value)
        session, look, document = page.session, page.look, page.session.document
        if len(stops) < 2:
            page.complain(InputError("A video needs two views or more; add them with: Add this view."))
            return
        self._make(
            ".mp4",
            lambda path, progress: video(
                session, look, camera_path(stops, seconds), path, document=document, progress=progress
            ),
        )

    def _html(self) -> None:
        from app.explorer.looks import Look
        from app.viewer.page_file import Opening, write_page

        page, world = self._page, self._page.explorer.world
        session, document = page.session, page.session.document
        look = page.look if self._colours.value == NOW else Look(overlay=False)
        try:
            opening = Opening.of(page.client)
        except InputError as error:
            page.complain(error)
            return
        self._make(
            ".html",
            lambda path, progress: write_page(
                session, look, world, opening, path, document=document, progress=progress
            ),
        )

    def _stop(self, what: str) -> None:
        from app.explorer.camera_path import MOST_VIEWPOINTS

        if what == "Start over":
            self._stops.clear()
        elif len(self._stops) >= MOST_VIEWPOINTS:
            self._page.complain(
                InputError(f"A video goes through at most {MOST_VIEWPOINTS} views; save it, or start over.")
            )
        else:
            try:
                self._stops.append(self._page.camera())
            except InputError as error:
                self._page.complain(error)
        count = len(self._stops)
        self._count.content = f"{count} view{'s' * (count != 1)}" if count else "no view yet"

    def _make(self, suffix: str, work: Callable[[Path, Progress], Any]) -> None:
        """Have something written beside the scene under a name that is free, and offered as a download."""
        from app.explorer.commands.base import check_name

        page, name = self._page, self._name.value
        try:
            check_name(name)
        except InputError as error:
            page.complain(error)
            return
        explorer = page.explorer
        if explorer.exports.waiting >= MOST_EXPORTS:
            page.complain(InputError(f"{MOST_EXPORTS} exports wait already; ask again when one of them is written."))
            return
        folder = page.session.scene.path / "exports"

        def written(progress: Progress) -> Path:
            path = free_path(folder, name, suffix)
            work(path, progress)
            return path

        # Each under its own name: one that is asked for while another is written waits for its turn.
        named = explorer.name(f"export {suffix or 'masks'}")
        explorer.submit(page, named, written, self._offer, worker=explorer.exports)

    def _offer(self, path: Path) -> None:
        """Tell where a file is, and send it if it is small enough."""
        length = path.stat().st_size if path.is_file() else 0
        self._page.tell(f"Wrote exports/{path.name} in the scene's folder{f' ({size(length)})' if length else ''}.")
        if 0 < length <= LARGEST_DOWNLOAD:
            self._page.client.send_file_download(path.name, path.read_bytes(), save_immediately=True)


def free_path(folder: Path, name: str, suffix: str) -> Path:
    """``folder/name.suffix``, or with a number where that exists: nothing is ever replaced from a page."""
    path, number = folder / f"{name}{suffix}", 2
    while path.exists() or (suffix == ".ply" and note_path(path).exists()):
        path, number = folder / f"{name}-{number}{suffix}", number + 1
    return path
