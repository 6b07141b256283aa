"""The commands that make selections, combine them and take them away."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import pytest
import torch
from PIL import Image

from app.commands.query import _say_top
from app.commands.segment import Segment
from app.main import BAD_INPUT, OK, main
from app.scenes import save_selection
from render.gaussians import Gaussians
from render.scene import Scene
from tests.miniatures import HEIGHT, OBJECT, OTHER, VIEWS, WIDTH, capture, tiny_objects
from tests.room import contents
from tests.tiny_models import tiny_clip, tiny_sam_file
from uplift.graph import NEIGHBOURS, knn_graph
from uplift.search import CANONICAL
from uplift.selection import Selection


@runtime_checkable
class TextEncoder(Protocol):
    """What of a CLIP encoder is used here."""

    def encode_text(self, texts: list[str]) -> torch.Tensor: ...


class Result(NamedTuple):
    code: int
    out: str
    err: str


Fit3d = Callable[..., Result]


@pytest.fixture
def fit3d(capfd: pytest.CaptureFixture[str]) -> Fit3d:
    def run(*arguments: object) -> Result:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        return Result(code, *capfd.readouterr())

    return run


class Files(NamedTuple):
    scene: Path
    masks: Path
    scribble: Path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A scene with photos, colours as a field, and the selections rug and table as they truly are."""
    found = Files(*capture(tmp_path))
    scene = Scene.open(found.scene)
    for name in (OBJECT, OTHER):
        save_selection(scene, name, truth(name))
    return found


def truth(name: str) -> Selection:
    objects = tiny_objects()
    inside = torch.from_numpy(objects.labels == objects.names.index(name))
    return Selection.from_mask(inside, {"method": "by hand"})


def refused(result: Result, *words: str) -> None:
    assert result.code == BAD_INPUT, result
    assert len(result.err.strip().splitlines()) == 1, result.err
    assert "Traceback" not in result.err
    for word in words:
        assert word in result.err, result.err


def overlap(mask: np.ndarray, other: np.ndarray) -> float:
    return float((mask & other).sum() / max(1, (mask | other).sum()))


def with_unknown_attribute(scene: Path) -> None:
    """Give the scene's file an attribute that no program knows."""
    from plyfile import PlyData, PlyElement

    path = scene / "gaussians.ply"
    rows = PlyData.read(path)["vertex"].data
    wider = np.empty(len(rows), [*rows.dtype.descr, ("label", "<i2")])
    for name in rows.dtype.names:
        wider[name] = rows[name]
    wider["label"] = np.arange(len(rows)) % 999
    PlyData([PlyElement.describe(wider, "vertex")]).write(path)


def rows_of(path: Path) -> np.ndarray:
    from plyfile import PlyData

    return np.array(PlyData.read(path)["vertex"].data)


def test_extract_and_remove_divide_the_scene_and_keep_every_byte(files: Files, fit3d: Fit3d, tmp_path: Path) -> None:
    with_unknown_attribute(files.scene)
    inside, outside = tmp_path / "rug.ply", tmp_path / "rest.ply"
    result = fit3d("extract", files.scene, OBJECT, "--out", inside)
    assert result.code == OK, result
    assert f"wrote {inside}" in result.out
    assert fit3d("remove", files.scene, OBJECT, "--out", outside, "--exact").code == OK
    rows, mask = rows_of(files.scene / "gaussians.ply"), truth(OBJECT).mask.numpy()
    for path, kept in ((inside, mask), (outside, ~mask)):
        written = rows_of(path)
        assert written.dtype == rows.dtype
        assert written.tobytes() == rows[kept].tobytes()
    wider = tmp_path / "wider.ply"
    assert fit3d("remove", files.scene, OBJECT, "--out", wider).code == OK
    assert 0 < len(rows_of(wider)) < len(rows_of(outside))
    assert len(Gaussians.load(inside)) == len(truth(OBJECT))


