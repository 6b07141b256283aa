"""Two looks at a time: how they are laid out, and what the right half shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from app.explorer.looks import Layout, Look, What
from app.viewer.panels.values import NONE, WHAT, key_of, show_value
from app.viewer.resting import Resting

if TYPE_CHECKING:
    from app.viewer.page import Page

LAYOUTS: dict[Layout, str] = {"single": "one picture", "wipe": "wipe", "side": "side by side"}


class Comparing:
    """The folder *Compare* of the tab *See*.

    Args:
        page: The page.
        chosen: Called when a control was given another value.
    """

    def __init__(self, page: Page, chosen: Callable[[], None]) -> None:
        gui, session = page.client.gui, page.session
        fields, texts = session.field_names or [NONE], session.text_field_names or [NONE]
        with gui.add_folder("Compare", expand_by_default=False):
            self._layout = gui.add_dropdown(
                "Layout", tuple(LAYOUTS.values()), hint="One picture; one that changes at the split; or two"
            )
            initial = WHAT["pca" if session.field_names else "rgb"]
            self._what = gui.add_dropdown("With", tuple(WHAT.values()), initial_value=initial, hint="The right half")
            self._field = gui.add_dropdown(
                "Its features", tuple(fields), initial_value=fields[-1], hint="The field of the right half"
            )
            self._text = gui.add_text("Its text", "", hint="Empty: the scores of the active selection")
            self._texts = gui.add_dropdown(
                "Text features", tuple(texts), hint="The field that the right half's text is searched in"
            )
            self._same = gui.add_checkbox("Same colours", True, hint="A thing has the same colour in both halves")
            self._split = gui.add_slider("Split", 0.0, 1.0, 0.01, 0.5, hint="Where the right half begins")
        for handle in (self._layout, self._what, self._field, self._texts, self._same, self._split):
            handle.on_update(lambda _: chosen())
        self._typing = Resting(chosen)
        self._text.on_update(lambda _: self._typing.ask())

    def show(self, look: Look) -> None:
        """Show how a look is laid out, and its right half."""
        self._layout.value = LAYOUTS[look.layout]
        second = look.second
        if second is not None:
            self._what.value = WHAT[second.what]
            self._text.value = second.text or ""
            known = self._texts if second.what == "relevancy" else self._field
            if second.field in known.options:
                known.value = second.field

    def arrange(self, first: What) -> None:
        """Show the inputs that mean something beside what the left half shows."""
        layout, second = key_of(LAYOUTS, self._layout.value), key_of(WHAT, self._what.value)
        double = layout != "single"
        for handle, meant in (
            (self._what, double),
            (self._field, double and second == "pca"),
            (self._text, double and second == "relevancy"),
            (self._texts, double and second == "relevancy"),
            (self._same, double and first == second == "pca"),
            (self._split, layout == "wipe"),
        ):
            show_value(handle, meant, "visible")

    def beside(self, before: Look, first: Look) -> Look:
        """A first look with what is chosen here.

        Args:
            before: What was looked at until now; a right half that stays keeps its colours.
            first: What the left half shows.

        Raises:
            InputError: the right half's text cannot be searched for.
        """
        layout = key_of(LAYOUTS, self._layout.value)
        look = replace(first, same=self._same.value, split=self._split.value, layout="single", second=None)
        return look if layout == "single" else replace(look, layout=layout, second=self._second(before, look))

    def close(self) -> None:
        """The page is gone."""
        self._typing.cancel()

    def _second(self, before: Look, first: Look) -> Look:
        """What the other half shows; a basis stays while both halves show what they did."""
        from app.explorer.commands.base import check_text

        what = key_of(WHAT, self._what.value)
        second = Look(what, overlay=first.overlay)
        if what == "pca" and self._field.value != NONE:
            second = replace(second, field=self._field.value)
        text = self._text.value.strip()
        if what == "relevancy" and text:
            check_text(text)
            field = None if self._texts.value == NONE else self._texts.value
            second = replace(second, text=text, field=field, negatives=first.negatives)
        old = before.second
        kept = _coloured(before) == _coloured(first)
        if old is not None and kept and (old.what, old.field) == (second.what, second.field):
            return replace(second, basis=old.basis)
        return second


def _coloured(look: Look) -> tuple[object, ...]:
    """What the colours of a right half depend on of the left one."""
    return look.what, look.field, look.basis, look.same
