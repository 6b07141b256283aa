"""What survives a crash: the session's document, written soon after every edit."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from app.explorer import autosave, packing
from app.explorer import commands as c
from app.explorer.autosave import Autosave
from app.explorer.document import Document, Named
from app.explorer.packing import Packer, load_document
from render.errors import InputError
from render.scene import Scene
from tests.explorer_room import WORDS, box_around, explorer_scene, of, open_session
from uplift.selection import Selection


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return explorer_scene(tmp_path)


def kept_file(scene: Path) -> Path:
    return scene / "session" / "autosave.npz"


def busy(scene: Path) -> Document:
    """Some work in a session that is closed; what it left."""
    session = open_session(scene, autosave=True)
    session.run(c.Rectangle(*box_around("plant"), through=True))
    session.run(c.NewSelection("second", (1, 2, 3)))
    session.run(c.Text("ball", WORDS))
    session.run(c.Hide())
    session.run(c.Activate("selection"))
    session.run(c.Remove())
    session.run(c.Show("second", False))
    session.close()
    return session.document


def test_the_next_session_begins_where_the_last_one_ended(scene: Path) -> None:
    left = busy(scene)
    session = open_session(scene, autosave=True)
    assert session.recovered
    found = session.document
    assert (list(found.selections), found.active) == (["selection", "second"], "selection")
    assert torch.equal(found.hidden, left.hidden)
    assert torch.equal(found.removed, left.removed)
    for name, named in left.selections.items():
        again = found.selections[name]
        assert torch.equal(again.selection.mask, named.selection.mask)
        torch.testing.assert_close(again.selection.scores, named.selection.scores, rtol=1e-3, atol=1e-6)
        assert again.selection.about == named.selection.about
        assert (again.colour, again.shown) == (named.colour, named.shown)
    assert session.undo() is None
    assert not session.visible_in(found).opacities[found.removed].any()
    # The history goes on from here.
    session.run(c.Restore())
    session.undo()
    assert session.document is found
    session.close()


def test_a_session_that_changes_nothing_writes_nothing(scene: Path) -> None:
    session = open_session(scene, autosave=True)
    session.run(c.ShowAll())
    session.close()
    silent = open_session(scene)
    silent.run(c.All())
    silent.close()
    assert not kept_file(scene).exists()
    assert not open_session(scene, autosave=True).recovered


WORKER = """
import sys, time
from pathlib import Path
from app.explorer.session import Session
from app.explorer.commands import Lasso, Remove, Viewpoint
from render.scene import Scene
scene = Scene.open(sys.argv[1])
session = Session(scene, device="cpu")
view = Viewpoint.of(scene.views[0].camera)
session.run(Lasso(view, ((0, 0), (view.width / 2, 0), (0, view.height)), through=True))
print(len(session.document.selection), flush=True)
time.sleep(600)
"""


def test_a_session_that_is_killed_after_an_edit_has_it_in_the_next_one(scene: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(scene)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            count = int(process.stdout.readline())
            wait_for(kept_file(scene).exists)
        finally:
            os.kill(process.pid, signal.SIGKILL)
    session = open_session(scene, autosave=True)
    assert session.recovered
    assert len(session.document.selection) == count > 0
    session.close()
    assert names_in(kept_file(scene).parent) == ["autosave.lock", "autosave.npz"]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_second_explorer_of_a_scene_says_once_that_it_keeps_nothing_and_harms_nothing(
    scene: Path, caplog: pytest.LogCaptureFixture
) -> None:
    command = [sys.executable, "-c", WORKER, str(scene)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            count = int(process.stdout.readline())
            wait_for(kept_file(scene).exists)
            content = kept_file(scene).read_bytes()
            with caplog.at_level(logging.WARNING):
                second = open_session(scene, autosave=True)
                second.run(c.All())
                second.flush()
                second.undo()
                second.close()
            assert not second.recovered
            assert kept_file(scene).read_bytes() == content
        finally:
            process.kill()
    (sentence,) = [record.getMessage() for record in caplog.records]
    assert sentence.startswith(f"Another explorer has {scene} open")
    # A process that has died holds nobody up.
    third = open_session(scene, autosave=True)
    assert len(third.document.selection) == count
    third.run(c.All())
    third.close()
    assert kept_file(scene).read_bytes() != content


def test_a_session_that_is_closed_lets_the_next_one_keep_its_work(scene: Path) -> None:
    for command in (c.All(), c.Invert()):
        first, second = (open_session(scene, autosave=True) for _ in range(2))
        first.run(command)
        second.run(c.NewSelection("of the second"))
        second.close()
        first.close()
    last = open_session(scene, autosave=True)
    assert list(last.document.selections) == ["selection"]
    assert len(last.document.selection) == 0
    last.close()


@pytest.mark.skipif(sys.platform == "win32", reason="locks files another way")
def test_work_is_kept_where_files_cannot_be_locked(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unable(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unable)
    session = open_session(scene, autosave=True)
    session.run(c.All())
    session.close()
    again = open_session(scene, autosave=True)
    assert again.recovered
    again.close()


def test_of_an_edit_and_its_undoing_in_two_threads_the_last_one_is_kept(scene: Path) -> None:
    session = open_session(scene, autosave=True)
    kept: list[Document] = []
    undoing = threading.Thread(target=session.undo)

    class Slow:
        """Hears of the edit while somebody takes it back."""

        def changed(self, document: Document) -> None:
            if undoing.ident is None:
                undoing.start()
                undoing.join(0.3)  # time enough for it to overtake, if it could
            kept.append(document)

    saver, session._autosave = session._autosave, Slow()  # type: ignore[assignment]
    session.run(c.All())
    undoing.join()
    assert len(kept) == 2
    assert kept[-1] is session.document
    session._autosave = saver
    session.close()


def wait_for(what: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def rewritten(path: Path, **changes: object) -> None:
    """The kept file with something else in it."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **{**arrays, **{name: np.asarray(value) for name, value in changes.items()}})


