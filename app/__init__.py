"""The command fit3d: everything the packages below can do, for a person at a terminal."""

from app.main import entrypoint, main

__all__ = ["entrypoint", "main"]
