"""The demo room in the explorer, and a person in a real browser who works there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from app.explorer.commands import Scribble
from app.explorer.looks import Look
from app.explorer.session import Session
from app.viewer.explorer import Explorer
from app.viewer.server import open_server
from tests.browser import canvas_box, drag, picture, visit, wait
from training.rooms.demo import DemoRoom, bundled_demo_room

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from playwright.sync_api import Page as BrowserPage

    from app.explorer.document import Document
    from app.viewer.page import Page
    from app.viewer.server import SecureServer

Line: TypeAlias = list[tuple[float, float]]


class Place:
    """The explorer on a copy of the demo room.

    Args:
        folder: Where the copy goes.
    """

    def __init__(self, folder: Path) -> None:
        shutil.copytree(bundled_demo_room(), folder)
        self.demo = DemoRoom.open(folder)
        self.truth = torch.from_numpy(self.demo.room.gaussian_instances().astype(np.int64))
        self.open()

    def open(self) -> None:
        """Start the explorer."""
        # Its texts are known: no network has to be imported.
        known = {self.demo.text: self.demo.texts}
        self.session = Session(self.demo.scene, device="cpu", text_encoders=known)
        self.server: SecureServer = open_server(port=0, label="fit3d")
        self.explorer = Explorer(self.session, self.server)

    def close(self) -> None:
        """End it."""
        self.explorer.close()

    def settle(self, window: BrowserPage | None = None) -> None:
        """Wait until nothing is computed any more."""
        done: list[object] = []
        self.explorer.compute.submit("settle", lambda _: None, done.append)
        wait(lambda: done, "the computations did not end", window)

    def overlap(self, thing: int) -> float:
        """Intersection over union of the active selection and a thing of the room."""
        mask, truth = self.session.document.selection.mask, self.truth == thing
        return float((mask & truth).sum() / (mask | truth).sum())


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody in front of a browser.

    Attributes:
        place: The explorer.
        window: The browser's page.
        page: The explorer's page that belongs to it.
    """

    place: Place
    window: BrowserPage
    page: Page = field(repr=False)

    @staticmethod
    def at(place: Place, window: BrowserPage) -> Person:
        """Open the explorer in an empty window."""
        window.set_viewport_size({"width": 1120, "height": 600})
        client = visit(window, place.server)
        numbers = {page.client.client_id: page for page in place.explorer.pages}
        person = Person(place, window, numbers[client.client_id])
        person.wait(lambda: person.page.canvas.connected, "the canvas did not come")
        person.wait(person.is_shown, "no picture came")
        return person

    def wait(self, condition: Callable[[], object], complaint: str) -> None:
        """Wait until something holds."""
        wait(condition, complaint, self.window)

    def look_through(self, name: str) -> None:
        """Go to a photo's place."""
        pose = self.place.demo.scene.view(name).camera.world_to_camera
        self.page.photos.look_through(name)
        self.wait(
            lambda: float((self.page.camera(64).world_to_camera - pose).abs().max()) < 1e-3, "the camera did not arrive"
        )

    def tab(self, name: str) -> None:
        """Open a tab of the panel."""
        self.window.get_by_role("tab", name=name).click()

    def press(self, name: str) -> None:
        """Press a button of the panel."""
        self.window.get_by_role("button", name=name, exact=True).locator("visible=true").first.click()

    def field(self, label: str) -> Any:
        """The input with a label; viser does not tie the two together."""
        return self.window.locator(
            f'xpath=//label[normalize-space()="{label}"]/following::input[not(@type="hidden")][1]'
        ).locator("visible=true")

    def key(self, keys: str) -> None:
        """Press keys with the view in focus."""
        self.window.evaluate("document.activeElement && document.activeElement.blur()")
        self.window.keyboard.press(keys)

    def take(self, tool: str) -> None:
        """Take a tool in hand, and wait until the canvas knows: a line drawn before would move the camera."""
        self.page.use(tool)
        known = "point" if tool == "inspect" else tool
        self.wait(
            lambda: self.window.evaluate("window.fit3dDrawing.state().tool") == known, f"the canvas has no {tool}"
        )

    def draw(self, points: Line, *, held: str | None = None) -> None:
        """Draw a line through points given in pixels of the photo that is looked through."""
        if held is not None:
            self.window.keyboard.down(held)
        drag(self.window, [self.in_view(*point) for point in points])
        if held is not None:
            self.window.keyboard.up(held)

    def in_view(self, x: float, y: float) -> tuple[float, float]:
        """A pixel of the photo that is looked through, in pixels of the view: as high as the photo, in the middle."""
        camera = self.place.demo.scene.views[0].camera
        _, _, width, height = canvas_box(self.window)
        scale = height / camera.height
        return width / 2 + (x - camera.width / 2) * scale, y * scale

    def scribble(self, strokes: list[Line], *, held: str | None = None) -> None:
        """Draw strokes one after the other, each when the one before has been answered."""
        for stroke in strokes:
            before = self.place.session.document
            self.draw(stroke, held=held)
            self.wait(partial(self._has_changed, before), "a stroke changed nothing")

    def enter(self, label: str, text: str) -> None:
        """Write something into an input and press enter."""
        self.field(label).fill(text)
        self.field(label).press("Enter")

    def in_photo(self, x: float, y: float) -> tuple[float, float]:
        """The other way around than :meth:`in_view`."""
        camera = self.place.demo.scene.views[0].camera
        _, _, width, height = canvas_box(self.window)
        scale = camera.height / height
        return camera.width / 2 + (x - width / 2) * scale, y * scale

    def commands(self) -> list[tuple[str, int]]:
        """How the scribbles that were drawn combine, and their numbers of strokes."""
        edits = self.place.session.history.edits
        return [(one.command.combine, len(one.command.strokes)) for one in edits if isinstance(one.command, Scribble)]

    def marks(self) -> list[dict[str, Any]]:
        """Strokes that stay drawn."""
        return list(self.window.evaluate("window.fit3dDrawing.state().marks"))

    def panel(self) -> str:
        """What is written in the panel."""
        return str(self.window.locator("body").inner_text())

    def holds(self, tool: str) -> bool:
        """Whether a tool is in hand, on the canvas too."""
        known = "point" if tool == "inspect" else tool
        return self.page.tool == tool and bool(self.window.evaluate("window.fit3dDrawing.state().tool") == known)

    def sees(self, what: str) -> bool:
        """Whether something is looked at."""
        return self.page.look.what == what

    def _has_changed(self, document: Document) -> bool:
        return self.place.session.document is not document

    def whole(self, name: str) -> UInt8[np.ndarray, "h w 3"]:
        """The view as RGB."""
        x, y, width, height = (round(value) for value in canvas_box(self.window))
        return picture(self.window, name)[y : y + height, x : x + width]

    def shown(self, name: str) -> UInt8[np.ndarray, "h w 3"]:
        """The left half of the view, which nothing lies over, as RGB."""
        whole = self.whole(name)
        return whole[:, : whole.shape[1] // 2]

    def is_shown(self) -> bool:
        """Whether the view shows anything but its background."""
        return float(self.shown("arriving").std()) > 10

    def notices(self) -> list[str]:
        """Notifications that are to be read."""
        return self.window.locator(".mantine-Notification-root").all_inner_texts()

    def rest(self) -> None:
        """Take everything back, for whoever comes next."""
        self.place.explorer.compute.cancel()
        self.place.settle(self.window)
        while self.place.session.undo() is not None:
            pass
        self.page.use("off")
        self.page.photos.compare(None)
        self.page.set_look(Look())
