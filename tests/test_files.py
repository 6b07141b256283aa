"""Writers leave the old file or the new one, whatever happens in between."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest

from render.errors import InputError
from render.files import atomic_file, atomic_folder


def listing(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_written_file_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "new" / "value.txt"
    for text in ("one", "two"):
        with atomic_file(target) as temporary:
            assert temporary.suffix == ".txt"
            temporary.write_text(text)
        assert target.read_text() == text
    assert listing(target.parent) == ["value.txt"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "value.txt"
    target.write_text("old")

    def write() -> None:
        with atomic_file(target) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(type(error)):
        write()
    assert target.read_text() == "old"
    assert listing(tmp_path) == ["value.txt"]


def test_a_disk_that_is_full_at_the_last_flush_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("render.files.os.fsync", full)
    target = tmp_path / "value.txt"
    target.write_text("old")
    with pytest.raises(OSError, match="No space"), atomic_file(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "old"
    assert listing(tmp_path) == ["value.txt"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with atomic_file(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_files_are_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("plain")
    with atomic_file(tmp_path / "atomic.txt") as temporary:
        temporary.write_text("atomic")
    modes = [stat.S_IMODE((tmp_path / f"{name}.txt").stat().st_mode) for name in ("plain", "atomic")]
    assert modes[0] == modes[1]


def test_very_long_names_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 250 + ".txt")
    with atomic_file(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_folders_in_the_place_of_files_and_files_in_the_place_of_folders_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(InputError, match="is a folder"), atomic_file(tmp_path):
        pass
    with pytest.raises(InputError, match="is a file"), atomic_folder(tmp_path / "file", overwrite=True):
        pass
    with pytest.raises(InputError, match="in the way"), atomic_file(tmp_path / "file" / "below" / "value.txt"):
        pass
    assert (tmp_path / "file").read_text() == "old"


def test_a_folder_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    target = tmp_path / "scene"
    with atomic_folder(target) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(InputError, match="--overwrite"), atomic_folder(target):
        pass
    with atomic_folder(target, overwrite=True) as folder:
        (folder / "b").write_text("new")
    assert listing(target) == ["b"]
    assert listing(tmp_path) == ["scene"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_folder_leaves_the_old_one(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "scene"
    target.mkdir()
    (target / "a").write_text("old")

    def write() -> None:
        with atomic_folder(target, overwrite=True) as folder:
            (folder / "b").write_text("new")
            raise error

    with pytest.raises(type(error)):
        write()
    assert listing(target) == ["a"]
    assert listing(tmp_path) == ["scene"]


@pytest.mark.parametrize("error", [OSError(errno.EBUSY, "busy"), KeyboardInterrupt()])
def test_an_interruption_between_the_two_renames_brings_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    target = tmp_path / "scene"
    target.mkdir()
    (target / "a").write_text("old")
    rename = Path.rename
    calls = []

    def second_fails(self: Path, to: Path) -> Path:
        calls.append(to)
        if len(calls) == 2:
            raise error
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", second_fails)
    with pytest.raises(type(error)), atomic_folder(target, overwrite=True) as folder:
        (folder / "b").write_text("new")
    assert listing(target) == ["a"]
    assert listing(tmp_path) == ["scene"]
