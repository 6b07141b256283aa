"""How clicks and strokes spread: the field, the method, and sliders that are answered while they are dragged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.explorer.commands import Threshold, cut_of
from app.explorer.commands.drawing import Method, Propagated
from app.viewer.panels.values import NONE, by_person, show_value
from app.viewer.scribbling import last_prompt
from app.viewer.wanted import Wanted
from render.errors import InputError

if TYPE_CHECKING:
    from app.explorer.commands import Command
    from app.viewer.page import Page
    from uplift.selection import Selection

METHODS: dict[Method, str] = {"random-walker": "random walker", "diffusion": "diffusion (LUDVIG)"}
BANDWIDTHS, BANDWIDTH = (0.02, 2.0), 0.5
MOST_STEPS, STEPS = 100, 50
CUTS, CUT = (0.02, 1.5), 0.5


class Propagation:
    """The folder *Propagation* of the tab *Select*; each control changes its own part of the last prompt alone."""

    def __init__(self, page: Page) -> None:
        self._page, self._wanted = page, Wanted()
        gui, session = page.client.gui, page.session
        fields = tuple(session.field_names) or (NONE,)
        with gui.add_folder("Propagation"):
            self._field = gui.add_dropdown(
                "Features",
                fields,
                initial_value=session.default_field or NONE,
                hint="Clicks and strokes spread along similar features of this field",
            )
            self._method = gui.add_dropdown(
                "Method", tuple(METHODS.values()), hint="How clicks and strokes spread over the neighbour graph"
            )
            self._bandwidth = gui.add_slider(
                "Bandwidth",
                *BANDWIDTHS,
                0.02,
                BANDWIDTH,
                hint="Of the similarity of features: with less of it only what is more alike is taken",
            )
            self._steps = gui.add_slider(
                "Steps", 1, MOST_STEPS, 1, STEPS, visible=False, hint="How far diffusion goes along the graph"
            )
            self._threshold = gui.add_slider(
                "Threshold",
                *CUTS,
                0.01,
                CUT,
                hint="Scores from which on a Gaussian is selected: 0.5 as it was found, more selects less. For clicks, "
                "strokes and similar features; texts have theirs under Ask",
            )
        for handle, fields_of in (
            (self._field, lambda: {"field": self.field}),
            (self._method, self._chosen_method),
            (self._bandwidth, lambda: {"bandwidth": float(self._bandwidth.value)}),
            (self._steps, lambda: {"steps": int(self._steps.value)}),
        ):
            handle.on_update(lambda event, fields_of=fields_of: by_person(event, lambda: self._ask_again(fields_of)))
        self._threshold.on_update(lambda event: by_person(event, self._cut))

    @property
    def field(self) -> str:
        """The field along whose features marks spread.

        Raises:
            InputError: the scene has none.
        """
        if self._field.value == NONE:
            raise InputError("The scene has no features to select by; make some with fit3d lift, or take a box.")
        return str(self._field.value)

    def options(self) -> dict[str, Any]:
        """How marks spread, as commands take it."""
        return {"field": self.field, "bandwidth": float(self._bandwidth.value), **self._chosen_method()}

    def show(self, selection: Selection) -> None:
        """Show the numbers of what is shown, but for those that a person is moving.

        Args:
            selection: The active one.
        """
        history = self._page.session.history
        last, prompt = history.last, last_prompt(history)
        self._wanted.settle(one for one in (prompt, last.command if last is not None else None) if one is not None)
        if last is None or not self._wanted.awaits(last.command):
            show_value(self._threshold, min(max(cut_of(selection), CUTS[0]), CUTS[1]))
        if isinstance(prompt, Propagated) and not self._wanted.awaits(prompt):
            self._show_prompt(prompt)
        show_value(self._threshold, not _is_graded(selection), "disabled")
        show_value(self._steps, self._chosen_method()["method"] == "diffusion", "visible")

    def _show_prompt(self, prompt: Propagated) -> None:
        if prompt.field_name in self._field.options:
            show_value(self._field, prompt.field_name)
        show_value(self._method, METHODS[prompt.method])
        if prompt.bandwidth is not None:
            show_value(self._bandwidth, min(max(prompt.bandwidth, BANDWIDTHS[0]), BANDWIDTHS[1]))
        if prompt.steps is not None:
            show_value(self._steps, min(prompt.steps, MOST_STEPS))

    def _chosen_method(self) -> dict[str, Any]:
        method = next(name for name, label in METHODS.items() if label == self._method.value)
        return {"method": method, "steps": int(self._steps.value) if method == "diffusion" else None}

    def _cut(self) -> None:
        self._slide(lambda: Threshold(float(self._threshold.value)))

    def _ask_again(self, fields: Callable[[], dict[str, Any]]) -> None:
        """The last prompt once more, with what one control says now and all else as it was."""
        show_value(self._steps, self._chosen_method()["method"] == "diffusion", "visible")
        prompt = self._page.prompt
        if isinstance(prompt, Propagated):
            self._slide(lambda: replace(self._wanted.latest(prompt), **fields()))

    def _slide(self, make: Callable[[], Command]) -> None:
        def wanted() -> Command:
            command = make()
            self._wanted.ask(command)
            return command

        self._page.attempt(wanted, slider=True)


def _is_graded(selection: Selection) -> bool:
    """Whether a threshold could select less or more: boxes and texts leave scores of 0 and 1 alone."""
    inside = selection.scores[selection.scores > 0]
    return len(inside) > 0 and bool(inside.min() < inside.max())
