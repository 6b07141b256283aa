"""The panels to select and to ask, without a browser: what each control asks for, and what it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import app.explorer.commands as c
from app.explorer.commands import Command
from app.explorer.history import History
from app.explorer.looks import Look
from app.viewer.panels.ask import AskPanel
from app.viewer.panels.see import SeePanel
from app.viewer.panels.select import SelectPanel
from app.viewer.panels.take import TakePanel
from app.viewer.scribbling import last_prompt
from app.viewer.server import SecureServer, open_server
from app.viewer.tools import IN_HAND, TOOLS, labels, tool_of
from app.viewer.wanted import Wanted
from tests.explorer_room import THINGS, WORDS, Words, explorer_scene, middle_of, open_session, strokes_on

UNKNOWN = "The model has never seen the word 'ball_*'."


class KnowsFew(Words):
    """Has something to say about a word."""

    def remarks(self, texts: list[str]) -> list[str]:
        return [UNKNOWN] if "ball" in texts else []


class Paper:
    """A page as panels know it; commands are run at once, or wait for :meth:`answer`."""

    def __init__(self, path: Path, server: SecureServer) -> None:
        self.session = open_session(path, text_encoders={WORDS: KnowsFew()})
        self.client = SimpleNamespace(gui=server.viser.gui, atomic=server.viser.atomic)
        self.explorer = SimpleNamespace(submit=self._submit)
        self.look = Look()
        self.photos = SimpleNamespace(names=["first", "second"], looked_through=False)
        self.tool, self.slow, self.complaints = "off", False, [""]
        self._waiting: list[Callable[[], object]] = []
        tabs = server.viser.gui.add_tab_group()
        self.see, self.select = SeePanel(self, tabs), SelectPanel(self, tabs)  # type: ignore[arg-type]
        self.ask, self.take = AskPanel(self, tabs), TakePanel(self, tabs)  # type: ignore[arg-type]
        self.spread = control(self.select, "propagation")
        self._changed()
        self.session.subscribe(lambda *_: self._changed())

    @property
    def prompt(self) -> Command | None:
        return last_prompt(self.session.history)

    @property
    def shown(self) -> Look:
        return self.look

    @property
    def history(self) -> History:
        return self.session.history

    def run(self, command: Command, *, slider: bool = False) -> None:
        self._waiting.append(lambda: (self.session.amend if slider else self.session.run)(command))
        if not self.slow:
            self.answer()

    def attempt(self, make: Callable[[], Command], *, slider: bool = False) -> bool:
        self.run(make(), slider=slider)
        return True

    def answer(self) -> None:
        """What waits longest is computed."""
        self._waiting.pop(0)()

    def use(self, tool: str) -> None:
        self.tool = tool
        self.select.refresh()

    def complain(self, error: BaseException) -> None:
        self.complaints.append(str(error))

    def _submit(self, _: object, __: str, work: Any, done: Any) -> None:
        done(work(None))

    def set_look(self, look: Look) -> None:
        self.look = look
        self.see.refresh()

    def trying(self, act: Callable[[], object]) -> None:
        act()

    def _changed(self) -> None:
        for panel in (self.see, self.select, self.ask, self.take):
            panel.refresh()


@pytest.fixture
def server() -> Iterator[SecureServer]:
    server = open_server(port=0, label="panels")
    yield server
    server.close()


@pytest.fixture
def paper(tmp_path: Path, server: SecureServer) -> Iterator[Paper]:
    paper = Paper(explorer_scene(tmp_path), server)
    yield paper
    paper.see.close()
    paper.select.close()
    paper.ask.close()
    paper.session.close()


def control(panel: object, name: str) -> Any:
    return getattr(panel, f"_{name}")


def move(panel: object, name: str, value: object) -> None:
    """A person gives a control another value."""
    handle = control(panel, name)
    handle.value = value
    for callback in list(handle._impl.update_cb):
        callback(SimpleNamespace(client_id=0, target=handle))


def click(name: str, **options: object) -> c.Click:
    viewpoint, point = middle_of(name)
    return c.Click(viewpoint, (point,), field=THINGS, **options)  # type: ignore[arg-type]


def commands(paper: Paper) -> list[Command]:
    return [edit.command for edit in paper.history.edits[: paper.history.cursor]]


def test_a_slider_changes_its_own_number_alone(paper: Paper) -> None:
    asked = click("ball", bandwidth=0.2, method="diffusion", steps=7)
    paper.run(asked)
    move(paper.spread, "threshold", 0.7)
    move(paper.spread, "bandwidth", 1.4)
    assert commands(paper) == [replace(asked, bandwidth=1.4), c.Threshold(0.7)]
    move(paper.spread, "steps", 9)
    assert commands(paper) == [replace(asked, bandwidth=1.4, steps=9), c.Threshold(0.7)]
    move(paper.spread, "field", WORDS)
    move(paper.spread, "method", "random walker")
    last = replace(asked, bandwidth=1.4, steps=None, method="random-walker", field=WORDS)
    assert commands(paper) == [last, c.Threshold(0.7)]
    assert control(paper.spread, "threshold").value == 0.7


def test_a_click_that_adds_adds_once_whatever_slides(paper: Paper) -> None:
    paper.run(click("ball"))
    alone = len(paper.session.document.selection)
    paper.run(click("plant", combine="add"))
    both = len(paper.session.document.selection)
    for name, value in (("threshold", 0.6), ("bandwidth", 1.0), ("threshold", 0.5), ("bandwidth", 0.5)):
        move(paper.spread, name, value)
    assert len(commands(paper)) == 3
    assert alone < len(paper.session.document.selection) <= both + 5
    paper.session.undo()
    paper.session.undo()
    assert len(paper.session.document.selection) == alone


def test_the_sliders_show_the_numbers_of_what_is_shown(paper: Paper) -> None:
    first, second = click("ball", bandwidth=0.2), click("plant", bandwidth=1.2, method="diffusion", steps=30)
    numbers = {}
    for command in (first, second):
        paper.run(command)
        numbers[command] = [control(paper.spread, name).value for name in ("bandwidth", "method")]
    assert numbers[first] == [0.2, "random walker"]
    assert numbers[second] == [1.2, "diffusion (LUDVIG)"]
    assert control(paper.spread, "steps").visible
    assert control(paper.spread, "steps").value == 30
    paper.session.undo()
    assert control(paper.spread, "bandwidth").value == 0.2
    assert not control(paper.spread, "steps").visible


def test_a_late_answer_does_not_move_a_slider_back(paper: Paper) -> None:
    asked = click("ball")
    paper.run(asked)
    paper.slow = True
    for value in (0.6, 0.7, 0.9):
        move(paper.spread, "threshold", value)
    seen = []
    for _ in range(3):
        paper.answer()
        seen.append(control(paper.spread, "threshold").value)
    assert seen == [0.9, 0.9, 0.9]
    paper.session.undo()
    assert control(paper.spread, "threshold").value == 0.5
    # A second slider goes on from what the first one wants.
    move(paper.spread, "bandwidth", 1.6)
    move(paper.spread, "field", WORDS)
    paper.answer()
    assert control(paper.spread, "bandwidth").value == 1.6
    assert control(paper.spread, "field").value == WORDS
    paper.answer()
    assert commands(paper) == [replace(asked, bandwidth=1.6, field=WORDS)]


def test_the_tool_in_hand_is_marked_however_it_was_taken(paper: Paper) -> None:
    group = control(paper.select, "tool")
    for tool, name in TOOLS.items():
        paper.use(tool)  # as a key does
        assert [label for label in group.options if label.startswith(IN_HAND)] == [IN_HAND + name]
    paper.use("off")
    move(paper.select, "tool", "Lasso")
    assert paper.tool == "lasso"
    assert IN_HAND + "Lasso" in group.options
    move(paper.select, "tool", IN_HAND + "Lasso")
    assert paper.tool == "lasso"


def test_every_label_of_a_tool_is_that_tool() -> None:
    for held in TOOLS:
        assert [tool_of(label) for label in labels(held)] == list(TOOLS)


def test_a_threshold_can_be_moved_where_scores_are_graded_only(paper: Paper) -> None:
    threshold = control(paper.spread, "threshold")
    assert threshold.disabled
    viewpoint, strokes = strokes_on("ball")
    paper.run(c.Scribble(viewpoint, strokes, THINGS))
    assert not threshold.disabled
    paper.run(c.All())
    assert threshold.disabled
    paper.session.undo()
    assert not threshold.disabled


def test_a_name_that_is_being_written_is_left_alone(paper: Paper) -> None:
    move(paper.select, "name", "pla")
    paper.use("brush")
    paper.run(c.All())
    assert control(paper.select, "name").value == "pla"
    paper.run(c.NewSelection("two"))
    assert control(paper.select, "name").value == "two", "the name was that of another selection"
    assert not control(paper.select, "renaming").waiting


def test_every_control_has_a_hint(paper: Paper) -> None:
    controls = [one for one in paper.client.gui._gui_input_handle_from_uuid.values() if hasattr(one, "hint")]
    assert len(controls) > 50
    assert [one.label for one in controls if not one.hint] == []


def test_words_that_the_encoder_does_not_know_are_told_beside_the_text(paper: Paper) -> None:
    remarks, ask = control(paper.ask, "remarks"), paper.ask
    control(ask, "text").value = "ball"
    control(ask, "where")()
    assert remarks.visible
    assert remarks.content == "**The model has never seen the word 'ball\\_\\*'.**"
    control(ask, "text").value = "plant"
    control(ask, "where")()
    assert not remarks.visible
    control(ask, "negatives").value = "table, ball"
    control(ask, "where")()
    assert remarks.visible
    control(ask, "text").value = ""
    control(ask, "where")()
    assert not remarks.visible


def test_the_threshold_of_one_text_does_not_cut_another(paper: Paper) -> None:
    control(paper.ask, "text").value = "ball"
    control(paper.ask, "where")()
    control(paper.ask, "select")(True)
    (first,) = commands(paper)
    assert isinstance(first, c.Text)
    assert (first.text, first.refine, first.threshold) == ("ball", False, 0.5)
    move(paper.ask, "threshold", 0.75)
    assert commands(paper) == [replace(first, threshold=0.75)]
    control(paper.ask, "text").value = "plant"
    control(paper.ask, "where")()
    move(paper.ask, "threshold", 0.6)
    assert commands(paper) == [replace(first, threshold=0.75)]
    control(paper.ask, "select")(False)
    refined = paper.prompt
    assert isinstance(refined, c.Text)
    assert (refined.text, refined.refine, refined.threshold) == ("plant", True, None)


def find(paper: Paper, text: str) -> None:
    """Select the objects that a text names."""
    control(paper.ask, "text").value = text
    control(paper.ask, "select")(False)


def test_undo_brings_back_the_numbers_of_the_text_before(paper: Paper) -> None:
    slider, found = control(paper.ask, "threshold"), control(paper.ask, "found")
    find(paper, "ball")
    before = [slider.value, slider.min, slider.max, found.content, control(paper.ask, "share").content]
    find(paper, "plant")
    assert found.content != before[3]
    paper.session.undo()
    assert [slider.value, slider.min, slider.max, found.content, control(paper.ask, "share").content] == before
    move(paper.ask, "threshold", 0.7)
    (first,) = commands(paper)
    assert isinstance(first, c.Text)
    assert (first.text, first.threshold) == ("ball", 0.7)
    paper.run(c.Invert())
    assert found.content == ""
    paper.session.undo()
    paper.session.undo()
    assert found.content == ""
    assert not slider.visible
    paper.session.redo()
    assert slider.visible
    assert slider.value == 0.7


def test_a_late_answer_does_not_move_the_threshold_of_a_text_back(paper: Paper) -> None:
    find(paper, "ball")
    paper.slow = True
    for value in (0.6, 0.7):
        move(paper.ask, "threshold", value)
    seen = []
    for _ in range(2):
        paper.answer()
        seen.append(control(paper.ask, "threshold").value)
    assert seen == [0.7, 0.7]


def test_a_document_that_changes_leaves_the_scores_of_a_text_that_is_being_written(paper: Paper) -> None:
    find(paper, "ball")
    control(paper.ask, "text").value = "plant"
    control(paper.ask, "where")()
    shown = control(paper.ask, "spread_of")
    assert shown.text == "plant"
    paper.run(c.Show("selection", False))
    assert control(paper.ask, "spread_of") is shown


def test_a_look_that_is_chosen_while_a_text_is_written_stays(paper: Paper) -> None:
    move(paper.ask, "text", "ball")
    paper.see.choose("pca")
    control(paper.ask, "typing")._act()
    control(paper.ask, "typing").cancel()
    assert paper.look.what == "pca"
    assert control(paper.ask, "spread_of").text == "ball"
    # Who writes on afterwards wants to see it.
    move(paper.ask, "text", "plant")
    paper.look = replace(paper.look, overlay=False)
    control(paper.ask, "typing")._act()
    control(paper.ask, "typing").cancel()
    assert (paper.look.what, paper.look.text, paper.look.overlay) == ("relevancy", "plant", False)


def test_relevancy_says_what_it_is_of_or_what_it_lacks(paper: Paper) -> None:
    about, features = control(paper.see, "about"), control(paper.see, "field")
    assert not about.visible
    paper.see.choose("relevancy")
    assert about.visible
    assert "Write a text under *Ask*, or select something" in about.content
    paper.run(c.All())
    assert "scores of **selection**" in about.content
    control(paper.ask, "text").value = "ball"
    control(paper.ask, "where")()
    assert "**ball**" in about.content
    assert WORDS in about.content
    assert not features.visible
    paper.see.choose("pca")
    assert features.visible
    assert not about.visible
    comparing = control(paper.see, "comparing")
    move(comparing, "layout", "wipe")
    move(comparing, "what", "relevancy")
    assert not about.visible
    paper.run(c.Clear())
    assert "select something" in about.content
    assert about.visible
    assert features.visible


def test_what_a_slider_wants_is_forgotten_once_it_is_there_or_cannot_come() -> None:
    wanted, asked = Wanted(), c.Text("ball", WORDS, threshold=0.3)
    assert wanted.latest(asked) is asked
    newer = replace(asked, threshold=0.4)
    wanted.ask(newer)
    wanted.settle([asked])
    assert wanted.awaits(asked)
    assert wanted.latest(asked) is newer
    wanted.settle([newer])
    assert not wanted.awaits(asked)
    wanted.ask(newer)
    wanted.settle([c.Invert()])
    assert wanted.latest(asked) is asked


def test_words_know_nothing_to_remark(tmp_path: Path) -> None:
    session = open_session(explorer_scene(tmp_path))
    assert session.searcher(WORDS).remarks("ball", negatives=["plant"]) == []
    assert torch.equal(session.document.selection.mask, torch.zeros(session.n, dtype=torch.bool))
    session.close()
