"""Notifications over a page, without a browser: how many there are, and which."""

from __future__ import annotations

from typing import Any

import pytest

from app.viewer import notices
from app.viewer.notices import MOST, Notices


class Shown:
    """One notification, until it is removed."""

    def __init__(self, client: Client, text: str) -> None:
        self._client, self.text = client, text

    def remove(self) -> None:
        self._client.shown.remove(self)


class Client:
    """Shows notifications as viser's client does."""

    def __init__(self) -> None:
        self.shown: list[Shown] = []
        self.options: list[dict[str, Any]] = []

    def add_notification(self, _: str, text: str, **options: Any) -> Shown:
        self.shown.append(Shown(self, text))
        self.options.append(options)
        return self.shown[-1]

    @property
    def texts(self) -> list[str]:
        return [one.text for one in self.shown]


@pytest.fixture
def client() -> Client:
    return Client()


def test_the_newest_takes_the_place_of_the_oldest(client: Client) -> None:
    told = Notices(client)
    for number in range(MOST + 3):
        told.show("fit3d", f"sentence {number}", seconds=6.0)
        assert len(client.shown) == min(number + 1, MOST)
    assert client.texts == [f"sentence {number}" for number in range(3, MOST + 3)]
    assert client.options[-1] == {"color": None, "auto_close_seconds": 6.0}


def test_a_sentence_is_shown_once_however_often_it_is_told(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(notices.time, "monotonic", lambda: now)
    told = Notices(client)
    told.show("That did not work", "Nothing is there.", seconds=15.0, color="red")
    first = client.shown[0]
    for _ in range(20):
        told.show("That did not work", "Nothing is there.", seconds=15.0, color="red")
    assert client.shown == [first], "a stream of the same does not flicker"
    told.show("fit3d", "Something else.", seconds=6.0)
    now += 5.0
    # A person may have closed it: it comes again.
    told.show("That did not work", "Nothing is there.", seconds=15.0, color="red")
    assert client.texts == ["Something else.", "Nothing is there."]
    assert client.shown[-1] is not first
