"""The data sets are read in the layouts that they are published in, and refused in one sentence otherwise."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from render.errors import InputError
from tests import miniatures
from tests.miniatures import HEIGHT, OBJECT, OTHER, WIDTH, tiny_objects
from uplift.evaluation.lerf import LabelledObject, read_lerf
from uplift.evaluation.splats import open_splats
from uplift.evaluation.tasks import find_view, read_capture_task, read_nvos, read_spin_nerf, resized_mask
from uplift.thresholds import iou


@pytest.fixture(scope="module")
def nvos(tmp_path_factory: pytest.TempPathFactory) -> miniatures.Miniature:
    return miniatures.nvos(tmp_path_factory.mktemp("nvos"))


@pytest.fixture(scope="module")
def spin_nerf(tmp_path_factory: pytest.TempPathFactory) -> miniatures.Miniature:
    return miniatures.spin_nerf(tmp_path_factory.mktemp("spin-nerf"))


@pytest.fixture(scope="module")
def lerf(tmp_path_factory: pytest.TempPathFactory) -> miniatures.Miniature:
    return miniatures.lerf(tmp_path_factory.mktemp("lerf"))


def true_mask(index: int, name: str = OBJECT) -> np.ndarray:
    objects = tiny_objects()
    return objects.mask(list(objects.maps)[index], objects.names.index(name))


def test_nvos_gives_scribbles_in_one_view_and_the_mask_of_another(nvos: miniatures.Miniature) -> None:
    (task,) = read_nvos(nvos.data)
    scene = open_splats(nvos.scenes, task.splats)
    assert (task.name, task.reference, task.kind) == ("fern", "IMG_4027", "scribbles")
    prompt = task.prompt(find_view(scene, task.reference))
    assert not prompt.complete
    assert not (prompt.positive & ~true_mask(1)).any()
    assert prompt.negative.any()
    assert not (prompt.negative & true_mask(1)).any()
    assert set(task.truths) == {"IMG_4028"}
    assert (task.truths["IMG_4028"]() == true_mask(2)).all()


def test_both_horns_share_one_scene(nvos: miniatures.Miniature, tmp_path: Path) -> None:
    data = shutil.copytree(nvos.data, tmp_path / "nvos")
    for part in ("masks", "reference_image", "scribbles"):
        (data / part / "fern").rename(data / part / "horns_left")
        shutil.copytree(data / part / "horns_left", data / part / "horns_center")
    assert [(task.name, task.splats) for task in read_nvos(data)] == [
        ("horns_center", "horns"),
        ("horns_left", "horns"),
    ]


def test_spin_nerf_gives_the_first_mask_and_asks_for_the_others(spin_nerf: miniatures.Miniature) -> None:
    tasks = {task.name: task for task in read_spin_nerf(spin_nerf.data)}
    assert list(tasks) == ["orchids", "truck"]
    orchids = tasks["orchids"]
    scene = open_splats(spin_nerf.scenes, orchids.splats)
    prompt = orchids.prompt(find_view(scene, orchids.reference))
    assert prompt.complete
    assert (prompt.positive == true_mask(0)).all()
    assert list(orchids.truths) == ["image001", "image002", "image003"]
    assert [find_view(scene, name).name for name in orchids.truths] == ["IMG_4468", "IMG_4469", "IMG_4470"]
    assert (orchids.truths["image002"]() == true_mask(2)).all()


def test_prefixes_of_a_split_are_dropped_and_3dgs_output_is_read(spin_nerf: miniatures.Miniature) -> None:
    truck = next(task for task in read_spin_nerf(spin_nerf.data) if task.name == "truck")
    scene = open_splats(spin_nerf.scenes, truck.splats)
    assert len(scene.gaussians) == len(tiny_objects().scene.gaussians)
    assert find_view(scene, truck.reference).name == "000001"
    assert [find_view(scene, name).name for name in truck.truths] == ["000002", "000003", "000004"]
    marked = truck.prompt(find_view(scene, truck.reference)).positive
    assert iou(marked, true_mask(0, OTHER), tolerance=1) > 0.99


def test_folders_of_spin_nerf_may_have_short_names(spin_nerf: miniatures.Miniature, tmp_path: Path) -> None:
    shutil.copytree(spin_nerf.data / "orchids (llff)", tmp_path / "orchids")
    assert [task.name for task in read_spin_nerf(tmp_path)] == ["orchids"]


def test_labels_of_one_category_are_one_answer(lerf: miniatures.Miniature) -> None:
    frames = read_lerf(lerf.data)["figurines"]
    assert [frame.name for frame in frames] == ["frame_00001", "frame_00003"]
    assert set(frames[0].objects) == {OBJECT, OTHER}
    both = frames[0].objects[OTHER]
    assert isinstance(both, LabelledObject)
    assert len(both.boxes) == len(both.polygons) == 2
    mask = both.mask(WIDTH, HEIGHT)
    assert (mask & true_mask(0, OTHER)).sum() > 0.9 * true_mask(0, OTHER).sum()
    assert (mask & true_mask(0, "vase")).sum() > 0.9 * true_mask(0, "vase").sum()
    for x0, y0, x1, y1 in both.boxes:
        assert both.contains((x0 + x1) / 2, (y0 + y1) / 2)
    assert not both.contains(0, 0)


def test_splats_beside_the_labels_are_found(lerf: miniatures.Miniature) -> None:
    scene = open_splats(lerf.scenes, "figurines", images=lerf.data / "figurines" / "images")
    assert scene.views[0].name == "frame_00001"
    assert scene.views[0].image().shape == (HEIGHT, WIDTH, 3)


def test_masks_of_another_size_keep_their_shape() -> None:
    mask = true_mask(0)
    larger = resized_mask(mask, 4 * WIDTH, 4 * HEIGHT)
    assert larger.shape == (4 * HEIGHT, 4 * WIDTH)
    back = resized_mask(larger, WIDTH, HEIGHT)
    assert (back ^ mask).sum() < 0.05 * mask.sum()
    line = np.zeros((400, 400), bool)
    line[:, 200:202] = True
    assert not resized_mask(line, 80, 80).any()
    assert resized_mask(line, 80, 80, strokes=True).any(1).all()


@pytest.mark.parametrize("part", ["masks", "reference_image", "scribbles"])
def test_a_missing_folder_of_nvos_is_named(nvos: miniatures.Miniature, tmp_path: Path, part: str) -> None:
    data = shutil.copytree(nvos.data, tmp_path / "nvos")
    shutil.rmtree(data / part)
    with pytest.raises(InputError, match=f"lacks {part}"):
        read_nvos(data)


def test_broken_files_of_nvos_are_refused(nvos: miniatures.Miniature, tmp_path: Path) -> None:
    data = shutil.copytree(nvos.data, tmp_path / "nvos")
    (positive,) = (data / "scribbles" / "fern").glob("pos_*.png")
    view = open_splats(nvos.scenes, "fern").view("IMG_4027")
    Image.fromarray(np.full((HEIGHT, WIDTH), 255, np.uint8)).save(positive)
    with pytest.raises(InputError, match="white strokes on black"):
        read_nvos(data)[0].prompt(view)
    positive.write_bytes(b"no picture")
    with pytest.raises(InputError, match="cannot be read"):
        read_nvos(data)[0].prompt(view)
    positive.unlink()
    with pytest.raises(InputError, match=r"one scribble on the object pos_\*.png"):
        read_nvos(data)
    (data / "masks" / "fern" / "second_mask.png").write_bytes(b"")
    with pytest.raises(InputError, match="one true mask"):
        read_nvos(data)


def test_other_folders_are_no_spin_nerf(tmp_path: Path, spin_nerf: miniatures.Miniature) -> None:
    with pytest.raises(InputError, match=r"orchids \(llff\)"):
        read_spin_nerf(tmp_path)
    shutil.copytree(spin_nerf.data / "orchids (llff)", tmp_path / "orchids (llff)")
    for file in sorted((tmp_path / "orchids (llff)").glob("image*"))[3:]:
        file.unlink()
    with pytest.raises(InputError, match="found 1"):
        read_spin_nerf(tmp_path)


def test_annotations_without_a_photo_are_named(spin_nerf: miniatures.Miniature) -> None:
    scene = open_splats(spin_nerf.scenes, "orchids")
    with pytest.raises(InputError, match=r"image099.*IMG_4467"):
        find_view(scene, "image099")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda content: content["info"].pop("height"), "height"),
        (lambda content: content["objects"][0].pop("bbox"), "bbox"),
        (lambda content: content["objects"][0].update(bbox=[1, 2, 3]), "3"),
        (lambda content: content["objects"].clear(), "no object"),
    ],
)
def test_damaged_labels_are_refused(lerf: miniatures.Miniature, tmp_path: Path, change: object, word: str) -> None:
    label = shutil.copytree(lerf.data / "label", tmp_path / "label")
    file = label / "figurines" / "frame_00001.json"
    content = json.loads(file.read_text())
    change(content)  # type: ignore[operator]
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=word):
        read_lerf(tmp_path)
    file.write_text("{")
    with pytest.raises(InputError, match="not a label"):
        read_lerf(tmp_path)


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="label/SCENE"):
        read_lerf(tmp_path)


def test_missing_splats_are_looked_for_in_four_places(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fern/output/fern"):
        open_splats(tmp_path, "fern")


def test_splats_without_photos_are_refused(spin_nerf: miniatures.Miniature, tmp_path: Path) -> None:
    shutil.copytree(spin_nerf.scenes / "truck", tmp_path / "truck")
    shutil.rmtree(tmp_path / "truck" / "images")
    with pytest.raises(InputError, match="photos"):
        open_splats(tmp_path, "truck")


def test_own_masks_need_a_reference_and_another_view(tmp_path: Path) -> None:
    folder, masks, scribble = miniatures.capture(tmp_path)
    scene = open_splats(folder.parent, folder.name)
    names = [view.name for view in scene.views]
    task = read_capture_task(scene, masks, names[0])
    assert list(task.truths) == names[1:]
    assert task.kind == "mask"
    drawn = read_capture_task(scene, masks, names[0], scribble)
    assert drawn.kind == "scribbles"
    assert not drawn.prompt(scene.views[0]).complete
    with pytest.raises(InputError, match="no view"):
        read_capture_task(scene, masks, "elsewhere")
    (masks / f"{names[0]}.png").unlink()
    with pytest.raises(InputError, match="--scribbles"):
        read_capture_task(scene, masks, names[0])
    for name in names[1:]:
        (masks / f"{name}.png").unlink()
    with pytest.raises(InputError, match="no mask"):
        read_capture_task(scene, masks, names[0], scribble)
