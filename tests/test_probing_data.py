"""Data sets are read in their published layouts, from miniature copies of them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.main import BAD_INPUT, OK, main
from render.errors import InputError
from training.probing import VOID, ProbeData, ProbePhoto
from training.probing.data import open_data
from training.probing.data.nyu40 import NYU40, SCANNET20
from training.probing.targets import mean_depth
from training.rooms.writing import ROOM, RoomFormat, room_name, write_room

COLOURS = np.array([(200, 30, 30), (30, 200, 30), (30, 30, 200)], np.uint8)


def blocks(seed: int, size: tuple[int, int] = (24, 32)) -> np.ndarray:
    """Classes 0 to 2 in blocks of 8 pixels."""
    random = np.random.default_rng(seed)
    rows, columns = -(-size[0] // 8), -(-size[1] // 8)
    return random.integers(3, size=(rows, columns)).repeat(8, 0).repeat(8, 1)[: size[0], : size[1]]


def put(path: Path, values: np.ndarray, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(values)
    if palette:
        picture = Image.fromarray(values.astype(np.uint8), mode="P")
        picture.putpalette([value for index in range(256) for value in (index, 255 - index, 7)])
    picture.save(path, quality=95)


def photo_of(classes: np.ndarray) -> np.ndarray:
    picture: np.ndarray = COLOURS[classes]
    return picture


def depth_of(classes: np.ndarray, unit: int) -> np.ndarray:
    """1, 2 or 3 metres in the given units of a metre, and a corner where nothing is known."""
    depth = ((classes.astype(int) + 1) * unit).astype(np.uint16)
    depth[0, 0] = 0
    return depth


def lines(path: Path, *content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(content) + "\n")


def camvid(root: Path) -> None:
    for split, seed in (("train", 0), ("test", 1)):
        classes = blocks(seed).astype(np.uint8)
        put(root / split / "a.jpg", photo_of(classes))
        classes[0] = 3
        put(root / f"{split}_labels" / "a.png", classes)
    lines(root / "classes.txt", "0 Sky 1 2 3", "1 Road 1 2 3", "2 Car 1 2 3", "3 Unlabelled 0 0 0")


def ade20k(root: Path) -> None:
    for split, seed in (("training", 0), ("validation", 1)):
        classes = blocks(seed)
        put(root / "ADEChallengeData2016" / "images" / split / "ADE_1.jpg", photo_of(classes))
        labels = (classes + 1).astype(np.uint8)
        labels[0] = 0
        put(root / "ADEChallengeData2016" / "annotations" / split / "ADE_1.png", labels)
    names = ["Idx\tRatio\tTrain\tVal\tStuff\tName", *(f"{i}\t0.1\t1\t1\t1\tthing {i}, other" for i in range(1, 151))]
    lines(root / "ADEChallengeData2016" / "objectInfo150.txt", *names)


def voc(root: Path) -> None:
    base = root / "VOCdevkit" / "VOC2012"
    for name, seed in (("2007_1", 0), ("2007_2", 1)):
        classes = blocks(seed).astype(np.uint8)
        put(base / "JPEGImages" / f"{name}.jpg", photo_of(classes))
        classes[0] = VOID
        put(base / "SegmentationClass" / f"{name}.png", classes, palette=True)
    lines(base / "ImageSets" / "Segmentation" / "train.txt", "2007_1")
    lines(base / "ImageSets" / "Segmentation" / "val.txt", "2007_2")


def scannet(root: Path) -> None:
    for scene, seed in (("scene0000_00", 0), ("scene0001_00", 1)):
        classes = blocks(seed)
        folder = root / "scannet_frames_25k" / scene
        put(folder / "color" / "000000.jpg", photo_of(classes))
        put(folder / "depth" / "000000.png", depth_of(classes, 1000)[::2, ::2])
        labels = np.array(SCANNET20, np.uint8)[classes]
        labels[0] = 40  # otherprop, outside the benchmark
        put(folder / "label" / "000000.png", labels)
    lines(root / "scannetv2_train.txt", "scene0000_00", "scene0002_00")
    lines(root / "scannetv2_val.txt", "scene0001_00")


def scannetpp(root: Path) -> None:
    for scene, seed in (("aa", 0), ("bb", 1)):
        classes = blocks(seed).astype(np.uint8)
        dslr = root / "data" / scene / "dslr"
        put(dslr / "resized_undistorted_images" / "DSC1.JPG", photo_of(classes))
        put(dslr / "undistorted_render_depth" / "DSC1.png", depth_of(classes, 1000))
        labels = classes.astype(np.uint16)
        labels[0] = VOID
        labels[0, 4:] = 65535
        put(dslr / "undistorted_semantics_2d" / "DSC1.png", labels)
    lines(root / "splits" / "nvs_sem_train.txt", "aa")
    lines(root / "splits" / "nvs_sem_val.txt", "bb")
    lines(root / "metadata" / "semantic_benchmark" / "top100.txt", "wall", "floor", "chair")


def nyu_listed(root: Path) -> None:
    for name, seed in (("kitchen", 0), ("office", 1)):
        classes = blocks(seed, (480, 640))
        put(root / name / "rgb_0.jpg", photo_of(classes))
        depth = depth_of(classes, 1000)
        depth[100] = 12000
        put(root / name / "sync_depth_0.png", depth)
    lines(root / "nyu_train.txt", "/kitchen/rgb_0.jpg /kitchen/sync_depth_0.png 518.8")
    lines(root / "nyu_test.txt", "office/rgb_0.jpg office/sync_depth_0.png 518.8")


def nyu_labelled(root: Path) -> None:
    h5py = pytest.importorskip("h5py")
    from scipy.io import savemat

    each = [blocks(seed, (480, 640)) for seed in (1, 0)]
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"] = np.stack([photo_of(classes).transpose(2, 1, 0) for classes in each])
        file["depths"] = np.stack([(depth_of(classes, 1000) / 1000).T.astype(np.float32) for classes in each])
        names = [file.create_dataset(f"#refs#/{n}", data=np.array([[ord(c)] for c in n], np.uint16)) for n in "ba"]
        file["scenes"] = np.array([[name.ref for name in names]], dtype=h5py.ref_dtype)
    savemat(root / "splits.mat", {"trainNdxs": np.array([[2]]), "testNdxs": np.array([[1]])})
    labels = np.stack([classes + 1 for classes in each], -1).astype(np.uint8)
    labels[0] = 0
    savemat(root / "labels40.mat", {"labels40": labels})


LASER = 0.16  # of the pixels of a street


def kitti(root: Path) -> None:
    date = "2011_09_26"
    for drive, seed in ((f"{date}_drive_0001_sync", 0), (f"{date}_drive_0002_sync", 1)):
        classes = blocks(seed, (375, 1242))
        put(root / "input" / date / drive / "image_02" / "data" / "5.png", photo_of(classes))
        depth = depth_of(classes, 256)
        depth[200] = 90 * 256
        depth[np.random.default_rng(seed).random(depth.shape) > LASER] = 0
        put(root / "gt_depth" / drive / "proj_depth" / "groundtruth" / "image_02" / "5.png", depth)
    for name, drive in (("train", "0001"), ("test", "0002")):
        path = f"{date}_drive_{drive}_sync"
        truth = f"{path}/proj_depth/groundtruth/image_02/5.png"
        photo = f"{date}/{path}/image_02/data/5.png"
        lines(root / f"kitti_eigen_{name}.txt", f"{photo} {truth} 721.5", f"{photo} None 721.5")


def own_folder(root: Path) -> None:
    for split, seed in (("train", 0), ("test", 1)):
        classes = blocks(seed).astype(np.uint8)
        put(root / split / "images" / "a.png", photo_of(classes))
        put(root / split / "depths" / "a.png", depth_of(classes, 1000))
        classes[0] = VOID
        put(root / split / "labels" / "a.png", classes)
    lines(root / "classes.txt", "sky", "road", "car")


def capture(root: Path) -> None:
    frames = []
    for index in range(6):
        classes = blocks(0 if index < 4 else 1)
        put(root / "images" / f"f{index}.jpg", photo_of(classes))
        put(root / "depths" / f"f{index}.png", depth_of(classes, 500))
        frames.append({"file_path": f"images/f{index}.jpg", "depth_file_path": f"depths/f{index}.png"})
    frames.append({"file_path": "images/f9.jpg"})
    (root / "transforms.json").write_text(json.dumps({"depth_unit_scale_factor": 0.002, "frames": frames}))


LAYOUTS: dict[str, tuple[Callable[[Path], None], bool, bool]] = {
    "camvid": (camvid, True, False),
    "ade20k": (ade20k, True, False),
    "voc": (voc, True, False),
    "scannet": (scannet, True, True),
    "scannetpp": (scannetpp, True, True),
    "nyu, listed": (nyu_listed, False, True),
    "nyu, labelled": (nyu_labelled, True, True),
    "kitti": (kitti, False, True),
    "folder": (own_folder, True, True),
    "rgbd": (capture, False, True),
}


def truth(photo: ProbePhoto, task: str) -> np.ndarray:
    read = photo.classes if task == "segmentation" else photo.depth
    assert read is not None
    return read()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_published_layout_is_recognised_and_read(layout: str, tmp_path: Path) -> None:
    make, classes, depth = LAYOUTS[layout]
    make(tmp_path)
    data = open_data(tmp_path)
    assert data.classes[:1] or not classes
    for photo, seed in ((data.train[0], 0), (data.test[-1], 1)):
        image = photo.image()
        if layout in ("ade20k", "voc"):
            assert data.for_task("segmentation").train[0].image().shape == (512, 683, 3), "small photos are enlarged"
        if layout == "kitti":
            wanted = blocks(seed, (375, 1242))[23:, 13:1229]
        else:
            wanted = blocks(seed, (480, 640) if layout.startswith("nyu") else (24, 32))
        assert image.shape == (*wanted.shape, 3)
        found = np.abs(image[4::8, 4::8, None].astype(int) - COLOURS).sum(-1).argmin(-1)
        np.testing.assert_array_equal(found, wanted[4::8, 4::8])
        if classes:
            told = truth(photo, "segmentation")
            np.testing.assert_array_equal(told[1:], wanted[1:])
            assert (told[0] == VOID).all()
        if depth:
            metres = truth(photo, "depth")
            step = image.shape[0] // metres.shape[0]
            known = metres > 0
            np.testing.assert_allclose(metres[known], (wanted[::step, ::step] + 1)[known], atol=1e-5)
            assert known.mean() > (0.3 if seed else 0.85) * (LASER if layout == "kitti" else 1)
            assert layout == "kitti" or not known[0, 0]
    assert {photo.group for photo in data.train}.isdisjoint({photo.group for photo in data.test}) or layout in (
        "camvid",
        "ade20k",
        "folder",
    )


def test_arrays_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    def save(split: str, classes: str, labels: tuple[int, ...]) -> None:
        images = np.zeros((len(labels), 8, 8, 3), np.uint8)
        np.savez(tmp_path / f"{split}.npz", images=images, labels=np.array(labels), classes=np.array(list(classes)))

    save("train", "cd", (0, 1))
    save("test", "dc", (0, 1))
    with pytest.raises(InputError, match=r"same classes in the same order .* found c, d and d, c"):
        open_data(tmp_path)
    save("test", "cd", (0, 2))
    with pytest.raises(InputError, match=r"labels from 0 to 1.*test\.npz, found 0 to 2"):
        open_data(tmp_path)
    save("test", "cd", (0, 1))
    whole = (tmp_path / "test.npz").read_bytes()
    (tmp_path / "test.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"test\.npz is truncated or damaged .* copy it again"):
        open_data(tmp_path)
    (tmp_path / "test.npz").unlink()
    with pytest.raises(InputError, match=r"photos with labels at .*test\.npz, found none"):
        open_data(tmp_path)


def test_maps_of_a_lens_do_not_pass_for_those_of_photos_without_its_distortion(tmp_path: Path) -> None:
    scannetpp(tmp_path)
    dslr = tmp_path / "data" / "bb" / "dslr"
    for name in ("render_depth", "semantics_2d"):
        (dslr / f"undistorted_{name}").rename(dslr / name)
    with pytest.raises(InputError, match="render_depth and semantics_2d of the fisheye"):
        open_data(tmp_path)
    put(dslr / "undistorted_render_depth" / "DSC1.png", np.ones((20, 32), np.uint16))
    data = open_data(tmp_path)
    assert data.test[0].classes is None
    with pytest.raises(InputError, match="32 x 24 pixels, found 32 x 20"):
        truth(data.test[0], "depth")


def test_neighbouring_frames_of_a_drive_are_one_group(tmp_path: Path) -> None:
    camvid(tmp_path)
    (tmp_path / "test" / "a.jpg").unlink()
    drives = {"0001TP": 16, "Seq05VD": 44}
    for drive, count in drives.items():
        for frame in range(count):
            (tmp_path / "test" / f"{drive}_f{30 * frame:05d}.jpg").touch()
    data = open_data(tmp_path)
    groups = [photo.group for photo in data.test]
    assert len(set(groups)) == 13
    assert all(3 <= count <= 5 for count in Counter(groups).values())
    assert groups == sorted(groups), "consecutive frames are together"
    assert all(photo.name.startswith(photo.group[:6]) for photo in data.test), "of one drive"
    assert set(groups).isdisjoint(photo.group for photo in data.train)
    few = data.limited(test=7)
    assert {photo.group for photo in few.test} <= set(groups), "groups are those of all photos"


def test_what_is_measured_is_cut_as_others_cut_it(tmp_path: Path) -> None:
    nyu, streets, far = (tmp_path / name for name in ("nyu", "kitti", "far"))
    for root, make in ((nyu, nyu_labelled), (streets, kitti), (far, nyu_listed)):
        root.mkdir()
        make(root)
    crop = truth(open_data(nyu).test[0], "depth") > 0
    rows, columns = np.flatnonzero(crop.any(1)), np.flatnonzero(crop.any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (45, 470, 41, 600)
    assert (truth(open_data(nyu).train[0], "depth") > 0).mean() > 0.99
    data = open_data(streets)
    assert len(data.train) == len(data.test) == 1, "lines without depth are left out"
    for photo, share in ((data.train[0], 0.99), (data.test[0], 0.5)):
        depth = truth(photo, "depth")
        assert depth.shape == (352, 1216)
        assert (depth > 0).mean() == pytest.approx(share * LASER, abs=0.01)
        for side in (8, 14):
            patches = mean_depth(depth, (352 // side, 1216 // side))[1]
            assert patches.mean() == pytest.approx(share, abs=0.08), "so few known pixels are learned from"
        assert (depth[200 - 23] == 0).all(), "beyond 80 m nothing is measured"
    depth = truth(open_data(far).test[0], "depth")
    assert (depth[100] == 0).all(), "nor beyond 10 m in rooms"
    assert (depth[99, 41:601] > 0).all()
    put(far / "office" / "sync_depth_0.png", np.ones((240, 320), np.uint16))
    with pytest.raises(InputError, match="640 x 480 pixels, found 320 x 240"):
        truth(open_data(far).test[0], "depth")


def test_labels_of_whole_photos_are_read_from_arrays_and_folders(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays, folders = tmp_path / "arrays", tmp_path / "folders"
    arrays.mkdir()
    for split in ("train", "test"):
        images = random.integers(256, size=(4, 8, 8, 3)).astype(np.uint8)
        np.savez(arrays / f"{split}.npz", images=images, labels=np.array([0, 1, 1, 0]), classes=np.array(["a", "b"]))
        for name in "ab":
            put(folders / {"train": "train", "test": "val"}[split] / name / "x.jpg", images[0])
    data = open_data(arrays)
    assert [photo.label for photo in data.train] == [0, 1, 1, 0]
    assert data.classes == ("a", "b")
    data = open_data(folders)
    assert [photo.label for photo in data.test] == [0, 1]
    assert data.for_task("classification").train[0].image().shape == (224, 224, 3)
    put(folders / "val" / "c" / "x.jpg", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="the class c"):
        open_data(folders)


def test_augmented_labels_of_voc_are_learned_from_where_its_own_are_not(tmp_path: Path) -> None:
    voc(tmp_path)
    base = tmp_path / "VOCdevkit" / "VOC2012"
    names = ["2007_1", "2007_4", "2008_3"]
    lines(base / "ImageSets" / "Segmentation" / "trainaug.txt", *names)
    put(base / "SegmentationClass" / "2007_4.png", np.full((24, 32), 4, np.uint8), palette=True)
    for name in ("2007_1", "2008_3"):
        put(base / "SegmentationClassAug" / f"{name}.png", np.full((24, 32), 5, np.uint8))
    data = open_data(tmp_path)
    assert [photo.name for photo in data.train] == names
    own, alone, added = (truth(photo, "segmentation") for photo in data.train)
    np.testing.assert_array_equal(own[1:], blocks(0)[1:])
    assert (alone == 4).all(), "not every photo of VOC is among the augmented ones"
    assert (added == 5).all()


def rooms(root: Path) -> None:
    form = RoomFormat(views=2, width=48, height=36, gaussians="none")
    write_room(root / "test" / room_name("test", 0), "test", 0, form, threads=1)
    other = Path(shutil.copytree(root / "test" / room_name("test", 0), root / "train" / room_name("train", 0)))
    description = json.loads((other / ROOM).read_text())
    (other / ROOM).write_text(json.dumps({**description, "split": "train"}))


def test_rooms_are_read_from_splits_or_given(tmp_path: Path) -> None:
    rooms(tmp_path)
    data = open_data(tmp_path)
    assert (len(data.train), len(data.test)) == (2, 2)
    given = open_data(tmp_path / "test", train=(tmp_path / "train",))
    assert [photo.name for photo in given.train] == [photo.name for photo in data.train]
    with pytest.raises(InputError, match="both learned from and measured"):
        open_data(tmp_path / "test", train=(tmp_path / "test",))
    with pytest.raises(InputError, match="or give --train"):
        open_data(tmp_path / "test")


def test_what_is_missing_or_damaged_is_told_in_a_sentence(tmp_path: Path) -> None:
    def refused(words: str, action: Callable[[], Any]) -> None:
        with pytest.raises(InputError, match=words):
            action()

    refused("found none", lambda: open_data(tmp_path / "nowhere"))
    refused("layout of .* --layout", lambda: open_data(tmp_path))
    own_folder(tmp_path)
    data = open_data(tmp_path)
    (tmp_path / "train" / "labels" / "a.png").write_bytes(b"no picture")
    refused("cannot be read", lambda: truth(data.train[0], "segmentation"))
    put(tmp_path / "train" / "labels" / "a.png", photo_of(blocks(0)))
    refused("one channel", lambda: truth(data.train[0], "segmentation"))
    (tmp_path / "classes.txt").unlink()
    refused("classes.txt", lambda: open_data(tmp_path))
    refused("--train", lambda: open_data(tmp_path, "folder", train=(tmp_path,)))
    lists = Path(mkdtemp(dir=tmp_path))
    kitti(lists)
    lines(lists / "kitti_eigen_test.txt", "alone")
    refused("PHOTO DEPTH FOCAL", lambda: open_data(lists))
    streets = Path(mkdtemp(dir=tmp_path))
    camvid(streets)
    lines(streets / "classes.txt", "Sky 0 1 2 3")
    refused("INDEX NAME R G B in .* 'Sky 0 1 2 3'", lambda: open_data(streets))


def probe(*arguments: object) -> int:
    return main(["probe", *map(str, arguments), "--device", "cpu"])


def test_the_command_writes_tables_figures_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data, out = tmp_path / "data", tmp_path / "out"
    own_folder(data)
    common = ("--out", out, "--steps", 20, "--batch", 64, "--show", 1)
    for task, figure in (("segmentation", "miou"), ("depth", "rmse")):
        assert probe(data, *common, "--task", task, "--encoders", "rgb", "rgb+rgb") == OK
        shown = capsys.readouterr().out
        assert "How much larger than with rgb" in shown
        for name in ("results.json", "results.md", "predictions.png", "features.png"):
            assert f"wrote {out / name}" in shown
            assert (out / name).is_file()
        content = json.loads((out / "results.json").read_text())
        first, second = content["results"]
        assert len(first["figures"][figure]) == 3
        assert first["intervals"][figure]["mean"] == pytest.approx(np.mean(first["figures"][figure]))
        gap = second["larger_than_first"][figure]["over_seeds"]["mean"]
        assert gap == pytest.approx(second["intervals"][figure]["mean"] - first["intervals"][figure]["mean"])
    with Image.open(out / "predictions.png") as sheet:
        assert sheet.size[0] > 4 * 320, "photo, two sources, truth"
    assert "| rgb+rgb |" in (out / "results.md").read_text()
    assert "interval over the seeds" in (out / "results.md").read_text()
    given = ("--encoders", "rgb", "--seeds", 1, "--augmentation", "trivial-ra", "--copies", 2)
    assert probe(data, *common, *given) == OK
    assert "Each encoder sees 2 augmented copies" in capsys.readouterr().out
    assert json.loads((out / "results.json").read_text())["augmentation"] == ["trivial-ra (flips)", 2]
    assert "copies by trivial-ra" in (out / "results.md").read_text()


def test_the_command_refuses_what_does_not_fit_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_folder(tmp_path)
    out = ("--out", tmp_path / "out")
    for arguments, words in (
        ((tmp_path, "--task", "classification"), "labels of whole photos"),
        ((tmp_path, "--seeds", 0), "--seeds"),
        ((tmp_path, "--encoders", "rgb", "rgb"), "different --encoders"),
        ((tmp_path, "--encoders", "rgb+magic"), "magic"),
        ((tmp_path, "--encoders", "rgb", "--weights", "tiny-dino", tmp_path / "x"), "tiny-dino"),
        ((tmp_path, "--head", "dpt", "--task", "classification"), "DPT"),
        ((tmp_path, "--head", "dpt", "--batch", 1, "--encoders", "rgb"), "one map alone"),
        ((tmp_path, "--batch", 1), "batch of at least 2"),
        ((tmp_path, "--seed", -1), "--seed"),
        ((tmp_path, "--rate", 1e30, "--steps", 3, "--encoders", "rgb"), "choose a smaller rate"),
        ((tmp_path, "--rate", 1e30, "--steps", 3, "--encoders", "rgb", "--task", "depth"), "choose a smaller rate"),
        ((tmp_path / "none",), "found none"),
        ((tmp_path, "--copies", 2), "are about --augmentation"),
        ((tmp_path, "--augmentation", "none", "--task", "depth"), "not for depth"),
        ((tmp_path, "--augmentation", "policy"), "found no file policy"),
        ((tmp_path, "--augmentation", "trivial-ra", "--copies", 0), "--copies"),
    ):
        assert probe(*arguments, *out) == BAD_INPUT, arguments
        assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_data_can_be_limited_evenly(tmp_path: Path) -> None:
    capture(tmp_path)
    data: ProbeData = open_data(tmp_path).limited(train=2, test=1)
    assert [photo.name for photo in data.train] == ["f0", "f3"]
    assert len(data.test) == 1
    assert {NYU40[label - 1] for label in SCANNET20} >= {"wall", "floor", "sofa"}
