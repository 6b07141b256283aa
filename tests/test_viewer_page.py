"""The explorer's page in a real browser, on the demo room: see, select, ask, take, and whoever else is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from app.explorer.commands import Rectangle, Text, Threshold, Viewpoint
from app.explorer.frames import frame
from app.pictures import psnr
from render.gaussians import Gaussians
from tests.browser import canvas_box, new_page, wait
from tests.viewer_place import Line, Person, Place

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from playwright.sync_api import Browser

    from render.progress import Progress

pytest_plugins = ("tests.browser",)

PLANT = 25  # a thing of the demo room
WORDS = "green plant"
# Strokes as a person draws them, in pixels of view_009: through pot and flowers; on the table, the wall and the lamp.
ON_PLANT: list[Line] = [[(377, 135), (377, 122)], [(380, 108), (378, 95), (383, 82)]]
AROUND_PLANT: list[Line] = [
    [(345, 150), (350, 128)],
    [(395, 145), (420, 140)],
    [(350, 100), (352, 60), (390, 62)],
    [(408, 85), (405, 100)],
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("page") / "room")
    yield place
    place.close()


@pytest.fixture(scope="module")
def visitor(place: Place, chromium: Browser) -> Iterator[Person]:
    with new_page(chromium) as window:
        yield Person.at(place, window)


@pytest.fixture
def person(visitor: Person) -> Iterator[Person]:
    """One window for all tests; what each of them did is taken back."""
    yield visitor
    visitor.rest()


@pytest.fixture
def other(place: Place, chromium: Browser) -> Iterator[Person]:
    """Somebody else who looks at the same scene."""
    with new_page(chromium) as window:
        yield Person.at(place, window)


def expected(person: Person) -> UInt8[np.ndarray, "h w 3"]:
    """What the view should show, where nothing lies over it."""
    drawn = frame(person.place.session, person.page.look, person.page.camera())
    return drawn[:, : drawn.shape[1] // 2]


def shows(person: Person, name: str) -> bool:
    shown, drawn = person.shown(name), expected(person)
    # viser draws with fewer pixels while it is slow, and the window's shape changes a little with that.
    return psnr(shown, cv2.resize(drawn, shown.shape[1::-1], interpolation=cv2.INTER_AREA)) > 25


def select_box(place: Place) -> int:
    """Select a part of what the marked view shows; says how many Gaussians."""
    camera = place.demo.scene.view(place.demo.exhibit.marked).camera
    return len(place.session.run(Rectangle(Viewpoint.of(camera), (100.0, 200.0, 180.0, 300.0))).selection)


def endless(progress: Progress) -> None:
    """Compute until somebody cancels."""
    while True:
        progress(1, 2, "thinking")
        time.sleep(0.01)


def test_the_scene_is_seen_from_the_first_photo(person: Person) -> None:
    person.wait(lambda: shows(person, "scene"), "the picture is another one than the frame")
    first = person.place.demo.scene.views[0].camera
    assert float((person.page.camera().world_to_camera - first.world_to_camera).abs().max()) < 1e-3
    seen = person.page.camera()
    assert float(seen.K[1, 1]) / seen.height == pytest.approx(float(first.K[1, 1]) / first.height, rel=1e-4)


def test_features_appear_as_colours(person: Person) -> None:
    before = person.shown("scene")
    person.key("2")
    person.wait(lambda: person.page.look.what == "pca", "the key was not heard")
    person.wait(lambda: shows(person, "pca"), "the features did not appear")
    assert psnr(person.shown("pca"), before) < 20


def test_strokes_of_the_mouse_select_the_thing(person: Person) -> None:
    """Ctrl marks background of the strokes before; what was drawn stays drawn until something else is done."""
    person.look_through(person.place.demo.exhibit.marked)
    person.key("b")
    person.wait(lambda: person.holds("brush"), "the key was not heard")
    person.scribble(ON_PLANT)
    person.scribble(AROUND_PLANT, held="Control")
    person.shown("scribble")
    assert person.place.overlap(PLANT) >= 0.8
    assert len(person.marks()) == len(ON_PLANT) + len(AROUND_PLANT)
    assert [mark["positive"] for mark in person.marks()] == [True] * len(ON_PLANT) + [False] * len(AROUND_PLANT)
    person.place.session.run(Threshold(0.6))
    assert len(person.place.session.document.selection) > 0
    person.wait(lambda: len(person.marks()) == len(ON_PLANT + AROUND_PLANT), "a moved threshold ended the scribble")
    person.key("i")
    person.wait(lambda: not person.marks(), "the strokes stayed drawn")


def test_new_strokes_begin_another_scribble_and_ctrl_alone_takes_away(person: Person) -> None:
    person.look_through(person.place.demo.exhibit.marked)
    person.take("brush")
    person.scribble(ON_PLANT)
    assert person.commands()[-1] == ("set", 2)
    person.tab("Select")
    person.press("New scribble")
    person.wait(lambda: not person.marks(), "the strokes stayed drawn")
    person.scribble(ON_PLANT[:1], held="Control")
    assert person.commands()[-1] == ("subtract", 1)
    person.scribble(ON_PLANT[1:], held="Shift")
    assert person.commands()[-1] == ("add", 1)


def test_a_text_is_hottest_on_its_thing_and_selects_it(person: Person) -> None:
    place = person.place
    person.look_through(place.demo.exhibit.marked)
    person.tab("Ask")
    person.enter("Find", WORDS)
    person.wait(lambda: person.page.look.what == "relevancy", "the heat map did not come")
    person.wait(lambda: shows(person, "heat"), "the heat map was not drawn")
    assert hottest(person) == PLANT
    person.press("Objects")
    person.wait(lambda: place.session.history.last is not None, "nothing was selected")
    assert place.overlap(PLANT) >= 0.8
    person.shown("objects")
    place.settle(person.window)
    # The slider now moves the threshold of what was selected.
    before = len(place.session.document.selection)
    person.enter("Threshold", "0.9")
    person.wait(lambda: len(place.session.document.selection) < before, "the threshold moved nothing")
    last = place.session.history.last
    assert last is not None
    assert isinstance(last.command, Text)
    assert last.command.threshold == pytest.approx(0.9, abs=0.01)
    assert place.session.history.cursor == 1
    person.press("Best match")
    person.wait(lambda: place.session.history.cursor == 2, "the best object was not selected")
    place.settle(person.window)
    person.wait(lambda: person.page.photos.looked_through, "the camera stayed")


def hottest(person: Person) -> int:
    """The thing that the hottest pixel of the view shows."""
    marked = person.place.demo.exhibit.marked
    things = person.place.demo.room.instances(marked)
    red, green, blue = (person.whole("hottest").astype(int)[..., index] for index in range(3))
    hot = cv2.blur(((red > 110) & (green < 45) & (blue < 45)).astype(np.float32), (9, 9))
    y, x = np.unravel_index(hot.argmax(), hot.shape)
    assert hot.max() > 0.9
    column, row = person.in_photo(float(x), float(y))
    return int(things[round(row), round(column)])


def test_what_is_removed_comes_back_and_the_selection_is_exported(person: Person) -> None:
    place, session = person.place, person.place.session
    count = select_box(place)
    person.wait(lambda: f"{count:,} of" in person.panel(), "the panel does not say what is selected")
    person.tab("Select")
    person.press("Remove")
    person.wait(lambda: session.document.removed.any(), "nothing was removed")
    person.wait(lambda: "removed" in person.panel(), "the panel does not say what was removed")
    person.key("Control+z")
    person.wait(lambda: not session.document.removed.any(), "it did not come back")
    person.tab("Take")
    with person.window.expect_download() as download:
        person.press("Export .ply")
    exported = Gaussians.load(download.value.path())
    assert len(exported) == count
    assert np.array_equal(exported.means.numpy(), session.gaussians.means[session.document.selection.mask].numpy())
    assert download.value.path().read_bytes() == (place.demo.scene.path / "exports" / "selection.ply").read_bytes()


def test_two_people_share_the_selection_and_look_at_it_each_in_their_way(person: Person, other: Person) -> None:
    other.key("2")
    other.wait(lambda: other.page.look.what == "pca", "the key was not heard")
    person.look_through(person.place.demo.exhibit.marked)
    person.take("rectangle")
    person.draw([(100, 200), (180, 300)])
    wait(lambda: len(person.place.session.document.selection), "the box selected nothing", person.window)
    count = len(person.place.session.document.selection)
    other.wait(lambda: f"{count:,} of" in other.panel(), "the other page does not say what is selected")
    assert (person.page.look.what, other.page.look.what) == ("rgb", "pca")
    person.wait(lambda: shows(person, "first of two"), "the first page shows another picture")
    other.wait(lambda: shows(other, "second of two"), "the second page shows another picture")
    other.key("Control+z")
    person.wait(lambda: "0 of" in person.panel(), "what the other took back is still selected")


def test_who_vanishes_in_the_middle_leaves_nothing_running(person: Person, place: Place, chromium: Browser) -> None:
    def threads() -> int:
        return sum(one.name.startswith("explorer-frames") for one in threading.enumerate())

    person.wait(lambda: threads() == 1, "somebody from before is still there")
    with new_page(chromium) as window:
        gone = Person.at(place, window)
        place.explorer.submit(gone.page, "endless", endless)
        gone.wait(lambda: place.explorer.compute.busy is not None, "it did not begin")
    person.wait(lambda: place.explorer.compute.busy is None, "it goes on for nobody")
    person.wait(lambda: len(place.explorer.pages) == 1, "the page is still there")
    person.wait(lambda: threads() == 1, "its frames are still drawn")
    person.look_through(place.demo.exhibit.marked)
    person.take("rectangle")
    person.draw([(100, 200), (180, 300)])
    person.wait(lambda: len(place.session.document.selection), "the one who stayed cannot go on")


def test_keys_take_tools_and_looks_but_not_while_a_text_is_written(person: Person) -> None:
    for key, tool in (
        ("b", "brush"),
        ("l", "lasso"),
        ("r", "rectangle"),
        ("c", "point"),
        ("n", "inspect"),
        ("v", "off"),
    ):
        person.key(key)
        person.wait(partial(person.holds, tool), f"{key} did not take {tool}")
    for key, what in (("4", "depth"), ("5", "opacity"), ("1", "rgb")):
        person.key(key)
        person.wait(partial(person.sees, what), f"{key} did not show {what}")
    person.tab("Ask")
    person.field("Find").fill("")
    person.field("Find").press_sequentially("b2")
    person.wait(lambda: person.field("Find").input_value() == "b2", "the text was not written")
    assert (person.page.tool, person.page.look.what) == ("off", "rgb")
    person.field("Find").fill("")
    person.key("k")
    person.wait(lambda: person.window.get_by_text("Brush tool").is_visible(), "the help did not come")
    person.shown("help")
    person.press("Close")


def test_a_click_of_the_inspector_says_what_lies_there(person: Person) -> None:
    person.look_through(person.place.demo.exhibit.marked)
    count = select_box(person.place)
    assert count > 0
    person.key("n")
    person.wait(partial(person.holds, "inspect"), "the key was not heard")
    person.tab("Select")
    person.draw([(140.0, 250.0)])
    person.wait(
        lambda: any("depth" in notice and "selection" in notice for notice in person.notices()), "no word of it"
    )
    person.tab("See")
    person.wait(lambda: "position" in person.panel(), "the panel does not say it")
    assert len(person.place.session.document.selection) == count


def test_the_camera_turns_to_the_selection(person: Person) -> None:
    person.key("t")
    person.wait(lambda: any("Nothing is selected" in notice for notice in person.notices()), "nobody was told")
    select_box(person.place)
    inside = person.place.session.document.selection.mask
    middle = person.place.session.gaussians.means[inside].median(dim=0).values

    def off_axis() -> float:
        pose = person.page.camera().world_to_camera
        x, y, z = (pose[:3, :3] @ middle + pose[:3, 3]).tolist()
        return float(np.hypot(x, y) / z) if z > 0 else np.inf

    assert off_axis() > 0.1
    person.key("t")
    person.wait(lambda: off_axis() < 0.01, "the camera did not turn to it")


def test_what_goes_wrong_is_told_with_its_cause(person: Person) -> None:
    person.tab("Ask")
    person.enter("Find", "a pink elephant")
    person.wait(lambda: any("a pink elephant" in notice for notice in person.notices()), "nobody was told")
    session = person.place.session
    select_box(person.place)
    person.tab("Take")
    person.press("Keep in the scene")
    person.wait(lambda: any("Kept as" in notice for notice in person.notices()), "it was not kept")
    person.press("Keep in the scene")
    person.wait(lambda: any("take another name" in notice for notice in person.notices()), "nobody was told")
    assert not any(str(session.scene.path) in notice or "--" in notice for notice in person.notices())


def test_long_work_shows_how_far_it_is_and_can_be_cancelled(person: Person) -> None:
    before = person.place.session.document
    person.place.explorer.submit(person.page, "endless", endless)
    person.wait(lambda: "thinking 1 of 2" in person.panel(), "the panel does not say what is computed")
    person.wait(lambda: any("thinking" in notice for notice in person.notices()), "it is not told over the view")
    person.shown("busy")
    person.press("Cancel")
    person.wait(lambda: any("Cancelled" in notice for notice in person.notices()), "nobody was told")
    person.wait(lambda: person.place.explorer.compute.busy is None, "it goes on")
    person.wait(lambda: not any("thinking" in notice for notice in person.notices()), "it is told for ever")
    assert person.place.session.document is before


def test_a_reload_and_a_restart_find_what_was_selected(tmp_path: Path, chromium: Browser) -> None:
    place = Place(tmp_path / "room")
    try:
        count = select_box(place)
        with new_page(chromium) as window:
            assert f"{count:,} of" in Person.at(place, window).panel()
            assert f"{count:,} of" in Person.at(place, window).panel()
            place.close()
            place.open()
            person = Person.at(place, window)
            assert f"{count:,} of" in person.panel()
            person.wait(lambda: any("restored" in notice for notice in person.notices()), "nobody was told")
            assert canvas_box(window)[2] > 0
    finally:
        place.close()
