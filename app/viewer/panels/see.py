"""What is shown: colours, features, relevancy, depth; two at a time; photos; and what lies under a click."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from app.explorer.colour_bar import colour_bar
from app.explorer.looks import Layout, Look, What
from app.viewer.report import briefly, inspected

if TYPE_CHECKING:
    import viser

    from app.explorer.inspecting import Inspection
    from app.viewer.page import Page
    from render.camera import Camera

WHAT: dict[What, str] = {
    "rgb": "colours",
    "pca": "features (PCA)",
    "relevancy": "relevancy",
    "depth": "depth",
    "opacity": "opacity",
}
LAYOUTS: dict[Layout, str] = {"single": "one picture", "wipe": "wipe", "side": "side by side"}
NONE = "(none)"
FIELD, RGB = "features: ", "colours"


class SeePanel:
    """The tab *See*."""

    def __init__(self, page: Page, tabs: viser.GuiTabGroupHandle) -> None:
        self._page = page
        self._barred: Look | None = None  # what the colour bar is of
        gui, session = page.client.gui, page.session
        fields = session.field_names or [NONE]
        with tabs.add_tab("See"):
            self._what = gui.add_dropdown("Show", tuple(WHAT.values()))
            self._field = gui.add_dropdown("Features of", tuple(fields), initial_value=session.default_field or NONE)
            self._overlay = gui.add_checkbox("Selections", True, hint="Tint and outline the selections (O)")
            self._bar = gui.add_image(colour_bar(0.0, 1.0), visible=False)
            with gui.add_folder("Compare", expand_by_default=False):
                self._layout = gui.add_dropdown("Layout", tuple(LAYOUTS.values()))
                seconds = (RGB, *(FIELD + name for name in session.field_names))
                self._second = gui.add_dropdown("With", seconds, initial_value=seconds[-1])
                self._split = gui.add_slider("Split", 0.0, 1.0, 0.01, 0.5)
            with gui.add_folder("Feature colours", expand_by_default=False):
                self._components = gui.add_slider("Components", 1, 3, 1, 3)
                self._percentile = gui.add_slider("Percentile", 0.0, 20.0, 0.5, 2.0, hint="of features that saturate")
                focus = gui.add_button_group("Focus on", ("view", "selection", "scene"))
            with gui.add_folder("Photos", expand_by_default=False):
                self._cameras = gui.add_checkbox("Cameras", False, hint="Click one to look through it (P)")
                names = tuple(page.photos.names) or (NONE,)
                self._photo = gui.add_dropdown("Look through", names)
                self._share = gui.add_slider("Photo over render", 0.0, 1.0, 0.05, 0.0)
            with gui.add_folder("Under the click"):
                self._found = gui.add_markdown("Take the tool *Inspect* (N) and click.")
        for handle in (self._what, self._field, self._overlay, self._layout, self._second):
            handle.on_update(lambda _: self._chosen())
        self._split.on_update(lambda _: self._chosen())
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
        self._what.value, self._layout.value = WHAT[look.what], LAYOUTS[look.layout]

    def refresh(self) -> None:
        """Show the colour bar of what is shown, if it has one."""
        from app.explorer.colour_bar import bar_of
        from app.explorer.looks import is_prepared

        look = self._page.look
        if look == self._barred or not is_prepared(self._page.session, look):
            return  # pages redraw often, and a picture is sent every time
        self._barred = look
        bar = bar_of(self._page.session, look)
        self._bar.visible = bar is not None
        if bar is not None:
            self._bar.image = bar

    def ask(self, text: str, field: str | None, negatives: tuple[str, ...]) -> Look:
        """The look of a text's relevancy, like the one that is shown now."""
        return replace(
            self._page.look, what="relevancy", text=text, negatives=negatives, field=field, second=None, layout="single"
        )

    def show_relevancy(self, look: Look) -> None:
        """Show a text's relevancy that is prepared."""
        self._page.look = look
        self._what.value = WHAT["relevancy"]
        self._page.set_look(look)

    def focus_on_view(self) -> None:
        """Spread the colours over the features that are seen now."""
        if self._page.look.what != "pca":
            self.choose("pca")
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
        what = next(key for key, label in WHAT.items() if label == self._what.value)
        layout = next(key for key, label in LAYOUTS.items() if label == self._layout.value)
        look = self._page.look
        field = self.field if what == "pca" else look.field if what == "relevancy" and look.text else None
        basis = look.basis if what == "pca" and field == look.field else None
        overlay = self._overlay.value
        second = None if layout == "single" else self._second_look(overlay)
        changed = replace(
            look,
            what=what,
            field=field,
            basis=basis,
            overlay=overlay,
            layout=layout,
            second=second,
            split=self._split.value,
        )
        if changed != look:
            self._page.set_look(changed)

    def _second_look(self, overlay: bool) -> Look:
        chosen = self._second.value
        if chosen == RGB:
            return Look(overlay=overlay)
        return Look("pca", field=chosen.removeprefix(FIELD), overlay=overlay)

    def _refocus(self) -> None:
        if self._page.look.what == "pca":
            self._focus(self._scope)

    def _focus(self, scope: Any) -> None:
        from app.explorer.pca_focus import focus_on_selection, focus_on_view, whole_scene

        page, field = self._page, self.field
        if field is None:
            page.tell("The scene has no features yet: fit3d lift makes some.")
            return
        self._scope = scope
        options: dict[str, Any] = {
            "components": int(self._components.value),
            "percentile": float(self._percentile.value),
            "before": page.look.basis,
        }
        camera = page.camera()
        makers = {
            "view": lambda _: focus_on_view(page.session, field, camera, **options),
            "selection": lambda _: focus_on_selection(page.session, field, **options),
            "scene": lambda _: whole_scene(page.session, field, **options),
        }
        page.explorer.submit(page, f"focus {id(self)}", makers[scope], lambda basis: self._show_basis(field, basis))

    def _show_basis(self, field: str, basis: Any) -> None:
        look = replace(self._page.look, what="pca", field=field, basis=basis)
        self._page.look = look
        self._what.value = WHAT["pca"]
        self._page.set_look(look)

    def _look_through(self, event: Any) -> None:
        if event.client_id is not None and self._photo.value != NONE:
            self._page.photos.look_through(self._photo.value)

    def _compare(self, event: Any) -> None:
        if event.client_id is not None:
            if self._share.value > 0 and not self._page.photos.looked_through and self._photo.value != NONE:
                self._page.photos.look_through(self._photo.value)
            self._page.photos.compare(self._share.value or None)