def test_the_note_beside_an_export_says_in_which_frame_it_is(files: Files, fit3d: Fit3d, tmp_path: Path) -> None:
    fit3d("extract", files.scene, OBJECT, "--out", tmp_path / "rug.ply")
    note = json.loads((tmp_path / "rug.json").read_text())
    assert note["scene_to_export"] == np.eye(4).tolist()
    assert (note["selection"], note["part"], note["gaussians"]) == (OBJECT, "selected", len(truth(OBJECT)))
    assert note["made"]["method"] == "by hand"


def test_masks_have_the_photos_size_and_show_the_object(files: Files, fit3d: Fit3d, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = fit3d("masks", files.scene, OBJECT, "--out", out)
    assert result.code == OK, result
    assert f"seen in {VIEWS} of {VIEWS} photos" in result.out
    written = sorted(out.iterdir())
    assert [path.name for path in written] == sorted(path.name for path in files.masks.iterdir())
    for path in written:
        image = Image.open(path)
        assert (image.mode, image.size) == ("L", (WIDTH, HEIGHT))
        mask = np.asarray(image)
        assert set(np.unique(mask)) == {0, 255}
        assert overlap(mask > 0, np.asarray(Image.open(files.masks / path.name)) > 0) > 0.7
    only = fit3d("masks", files.scene, OBJECT, "--out", tmp_path / "one", "--view", "view_01")
    assert only.code == OK
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["view_01.png"]


def test_masks_of_a_distorted_photo_have_its_size(files: Files, fit3d: Fit3d, tmp_path: Path) -> None:
    path = files.scene / "transforms.json"
    content = json.loads(path.read_text())
    content.update(camera_model="OPENCV", k1=-0.2, k2=0.03, p1=0.0, p2=0.0)
    path.write_text(json.dumps(content))
    assert fit3d("masks", files.scene, OBJECT, "--out", tmp_path / "out").code == OK
    for file in (tmp_path / "out").iterdir():
        assert Image.open(file).size == (WIDTH, HEIGHT)
    view = Scene.open(files.scene).views[0]
    assert (view.camera.width, view.camera.height) != (WIDTH, HEIGHT)


COMBINATIONS: dict[str, tuple[list[str], Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]] = {
    "union": (["--union", OBJECT, OTHER], torch.logical_or),
    "intersection": (["--intersection", OBJECT, OTHER], torch.logical_and),
    "difference": (["--difference", OBJECT, OTHER], lambda a, b: a & ~b),
    "complement": (["--complement", OBJECT], lambda a, _: ~a),
    "of": (["--of", OBJECT], lambda a, _: a),
}


@pytest.mark.parametrize("how", list(COMBINATIONS))
def test_selections_are_combined(files: Files, fit3d: Fit3d, how: str) -> None:
    arguments, expected = COMBINATIONS[how]
    result = fit3d("combine", files.scene, "--name", "new", *arguments)
    assert result.code == OK, result
    selection = Selection.load(files.scene / "selections" / "new.npz")
    assert torch.equal(selection.mask, expected(truth(OBJECT).mask, truth(OTHER).mask))
    if len(selection):
        assert f"new: {len(selection)} of {selection.n} Gaussians" in result.out


def test_combine_grows_shrinks_and_drops_small_parts(files: Files, fit3d: Fit3d) -> None:
    def sizes(*arguments: object) -> int:
        assert fit3d("combine", files.scene, "--name", "new", "--of", OTHER, *arguments, "--overwrite").code == OK
        return len(Selection.load(files.scene / "selections" / "new.npz"))

    plain = sizes()
    assert sizes("--shrink", 1) < plain < sizes("--grow", 1) < sizes("--grow", 2)
    scattered = truth(OTHER).mask.clone()
    scattered[torch.arange(0, len(scattered), 150)] = True
    scene = Scene.open(files.scene)
    save_selection(scene, "scattered", Selection.from_mask(scattered))
    result = fit3d("combine", scene.path, "--name", "clean", "--of", "scattered", "--largest", "--neighbours", 6)
    assert "in 1 connected part, 100.0% of them in the largest" in result.out
    clean = Selection.load(scene.selections["clean"])
    assert plain * 0.5 < len(clean) < len(Selection.from_mask(scattered))
    assert fit3d("combine", scene.path, "--name", "x", "--of", "scattered", "--without-small", 5).code == OK


def test_a_single_gaussian_needs_no_neighbours(files: Files, fit3d: Fit3d, tmp_path: Path) -> None:
    path = files.scene / "gaussians.ply"
    Gaussians.load(path)[:1].save(path)
    scene = Scene.open(files.scene)
    for name, inside in (("one", True), ("none", False)):
        save_selection(scene, name, Selection.from_mask(torch.tensor([inside])))
    result = fit3d("combine", files.scene, "--name", "x", "--of", "one")
    assert result.code == OK, result
    assert "x: 1 of 1 Gaussians (100.0%) in 1 connected part" in result.out
    removed = fit3d("remove", files.scene, "one", "--out", tmp_path / "x.ply")
    refused(removed, "No Gaussian")
    assert fit3d("remove", files.scene, "none", "--out", tmp_path / "x.ply").code == OK
    assert len(Gaussians.load(tmp_path / "x.ply")) == 1


def test_the_top_object_may_be_large(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.commands.query.MOST_ROWS", 500)
    n = 1999
    means = torch.linspace(0, 1, n)[:, None].repeat(1, 3)
    graph = knn_graph(means, 2)
    gaussians = tiny_objects().scene.gaussians[:n].with_values(means=means)
    sizes: list[int] = []
    quantile = torch.Tensor.quantile

    def noted(points: torch.Tensor, q: float, dim: int) -> torch.Tensor:
        sizes.append(len(points))
        return quantile(points, q, dim=dim)

    monkeypatch.setattr(torch.Tensor, "quantile", noted)
    _say_top(gaussians, Selection.from_mask(torch.ones(n, dtype=torch.bool)), torch.ones(n), graph)
    assert "extent 0.979 x 0.979 x 0.979" in capsys.readouterr().out
    assert 0 < max(sizes) <= 500


def test_a_rendered_selection_is_hot_inside_and_grey_outside(files: Files, fit3d: Fit3d, tmp_path: Path) -> None:
    result = fit3d("render", files.scene, "--what", "selection", "--selection", OBJECT, "--out", tmp_path / "heat")
    assert result.code == OK, result
    image = np.asarray(Image.open(tmp_path / "heat" / "view_00.png")).astype(int)
    inside = np.asarray(Image.open(files.masks / "view_00.png")) > 0
    redness = image[..., 0] - image[..., 2]
    assert redness[inside].mean() > 60
    assert abs(redness[~inside]).mean() < 20


def test_selections_of_other_gaussians_are_refused(files: Files, fit3d: Fit3d, tmp_path: Path) -> None:
    gaussians = Gaussians.load(files.scene / "gaussians.ply")
    moved = gaussians.with_values(means=gaussians.means + 0.01)
    for changed, words in ((gaussians[10:], "but the scene has"), (moved, "made with other Gaussians")):
        changed.save(files.scene / "gaussians.ply")
        before = contents(tmp_path)
        for command in ("extract", "remove"):
            refused(fit3d(command, files.scene, OBJECT, "--out", tmp_path / "x.ply"), words)
        refused(fit3d("masks", files.scene, OBJECT, "--out", tmp_path / "x"), words)
        refused(fit3d("combine", files.scene, "--name", "x", "--of", OBJECT), words)
        assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["extract", "{scene}", "nobody", "--out", "x.ply"], ["nobody", "rug", "table"]),
        (["extract", "{scene}", "rug", "--out", "x.obj"], [".ply"]),
        (["extract", "{scene}", "rug", "--out", "{scene}/gaussians.ply", "--overwrite"], ["own file"]),
        (["extract", "{scene}", "nothing", "--out", "x.ply"], ["No Gaussian"]),
        (["remove", "{scene}", "everything", "--out", "x.ply"], ["No Gaussian"]),
        (["masks", "{scene}", "rug", "--out", "x", "--view", "view_99"], ["view_99"]),
        (["masks", "{scene}", "rug", "--out", "{scene}", "--overwrite"], ["choose another folder"]),
        (["combine", "{scene}", "--name", "x"], ["--union", "found 0"]),
        (["combine", "{scene}", "--name", "x", "--of", "rug", "--complement", "rug"], ["found 2"]),
        (["combine", "{scene}", "--name", "x", "--union", "rug", "nobody"], ["nobody"]),
        (["combine", "{scene}", "--name", "x", "--of", "rug", "--grow", "-1"], ["--grow"]),
        (["combine", "{scene}", "--name", "../x", "--of", "rug"], ["../x"]),
        (["render", "{scene}", "--out", "o", "--what", "selection"], ["--selection"]),
        (["render", "{scene}", "--out", "o", "--what", "relevancy"], ["--text"]),
        (["render", "{scene}", "--out", "o", "--text", "a rug"], ["--what relevancy"]),
        (["render", "{scene}", "--out", "o", "--what", "selection", "--selection", "nobody"], ["nobody"]),
        (["query", "{scene}", "a rug", "--name", "x"], ["no fields", "fit3d lift"]),
        (["query", "{scene}", "a rug", "a table", "--name", "x"], ["2 texts and 1 names"]),
        (["query", "{scene}", "a rug", "--name", "x", "--threshold", "-1"], ["--threshold", "greater than 0"]),
        (["lift", "{scene}", "--encoder", "rgb", "--keep", "nan"], ["Pruning keeps a fraction", "nan"]),
        (["lift", "{scene}", "--encoder", "rgb", "--keep", "inf"], ["Pruning keeps a fraction", "inf"]),
    ],
)
def test_bad_arguments_get_one_sentence_and_change_nothing(
    files: Files, fit3d: Fit3d, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    scene = Scene.open(files.scene)
    n = len(scene.gaussians)
    save_selection(scene, "nothing", Selection.from_mask(torch.zeros(n, dtype=torch.bool)))
    save_selection(scene, "everything", Selection.from_mask(torch.ones(n, dtype=torch.bool)))
    before = contents(tmp_path)
    refused(fit3d(*[argument.format(scene=files.scene) for argument in arguments]), *words)
    assert contents(tmp_path) == before


def test_outputs_are_replaced_only_when_asked(files: Files, fit3d: Fit3d, tmp_path: Path) -> None:
    out = tmp_path / "x.ply"
    out.write_text("precious")
    (tmp_path / "y.json").write_text("precious")
    (tmp_path / "z").mkdir()
    shutil.copy(files.masks / "view_00.png", tmp_path / "z")
    commands: list[tuple[object, ...]] = [
        ("extract", files.scene, OBJECT, "--out", out),
        ("remove", files.scene, OBJECT, "--out", tmp_path / "y.ply"),
        ("masks", files.scene, OBJECT, "--out", tmp_path / "z"),
        ("combine", files.scene, "--name", OBJECT, "--complement", OBJECT),
        ("render", files.scene, "--what", "selection", "--selection", OBJECT, "--out", tmp_path / "z"),
    ]
    before = contents(tmp_path)
    for command in commands:
        refused(fit3d(*command), "--overwrite")
        assert contents(tmp_path) == before
    for command in commands:
        assert fit3d(*command, "--overwrite").code == OK


def test_a_damaged_selection_gets_a_sentence(files: Files, fit3d: Fit3d, tmp_path: Path) -> None:
    path = files.scene / "selections" / f"{OBJECT}.npz"
    path.write_bytes(path.read_bytes()[:200])
    refused(fit3d("extract", files.scene, OBJECT, "--out", tmp_path / "x.ply"), "make the selection again")


def lift_words(files: Files, folder: Path) -> Path:
    """A field of a small CLIP in which the rug and the table look like their names; returns the weights."""
    from uplift.encoders import load_encoder
    from uplift.field import FeatureField

    name, weights = tiny_clip(folder)
    encoder = load_encoder(name, weights)
    assert isinstance(encoder, TextEncoder)
    embedded = encoder.encode_text(["a rug", "a table", *CANONICAL])
    # Features that one text alone agrees with; everything else agrees with the canonical phrases.
    targets = torch.eye(3, len(embedded))
    targets[2, 2:] = 1
    features = torch.nn.functional.normalize(targets @ torch.linalg.pinv(embedded).T, dim=1)
    values = features[2].repeat(truth(OBJECT).n, 1)
    for row, thing in enumerate((OBJECT, OTHER)):
        values[truth(thing).mask] = features[row]
    values += 0.02 * torch.randn(values.shape, generator=torch.Generator().manual_seed(0))
    metadata = {"fingerprint": encoder.fingerprint()}
    field = FeatureField(values, torch.ones(len(values)), name, metadata)
    field.save(files.scene / "fields" / "words.safetensors")
    return weights


@pytest.mark.parametrize("structure", [(), ("--structure", "words")])
def test_texts_select_what_they_name(files: Files, fit3d: Fit3d, tmp_path: Path, structure: tuple[str, ...]) -> None:
    weights = lift_words(files, tmp_path)
    result = fit3d(
        *("query", files.scene, "a rug", "a table", "--name", "found-rug", "found-table", "--field", "words"),
        *("--weights", weights, "--locate", "view_00", *structure),
    )
    assert result.code == OK, result
    for name, thing in (("found-rug", OBJECT), ("found-table", OTHER)):
        selection = Selection.load(files.scene / "selections" / f"{name}.npz")
        inside = truth(thing).mask
        assert float(inside[selection.mask].float().mean()) > 0.9
        if not structure:  # diffusion gathers where the graph is densest
            assert overlap(selection.mask.numpy(), inside.numpy()) > 0.9
        assert f"{name}: {len(selection)} of {selection.n} Gaussians" in result.out
    for words in ("threshold: ", "top object: ", "in view_00: pixel (", "wrote "):
        assert result.out.count(words) == 2, result.out
    refused(fit3d("query", files.scene, "a rug", "--name", "found-rug", "--weights", weights), "--overwrite")


def test_a_relevancy_picture_is_hot_where_the_text_is(files: Files, fit3d: Fit3d, tmp_path: Path) -> None:
    weights = lift_words(files, tmp_path)
    out = tmp_path / "heat"
    result = fit3d("render", files.scene, "--what", "relevancy", "--text", "a rug", "--weights", weights, "--out", out)
    assert result.code == OK, result
    assert "colours run from a relevancy of" in result.out
    image = np.asarray(Image.open(out / "view_00.png")).astype(int)
    inside = np.asarray(Image.open(files.masks / "view_00.png")) > 0
    redness = image[..., 0] - image[..., 2]
    assert redness[inside].mean() > redness[~inside].mean() + 60


def test_a_field_without_a_text_side_cannot_be_asked(files: Files, fit3d: Fit3d) -> None:
    assert fit3d("lift", files.scene, "--encoder", "rgb").code == OK
    before = contents(files.scene)
    refused(fit3d("query", files.scene, "a rug", "--name", "x"), "rgb")
    refused(fit3d("query", files.scene, "a rug", "--name", "x", "--structure", "dino"), "dino")
    assert contents(files.scene) == before


def segment(fit3d: Fit3d, files: Files, name: str, *arguments: object) -> Result:
    return fit3d("segment", files.scene, "--field", "rgb", "--name", name, *arguments)


def clicks_on(mask: np.ndarray, count: int) -> list[int]:
    """Pixels (x, y, x, y ...) deep inside a mask, away from each other."""
    from scipy.ndimage import distance_transform_edt

    left, found = mask.copy(), []
    y, x = np.indices(mask.shape)
    for _ in range(count):
        depth = distance_transform_edt(np.pad(left, 1))[1:-1, 1:-1]
        row, column = np.unravel_index(depth.argmax(), depth.shape)
        found += [int(column), int(row)]
        left &= np.hypot(y - row, x - column) > depth.max()
    return found


def marks(files: Files, kind: str) -> list[object]:
    mask = np.asarray(Image.open(files.masks / "view_00.png")) > 0
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = [max(0, columns[0] - 2), max(0, rows[0] - 2), columns[-1] + 3, rows[-1] + 3]
    return {
        "scribbles": ["--scribbles", files.scribble],
        "mask": ["--mask", files.masks / "view_00.png"],
        "clicks": ["--click", *clicks_on(mask, 4), "--background-click", *clicks_on(~mask, 4)],
        "box": ["--box", *map(int, box)],
    }[kind]


@pytest.mark.parametrize("kind", ["scribbles", "mask", "clicks", "box"])
def test_a_marked_object_is_found_in_the_other_views(files: Files, fit3d: Fit3d, tmp_path: Path, kind: str) -> None:
    assert fit3d("lift", files.scene, "--encoder", "rgb").code == OK
    result = segment(fit3d, files, "found", "--view", "view_00", *marks(files, kind))
    assert result.code == OK, result
    path = files.scene / "selections" / "found.npz"
    selection = Selection.load(path, n=truth(OBJECT).n)
    for words in (f"found: {len(selection)} of {selection.n} Gaussians", "threshold", "method", f"wrote {path}"):
        assert words in result.out, result.out
    assert fit3d("masks", files.scene, "found", "--out", tmp_path / "out").code == OK
    others = [file for file in sorted((tmp_path / "out").iterdir()) if file.stem != "view_00"]
    overlaps = [
        overlap(np.asarray(Image.open(file)) > 0, np.asarray(Image.open(files.masks / file.name)) > 0)
        for file in others
    ]
    assert np.mean(overlaps) > {"scribbles": 0.55, "mask": 0.55, "clicks": 0.45, "box": 0.3}[kind], overlaps


def test_several_views_can_be_marked_and_choices_overridden(files: Files, fit3d: Fit3d) -> None:
    assert fit3d("lift", files.scene, "--encoder", "rgb").code == OK
    masks = [files.masks / f"view_0{i}.png" for i in (0, 2)]
    chosen = ["--method", "random-walker", "--bandwidth", 0.3, "--threshold", 0.4, "--unary", "no", "--largest"]
    result = segment(fit3d, files, "found", "--view", "view_00", "view_02", "--mask", *masks, *chosen)
    assert result.code == OK, result
    selection = Selection.load(files.scene / "selections" / "found.npz")
    assert selection.about["method"] == "random-walker"
    assert "in 1 connected part" in result.out
    assert overlap(selection.mask.numpy(), truth(OBJECT).mask.numpy()) > 0.6
    refused(segment(fit3d, files, "found", "--view", "view_00", "--mask", masks[0]), "--overwrite")


def test_segment_anything_selects_without_a_field(files: Files, fit3d: Fit3d, tmp_path: Path) -> None:
    arguments = ["--view", "view_00", "--mask", files.masks / "view_00.png", "--sam", tiny_sam_file(tmp_path)]
    result = fit3d("segment", files.scene, "--name", "found", *arguments)
    assert result.code == OK, result
    assert Selection.load(files.scene / "selections" / "found.npz").about["method"] == "sam"


def test_neighbours_and_the_unary_bandwidth_can_be_set(files: Files, fit3d: Fit3d) -> None:
    assert Segment.neighbours == NEIGHBOURS
    assert fit3d("lift", files.scene, "--encoder", "rgb").code == OK
    chosen = ["--neighbours", 8, "--unary", "yes", "--unary-bandwidth", 0.37]
    result = segment(fit3d, files, "found", "--view", "view_00", "--scribbles", files.scribble, *chosen)
    assert result.code == OK, result
    assert (files.scene / "graphs" / "rgb-8.safetensors").is_file()
    about = Selection.load(files.scene / "selections" / "found.npz").about
    assert about["neighbours"] == 8
    assert "0.37" in str(about)


CLICKED = ("--view", "view_00", "--click", "50", "40")


def bad_drawing(files: Files, name: str) -> Path:
    path = files.scene.parent / f"{name}.png"
    shape = (HEIGHT - 1, WIDTH, 4) if name == "small" else (HEIGHT, WIDTH, 4)
    image = np.zeros(shape, np.uint8)
    if name == "blue":
        image[5:9] = (0, 0, 255, 255)
    Image.fromarray(image).save(path)
    return path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--view", "view_00", "--mask", "{empty}"], ["empty", "255"]),
        (["--view", "view_00", "--scribbles", "{small}"], ["100x75", "100x74"]),
        (["--view", "view_00", "--scribbles", "{blue}"], ["no red pixel"]),
        (["--view", "view_00", "--scribbles", "gone.png"], ["gone.png"]),
        (["--view", "view_00", "--click", "100", "10"], ["(100, 10)", "100x75"]),
        (["--view", "view_00", "--click", "10", "10", "--background-click", "-1", "0"], ["(-1, 0)"]),
        (["--view", "view_00", "--box", "10", "10", "5", "5"], ["(10, 10, 5, 5)"]),
        (["--view", "view_77", "--click", "10", "10"], ["view_77", "view_00"]),
        (["--view", "view_00"], ["none of them"]),
        (["--view", "view_00", "--click", "1", "1", "--mask", "{empty}"], ["--mask and --click"]),
        (["--view", "view_00", "view_01", "--mask", "{empty}"], ["2 views and 1"]),
        (["--view", "view_00", "--mask", "{empty}", "--background-click", "1", "1"], ["--background-click"]),
        (["--view", "view_00", "--click", "50", "40", "--name", "a/b"], ["a/b"]),
        (["--view", "view_00", "--click", "50", "40"], ["no fields"]),
        (["--view", "view_00", "--click", "50", "40", "--sam", "gone.pth"], ["gone.pth"]),
        ([*CLICKED, "--sam", "gone.pth", "--field", "rgb", "--unary", "auto"], ["leave --field and --unary out"]),
        ([*CLICKED, "--sam", "gone.pth", "--method", "auto"], ["--sam", "--method"]),
        ([*CLICKED, "--sam", "gone.pth", "--bandwidth", "1"], ["--sam", "--bandwidth"]),
        ([*CLICKED, "--sam", "gone.pth", "--unary-bandwidth", "1"], ["--sam", "--unary-bandwidth"]),
        ([*CLICKED, "--method", "diffusion", "--unary", "no"], ["--method diffusion", "--unary no"]),
        ([*CLICKED, "--unary", "no", "--unary-bandwidth", "1"], ["--unary-bandwidth"]),
        ([*CLICKED, "--threshold", "0"], ["--threshold", "greater than 0"]),
        ([*CLICKED, "--bandwidth", "nan"], ["--bandwidth", "greater than 0"]),
        ([*CLICKED, "--unary-bandwidth", "-1"], ["--unary-bandwidth", "greater than 0"]),
        ([*CLICKED, "--neighbours", "0"], ["--neighbours", "greater than 0"]),
    ],
)
def test_marks_that_cannot_be_used_get_one_sentence_and_change_nothing(
    files: Files, fit3d: Fit3d, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    drawings = {name: bad_drawing(files, name) for name in ("empty", "small", "blue")}
    before = contents(tmp_path)
    named = [] if "--name" in arguments else ["--name", "x"]
    refused(fit3d("segment", files.scene, *named, *[a.format(**drawings) for a in arguments]), *words)
    assert contents(tmp_path) == before