def changed_header(path: Path, **changes: object) -> None:
    with np.load(path) as file:
        header = json.loads(str(file["header"]))
    rewritten(path, header=json.dumps({**header, **changes}))


def flipped(content: bytes) -> bytes:
    """A bit of every hundredth byte is wrong."""
    return bytes(byte ^ (index % 97 == 50) for index, byte in enumerate(content))


def encrypted(path: Path) -> None:
    """Both records of the first part say so."""
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\x03\x04") + 6] |= 1
    content[content.find(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


def oddly_compressed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\x01\x02") + 10] = 97
    path.write_bytes(content)


def claiming(path: Path, size: int) -> None:
    """An array that is said to be larger than the bytes that follow."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (size,)})
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**parts, "hidden.npy": head.getvalue() + b"x" * 50}.items():
            archive.writestr(name, content)


def swollen(path: Path) -> None:
    """A bomb: a kilobyte for every megabyte."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez_compressed(path, **{**arrays, "removed": np.zeros(50_000_000, np.uint8)})


def swollen_inside(path: Path) -> None:
    rewritten(path, removed=np.frombuffer(zlib.compress(bytes(3_000_000)), np.uint8))


def changed_selection(path: Path, **changes: object) -> None:
    with np.load(path) as file:
        (first,) = json.loads(str(file["header"]))["selections"]
    changed_header(path, selections=[{**first, **changes}])


HIDDEN, REMOVED, LIST = "its part 'hidden'", "its part 'removed'", "its list of selections"
# What is done to the file, and what is said of it.
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-200]), "is damaged: it is cut off"),
    "empty": (lambda path: path.write_bytes(b""), "is damaged: it is cut off, or no file of a session"),
    "no npz": (lambda path: path.write_bytes(b"autosave" * 100), "no file of a session"),
    "a pickle": (
        lambda path: np.savez(path, header=np.array([{}], dtype=object)),
        "its part 'header' cannot be read",
    ),
    "a pickled mask": (
        lambda path: rewritten(path, hidden=np.array([{}], dtype=object)),
        f"{HIDDEN} cannot be read",
    ),
    "flipped": (lambda path: path.write_bytes(flipped(path.read_bytes())), "is damaged: it"),
    "encrypted": (encrypted, "is damaged: its part"),
    "oddly compressed": (oddly_compressed, "is damaged: its part"),
    "claims 32 terabytes": (lambda path: claiming(path, 1 << 45), f"{HIDDEN} cannot be read"),
    "claims a gigabyte": (lambda path: claiming(path, 1 << 30), f"{HIDDEN} cannot be read"),
    "a bomb": (swollen, f"{REMOVED} has 50,000,128 bytes, which is more than it can need"),
    "a bomb inside": (swollen_inside, f"{REMOVED} is one of another number of Gaussians"),
    "other Gaussians": (lambda path: changed_header(path, fingerprint="0" * 64), "belongs to other Gaussians"),
    "a later format": (lambda path: changed_header(path, format=99), "was written by another version of fit3d"),
    "no JSON": (lambda path: rewritten(path, header="{"), f"{LIST} cannot be read"),
    "deep JSON": (lambda path: rewritten(path, header="[" * 100_000), f"{LIST} cannot be read"),
    "numbers": (lambda path: rewritten(path, header=np.arange(5)), f"{LIST} cannot be read"),
    "a list": (lambda path: rewritten(path, header="[1, 2]"), f"{LIST} is none"),
    "no list": (lambda path: changed_header(path, selections={"a": 1}), f"{LIST} is none"),
    "too long a list": (lambda path: changed_header(path, selections=[{}] * 101), f"{LIST} is none"),
    "no selections": (lambda path: changed_header(path, selections=[]), f"{LIST} makes no sense"),
    "a number for a selection": (lambda path: changed_header(path, selections=[3]), f"{LIST} makes no sense"),
    "names that are numbers": (lambda path: changed_header(path, selections=[{"name": 3}]), f"{LIST} makes no sense"),
    "a name of a path": (lambda path: changed_selection(path, name="../up"), f"{LIST} makes no sense"),
    "an endless colour": (lambda path: changed_selection(path, colour=[1e999, 2, 3]), f"{LIST} makes no sense"),
    "no colour": (lambda path: changed_selection(path, colour=[-5, 2000, 3]), f"{LIST} makes no sense"),
    "an active one that is not there": (lambda path: changed_header(path, active="nobody"), f"{LIST} makes no sense"),
    "a mask too short": (
        lambda path: rewritten(path, hidden=np.frombuffer(b"x\x9cc\x00\x00\x00\x01\x00\x01", np.uint8)),
        f"{HIDDEN} is one of another number of Gaussians",
    ),
    "no mask": (lambda path: rewritten(path, mask_0=np.zeros(3)), "its part 'mask_0' cannot be read"),
    "no scores": (lambda path: changed_header(path, selections=[{}, {}]), "its part 'mask_1' is missing"),
    "scores that are no numbers": (
        lambda path: rewritten(path, scores_0=packing._packed(torch.full((len(of("ball")),), float("nan")))),
        f"{LIST} makes no sense",
    ),
}


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene with what a session left; not to be changed."""
    scene = explorer_scene(tmp_path_factory.mktemp("left"))
    session = open_session(scene, autosave=True)
    session.run(c.All())
    session.close()
    return scene


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_a_damaged_or_foreign_file_is_set_aside_with_a_reason(
    left: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = kept_file(Path(shutil.copytree(left, tmp_path / "scene")))
    harm, reason = DAMAGES[damage]
    harm(path)
    content = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        saver = Autosave(Scene.open(tmp_path / "scene"))
        assert saver.read() is None
    (warning,) = [record.getMessage() for record in caplog.records]
    aside = path.with_name("autosave-set-aside.npz")
    assert warning.startswith(f"{path} ")
    assert reason in warning
    assert warning.endswith(f"The session began anew; what was kept lies at {aside}.")
    assert saver.begun_anew == warning
    # Nothing of what libraries say.
    assert not any(word in warning for word in ("allow_pickle", "Error", "numpy", "zip", "array"))
    assert aside.read_bytes() == content
    assert not path.exists()
    saver.close()


def test_after_a_damaged_file_work_begins_anew_and_is_kept(left: Path, tmp_path: Path) -> None:
    scene = Path(shutil.copytree(left, tmp_path / "scene"))
    kept_file(scene).write_bytes(b"damage")
    session = open_session(scene, autosave=True)
    assert not session.recovered
    assert session.begun_anew is not None
    assert session.document.equal(Document.new(session.n))
    session.run(c.All())
    session.close()
    again = open_session(scene, autosave=True)
    assert again.recovered
    assert again.begun_anew is None
    again.close()
    assert kept_file(scene).with_name("autosave-set-aside.npz").read_bytes() == b"damage"


def test_what_cannot_be_set_aside_is_not_written_over(
    left: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Path(shutil.copytree(left, tmp_path / "scene"))
    kept_file(scene).write_bytes(b"damage")

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(Path, "replace", refuse)
        session = open_session(scene, autosave=True)
    assert "cannot be set aside (Permission denied), so what is done now is not kept" in caplog.text
    session.run(c.All())
    session.close()
    assert kept_file(scene).read_bytes() == b"damage"


def test_a_file_that_the_disk_does_not_give_is_no_reason_to_stop(
    left: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Path(shutil.copytree(left, tmp_path / "scene"))

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(packing.zipfile, "ZipFile", refuse)
    with pytest.raises(InputError, match=r"autosave\.npz cannot be read \(Input/output error\)\."):
        load_document(kept_file(scene), len(of("ball")), "f")


def test_files_that_are_set_aside_never_replace_each_other(scene: Path) -> None:
    for number in range(3):
        path = kept_file(scene)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"damage %d" % number)
        open_session(scene, autosave=True).close()
    asides = [path.with_name(f"autosave-set-aside{number}.npz") for number in ("", "-2", "-3")]
    assert [aside.read_bytes() for aside in asides] == [b"damage 0", b"damage 1", b"damage 2"]


def test_a_failure_that_nobody_foresaw_is_shown_and_later_edits_are_kept(
    scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Document] = []
    shown: list[object] = []
    bad, good, last = (Document.new(10) for _ in range(3))
    saver = Autosave(Scene.open(scene), quiet=60, latest=120)

    def save(_: object, __: Path, document: Document, ___: str) -> None:
        if document is bad:
            saver.changed(good)  # made while the thread was about to fail
            raise ZeroDivisionError
        written.append(document)

    monkeypatch.setattr(autosave.Packer, "save", save)
    monkeypatch.setattr(threading, "excepthook", lambda failed: shown.append(failed.exc_type))
    saver.changed(bad)
    in_time(saver.flush)
    in_time(saver.flush)
    wait_for(lambda: shown == [ZeroDivisionError])
    assert written == [good]
    saver.changed(last)
    in_time(saver.close)
    assert written == [good, last]


def in_time(work: Callable[[], None]) -> None:
    """Do what may wait for ever if it is broken."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "it never ended"


