"""A tour through the explorer, as a person takes it; its pictures are those of the README.

``FIT3D_SCREENSHOTS=FOLDER uv run pytest tests/test_viewer_tour.py`` keeps them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser import new_page, picture
from tests.test_viewer_page import AROUND_PLANT, ON_PLANT, PLANT, WORDS
from tests.viewer_place import Person, Place

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest_plugins = ("tests.browser",)

WIDTH, HEIGHT = 1280, 680
PAUSE = 1500  # milliseconds: the last frame is on its way, and numbers in the panel follow


@pytest.fixture
def person(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[Person]:
    place = Place(tmp_path_factory.mktemp("tour") / "room")
    with new_page(chromium) as window:
        person = Person.at(place, window)
        window.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        window.wait_for_timeout(PAUSE)
        yield person
    place.close()


def keep(person: Person, name: str) -> None:
    """A picture of the whole page, once all is drawn."""
    person.place.settle(person.window)
    person.window.wait_for_timeout(PAUSE)
    assert picture(person.window, f"tour {name}").std() > 20


def choose(person: Person, label: str, option: str) -> None:
    person.field(label).click()
    person.window.get_by_role("option", name=option, exact=True).click()


def test_a_tour(person: Person) -> None:
    place, page = person.place, person.page
    marked = place.demo.exhibit.marked
    person.key("2")
    person.wait(lambda: person.sees("pca"), "the features did not come")
    keep(person, "1 features")
    person.key("1")
    person.window.get_by_text("Compare", exact=True).click()
    choose(person, "Layout", "wipe")
    person.wait(lambda: page.look.layout == "wipe", "there is no wipe")
    keep(person, "2 wipe")
    choose(person, "Layout", "one picture")
    person.look_through(marked)
    person.tab("Select")
    person.key("b")
    person.wait(lambda: person.holds("brush"), "the key was not heard")
    person.scribble(ON_PLANT)
    person.scribble(AROUND_PLANT, held="Control")
    keep(person, "3 select")
    assert place.overlap(PLANT) >= 0.8
    person.key("x")
    person.wait(lambda: bool(place.session.document.removed.any()), "nothing was removed")
    keep(person, "4 remove")
    person.key("Control+z")
    person.wait(lambda: not place.session.document.removed.any(), "it did not come back")
    page.use("off")
    person.tab("Ask")
    person.enter("Find", WORDS)
    person.wait(lambda: person.sees("relevancy"), "the heat map did not come")
    keep(person, "5 ask")
    person.key("1")
    person.tab("See")
    person.key("p")
    person.wait(lambda: page.photos.shown, "the key was not heard")
    keep(person, "6 photos")
    person.key("p")
    person.key("n")
    person.wait(lambda: person.holds("inspect"), "the key was not heard")
    person.draw([ON_PLANT[0][0]])
    person.wait(lambda: "Gaussian" in person.panel(), "the inspector said nothing")
    keep(person, "7 inspect")
    page.use("off")
    person.tab("Take")
    person.press("Export .ply")
    person.wait(lambda: any((place.demo.scene.path / "exports").glob("*.ply")), "nothing was written")
    keep(person, "8 take")
