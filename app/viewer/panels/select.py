"""Tools that select, what becomes of the selection, and the list of selections."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from app.explorer.commands import (
    Activate,
    All,
    Clear,
    Click,
    Colour,
    Combine,
    Delete,
    Grow,
    Hide,
    Invert,
    Isolate,
    Largest,
    NewSelection,
    Remove,
    Rename,
    Restore,
    Scribble,
    Show,
    ShowAll,
    ShowOthers,
    Shrink,
    Similar,
    Threshold,
    cut_of,
)
from app.viewer.panels.see import NONE
from app.viewer.resting import Resting
from render.errors import InputError

if TYPE_CHECKING:
    import viser

    from app.viewer.page import Page

TOOLS = {
    "Move": "off",
    "Inspect": "inspect",
    "Click": "point",
    "Brush": "brush",
    "Box": "rectangle",
    "Lasso": "lasso",
}
WALKER, DIFFUSION = "random walker", "diffusion (LUDVIG)"
BANDWIDTH, STEPS, THRESHOLD, RADIUS = 0.5, 50, 0.5, 12.0
OBJECT, BACKGROUND = "object", "background"


class SelectPanel:
    """The tab *Select*."""

    def __init__(self, page: Page, tabs: viser.GuiTabGroupHandle) -> None:
        self._page = page
        gui, session = page.client.gui, page.session
        self._renaming = Resting(self._rename)
        fields = session.field_names or [NONE]
        with tabs.add_tab("Select"):
            self._tool = gui.add_button_group("Tool", tuple(TOOLS))
            self._combine = gui.add_dropdown(
                "A new one is", tuple(get_args(Combine)), hint="set, add (Shift), subtract (Ctrl), intersect"
            )
            with gui.add_folder("Brush and box"):
                self._marks = gui.add_dropdown("Strokes mark", (OBJECT, BACKGROUND))
                self._radius = gui.add_slider("Radius", 1.0, 100.0, 1.0, RADIUS, hint="[ and ]")
                anew = gui.add_button_group("Next stroke", ("New strokes",), hint="begins another scribble")
                self._through = gui.add_checkbox("Through", False, hint="boxes and lassos take what is hidden too")
            with gui.add_folder("How marks spread"):
                self._field = gui.add_dropdown(
                    "Features of", tuple(fields), initial_value=session.default_field or NONE
                )
                self._method = gui.add_dropdown("Method", (WALKER, DIFFUSION))
                self._bandwidth = gui.add_slider("Bandwidth", 0.02, 2.0, 0.02, BANDWIDTH)
                self._steps = gui.add_slider("Steps", 1, 200, 1, STEPS, visible=False)
                self._threshold = gui.add_slider("Threshold", 0.02, 1.5, 0.01, THRESHOLD)
            with gui.add_folder("Change"):
                change = gui.add_button_group("Extent", ("Grow", "Shrink", "Largest"))
                also = gui.add_button_group("Instead", ("Invert", "All", "Nothing"))
                more = gui.add_button_group("Find", ("Similar", "Look at it"))
            with gui.add_folder("Selections"):
                self._names = gui.add_dropdown("Active", tuple(session.document.selections))
                self._name = gui.add_text("Name", session.document.active)
                self._colour = gui.add_rgb("Colour", (255, 140, 26))
                self._shown = gui.add_checkbox("Shown", True)
                manage = gui.add_button_group("List", ("New", "Delete"))
                others = gui.add_button_group("Others", ("Hide others", "Show others"))
            with gui.add_folder("Scene"):
                sight = gui.add_button_group("Sight", ("Hide", "Isolate", "Show all"))
                self._margin = gui.add_slider(
                    "Margin", 0, 3, 1, 0, hint="Also remove faint rims, and so many neighbours; 0 = what is tinted"
                )
                away = gui.add_button_group("Edit", ("Remove", "Restore"))
        self._tool.on_click(lambda _: page.use(TOOLS[self._tool.value]))
        self._radius.on_update(lambda event: self._by_person(event, lambda: page.use(page.tool)))
        self._marks.on_update(lambda _: page.canvas.use(page.canvas.tool, positive=self._marks.value == OBJECT))
        self._method.on_update(lambda event: self._by_person(event, self._ask_again))
        self._field.on_update(lambda event: self._by_person(event, self._ask_again))
        self._bandwidth.on_update(lambda event: self._by_person(event, self._ask_again))
        self._steps.on_update(lambda event: self._by_person(event, self._ask_again))
        self._threshold.on_update(lambda event: self._by_person(event, self._cut))
        anew.on_click(lambda _: page.begin_anew())
        self._connect(change, {"Grow": Grow, "Shrink": Shrink, "Largest": Largest})
        self._connect(also, {"Invert": Invert, "All": All, "Nothing": Clear})
        more.on_click(lambda _: self.similar() if more.value == "Similar" else page.look_at_selection())
        self._connect(sight, {"Hide": Hide, "Isolate": Isolate, "Show all": ShowAll})
        self._connect(away, {"Remove": self._remove, "Restore": Restore})
        manage.on_click(lambda _: self._manage(manage.value))
        others.on_click(lambda _: page.run(ShowOthers(others.value == "Show others")))
        self._names.on_update(
            lambda event: self._by_person(event, lambda: page.attempt(lambda: Activate(self._names.value)))
        )
        self._name.on_update(lambda event: self._by_person(event, self._renaming.ask))
        self._colour.on_update(
            lambda event: self._by_person(event, lambda: page.run(Colour(self._active, self._rgb()), slider=True))
        )
        self._shown.on_update(
            lambda event: self._by_person(event, lambda: page.run(Show(self._active, self._shown.value)))
        )

    @property
    def combine(self) -> Combine:
        """What becomes of the selection when something new is marked."""
        return self._combine.value

    @property
    def through(self) -> bool:
        """Whether boxes and lassos take what is hidden behind the surface too."""
        return bool(self._through.value)

    @property
    def radius(self) -> float:
        """Of the brush, in pixels of the page."""
        return float(self._radius.value)

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
        walker = self._method.value == WALKER
        return {
            "field": self.field,
            "method": "random-walker" if walker else "diffusion",
            "bandwidth": float(self._bandwidth.value),
            "steps": None if walker else int(self._steps.value),
        }

    def remove(self) -> None:
        """Take away what is selected."""
        self._page.attempt(self._remove)

    def similar(self) -> None:
        """Select what looks like what is selected."""
        self._page.attempt(self._similar)

    def show_radius(self, radius: float) -> None:
        """A key changed the brush."""
        self._radius.value = radius

    def refresh(self) -> None:
        """Show the document's selections again."""
        self._renaming.cancel()
        self._show_document()

    def close(self) -> None:
        """The page is gone."""
        self._renaming.cancel()

    @property
    def _active(self) -> str:
        return self._page.session.document.active

    def _remove(self) -> Remove:
        return Remove(int(self._margin.value))

    def _similar(self) -> Similar:
        return Similar(self.field, combine=self.combine)

    def _show_document(self) -> None:
        document = self._page.session.document
        named = document.selections[document.active]
        names = tuple(document.selections)
        if tuple(self._names.options) != names:
            self._names.options = names
        for handle, value in (
            (self._names, document.active),
            (self._name, document.active),
            (self._colour, named.colour),
            (self._shown, named.shown),
            (self._threshold, min(max(cut_of(named.selection), 0.02), 1.5)),
        ):
            if handle.value != value:
                handle.value = value
        self._steps.visible = self._method.value == DIFFUSION

    def _connect(self, group: Any, commands: dict[str, Any]) -> None:
        group.on_click(lambda _: self._page.attempt(commands[group.value]))

    def _manage(self, what: str) -> None:
        document, page = self._page.session.document, self._page
        if what == "New":
            number = len(document.selections) + 1
            while f"selection {number}" in document.selections:
                number += 1
            page.attempt(lambda: NewSelection(f"selection {number}"))
        else:
            page.attempt(lambda: Delete(document.active))

    def _rename(self) -> None:
        if self._name.value != self._active and not self._page.attempt(lambda: Rename(self._name.value)):
            self._name.value = self._active

    def _rgb(self) -> tuple[int, int, int]:
        red, green, blue = (int(value) for value in self._colour.value)
        return red, green, blue

    def _cut(self) -> None:
        self._page.run(Threshold(float(self._threshold.value)), slider=True)

    def _ask_again(self) -> None:
        """The last prompt once more, with what the sliders say now."""
        self._steps.visible = self._method.value == DIFFUSION
        command = self._page.prompt
        if isinstance(command, Scribble | Click):
            self._page.attempt(lambda: replace(command, **self.options()), slider=True)

    def _by_person(self, event: Any, act: Any) -> None:
        """Only what a person changed is an action; what the program shows is none."""
        if event.client_id is not None:
            act()
