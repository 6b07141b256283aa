"""Tools that select, what becomes of the selection, and the list of selections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from app.explorer.commands import (
    Activate,
    All,
    Clear,
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
    Show,
    ShowAll,
    ShowOthers,
    Shrink,
    Similar,
    Threshold,
    cut_of,
)
from app.explorer.commands.drawing import Method, Propagated
from app.viewer.panels.see import NONE
from app.viewer.resting import Resting
from app.viewer.scribbling import last_prompt
from app.viewer.tools import labels, tool_of
from app.viewer.wanted import Wanted
from render.errors import InputError

if TYPE_CHECKING:
    import viser

    from app.explorer.commands import Command
    from app.viewer.page import Page
    from uplift.selection import Selection

METHODS: dict[Method, str] = {"random-walker": "random walker", "diffusion": "diffusion (LUDVIG)"}
BANDWIDTHS, BANDWIDTH = (0.02, 2.0), 0.5
MOST_STEPS, STEPS = 100, 50
CUTS, CUT = (0.02, 1.5), 0.5
RADIUS = 12.0
OBJECT, BACKGROUND = "object", "background"


class SelectPanel:
    """The tab *Select*."""

    def __init__(self, page: Page, tabs: viser.GuiTabGroupHandle) -> None:
        self._page = page
        self._renaming = Resting(self._rename)
        self._wanted = Wanted()
        with tabs.add_tab("Select"):
            self._add_tools()
            self._add_propagation()
            self._add_changes()
            self._add_list()
            self._add_scene()

    def _add_tools(self) -> None:
        page, gui = self._page, self._page.client.gui
        self._tool = gui.add_button_group(
            "Tool", labels(page.tool), hint="What the left button does: V, N, C, B, R, L; Escape for the camera"
        )
        self._combine = gui.add_dropdown(
            "Mode",
            tuple(get_args(Combine)),
            hint="What a new selection does to the active one: replaces it, adds to it (Shift), takes away from it "
            "(Ctrl, with the brush Alt) or keeps what both hold",
        )
        with gui.add_folder("Brush and box"):
            self._marks = gui.add_dropdown(
                "Brush marks", (OBJECT, BACKGROUND), hint="Ctrl marks background while it is held"
            )
            self._radius = gui.add_slider(
                "Brush radius", 1.0, 100.0, 1.0, RADIUS, hint="In pixels of the page; the keys [ and ] change it"
            )
            anew = gui.add_button_group(
                "Scribble",
                ("New scribble",),
                hint="Strokes from one viewpoint make one scribble; this begins another one",
            )
            self._through = gui.add_checkbox(
                "See-through", False, hint="Box and lasso also take what is hidden behind the surface"
            )
        self._tool.on_click(lambda _: page.use(tool_of(self._tool.value)))
        self._radius.on_update(lambda event: self._by_person(event, lambda: page.use(page.tool)))
        self._marks.on_update(lambda _: page.canvas.use(page.canvas.tool, positive=self._marks.value == OBJECT))
        anew.on_click(lambda _: page.begin_anew())

    def _add_propagation(self) -> None:
        gui, session = self._page.client.gui, self._page.session
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
            handle.on_update(
                lambda event, fields_of=fields_of: self._by_person(event, lambda: self._ask_again(fields_of))
            )
        self._threshold.on_update(lambda event: self._by_person(event, self._cut))

    def _add_changes(self) -> None:
        page, gui = self._page, self._page.client.gui
        with gui.add_folder("Change"):
            extent = gui.add_button_group(
                "Extent", ("Grow", "Shrink", "Largest"), hint="By one neighbour (G, Shift G); the largest part alone"
            )
            whole = gui.add_button_group("Select", ("Invert", "All", "None"), hint="I, Ctrl A, U")
            more = gui.add_button_group(
                "More",
                ("Similar", "Look at"),
                hint="Select what has similar features (M); orbit around the selection (T)",
            )
        self._connect(extent, {"Grow": Grow, "Shrink": Shrink, "Largest": Largest})
        self._connect(whole, {"Invert": Invert, "All": All, "None": Clear})
        more.on_click(lambda _: self.similar() if more.value == "Similar" else page.look_at_selection())

    def _add_list(self) -> None:
        page, gui, document = self._page, self._page.client.gui, self._page.session.document
        with gui.add_folder("Selections"):
            self._names = gui.add_dropdown(
                "Active", tuple(document.selections), hint="The selection that tools change and exports write"
            )
            self._name = gui.add_text("Name", document.active, hint="Of the active selection; write to rename it")
            self._colour = gui.add_rgb("Colour", (255, 140, 26), hint="That the active selection is tinted with")
            self._shown = gui.add_checkbox("Shown", True, hint="Tint and outline the active selection")
            manage = gui.add_button_group(
                "List", ("New", "Delete"), hint="Begin an empty selection, or take the active one off the list"
            )
            others = gui.add_button_group(
                "Others", ("Hide others", "Show others"), hint="Tint all other selections, or do not"
            )
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

    def _add_scene(self) -> None:
        gui = self._page.client.gui
        with gui.add_folder("Scene"):
            sight = gui.add_button_group(
                "Visibility",
                ("Hide", "Isolate", "Show all"),
                hint="Hide what is selected (H) or all else (J); show it again (Shift H)",
            )
            away = gui.add_button_group(
                "Gaussians", ("Remove", "Restore"), hint="Take away what is selected (X); bring all removed ones back"
            )
            self._margin = gui.add_slider(
                "Margin",
                0,
                3,
                1,
                0,
                hint="Of what Remove takes: 0 what is selected, else faint rims and so many neighbours too",
            )
        self._connect(sight, {"Hide": Hide, "Isolate": Isolate, "Show all": ShowAll})
        self._connect(away, {"Remove": self._remove, "Restore": Restore})

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
        return {"field": self.field, "bandwidth": float(self._bandwidth.value), **self._chosen_method()}

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

    def _chosen_method(self) -> dict[str, Any]:
        method = next(name for name, label in METHODS.items() if label == self._method.value)
        return {"method": method, "steps": int(self._steps.value) if method == "diffusion" else None}

    def _show_document(self) -> None:
        document = self._page.session.document
        named = document.selections[document.active]
        names = tuple(document.selections)
        if tuple(self._names.options) != names:
            self._names.options = names
        _show(self._names, document.active)
        _show(self._name, document.active)
        _show(self._colour, named.colour)
        _show(self._shown, named.shown)
        if tuple(self._tool.options) != labels(self._page.tool):
            self._tool.options = labels(self._page.tool)
        self._show_numbers(named.selection)

    def _show_numbers(self, selection: Selection) -> None:
        """Show what the sliders' numbers are, but for those that a person is moving."""
        history = self._page.session.history
        last, prompt = history.last, last_prompt(history)
        self._wanted.settle(one for one in (prompt, last.command if last is not None else None) if one is not None)
        if last is None or not self._wanted.awaits(last.command):
            _show(self._threshold, min(max(cut_of(selection), CUTS[0]), CUTS[1]))
        if isinstance(prompt, Propagated) and not self._wanted.awaits(prompt):
            self._show_prompt(prompt)
        _set(self._threshold, "disabled", not _is_graded(selection))
        _set(self._steps, "visible", self._chosen_method()["method"] == "diffusion")

    def _show_prompt(self, prompt: Propagated) -> None:
        if prompt.field_name in self._field.options:
            _show(self._field, prompt.field_name)
        _show(self._method, METHODS[prompt.method])
        if prompt.bandwidth is not None:
            _show(self._bandwidth, min(max(prompt.bandwidth, BANDWIDTHS[0]), BANDWIDTHS[1]))
        if prompt.steps is not None:
            _show(self._steps, min(prompt.steps, MOST_STEPS))

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
        self._slide(lambda: Threshold(float(self._threshold.value)))

    def _ask_again(self, fields: Callable[[], dict[str, Any]]) -> None:
        """The last prompt once more, with what one control says now and all else as it was."""
        _set(self._steps, "visible", self._chosen_method()["method"] == "diffusion")
        prompt = self._page.prompt
        if isinstance(prompt, Propagated):
            self._slide(lambda: replace(self._wanted.latest(prompt), **fields()))

    def _slide(self, make: Callable[[], Command]) -> None:
        def wanted() -> Command:
            command = make()
            self._wanted.ask(command)
            return command

        self._page.attempt(wanted, slider=True)

    def _by_person(self, event: Any, act: Any) -> None:
        """Only what a person changed is an action; what the program shows is none."""
        if event.client_id is not None:
            act()


def _show(handle: Any, value: Any) -> None:
    """Show a value; every assignment is a message to the page."""
    _set(handle, "value", value)


def _set(handle: Any, name: str, value: Any) -> None:
    if getattr(handle, name) != value:
        setattr(handle, name, value)


def _is_graded(selection: Selection) -> bool:
    """Whether a threshold could select less or more: boxes and texts leave scores of 0 and 1 alone."""
    inside = selection.scores[selection.scores > 0]
    return len(inside) > 0 and bool(inside.min() < inside.max())
