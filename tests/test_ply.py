"""3DGS PLY files: bit for bit, unknown attributes kept, bad files named."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import plyfile
import pytest
import torch

from render.errors import InputError
from render.gaussians import Gaussians
from render.ply import REQUIRED, Points, load_points, save_points


def random_rows(n: int, degree: int, extra: tuple[tuple[str, str], ...] = (), order: str = "<") -> np.ndarray:
    rng = np.random.default_rng(degree)
    rest = 3 * ((degree + 1) ** 2 - 1)
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    names += [*(f"f_rest_{i}" for i in range(rest)), "opacity", *(f"scale_{i}" for i in range(3))]
    names += [f"rot_{i}" for i in range(4)]
    rows = np.empty(n, dtype=[(name, f"{order}f4") for name in names] + [(a, b) for a, b in extra])
    for name in names:
        rows[name] = rng.normal(size=n).astype(np.float32)
    # Saturated ones lose their bits when they are activated.
    rows["opacity"][:4] = [-120, -30, 25, 60]
    rows["scale_0"][:2] = [-95, -40]
    for name, kind in extra:
        rows[name] = rng.integers(0, 100, n).astype(kind)
    return rows


def write(path: Path, *elements: plyfile.PlyElement, **header: Any) -> Path:
    plyfile.PlyData(list(elements), **header).write(str(path))
    return path


def vertex(rows: np.ndarray, comments: tuple[str, ...] = ()) -> plyfile.PlyElement:
    return plyfile.PlyElement.describe(rows, "vertex", comments=list(comments))


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_round_trip_gives_the_same_bytes(tmp_path: Path, degree: int) -> None:
    path = write(tmp_path / "a.ply", vertex(random_rows(1001, degree)), byte_order="<")
    gaussians = Gaussians.load(path)
    assert gaussians.sh_degree == degree
    gaussians.save(tmp_path / "b.ply")
    assert (tmp_path / "b.ply").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("text", "order"), [(False, "<"), (False, ">"), (True, "=")])
def test_attributes_elements_and_comments_that_are_not_known_survive(tmp_path: Path, text: bool, order: str) -> None:
    extra = (("label", "u1"), ("confidence", f"{order}f8"))
    camera = np.array([(1.5, 2)], dtype=[("near", f"{order}f4"), ("id", f"{order}i4")])
    lists = np.empty(2, dtype=[("ring", object)])
    lists["ring"] = [np.array([1, 2], np.int32), np.array([3], np.int32)]
    path = write(
        tmp_path / "a.ply",
        plyfile.PlyElement.describe(camera, "camera"),
        vertex(random_rows(50, 1, extra, order), ("made by hand",)),
        plyfile.PlyElement.describe(lists, "loop"),
        text=text,
        byte_order=order,
        comments=["a comment"],
        obj_info=["an info"],
    )
    Gaussians.load(path).save(tmp_path / "b.ply")
    assert (tmp_path / "b.ply").read_bytes() == path.read_bytes()


def test_a_subset_keeps_the_bits_and_the_unknown_attributes_of_its_rows(tmp_path: Path) -> None:
    rows = random_rows(333, 2, (("label", "u1"),))
    path = write(tmp_path / "a.ply", vertex(rows), byte_order="<")
    mask = torch.arange(333) % 3 == 1
    loaded = Gaussians.load(path)
    loaded[mask].save(tmp_path / "mask.ply")
    assert plyfile.PlyData.read(tmp_path / "mask.ply")["vertex"].data.tobytes() == rows[mask.numpy()].tobytes()
    order = torch.tensor([7, 3, 3, 300])
    loaded[order].to(dtype=torch.float64).detach().save(tmp_path / "order.ply")
    assert plyfile.PlyData.read(tmp_path / "order.ply")["vertex"].data.tobytes() == rows[order.numpy()].tobytes()
    loaded[10:20].save(tmp_path / "slice.ply")
    assert plyfile.PlyData.read(tmp_path / "slice.ply")["vertex"].data.tobytes() == rows[10:20].tobytes()


def test_a_subset_drops_faces_but_keeps_other_elements(tmp_path: Path) -> None:
    faces = np.empty(1, dtype=[("vertex_indices", object)])
    faces["vertex_indices"] = [np.array([0, 1, 2], np.int32)]
    camera = np.array([(1.5,)], dtype=[("near", "<f4")])
    path = write(
        tmp_path / "a.ply",
        vertex(random_rows(10, 0)),
        plyfile.PlyElement.describe(faces, "face"),
        plyfile.PlyElement.describe(camera, "camera"),
        byte_order="<",
    )
    Gaussians.load(path)[:5].save(tmp_path / "b.ply")
    assert [e.name for e in plyfile.PlyData.read(tmp_path / "b.ply").elements] == ["vertex", "camera"]


def test_an_edit_changes_what_it_changes_and_nothing_else(tmp_path: Path) -> None:
    rows = random_rows(100, 1, (("label", "u1"),))
    path = write(tmp_path / "a.ply", vertex(rows), byte_order="<")
    loaded = Gaussians.load(path)
    opacities = loaded.opacities.clone()
    opacities[50] = 0.25
    loaded.with_values(opacities=opacities, means=loaded.means + 1).save(tmp_path / "b.ply")
    found = plyfile.PlyData.read(tmp_path / "b.ply")["vertex"].data
    assert found["opacity"][50] == pytest.approx(np.log(1 / 3), abs=1e-6)
    others = np.arange(100) != 50
    assert found["opacity"][others].tobytes() == rows["opacity"][others].tobytes()
    np.testing.assert_array_equal(found["x"], rows["x"] + np.float32(1))
    for name in ("scale_0", "rot_3", "f_rest_8", "label", "nx"):
        assert found[name].tobytes() == rows[name].tobytes()


def test_another_sh_degree_rewrites_the_colour_attributes(tmp_path: Path) -> None:
    rows = random_rows(20, 2, (("label", "u1"),))
    loaded = Gaussians.load(write(tmp_path / "a.ply", vertex(rows), byte_order="<"))
    for degree in (0, 1, 3):
        loaded.with_sh_degree(degree).save(tmp_path / "b.ply")
        again = Gaussians.load(tmp_path / "b.ply")
        assert torch.equal(again.sh, loaded.with_sh_degree(degree).sh)
        assert again.source is not None
        assert again.source.rows["label"].tobytes() == rows["label"].tobytes()
        assert again.source.rows["opacity"].tobytes() == rows["opacity"].tobytes()


def test_coefficients_are_read_channel_by_channel(tmp_path: Path) -> None:
    rows = random_rows(6, 1)
    sh = Gaussians.load(write(tmp_path / "a.ply", vertex(rows))).sh
    np.testing.assert_array_equal(sh[:, 0, 2], rows["f_dc_2"])
    # Red has f_rest_0 to f_rest_2, green 3 to 5, blue 6 to 8.
    np.testing.assert_array_equal(sh[:, 3, 0], rows["f_rest_2"])
    np.testing.assert_array_equal(sh[:, 1, 1], rows["f_rest_3"])
    np.testing.assert_array_equal(sh[:, 2, 2], rows["f_rest_7"])


def test_new_gaussians_come_back_as_they_were_and_in_the_standard_order(tmp_path: Path) -> None:
    torch.manual_seed(0)
    new = Gaussians(
        torch.randn(40, 3), torch.randn(40, 4), torch.rand(40, 3) + 0.01, torch.rand(40), torch.randn(40, 9, 3)
    )
    new.save(tmp_path / "a.ply")
    names = [p.name for p in plyfile.PlyData.read(tmp_path / "a.ply")["vertex"].properties]
    rest = [f"f_rest_{i}" for i in range(24)]
    assert names == [*REQUIRED[:3], "nx", "ny", "nz", *REQUIRED[3:6], *rest, *REQUIRED[6:]]
    found = Gaussians.load(tmp_path / "a.ply")
    for name in ("means", "quats", "sh"):
        assert torch.equal(getattr(found, name), getattr(new, name))
    torch.testing.assert_close(found.scales, new.scales, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.opacities, new.opacities, rtol=1e-6, atol=1e-7)


def test_opaque_invisible_and_flat_gaussians_are_written_as_finite_numbers(tmp_path: Path) -> None:
    g = Gaussians(
        torch.zeros(2, 3),
        torch.ones(2, 4),
        torch.tensor([[0.0, 1, 1]] * 2),
        torch.tensor([0.0, 1.0]),
        torch.zeros(2, 1, 3),
    )
    g.save(tmp_path / "a.ply")
    found = Gaussians.load(tmp_path / "a.ply")
    torch.testing.assert_close(found.opacities, g.opacities, rtol=0, atol=1e-7)
    torch.testing.assert_close(found.scales, g.scales, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("keep", [0.05, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: float) -> None:
    path = write(tmp_path / "a.ply", vertex(random_rows(100, 1)), byte_order="<")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(InputError, match=r"truncated|header is damaged"):
        Gaussians.load(path)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8\xff\xe0 a photo", b"ply\nformat binary_little_endian 1.0\nelement"]
)
def test_a_file_that_is_no_ply_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ply").write_bytes(content)
    with pytest.raises(InputError, match="not a PLY"):
        Gaussians.load(tmp_path / "a.ply")


def test_missing_attributes_are_named(tmp_path: Path) -> None:
    rows = random_rows(5, 0)
    kept = [name for name in rows.dtype.names or () if name not in ("scale_2", "opacity")]
    with pytest.raises(InputError, match=r"lack opacity, scale_2"):
        Gaussians.load(write(tmp_path / "a.ply", vertex(np.array(rows[kept].tolist(), [(k, "f4") for k in kept]))))
    points = Points(torch.zeros(3, 3), torch.zeros(3, 3, dtype=torch.uint8))
    save_points(tmp_path / "points.ply", points)
    with pytest.raises(InputError, match=r"not a 3D Gaussian splatting PLY.*f_dc_0"):
        Gaussians.load(tmp_path / "points.ply")


def test_a_wrong_number_of_coefficients_is_refused(tmp_path: Path) -> None:
    rows = random_rows(5, 0, tuple((f"f_rest_{i}", "<f4") for i in range(10)))
    with pytest.raises(InputError, match="10 f_rest"):
        Gaussians.load(write(tmp_path / "a.ply", vertex(rows)))


def test_zero_gaussians_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="zero Gaussians"):
        Gaussians.load(write(tmp_path / "a.ply", vertex(random_rows(8, 0)[:0])))
    with pytest.raises(InputError, match="found nothing"):
        Gaussians.load(tmp_path / "none.ply")
    with pytest.raises(InputError, match="found a folder"):
        Gaussians.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "said"), [("x", np.nan, "means"), ("scale_1", np.inf, "scales"), ("f_dc_0", np.inf, "sh")]
)
def test_values_that_are_not_finite_are_counted(tmp_path: Path, name: str, value: float, said: str) -> None:
    rows = random_rows(9, 0)
    rows[name][5:7] = value
    with pytest.raises(InputError, match=f"2 of 9 Gaussians have {said}"):
        Gaussians.load(write(tmp_path / "a.ply", vertex(rows)))


def test_nan_is_not_written_and_the_old_file_stays(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ply", vertex(random_rows(9, 0)))
    before = path.read_bytes()
    loaded = Gaussians.load(path)
    with pytest.raises(InputError, match="NaN"):
        loaded.with_values(means=loaded.means / 0 * 0).save(path)
    with pytest.raises(InputError, match="no Gaussians to write"):
        loaded[:0].save(path)
    assert path.read_bytes() == before


def test_a_disk_that_fills_up_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.ply", vertex(random_rows(9, 0)))
    before = path.read_bytes()

    def half(self: plyfile.PlyData, stream: str) -> None:
        Path(stream).write_bytes(before[:50])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(plyfile.PlyData, "write", half)
    with pytest.raises(OSError, match="No space"):
        Gaussians.load(path)[2:].save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.ply"]


def test_gaussians_can_be_saved_over_the_file_they_came_from(tmp_path: Path) -> None:
    rows = random_rows(90, 1)
    path = write(tmp_path / "a.ply", vertex(rows), byte_order="<")
    loaded = Gaussians.load(path)
    loaded[:10].save(path)
    assert len(Gaussians.load(path)) == 10
    loaded.save(path)
    assert plyfile.PlyData.read(path)["vertex"].data.tobytes() == rows.tobytes()


def test_points_come_back(tmp_path: Path) -> None:
    points = Points(torch.randn(30, 3), torch.randint(0, 256, (30, 3), dtype=torch.uint8))
    save_points(tmp_path / "p.ply", points)
    found = load_points(tmp_path / "p.ply")
    assert torch.equal(found.positions, points.positions)
    assert torch.equal(found.colours, points.colours)


def test_points_of_a_capture_are_read(shared: Path) -> None:
    points = load_points(shared / "data" / "fox" / "sparse_pc.ply")
    assert points.positions.shape == (5021, 3)
    assert points.colours.float().std() > 10
