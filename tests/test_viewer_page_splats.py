"""A page whose browser draws the splats: it shows what frames of the server would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import pytest

from app.explorer.commands import Hide, Scribble
from app.explorer.frames import frame
from app.pictures import psnr
from app.viewer.explorer import Explorer
from app.viewer.server import open_server
from tests.browser import canvas_box, picture, visit, wait
from tests.explorer_room import THINGS, explorer_scene, open_session, strokes_on

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest_plugins = ("tests.browser",)


@pytest.fixture
def explorer(tmp_path: Path) -> Iterator[Explorer]:
    explorer = Explorer(open_session(explorer_scene(tmp_path)), open_server(port=0), draw="browser")
    yield explorer
    explorer.close()


def shows(explorer: Explorer, window: Page, name: str) -> bool:
    """Whether the view shows what a frame would."""
    (page,) = explorer.pages
    x, y, width, height = (round(value) for value in canvas_box(window))
    shown = picture(window, f"splats {name}")[y : y + height, x : x + width]
    drawn = cv2.resize(frame(explorer.session, page.look, page.camera()), shown.shape[1::-1])
    half = width // 2
    return psnr(shown[:, :half], drawn[:, :half]) > 25


def test_splats_of_the_browser_look_as_frames_of_the_server(explorer: Explorer, page: Page) -> None:
    visit(page, explorer.server)
    (own,) = explorer.pages
    wait(lambda: shows(explorer, page, "colours"), "the colours are others", page)
    assert not own.drawn_by_server
    viewpoint, strokes = strokes_on("plant")
    explorer.session.run(Scribble(viewpoint, strokes, THINGS))
    own.see.choose("pca")
    wait(lambda: own.look.what == "pca" and shows(explorer, page, "features"), "the features are others", page)
    explorer.session.run(Hide())
    wait(lambda: shows(explorer, page, "hidden"), "what is hidden is still there", page)
    own.see.choose("depth")
    wait(lambda: own.drawn_by_server and shows(explorer, page, "depth"), "the depth is another", page)
    own.see.choose("rgb")
    wait(lambda: not own.drawn_by_server and shows(explorer, page, "colours again"), "the splats stayed away", page)
