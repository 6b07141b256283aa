"""Tools that select, what becomes of the selection, and the list of selections."""

from __future__ import annotations

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
)
from app.viewer.panels.propagation import Propagation
from app.viewer.panels.values import by_person, show_value
from app.viewer.resting import Resting
from app.viewer.tools import labels, tool_of

if TYPE_CHECKING:
    import viser

    from app.viewer.page import Page

RADIUS = 12.0
OBJECT, BACKGROUND = "object", "background"


class SelectPanel:
    """The tab *Select*."""

    def __init__(self, page: Page, tabs: viser.GuiTabGroupHandle) -> None:
        self._page = page
        self._renaming = Resting(self._rename)
        self._renamed = ""  # the selection whose name is being written
        with tabs.add_tab("Select"):
            self._add_tools()
            self._propagation = Propagation(page)
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
        self._radius.on_update(lambda event: by_person(event, lambda: page.use(page.tool)))
        self._marks.on_update(lambda _: page.canvas.use(page.canvas.tool, positive=self._marks.value == OBJECT))
        anew.on_click(lambda _: page.begin_anew())

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
        self._names.on_update(lambda event: by_person(event, lambda: page.attempt(lambda: Activate(self._names.value))))
        self._name.on_update(lambda event: by_person(event, self._begin_renaming))
        self._colour.on_update(
            lambda event: by_person(event, lambda: page.run(Colour(self._active, self._rgb()), slider=True))
        )
        self._shown.on_update(lambda event: by_person(event, lambda: page.run(Show(self._active, self._shown.value))))

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
                Remove.margin,
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
        """The field along whose features marks spread; InputError if the scene has none."""
        return self._propagation.field

    def options(self) -> dict[str, Any]:
        """How marks spread, as commands take it."""
        return self._propagation.options()

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
        show_value(self._names, document.active)
        if not self._renaming.waiting or self._renamed != document.active:
            self._renaming.cancel()
            show_value(self._name, document.active)
        show_value(self._colour, named.colour)
        show_value(self._shown, named.shown)
        if tuple(self._tool.options) != labels(self._page.tool):
            self._tool.options = labels(self._page.tool)
        self._propagation.show(named.selection)

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

    def _begin_renaming(self) -> None:
        self._renamed = self._active
        self._renaming.ask()

    def _rename(self) -> None:
        if self._name.value != self._active and not self._page.attempt(lambda: Rename(self._name.value)):
            self._name.value = self._active

    def _rgb(self) -> tuple[int, int, int]:
        red, green, blue = (int(value) for value in self._colour.value)
        return red, green, blue
