"""The cache: what several threads ask for is made once, and what is kept stays within its number."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch

from app.explorer.cache import Cache
from render.errors import InputError


def test_who_asks_while_a_value_is_made_waits_for_it() -> None:
    cache, began, go_on, made = Cache(), threading.Event(), threading.Event(), []

    def make() -> torch.Tensor:
        made.append(1)
        began.set()
        assert go_on.wait(20)
        return torch.ones(1)

    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(cache.get, "slow", make)
        assert began.wait(20)
        others = [pool.submit(cache.get, "slow", make) for _ in range(3)]
        assert pool.submit(cache.get, "other", lambda: 7).result(20) == 7, "others do not wait"
        go_on.set()
        assert all(one.result(20) is first.result(20) for one in others)
    assert made == [1]


def test_who_waited_for_what_could_not_be_made_tries_again() -> None:
    cache, began, go_on = Cache(), threading.Event(), threading.Event()

    def fail() -> int:
        began.set()
        assert go_on.wait(20)
        raise InputError("not yet")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, "a", fail)
        assert began.wait(20)
        second = pool.submit(cache.get, "a", lambda: 2)
        go_on.set()
        with pytest.raises(InputError, match="not yet"):
            first.result(20)
        assert second.result(20) == 2


def test_a_number_of_values_is_kept_the_longest_unused_dropped_first() -> None:
    cache = Cache(limit=None, count=2)
    assert cache.latest() is None
    for name in ("a", "b", "a", "c"):
        cache.get(name, partial(str.upper, name))
    assert [name in cache for name in "abc"] == [True, False, True]
    assert cache.latest() == "C"
    assert cache.get("a", lambda: "anew") == "A"
    assert cache.latest() == "A"


def test_without_limits_everything_stays() -> None:
    cache = Cache(limit=None)
    for index in range(100):
        cache.get(index, lambda: torch.zeros(1 << 20))
    assert len(cache) == 100
