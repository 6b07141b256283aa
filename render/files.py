"""Writing so that a crash, a full disk or Ctrl-C leaves what was there before, and where caches lie."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from render.errors import InputError

# Names of temporary files must not outgrow what file systems take (255 bytes).
MAX_PREFIX = 40


def cache_folder() -> Path:
    """Where fit3d keeps what it can make again: ``$XDG_CACHE_HOME/fit3d``, by default ``~/.cache/fit3d``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fit3d"


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (same suffix); rename it onto ``path`` on success, delete it
    on failure.

    Parent folders are made.  The rename is atomic and comes after the data are on disk, so readers see the
    old file or the new one.  A symbolic link stays one: the file that it points to is replaced.

    Raises:
        InputError: ``path`` is a folder, or lies below a file.
    """
    path = Path(path).resolve()
    if path.is_dir():
        raise InputError(f"Expected a file to write, but {path} is a folder; name a file in it.")
    _make_parent(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem[:MAX_PREFIX]}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _flush(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; rename it to ``path`` on success, delete it on failure.

    Raises:
        InputError: ``path`` is a file or lies below one, or it exists, is not an empty folder, and
            ``overwrite`` is false.
    """
    path = Path(path).resolve()
    if path.exists() and not path.is_dir():
        raise InputError(f"Expected a folder to write, but {path} is a file; choose another name.")
    if not overwrite and path.exists() and any(path.iterdir()):
        raise InputError(f"{path} exists and is not overwritten; choose another name or pass --overwrite.")
    _make_parent(path)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name[:MAX_PREFIX]}-", dir=path.parent))
    old = temporary.with_name(temporary.name + "-old")
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            path.rename(old)
        temporary.rename(path)
    finally:
        # Also when Ctrl-C comes between the two renames.
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{path.parent} cannot be a folder: a file of that name is in the way.") from error


def _flush(path: Path) -> None:
    """Wait until a file is on disk; a full disk may only be noticed here."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
