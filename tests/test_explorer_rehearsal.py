"""What a first prompt and a first text would wait for is there once a session is prepared."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from app.explorer import commands as c
from app.explorer.rehearsal import prepare_prompts, prepare_texts, rehearse
from tests.explorer_room import THINGS, WORDS, Words, explorer_scene, open_session, strokes_on
from uplift import random_walker
from uplift.random_walker import RandomWalker
from uplift.relevancy import CANONICAL


@pytest.fixture
def solvers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Bandwidths of the solvers that are made."""
    made: list[float] = []

    class Counted(RandomWalker):
        def __init__(self, graph: object, bandwidth: float) -> None:
            made.append(bandwidth)
            super().__init__(graph, bandwidth)  # type: ignore[arg-type]

    monkeypatch.setattr(random_walker, "RandomWalker", Counted)
    return made


class Counting(Words):
    """Counts what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        self.asked += texts
        return super().encode_text(texts)


def test_prompts_of_a_prepared_session_make_no_solver_whatever_is_hidden(tmp_path: Path, solvers: list[float]) -> None:
    session = open_session(explorer_scene(tmp_path))
    told: list[str] = []
    prepare_prompts(session, lambda done, total, what: told.append(what))
    assert {"solver", "rehearsal"} <= set(told)
    solvers.clear()
    for thing in ("ball", "plant"):
        viewpoint, strokes = strokes_on(thing)
        session.run(c.Scribble(viewpoint, strokes, THINGS))
        session.run(c.Hide())
    assert solvers == []
    assert session.segmenter(THINGS).graph is session.graph(THINGS)


def test_texts_of_a_prepared_session_are_encoded_once_and_make_no_solver(tmp_path: Path, solvers: list[float]) -> None:
    words = Counting()
    session = open_session(explorer_scene(tmp_path), text_encoders={WORDS: words})
    prepare_texts(session)
    assert sorted(words.asked) == sorted(CANONICAL)
    solvers.clear()
    words.asked.clear()
    session.searcher(WORDS).relevancy("ball")
    session.run(c.Text("ball", WORDS, THINGS))
    assert words.asked == ["ball"]
    assert solvers == []


def test_a_heat_map_waits_for_no_graph(tmp_path: Path) -> None:
    session = open_session(explorer_scene(tmp_path))
    session.searcher(WORDS).relevancy("ball")
    assert not list((tmp_path / "scene").glob("graphs/*"))


def test_a_scene_without_fields_has_nothing_to_prepare(tmp_path: Path) -> None:
    path = explorer_scene(tmp_path)
    for field in (path / "fields").glob("*"):
        field.unlink()
    session = open_session(path)
    prepare_prompts(session)
    prepare_texts(session)
    assert not list(path.glob("graphs/*"))


def test_the_rehearsal_selects_and_hides_a_part_of_its_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    from app.explorer.session import Session

    left: list[float] = []

    def close(session: Session) -> None:
        left.extend(session.gaussians.means[session.document.hidden][:, 0].tolist())

    monkeypatch.setattr(Session, "close", close)
    rehearse(torch.device("cpu"))
    assert len(left) > 100
    assert max(left) < 0.1, "what is on the other side looks different"