def test_a_folder_that_cannot_be_written_is_told_of_once_and_work_goes_on(
    scene: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # A file in the place of the folder: a mode would not stop the superuser.
    (scene / "session").write_text("in the way")
    session = open_session(scene, autosave=True)
    with caplog.at_level(logging.WARNING):
        for command in (c.All(), c.Invert(), c.All()):
            session.run(command)
            session.flush()
    session.close()
    assert len([record for record in caplog.records if "cannot be kept" in record.getMessage()]) == 1
    assert bool(session.document.selection.mask.all())
    assert (scene / "session").read_text() == "in the way"


def test_a_full_disk_leaves_the_last_good_file_and_writing_goes_on_when_there_is_room(
    scene: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(scene, autosave=True)
    session.run(c.Rectangle(*box_around("ball"), through=True))
    session.flush()
    good = kept_file(scene).read_bytes()

    def full(file: object, **arrays: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(packing.np, "savez", full)
        session.run(c.All())
        session.flush()
    assert kept_file(scene).read_bytes() == good
    assert names_in(kept_file(scene).parent) == ["autosave.lock", "autosave.npz"]
    assert "No space left" in caplog.text
    session.run(c.Invert())
    session.close()
    assert kept_file(scene).read_bytes() != good


def test_many_edits_are_written_together_and_the_last_one_in_the_end(
    scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Document] = []
    monkeypatch.setattr(autosave.Packer, "save", lambda self, path, document, of: written.append(document))
    saver = Autosave(Scene.open(scene), quiet=60, latest=120)
    documents = [Document.new(10) for _ in range(30)]
    for document in documents:
        saver.changed(document)
    assert written == []
    saver.flush()
    assert written == [documents[-1]]
    saver.flush()
    assert len(written) == 1
    saver.changed(documents[0])
    saver.close()
    assert written == [documents[-1], documents[0]]
    saver.changed(documents[1])
    saver.close()
    assert len(written) == 2


def test_a_person_who_never_rests_is_saved_all_the_same(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Document] = []
    monkeypatch.setattr(autosave.Packer, "save", lambda self, path, document, of: written.append(document))
    saver = Autosave(Scene.open(scene), quiet=60, latest=0.1)
    saver.changed(Document.new(10))
    wait_for(lambda: len(written) == 1)
    saver.close()


def test_what_did_not_change_is_not_compressed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[object] = []
    original = packing._packed

    def pack(array: torch.Tensor) -> object:
        packed.append(array)
        return original(array)

    monkeypatch.setattr(packing, "_packed", pack)
    packer, path = Packer(), tmp_path / "kept.npz"
    document = Document.new(1000).with_named("b", Named(Selection.from_mask(torch.ones(1000) > 0), (0, 0, 0)))
    packer.save(path, document, "f")
    # What is selected, hidden and removed is one array at first; scores are another.
    assert len(packed) == 4
    changed = document.with_selection(Selection.from_mask(torch.arange(1000) < 5))
    packer.save(path, changed, "f")
    assert len(packed) == 6
    found = load_document(path, 1000, "f")
    assert len(found.selection) == 5
    assert len(found.selections["b"].selection) == 1000


def test_scores_are_kept_in_half_precision_and_large_ones_stay_finite(tmp_path: Path) -> None:
    scores = torch.tensor([0, 1e-4, 0.5, 1, 3.3e38])
    selection = Selection(scores >= 0.5, scores)
    Packer().save(tmp_path / "a.npz", Document.new(5).with_selection(selection), "f")
    found = load_document(tmp_path / "a.npz", 5, "f").selection
    assert torch.equal(found.mask, selection.mask)
    assert torch.isfinite(found.scores).all()
    assert found.scores[2] == 0.5
    with pytest.raises(InputError, match="other Gaussians"):
        load_document(tmp_path / "a.npz", 5, "g")
    with pytest.raises(InputError, match="damaged"):
        load_document(tmp_path / "a.npz", 50, "f")


def test_a_record_that_json_cannot_hold_is_no_reason_to_stop(scene: Path, caplog: pytest.LogCaptureFixture) -> None:
    session = open_session(scene, autosave=True)
    odd = Selection.from_mask(of("ball"), {"threshold": float("nan")})
    session.show(session.document.with_selection(odd))
    with caplog.at_level(logging.WARNING):
        session.run(c.NewSelection("other"))
        session.close()
    assert "JSON" in caplog.text
