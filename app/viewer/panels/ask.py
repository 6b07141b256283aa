"""Texts: where they are relevant, what they name, which place shows it best."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.explorer.commands import Text
from app.viewer.panels.values import NONE, by_person, show_value
from app.viewer.report import objects, plain
from app.viewer.resting import Resting
from app.viewer.scribbling import last_prompt
from app.viewer.wanted import Wanted
from render.errors import InputError

if TYPE_CHECKING:
    import viser

    from app.explorer.asking import BestView, Found, Histogram
    from app.explorer.commands import Command
    from app.explorer.looks import Look
    from app.viewer.page import Page

MOST_REMEMBERED = 20
NO_TEXTS = "No field of this scene reads texts; fit3d lift SCENE --encoder tiny-clip makes one"


class AskPanel:
    """The tab *Ask*."""

    def __init__(self, page: Page, tabs: viser.GuiTabGroupHandle) -> None:
        self._page = page
        gui, session = page.client.gui, page.session
        self._histogram: Histogram | None = None
        self._spread_of: Text | None = None  # whose scores the histogram is of: refined ones or relevancies
        self._listed = _text_of(page.prompt)  # whose objects are written down
        self._wanted = Wanted()
        self._subject = _subject(page.look)  # what was looked at when somebody typed last
        texts = session.text_field_names
        structures = (NONE, *(name for name in session.field_names if name not in texts))
        with tabs.add_tab("Ask"):
            if not texts:
                gui.add_markdown(f"{NO_TEXTS}.")
            self._text = gui.add_text("Find", "", hint="What to look for, in words; shown when you stop typing")
            self._negatives = gui.add_text("Negatives", "", hint="What it is not, in phrases with commas between them")
            self._remarks = gui.add_markdown("", visible=False)
            self._past = gui.add_dropdown("History", (NONE,), hint="Texts that were searched before")
            self._field = gui.add_dropdown("Features", tuple(texts) or (NONE,), hint="The field that is searched")
            self._structure = gui.add_dropdown(
                "Refine with",
                structures,
                initial_value=structures[-1],
                hint="The field whose features say where objects end",
            )
            show = gui.add_button_group(
                "Show",
                ("Heat map", "Best match"),
                hint="Where the text is relevant; or select the best object and look through the photo that shows it "
                "best",
            )
            self._picture = gui.add_image(_blank(), visible=False)
            self._threshold = gui.add_slider(
                "Threshold",
                0.0,
                1.0,
                0.005,
                0.5,
                visible=False,
                hint="Scores from which on a Gaussian is selected, the line in the histogram; what this text selected "
                "follows",
            )
            self._share = gui.add_markdown("", visible=False)
            self._top = gui.add_slider("Top objects", 0, 10, 1, 0, hint="Select so many of the best at most; 0 = all")
            select = gui.add_button_group(
                "Select",
                ("Objects", "Above threshold"),
                hint="Whole objects, refined along the features; or all whose relevancy is above the threshold",
            )
            self._found = gui.add_markdown("")
        self._typing = Resting(lambda: self._where(self._subject))
        for handle in (self._text, self._negatives):
            handle.on_update(lambda event: by_person(event, self._typed))
        show.on_click(lambda _: self._where() if show.value == "Heat map" else self._best())
        self._past.on_update(lambda event: self._again(event))
        self._threshold.on_update(lambda event: self._cut(event))
        select.on_click(lambda _: self._select(select.value == "Above threshold"))

    def close(self) -> None:
        """The page is gone."""
        self._typing.cancel()

    def refresh(self) -> None:
        """The document is another one: show the objects and the scores of the text that it was selected by last."""
        prompt = last_prompt(self._page.session.history)
        text, before = _text_of(prompt), self._listed
        self._wanted.settle([] if prompt is None else [prompt])
        self._listed = text
        if text is None or before is None or _selected(text) != _selected(before):
            show_value(self._found, "", "content")
            if text is not None:
                self._list(text)
            elif before is not None and before.refine and self._spread_of is not None and self._spread_of.refine:
                self._hide_spread()  # nothing is left that could be cut there
        elif self._cuts(text) and not self._wanted.awaits(text):
            self._show_threshold(self._threshold_of(text))

    def _typed(self) -> None:
        self._subject = _subject(self._page.look)
        self._typing.ask()

    def _asked(self) -> tuple[str, str, tuple[str, ...]]:
        text, field = self._text.value.strip(), self._field.value
        if field == NONE:
            raise InputError(f"{NO_TEXTS}.")
        if not text:
            raise InputError("There is nothing to look for yet; write a text first.")
        return text, field, tuple(part.strip() for part in self._negatives.value.split(",") if part.strip())

    def _look(self) -> Look:
        text, field, negatives = self._asked()
        # The command checks what a text may be.
        Text(text, field, negatives=negatives)
        return self._page.see.ask(text, field, negatives)

    def _where(self, subject: tuple[object, ...] | None = None) -> None:
        """Show how the scores of the text spread, and where it is relevant unless another look is chosen meanwhile.

        Args:
            subject: What was looked at when that was asked for; None = what is looked at now.
        """
        self._typing.cancel()
        if not self._text.value.strip():
            self._remark([])
            return
        try:
            look = self._look()
        except InputError as error:
            self._page.complain(error)
            return
        page = self._page
        subject = _subject(page.look) if subject is None else subject
        page.explorer.submit(
            page, f"text {id(self)}", lambda _: self._prepared(look), lambda made: self._show(subject, *made)
        )

    def _prepared(self, look: Look) -> tuple[Look, Histogram, list[str]]:
        from app.explorer.asking import score_histogram
        from app.explorer.looks import prepare

        session, text, field = self._page.session, look.text or "", look.field or ""
        prepare(session, look)
        remarks = session.searcher(field).remarks(text, negatives=look.negatives)
        return look, score_histogram(session, look), remarks

    def _show(self, subject: tuple[object, ...], look: Look, histogram: Histogram, remarks: list[str]) -> None:
        text, field = look.text or "", look.field or ""
        self._remember(text)
        self._remark(remarks)
        self._spread(histogram, 0.5, Text(text, field, negatives=look.negatives, refine=False))
        now = self._page.look
        if now.what == "relevancy" or _subject(now) == subject:
            self._page.see.show_relevancy(self._page.see.ask(text, field, look.negatives))

    def _remark(self, remarks: list[str]) -> None:
        """Write down beside the text what its encoder says about it."""
        self._remarks.content = "\n\n".join(f"**{plain(remark)}**" for remark in remarks)
        self._remarks.visible = bool(remarks)

    def _spread(self, histogram: Histogram, threshold: float, of: Text) -> None:
        """Show how scores spread, and where they are cut."""
        self._histogram, self._spread_of = histogram, of
        low, high = float(histogram.edges[0]), float(histogram.edges[-1])
        # In one message: a slider whose limits and value do not fit would move by itself.
        with self._page.client.atomic():
            self._threshold.min, self._threshold.max = round(low, 3), round(high, 3)
            self._threshold.step = max(1e-3, round((high - low) / 200, 3))
            self._threshold.value = min(max(threshold, low), high)
            for handle in (self._picture, self._threshold, self._share):
                handle.visible = True
        self._show_histogram()

    def _hide_spread(self) -> None:
        self._histogram = self._spread_of = None
        for handle in (self._picture, self._threshold, self._share):
            handle.visible = False

    def _show_threshold(self, threshold: float) -> None:
        """Show where the scores of the histogram are cut now."""
        value = min(max(threshold, self._threshold.min), self._threshold.max)
        if self._threshold.value != value:
            self._threshold.value = value
            self._show_histogram()

    def _threshold_of(self, text: Text) -> float:
        """Where the scores of what a text selected are cut."""
        chosen = self._page.session.document.selection.about.get("threshold")
        cut = text.threshold if text.threshold is not None else chosen
        return float(cut) if isinstance(cut, int | float) else 0.5

    def _cuts(self, text: Text) -> bool:
        """Whether the histogram shows the scores that a text selects by."""
        return self._spread_of is not None and _scores(text) == _scores(self._spread_of)

    def _show_histogram(self) -> None:
        if self._histogram is not None:
            threshold = float(self._threshold.value)
            self._picture.image = self._histogram.picture(threshold)
            self._share.content = f"about {self._histogram.above(threshold):,} Gaussians lie above {threshold:.3f}"

    def _cut(self, event: Any) -> None:
        """A person moved the threshold: the line follows, and so does what the last text selected by these scores."""
        if event.client_id is None:
            return
        self._show_histogram()
        last = self._page.prompt
        if isinstance(last, Text) and self._cuts(last):
            command = replace(last, threshold=max(float(self._threshold.value), 1e-6))
            self._wanted.ask(command)
            self._page.attempt(lambda: command, slider=True)

    def _command(self, *, top: int | None, above: bool = False) -> Text:
        text, field, negatives = self._asked()
        structure = None if self._structure.value == NONE else self._structure.value
        asked = Text(text, field, structure, negatives, combine=self._page.select.combine, top=top, refine=not above)
        if above and self._cuts(asked):
            return replace(asked, threshold=max(float(self._threshold.value), 1e-6))
        return asked

    def _select(self, above: bool) -> None:
        top = int(self._top.value) or None
        try:
            command = self._command(top=top, above=above)
        except InputError as error:
            self._page.complain(error)
            return
        self._page.run(command)

    def _list(self, command: Text) -> None:
        """Write down the objects that a text selected, and show the scores that they were cut from."""
        from app.explorer.asking import Histogram, top_objects

        page = self._page

        def work(_: object) -> tuple[list[Found], Histogram] | None:
            prompt = _text_of(last_prompt(page.session.history))
            if prompt is None or _selected(prompt) != _selected(command):
                return None  # it is undone already
            found = top_objects(page.session, page.session.document.selection)
            searcher = page.session.searcher(command.field, command.structure)
            spread = searcher.histogram(command.text, diffusion=command.refine, negatives=command.negatives)
            return found, Histogram(*spread)

        page.explorer.submit(page, f"objects {id(self)}", work, lambda made: self._show_list(command, made))

    def _show_list(self, command: Text, made: tuple[list[Found], Histogram] | None) -> None:
        if made is None:
            return
        found, histogram = made
        self._found.content = objects(found)
        self._remember(command.text)
        last = _text_of(self._page.prompt)
        now = command if last is None or _selected(last) != _selected(command) else last
        self._spread(histogram, self._threshold_of(now), command)

    def _best(self) -> None:
        """Select the best object and go where a photo shows it best."""
        page = self._page
        try:
            command = self._command(top=1)
        except InputError as error:
            page.complain(error)
            return
        page.run(command)
        page.explorer.submit(
            page,
            f"best {id(self)}",
            lambda _: self._best_view(command),
            lambda best: None if best is None else page.photos.look_through(best.view.name),
        )

    def _best_view(self, command: Text) -> BestView | None:
        """The photo that shows best what a command selected; none if it could not be done."""
        from app.explorer.asking import best_view

        session = self._page.session
        return best_view(session, session.document.selection.mask) if last_prompt(session.history) == command else None

    def _remember(self, text: str) -> None:
        known = [past for past in self._past.options if past not in (NONE, text)]
        self._past.options = (text, *known[: MOST_REMEMBERED - 1])

    def _again(self, event: Any) -> None:
        if event.client_id is not None and self._past.value not in (NONE, self._text.value):
            self._text.value = self._past.value
            self._where()


def _scores(text: Text) -> tuple[object, ...]:
    """What the scores of a text depend on."""
    return text.text, text.field, text.negatives, text.refine, text.structure if text.refine else None


def _selected(text: Text) -> Text:
    """What a text selects, wherever its scores are cut."""
    return replace(text, threshold=None)


def _text_of(prompt: Command | None) -> Text | None:
    return prompt if isinstance(prompt, Text) else None


def _subject(look: Look) -> tuple[object, ...]:
    """What is looked at, however it is coloured, tinted or laid out."""
    return look.what, look.field, look.text, look.negatives


def _blank() -> Any:
    import numpy as np

    return np.full((96, 320, 3), 255, np.uint8)
