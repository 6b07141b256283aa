"""``fit3d edit``: the explorer's commands from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from app.explorer import commands as c
from app.main import BAD_INPUT, OK, main
from render.gaussians import Gaussians
from render.scene import Scene
from tests.explorer_room import THINGS, WORDS, explorer_scene, of, overlap, room, strokes_on
from tests.room import contents
from uplift.selection import Selection


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return explorer_scene(tmp_path)


def written(folder: Path, commands: Any) -> Path:
    path = folder / "commands.json"
    text = commands if isinstance(commands, (str, bytes)) else json.dumps(commands)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def scribble() -> dict[str, Any]:
    """Strokes on the ball, in a photo that is named."""
    _, strokes = strokes_on("ball")
    best = room().best_view(room().names.index("ball"))
    value = c.command_to_json(c.Scribble(strokes_on("ball")[0], strokes, THINGS))
    return {**value, "viewpoint": best}


def test_a_list_of_commands_selects_removes_saves_and_exports(
    scene: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    commands = written(tmp_path, [scribble(), {"kind": "remove", "margin": 0}])
    out = tmp_path / "left.ply"
    before = contents(scene)
    assert main(["edit", str(scene), str(commands), "--out", str(out), "--save", "ball", "--device", "cpu"]) == OK
    printed = capfd.readouterr().out.splitlines()
    saved = Selection.load(Scene.open(scene).selections["ball"])
    assert overlap(saved.mask, of("ball")) > 0.8
    assert printed[0].startswith("1. scribble of ")
    assert printed[1] == f"2. remove the selection: {len(saved)} selected in 'selection', {len(saved)} removed"
    assert printed[2:] == [
        f"wrote {scene / 'selections' / 'ball.npz'}",
        f"wrote {out}",
        f"wrote {out.with_suffix('.json')}",
    ]
    left = Gaussians.load(out)
    assert torch.equal(left.means, Scene.open(scene).gaussians.means[~saved.mask])
    note = json.loads(out.with_suffix(".json").read_text())
    assert note["edits"][1] == "remove the selection"
    after = contents(scene)
    assert {name for name in after if name not in before} == {"selections/ball.npz", f"graphs/{THINGS}-16.safetensors"}
    assert {name: after[name] for name in before} == before
    # The saved selection is one that other commands take.
    assert main(["extract", str(scene), "ball", "--out", str(tmp_path / "ball.ply")]) == OK
    assert main(["edit", str(scene), str(written(tmp_path, [{"kind": "load", "name": "ball"}]))]) == OK


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        ("[", "not a JSON file"),
        ("[" * 100_000, "not a JSON file"),
        ("{}", "list of commands"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
        ([{"kind": "Show_All"}], "found 'Show_All'; did you mean 'show-all'?"),
        ([{"kind": "grow", "steps": "2"}], "command 1: grow.steps must be a whole number, found '2'"),
        ([{"kind": "threshold", "value": True}], "command 1: threshold.value must be a number, found true"),
        ([{"kind": "all"}, {"kind": "remove", "margin": 0}], "All Gaussians are removed"),
        ([{"kind": "all"}, {"kind": "explode"}], "command 2: Expected a kind of command"),
        ([{"kind": "all"}, {"kind": "grow", "steps": -1}], "command 2: grow: The number of steps"),
        ([{"kind": "grow", "steps": 1e99}], "command 1: grow.steps must be at most 9007199254740992, found 1e+99"),
        ([{"kind": "threshold", "value": -(10**99)}], "threshold.value must be at least -9007199254740992, found"),
        ('[{"kind": "threshold", "value": NaN}]', "command 1: threshold.value must be a finite number"),
        ([{"kind": "click", "viewpoint": "nobody", "points": [[1, 1]], "field": THINGS}], "has no view 'nobody'"),
        ([{"kind": "all"}, {"kind": "load", "name": "nothing"}], "Command 2, load 'nothing': "),
        ([{"kind": "text", "text": "ball", "field": THINGS}], "cannot read texts"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_bad_list_gets_one_sentence_and_nothing_is_written(
    scene: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], commands: Any, words: str
) -> None:
    before = contents(scene)
    path = written(tmp_path, commands)
    out = tmp_path / "left.ply"
    assert main(["edit", str(scene), str(path), "--out", str(out), "--save", "new", "--device", "cpu"]) == BAD_INPUT
    error = capfd.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1
    assert contents(scene) == before
    assert not out.exists()


def test_an_empty_list_says_so_and_what_was_asked_for_is_written(
    scene: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    commands, before = written(tmp_path, []), contents(scene)
    assert main(["edit", str(scene), str(commands), "--device", "cpu"]) == OK
    printed = capfd.readouterr().out.splitlines()
    assert printed == [f"{commands} lists no commands; nothing is selected, hidden or removed"]
    assert contents(scene) == before
    assert main(["edit", str(scene), str(commands), "--save", "none", "--device", "cpu"]) == BAD_INPUT
    assert "lists no commands, so nothing is selected that could be saved as 'none'" in capfd.readouterr().err
    assert contents(scene) == before
    assert main(["edit", str(scene), str(commands), "--out", str(tmp_path / "all.ply"), "--device", "cpu"]) == OK
    assert len(Gaussians.load(tmp_path / "all.ply")) == len(Scene.open(scene).gaussians)


def test_outputs_are_checked_before_anything_is_done(
    scene: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    commands = written(tmp_path, [{"kind": "all"}])
    there = tmp_path / "there.ply"
    there.write_bytes(b"mine")
    assert main(["edit", str(scene), str(commands), "--save", "all", "--device", "cpu"]) == OK
    capfd.readouterr()
    for options, words in (
        (["--out", str(there)], "not overwritten"),
        (["--save", "all"], "not overwritten"),
        (["--save", "../all"], "begins with none of dot"),
        (["--out", str(scene / "gaussians.ply")], "the scene's own file"),
        (["--out", str(tmp_path / "a.txt")], "ends in .ply"),
    ):
        assert main(["edit", str(scene), str(commands), *options]) == BAD_INPUT
        printed = capfd.readouterr()
        assert words in printed.err
        assert "select all" not in printed.out
    assert there.read_bytes() == b"mine"
    assert main(["edit", str(scene), str(commands), "--out", str(there), "--save", "all", "--overwrite"]) == OK
    assert len(Gaussians.load(there)) == len(Scene.open(scene).gaussians)
    assert main(["edit", str(scene), str(tmp_path / "nothing.json")]) == BAD_INPUT
    assert "There is no file" in capfd.readouterr().err
    assert main(["edit", str(scene), str(tmp_path)]) == BAD_INPUT
    assert "is a folder; expected a JSON list" in capfd.readouterr().err


def test_without_a_list_all_commands_and_their_fields_are_listed(
    scene: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = contents(scene)
    assert main(["edit", str(scene)]) == OK
    lines = capfd.readouterr().out.splitlines()
    assert [kind for kind in c.KINDS if not any(line.startswith(f"{kind}: ") for line in lines)] == []
    assert lines[lines.index("grow: Add the neighbours of what is selected, so many times.") + 1] == (
        "    steps: whole number = 1"
    )
    text = next(line for line in lines if line.startswith("    text: string, field: string, structure: string or null"))
    assert 'combine: "set" or "add" or "subtract" or "intersect" = "set"' in text
    assert f"fields of the scene: {THINGS}, {WORDS}" in lines
    assert contents(scene) == before
    assert main(["edit", str(scene), "--save", "a"]) == BAD_INPUT
    assert "need a JSON file" in capfd.readouterr().err


def test_the_help_names_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["edit", "--help"])
    words = " ".join(capsys.readouterr().out.split()).partition("The kinds: ")[2].partition(".")[0]
    assert words.split(", ") == list(c.KINDS)


def test_a_list_from_an_editor_that_marks_its_encoding_is_read(scene: Path, tmp_path: Path) -> None:
    commands = written(tmp_path, b"\xef\xbb\xbf" + json.dumps([{"kind": "all"}]).encode())
    assert main(["edit", str(scene), str(commands), "--save", "all"]) == OK
