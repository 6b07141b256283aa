"""How long work reports what it has done."""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""``progress(done, total, what)``; raising from it cancels the work."""


def silent(done: int, total: int, what: str) -> None:
    """Report nothing."""
