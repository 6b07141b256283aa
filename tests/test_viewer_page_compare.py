"""Two looks on one page, in a real browser: what halves can show, in which colours, and what is drawn on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch

from app.explorer.commands import Scribble
from app.explorer.frames import frame, part_camera, part_columns
from app.explorer.inspecting import inspect
from app.pictures import psnr
from tests.browser import canvas_box, drag, new_page
from tests.test_viewer_page import PLANT, WORDS
from tests.viewer_place import Line, Person, Place

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest_plugins = ("tests.browser",)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("compare") / "room")
    yield place
    place.close()


@pytest.fixture(scope="module")
def person(place: Place, chromium: Browser) -> Iterator[Person]:
    """Somebody who compares."""
    with new_page(chromium) as window:
        person = Person.at(place, window)
        window.get_by_text("Compare", exact=True).click()
        yield person


def choose(person: Person, label: str, option: str) -> None:
    person.field(label).click()
    person.window.get_by_role("option", name=option, exact=True).locator("visible=true").click()


def shows(person: Person, name: str) -> bool:
    """Whether the view shows what a frame would, but where notifications lie."""
    shown, drawn = person.whole(name), frame(person.place.session, person.page.look, person.page.camera())
    fitted = cv2.resize(drawn, shown.shape[1::-1], interpolation=cv2.INTER_AREA)
    columns = round(0.75 * shown.shape[1])
    return psnr(shown[:, :columns], fitted[:, :columns]) > 25


def colours_of(person: Person) -> tuple[Any, Any]:
    from app.explorer.looks import colours

    left, right = (colours(person.place.session, part) for part in person.page.look.parts)
    return left, right


def alikeness(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(np.mean([np.corrcoef(one[:, k], other[:, k])[0, 1] for k in range(3)]))


def test_features_of_two_fields_are_compared_in_the_same_colours(person: Person) -> None:
    page = person.page
    person.look_through(person.place.demo.exhibit.marked)
    person.key("2")
    person.wait(lambda: person.sees("pca"), "the key was not heard")
    choose(person, "Features of", "tiny-dino")
    choose(person, "Layout", "wipe")
    choose(person, "Its features", "tiny-clip")
    person.wait(lambda: page.look.second is not None and page.look.second.field == "tiny-clip", "it was not chosen")
    person.wait(lambda: shows(person, "wipe same colours"), "the halves are others")
    same = alikeness(*colours_of(person))
    person.window.get_by_label("Same colours").click()
    person.wait(lambda: not page.look.same, "it was not heard")
    person.wait(lambda: shows(person, "wipe own colours"), "the halves are others")
    assert same > alikeness(*colours_of(person)) + 0.2
    person.window.get_by_label("Same colours").click()
    person.wait(lambda: page.look.same, "it was not heard")
    person.key("f")
    person.wait(lambda: page.look.second is not None and page.look.second.basis is not None, "nothing was focused")
    person.wait(lambda: shows(person, "wipe same colours focused"), "the halves are others")
    assert page.look.basis is not None
    assert alikeness(*colours_of(person)) > 0.5


def test_a_text_is_shown_beside_the_colours_with_its_bar(person: Person) -> None:
    page = person.page
    person.key("1")
    choose(person, "Layout", "side by side")
    choose(person, "With", "relevancy")
    person.field("Its text").fill(WORDS)
    person.wait(lambda: page.shown.second is not None and page.shown.second.text == WORDS, "it was not heard")
    person.wait(lambda: shows(person, "side relevancy"), "the halves are others")
    assert (page.look.what, page.look.second and page.look.second.what) == ("rgb", "relevancy")
    for option, what in (("depth", "depth"), ("opacity", "opacity")):
        choose(person, "With", option)
        person.wait(lambda what=what: page.shown.parts[-1].what == what, f"{what} was not chosen")  # type: ignore[misc]
        person.wait(lambda what=what: shows(person, f"side {what}"), f"{what} was not drawn")  # type: ignore[misc]


def pot(place: Place) -> torch.Tensor:
    """The middle of the plant's pot: the plant's lower part."""
    plant = place.session.gaussians.means[place.truth == PLANT]
    return plant[plant[:, 2] < plant[:, 2].quantile(0.3)].median(dim=0).values


def plant_in(person: Person, half: int) -> Line:
    """A short line on the plant's pot as one half shows it, in pixels of the view."""
    page, place = person.page, person.place
    whole = page.camera()
    part = part_camera(page.shown, whole)
    low, _ = part_columns(page.shown, whole, half)
    local = part.world_to_camera[:3, :3] @ pot(place) + part.world_to_camera[:3, 3]
    x, y, _ = (part.K @ local / local[2]).tolist()
    scale = canvas_box(person.window)[3] / whole.height
    return [((low + x) * scale, y * scale + step) for step in (-4.0, 0.0, 4.0)]


def test_strokes_on_either_half_mark_what_is_seen_there_and_stay_there(person: Person) -> None:
    page, place = person.page, person.place
    person.look_through(place.demo.exhibit.marked)
    choose(person, "Layout", "side by side")
    person.wait(lambda: page.shown.layout == "side", "there is only one picture")
    page.client.camera.look_at = pot(place).double().numpy() * place.explorer.world.scale
    _, _, width, _ = canvas_box(person.window)
    person.wait(lambda: abs(plant_in(person, 0)[1][0] - width / 4) < 5, "the camera did not turn to the plant")
    person.take("brush")
    for half in (1, 0):
        line = plant_in(person, half)
        before = place.session.document
        drag(person.window, line)
        person.wait(lambda before=before: place.session.document is not before, "a stroke changed nothing")  # type: ignore[misc]
        place.settle(person.window)
        last = place.session.history.last
        assert last is not None
        assert isinstance(last.command, Scribble)
        found = inspect(place.session, last.command.viewpoint.camera, *last.command.strokes[-1].points[0])
        assert found is not None
        assert bool(place.truth[found.ids[0]] == PLANT)
        person.wait(lambda count=2 - half: len(person.marks()) == count, "the strokes did not stay drawn")  # type: ignore[misc]
        assert np.allclose(person.marks()[-1]["points"][0], line[0], atol=2)
    assert person.commands()[-1] == ("set", 2)
    assert [mark["points"][0][0] > width / 2 for mark in person.marks()] == [True, False]
    person.shown("side strokes")
    # A stroke that goes on over the middle ends there.
    across = [*plant_in(person, 0)[:1], (width / 2 + 60, 200.0)]
    drag(person.window, across)
    person.wait(lambda: len(person.marks()) == 3, "the stroke did not stay drawn")
    assert max(x for x, _ in person.marks()[-1]["points"]) <= width / 2 + 1
    page.use("off")
