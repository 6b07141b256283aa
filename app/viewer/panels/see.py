"""What is shown: colours, features, relevancy, depth; two at a time; photos; and what lies under a click."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from app.explorer.colour_bar import colour_bar
from app.explorer.looks import Layout, Look, What, field_name
from app.viewer.panels.values import show_value
from app.viewer.report import briefly, inspected, plain
from app.viewer.resting import Resting

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
LACKING = "There is nothing to show the relevancy of. Write a text under *Ask*, or select something."


class SeePanel:
    """The tab *See*."""

    def __init__(self, page: Page, tabs: viser.GuiTabGroupHandle) -> None:
        self._page = page
        self._barred: tuple[Look, ...] | None = None  # what the colour bar is of
        self._quiet = False  # whether inputs are set by nobody
        gui, session = page.client.gui, page.session
        fields, texts = session.field_names or [NONE], session.text_field_names or [NONE]
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
            with gui.add_folder("Compare", expand_by_default=False):
                self._layout = gui.add_dropdown(
                    "Layout", tuple(LAYOUTS.values()), hint="One picture; one that changes at the split; or two"
                )
                initial = WHAT["pca" if session.field_names else "rgb"]
                self._second = gui.add_dropdown(
                    "With", tuple(WHAT.values()), initial_value=initial, hint="The right half"
                )
                self._second_field = gui.add_dropdown(
                    "Its features", tuple(fields), initial_value=fields[-1], hint="The field of the right half"
                )
                self._second_text = gui.add_text("Its text", "", hint="Empty: the scores of the active selection")
                self._second_texts = gui.add_dropdown(
                    "Text features", tuple(texts), hint="The field that the right half's text is searched in"
                )
                self._same = gui.add_checkbox("Same colours", True, hint="A thing has the same colour in both halves")
                self._split = gui.add_slider("Split", 0.0, 1.0, 0.01, 0.5, hint="Where the right half begins")
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
        for handle in (self._what, self._field, self._overlay, self._layout, self._second, self._second_field):
            handle.on_update(lambda _: self._chosen())
        for handle in (self._second_texts, self._same, self._split):
            handle.on_update(lambda _: self._chosen())
        self._typing = Resting(self._chosen)
        self._second_text.on_update(lambda _: self._typing.ask())
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
            self._what.value, self._layout.value = WHAT[look.what], LAYOUTS[look.layout]
            second = look.second
            if second is not None:
                self._second.value = WHAT[second.what]
                self._second_text.value = second.text or ""
                known = self._second_texts if second.what == "relevancy" else self._second_field
                if second.field in known.options:
                    known.value = second.field
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
        relevancy, document = look.what == "relevancy", self._page.session.document
        if relevancy and look.text:
            about = f"of **{plain(look.text)}** in {plain(field_name(self._page.session, look))}; texts are under *Ask*"
        elif relevancy and len(document.selection):
            about = f"scores of **{plain(document.active)}**"
        else:
            about = LACKING
        show_value(self._about, about, "content")
        show_value(self._about, relevancy, "visible")
        show_value(self._field, not relevancy, "visible")

    def close(self) -> None:
        """The page is gone."""
        self._typing.cancel()

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
        what, layout = _key(WHAT, self._what.value), _key(LAYOUTS, self._layout.value)
        look = self._page.look
        field = self.field if what == "pca" else look.field if what == "relevancy" and look.text else None
        changed = replace(
            look,
            what=what,
            field=field,
            basis=look.basis if what == "pca" and field == look.field else None,
            overlay=self._overlay.value,
            same=self._same.value,
            layout="single",
            second=None,
            split=self._split.value,
        )
        if layout != "single":
            changed = replace(changed, layout=layout, second=self._second_look(look, changed))
        if changed != look:
            self._page.set_look(changed)

    def _second_look(self, before: Look, first: Look) -> Look:
        """What the other half shows, beside a first look; a basis stays while both halves show what they did."""
        from app.explorer.commands.base import check_text

        what = _key(WHAT, self._second.value)
        second = Look(what, overlay=first.overlay)
        if what == "pca" and self._second_field.value != NONE:
            second = replace(second, field=self._second_field.value)
        text = self._second_text.value.strip()
        if what == "relevancy" and text:
            check_text(text)
            field = None if self._second_texts.value == NONE else self._second_texts.value
            second = replace(second, text=text, field=field, negatives=first.negatives)
        old = before.second
        kept = (before.what, before.field, before.basis, before.same) == (
            first.what,
            first.field,
            first.basis,
            first.same,
        )
        if old is not None and kept and (old.what, old.field) == (second.what, second.field):
            return replace(second, basis=old.basis)
        return second

    def _arrange(self) -> None:
        """Show the inputs that mean something now."""
        double, second = self._layout.value != LAYOUTS["single"], _key(WHAT, self._second.value)
        for handle, meant in (
            (self._second, double),
            (self._second_field, double and second == "pca"),
            (self._second_text, double and second == "relevancy"),
            (self._second_texts, double and second == "relevancy"),
            (self._same, double and second == "pca" and self._what.value == WHAT["pca"]),
            (self._split, self._layout.value == LAYOUTS["wipe"]),
        ):
            if handle.visible != meant:
                handle.visible = meant

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


def _key(labels: dict[Any, str], label: str) -> Any:
    return next(key for key, known in labels.items() if known == label)


def _subjects(look: Look) -> list[tuple[What, str | None]]:
    """What both halves show, and of which fields."""
    return [(part.what, part.field) for part in look.parts]
