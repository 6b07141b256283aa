"""The scene as one file: it opens in a browser without a server, at the camera it was written from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from app.explorer.commands import Clear, Hide, Rectangle, Remove
from app.explorer.frames import frame
from app.explorer.looks import Look
from app.explorer.session import Session
from app.pictures import psnr
from app.viewer import page_file
from app.viewer.explorer import Explorer
from app.viewer.page_file import Opening, write_page
from app.viewer.panels.take import free_path
from app.viewer.server import open_server
from app.viewer.world import World
from render.camera import Camera
from render.errors import InputError
from tests.browser import SIZE, canvas_box, new_page, picture, visit, wait
from tests.explorer_room import THINGS, box_around, explorer_scene, open_session, thing

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from playwright.sync_api import Browser, Page

pytest_plugins = ("tests.browser",)

SORTED = 1500  # milliseconds in which the browser has brought the splats into order


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    session = open_session(explorer_scene(tmp_path))
    yield session
    session.close()


def world(session: Session) -> World:
    return World.of(session.scene, session.gaussians)


def viewpoint() -> Camera:
    return thing("plant")[1].camera


def opening_at(camera: Camera, shown: World) -> Opening:
    """As a page at that camera would give it."""
    camera = shown.to_shown(camera)
    position = camera.centre.double().numpy()
    down, ahead = camera.world_to_camera[1:3, :3].double().numpy()
    return Opening(position, position + 3 * ahead, -down, 2 * float(np.arctan(0.5 * camera.height / camera.K[1, 1])))


def opened(page: Page, path: Path, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """What a browser shows of the file, once it shows something."""
    page.context.set_offline(True)
    page.goto(path.as_uri())
    page.wait_for_selector('canvas[data-engine^="three.js"]')
    wait(lambda: view(page, name).std() > 10, "the file shows nothing", page)
    page.wait_for_timeout(SORTED)
    return view(page, name)


def view(page: Page, name: str) -> UInt8[np.ndarray, "h w 3"]:
    x, y, width, height = (round(value) for value in canvas_box(page))
    return picture(page, f"page file {name}")[y : y + height, x : x + width]


def widened(camera: Camera, shape: tuple[int, ...]) -> Camera:
    """A camera in a window of another shape: its whole height, in the middle."""
    width = round(camera.height * shape[1] / shape[0])
    K = camera.K.clone()
    K[0, 2] = 0.5 * width
    return replace(camera, K=K, width=width).resized(shape[1], shape[0])


def agreement(session: Session, look: Look, camera: Camera, shown: UInt8[np.ndarray, "h w 3"]) -> float:
    """PSNR with the frame of a camera, away from what lies over the view; both a little blurred."""
    drawn = frame(session, look, widened(camera, shown.shape))
    return psnr(*(np.ascontiguousarray(cv2.blur(one, (5, 5))[200:, :-320]) for one in (shown, drawn)))


def test_the_file_opens_at_the_camera_and_in_the_colours_it_was_written_with(
    session: Session, page: Page, tmp_path: Path
) -> None:
    shown, look = world(session), Look("pca", field=THINGS)
    session.run(Rectangle(*box_around("ball"), through=True))
    session.run(Hide())
    session.run(Clear())
    path = write_page(session, look, shown, opening_at(viewpoint(), shown), tmp_path / "room.html")
    seen = opened(page, path, "features")
    assert page.title() == "scene"
    assert seen.shape[:2] == (SIZE["height"], SIZE["width"])
    assert agreement(session, look, viewpoint(), seen) > 24
    assert agreement(session, Look(), viewpoint(), seen) < 20
    # What is hidden is not there.
    session.undo()
    session.undo()
    session.undo()
    assert agreement(session, look, viewpoint(), seen) < 24


def test_a_page_is_written_as_it_is_seen_when_the_button_is_pressed(
    session: Session, chromium: Browser, page: Page
) -> None:
    explorer = Explorer(session, open_server(port=0), draw="server")
    client = visit(page, explorer.server)
    (own,) = explorer.pages
    own.go_to(viewpoint())
    wait(
        lambda: float((own.camera(64).world_to_camera - viewpoint().world_to_camera).abs().max()) < 1e-3,
        "the camera did not arrive",
        page,
    )
    session.run(Rectangle(*box_around("plant"), through=True))
    before = session.document
    page.get_by_role("tab", name="Take").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as one HTML file").click()
    assert download.value.suggested_filename == "selection.html"
    (path,) = (session.scene.path / "exports").iterdir()
    camera = own.camera(64)
    assert np.allclose(client.camera.look_at, Opening.of(client).look_at)
    explorer.close()
    with new_page(chromium) as window:
        seen = opened(window, path, "as pressed")
    assert session.document is before
    assert agreement(session, Look(), camera.resized(10 * camera.width, 640), seen) > 23


def test_only_what_is_visible_is_in_the_file(session: Session, tmp_path: Path) -> None:
    shown = world(session)
    write = partial(write_page, session, Look(), shown, opening_at(viewpoint(), shown))
    whole = write(tmp_path / "whole.html").stat().st_size
    session.run(Rectangle(*box_around("ball"), through=True))
    session.run(Remove(0))
    given = session.document
    assert (gone := int(given.removed.sum())) > 50
    less = write(tmp_path / "less.html").stat().st_size
    assert whole - less > 10 * gone
    # The document that was given counts, not the one that is shown by now.
    session.undo()
    session.undo()
    assert abs(write(tmp_path / "given.html", document=given).stat().st_size - less) < 100


def test_pages_that_cannot_be_are_refused_and_leave_what_was_there(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = world(session)
    write = partial(write_page, session, world=shown, opening=opening_at(viewpoint(), shown), path=tmp_path / "a.html")
    (tmp_path / "a.html").write_text("before")
    with pytest.raises(InputError, match="Depth is a matter of the camera"):
        write(look=Look("depth"))
    nothing = replace(session.document, hidden=~session.document.hidden)
    with pytest.raises(InputError, match="found 0 visible"):
        write(look=Look(), document=nothing)

    def cancel(done: int, _total: int, _what: str) -> None:
        if done == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        write(look=Look(), progress=cancel)
    monkeypatch.setattr(page_file, "TITLE", "<title>another client</title>")
    with pytest.raises(InputError, match="install viser"):
        write(look=Look())
    monkeypatch.setattr(page_file, "MOST", 100)
    with pytest.raises(InputError, match="holds 1 to 100 Gaussians"):
        write(look=Look())
    assert (tmp_path / "a.html").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".html"] == ["a.html"]


@pytest.mark.parametrize(
    ("position", "up", "fov"),
    [
        ((0, 0, 0), (0, 0, 1), 1.0),
        ((1, float("nan"), 0), (0, 0, 1), 1.0),
        ((1, 0, 0), (0, 0, 0), 1.0),
        ((1, 0, 0), (0, 0, 1), 4.0),
    ],
)
def test_a_camera_that_is_none_is_refused(position: tuple[float, ...], up: tuple[float, ...], fov: float) -> None:
    with pytest.raises(InputError, match="looks nowhere"):
        Opening(np.array(position, float), np.zeros(3), np.array(up, float), fov)


def test_an_export_takes_a_name_whose_note_is_free_too(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("mine")
    assert free_path(tmp_path, "a", ".ply").name == "a-2.ply"
    assert free_path(tmp_path, "a", ".png").name == "a.png"
