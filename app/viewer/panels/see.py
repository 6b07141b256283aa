"""What is shown: colours, features, relevancy, depth; two at a time; photos; and what lies under a click."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from app.explorer.colour_bar import colour_bar
from app.explorer.looks import Look, What, field_name
from app.viewer.panels.comparing import Comparing
from app.viewer.panels.values import NONE, WHAT, key_of, show_value
from app.viewer.report import briefly, inspected, plain

if TYPE_CHECKING:
    import viser

    from app.explorer.inspecting import Inspection
    from app.viewer.page import Page
    from render.camera import Camera

LACKING = "There is nothing to show the relevancy of. Write a text under *Ask*, or select something."


class SeePanel:
    """The tab *See*."""

    def __init__(self, page: Page, tabs: viser.GuiTabGroupHandle) -> None:
        self._page = page
        self._barred: tuple[Look, ...] | None = None  # what the colour bar is of
        self._quiet = False  # whether inputs are set by nobody
        gui, session = page.client.gui, page.session
        fields = session.field_names or [NONE]
        with tabs.add_tab("See"):
            self._what = gui.add_dropdown("Show", tuple(WHAT.values()), hint="What is drawn: the keys 1 to 5")
            self._about = gui.add_markdown("", visible=False)
            self._field = gui.add_dropdown(
                "Features of",
                tuple(fields),
                initial_value=session.default_field or NONE,
                hint="The field whose features are drawn as colours",
            )
            self._overlay = gui.add_checkbox("Selections", True, hint="Tint and outline the selections (O)")
            self._bar = gui.add_image(colour_bar(0.0, 1.0), visible=False)
            self._comparing = Comparing(page, self._chosen)
            with gui.add_folder("Feature colours", expand_by_default=False):
                self._components = gui.add_slider(
                    "Components", 1, 3, 1, 3, hint="How many directions of features are drawn; one is grey"
                )
                self._percentile = gui.add_slider("Percentile", 0.0, 20.0, 0.5, 2.0, hint="Of features that saturate")
                focus = gui.add_button_group(
                    "Focus on",
                    ("view", "selection", "scene"),
                    hint="Spread the colours over the features of what is seen (F), of what is selected, or of all",
                )
            with gui.add_folder("Photos", expand_by_default=False):
                self._cameras = gui.add_checkbox("Cameras", False, hint="Click one to look through it (P)")
                names = tuple(page.photos.names) or (NONE,)
                self._photo = gui.add_dropdown("Look through", names, hint="Go to where a photo was taken from")
                self._share = gui.add_slider(
                    "Photo over render", 0.0, 1.0, 0.05, 0.0, hint="How much of the photo is laid over what is drawn"
                )
            with gui.add_folder("Under the click"):
                self._found = gui.add_markdown("Take the tool *Inspect* (N) and click.")
        for handle in (self._what, self._field, self._overlay):
            handle.on_update(lambda _: self._chosen())
        self._arrange()
        for slider in (self._components, self._percentile):
            slider.on_update(lambda _: page.trying(self._refocus))
        self._scope: Literal["view", "selection", "scene"] = "scene"
        focus.on_click(lambda _: page.trying(lambda: self._focus(focus.value)))
        self._cameras.on_update(lambda _: page.photos.show(self._cameras.value))
        self._photo.on_update(lambda event: page.trying(lambda: self._look_through(event)))
        self._share.on_update(lambda event: page.trying(lambda: self._compare(event)))

    @property
    def field(self) -> str | None:
        """The field whose features are shown."""
        return None if self._field.value == NONE else self._field.value

    def choose(self, what: What) -> None:
        """Show something else."""
        self._what.value = WHAT[what]

    def show_chosen(self, look: Look) -> None:
        """Say again what is looked at, where another choice could not be had."""
        with self._silently():
            self._what.value = WHAT[look.what]
            self._comparing.show(look)
        self._arrange()

    def refresh(self) -> None:
        """Say what is shown, with its colour bars if it has any."""
        from app.explorer.colour_bar import bar_of
        from app.explorer.looks import is_prepared

        look = self._page.shown
        self._explain(look)
        if look.parts == self._barred or not is_prepared(self._page.session, look):
            return  # pages redraw often, and a picture is sent every time
        self._barred = look.parts
        bar = bar_of(self._page.session, look)
        self._bar.visible = bar is not None
        if bar is not None:
            self._bar.image = bar

    def _explain(self, look: Look) -> None:
        """Say what relevancy is of: a text, which is written elsewhere, or the active selection."""
        relevancy, document, about = look.what == "relevancy", self._page.session.document, ""
        if relevancy and look.text:
            about = f"of **{plain(look.text)}** in {plain(field_name(self._page.session, look))}; texts are under *Ask*"
        elif relevancy:
            about = f"scores of **{plain(document.active)}**"
        if any(part.what == "relevancy" and not part.text for part in look.parts) and not len(document.selection):
            about = LACKING
        show_value(self._about, about, "content")
        show_value(self._about, bool(about), "visible")
        show_value(self._field, not relevancy, "visible")

    def close(self) -> None:
        """The page is gone."""
        self._comparing.close()

    def ask(self, text: str, field: str | None, negatives: tuple[str, ...]) -> Look:
        """The look of a text's relevancy, like the one that is shown now; what it is compared with stays."""
        return replace(self._page.look, what="relevancy", text=text, negatives=negatives, field=field, basis=None)

    def show_relevancy(self, look: Look) -> None:
        """Show a text's relevancy that is prepared."""
        with self._silently():
            self._what.value = WHAT["relevancy"]
        self._page.set_look(look)

    def focus_on_view(self) -> None:
        """Spread the colours over the features that are seen now."""
        self._page.trying(lambda: self._focus("view"))

    def toggle_overlay(self) -> None:
        """Show the selections, or do not."""
        self._overlay.value = not self._overlay.value

    def toggle_photos(self) -> None:
        """Show the photos' cameras, or do not."""
        self._cameras.value = not self._cameras.value

    def photo_chosen(self, name: str) -> None:
        """A photo is looked through now."""
        self._photo.value = name
        if self._share.value > 0:
            self._page.photos.compare(self._share.value)

    def photo_left(self) -> None:
        """No photo is looked through any more."""
        self._share.value = 0.0

    def inspect(self, look: Look, camera: Camera, pixel: tuple[float, float]) -> None:
        """Find what lies under a pixel of a look's picture and write it down."""
        from app.explorer.inspecting import inspect

        page = self._page
        page.explorer.submit(
            page,
            f"inspect {id(self)}",
            lambda _: inspect(page.session, camera, *pixel, look),
            self._show_inspected,
        )

    def _show_inspected(self, found: Inspection | None) -> None:
        self._found.content = inspected(found)
        self._page.tell(briefly(found))  # another tab may be open

    def _chosen(self) -> None:
        """A person chose what to look at."""
        if not self._quiet:
            self._arrange()
            self._page.trying(self._look_at_chosen)

    def _look_at_chosen(self) -> None:
        what = key_of(WHAT, self._what.value)
        look = self._page.look
        field = self.field if what == "pca" else look.field if what == "relevancy" and look.text else None
        basis = look.basis if what == "pca" and field == look.field else None
        first = replace(look, what=what, field=field, basis=basis, overlay=self._overlay.value)
        changed = self._comparing.beside(look, first)
        if changed != look:
            self._page.set_look(changed)

    def _arrange(self) -> None:
        """Show the inputs that mean something now."""
        self._comparing.arrange(key_of(WHAT, self._what.value))

    @contextmanager
    def _silently(self) -> Iterator[None]:
        """Inputs that are set here choose nothing."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def _refocus(self) -> None:
        if any(part.what == "pca" for part in self._page.look.parts):
            self._focus(self._scope)

    def _focus(self, scope: Literal["view", "selection", "scene"]) -> None:
        """Spread the colours of features, in both halves, over what matters."""
        from app.explorer.frames import part_camera
        from app.explorer.pca_focus import SCENE, Spread, refocused, scope_of_selection, scope_of_view

        page = self._page
        if self.field is None:
            page.tell("The scene has no features yet: fit3d lift makes some.")
            return
        self._scope = scope
        if not any(part.what == "pca" for part in page.look.parts):
            self.choose("pca")
        look, session = page.look, page.session
        camera = part_camera(look, page.camera())
        makers = {
            "view": lambda: scope_of_view(session, camera),
            "selection": lambda: scope_of_selection(session),
            "scene": lambda: SCENE,
        }
        spread = Spread(int(self._components.value), float(self._percentile.value))
        page.explorer.submit(
            page,
            f"focus {id(self)}",
            lambda _: refocused(session, look, makers[scope](), spread),
            lambda focused: self._show_focused(look, focused),
        )

    def _show_focused(self, asked: Look, focused: Look) -> None:
        """Show new colours, unless something else is looked at by now."""
        now = self._page.look
        if _subjects(now) != _subjects(asked):
            return
        second = now.second
        if second is not None and focused.second is not None:
            second = replace(second, basis=focused.second.basis)
        self._page.set_look(replace(now, basis=focused.basis, second=second))

    def _look_through(self, event: Any) -> None:
        if event.client_id is not None and self._photo.value != NONE:
            self._page.photos.look_through(self._photo.value)

    def _compare(self, event: Any) -> None:
        if event.client_id is not None:
            if self._share.value > 0 and not self._page.photos.looked_through and self._photo.value != NONE:
                self._page.photos.look_through(self._photo.value)
            self._page.photos.compare(self._share.value or None)


def _subjects(look: Look) -> list[tuple[What, str | None]]:
    """What both halves show, and of which fields."""
    return [(part.what, part.field) for part in look.parts]
