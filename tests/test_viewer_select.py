"""The tab to select in a real browser: the tool in hand, and sliders that are moved one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import pytest

from app.explorer.commands import Click
from app.viewer.tools import IN_HAND, TOOLS
from tests.browser import new_page
from tests.test_viewer_page import ON_PLANT
from tests.viewer_place import Person, Place

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest_plugins = ("tests.browser",)

KEYS = {"b": "brush", "r": "rectangle", "l": "lasso", "c": "point", "n": "inspect", "v": "off"}


@pytest.fixture
def person(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[Person]:
    place = Place(tmp_path_factory.mktemp("select") / "room")
    with new_page(chromium) as window:
        person = Person.at(place, window)
        person.look_through(place.demo.exhibit.marked)
        person.tab("Select")
        yield person
    place.close()


def marked(person: Person) -> list[str]:
    """The buttons that say that their tool is in hand."""
    labels = person.window.get_by_role("button").all_inner_texts()
    return [label.strip() for label in labels if label.strip().startswith(IN_HAND.strip())]


def change(person: Person, label: str, value: str) -> None:
    """Move a slider, and wait for what it selects."""
    before = person.place.session.document
    person.enter(label, value)
    person.wait(lambda: person.place.session.document is not before, f"{label} changed nothing")
    person.place.settle(person.window)


def test_tools_are_marked_and_sliders_of_an_added_click_are_answered_in_its_place(person: Person) -> None:
    for key, tool in KEYS.items():
        person.key(key)
        person.wait(partial(person.holds, tool), f"{key} did not take {tool}")
        person.wait(lambda tool=tool: marked(person) == [IN_HAND + TOOLS[tool]], f"{tool} is not marked")  # type: ignore[misc]
    person.press("Click")
    person.wait(partial(person.holds, "point"), "the button did not take the tool")
    person.wait(lambda: marked(person) == [IN_HAND + "Click"], "the button is not marked")

    session = person.place.session
    first = session.document
    person.draw([(150.0, 250.0)])
    person.wait(lambda: session.document is not first, "the click selected nothing")
    alone = session.document
    person.draw([ON_PLANT[0][0]], held="Shift")
    person.wait(lambda: session.document is not alone, "the second click added nothing")
    change(person, "Threshold", "0.8")
    change(person, "Bandwidth", "1")
    assert person.field("Threshold").input_value() == "0.8"
    change(person, "Threshold", "0.7")
    change(person, "Bandwidth", "0.3")
    assert [edit.command.kind for edit in session.history.edits] == ["click", "click", "threshold"]
    added = session.history.edits[1]
    assert isinstance(added.command, Click)
    assert (added.command.combine, added.command.bandwidth) == ("add", pytest.approx(0.3))
    assert added.before is alone
    assert session.history.edits[2].title == "threshold 0.7"
    person.key("Control+z")
    person.key("Control+z")
    person.wait(lambda: session.document is alone, "two edits were not taken back")
