"""Pictures, maps, light and cameras of rooms."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import trimesh

from render.camera import Camera
from render.errors import InputError
from tests.box_rooms import GREY, RED, SIZE, box, camera_at, room_of, shell
from training.rooms.cameras import room_cameras
from training.rooms.layout import Part, Room, Thing
from training.rooms.rays import RayCaster
from training.rooms.rendering import RoomImage, RoomRenderer
from training.rooms.surfaces import COARSEST, room_surfaces
from training.rooms.words import CLASSES, VOID, ThingWords

TABLE_TOP = (1.0, 0.8, 0.04)


@pytest.fixture(scope="module")
def renderer() -> RoomRenderer:
    """A table top in the air, 60 cm above the floor, and a turned red box on the floor."""
    top = box("table", TABLE_TOP, (1.5, 1.6, 0.62))
    return RoomRenderer(room_of(top, box("box", (0.4, 0.4, 0.4), (0.6, 2.6, 0.2), RED, turn=0.5)), threads=1)


def points_of(image: RoomImage, camera: Camera) -> np.ndarray:
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    K, pose = camera.K.double().numpy(), camera.world_to_camera.double().numpy()
    rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], -1)
    return (rays * image.depth[..., None] - pose[:3, 3]) @ pose[:3, :3]


def light_around(renderer: RoomRenderer, instance: int, points: np.ndarray) -> np.ndarray:
    """Light at the vertices of a thing that are nearest to points, looking up."""
    s = renderer.surfaces
    own = np.flatnonzero((s.instance_of_part[s.part_of_vertex] == instance) & (s.normals[:, 2] > 0.9))
    nearest = np.linalg.norm(s.vertices[own][None] - points[:, None], axis=-1).argmin(1)
    return renderer.light[own[nearest]].mean(1)


def test_depth_is_measured_along_the_cameras_axis(renderer: RoomRenderer) -> None:
    image = renderer.render(camera_at((1.5, 1.0, 1.5), (1.5, 0.0, 1.5)))
    np.testing.assert_allclose(image.depth, 1.0, atol=1e-5)
    np.testing.assert_allclose(image.normals, np.broadcast_to([0, 1, 0], image.normals.shape), atol=1e-5)
    assert (image.instances == 0).all()
    assert (image.classes == CLASSES.index("wall")).all()


def test_maps_agree_with_the_geometry(renderer: RoomRenderer) -> None:
    camera = camera_at((2.5, 0.5, 1.7), (0.8, 2.4, 0.3))
    image = renderer.render(camera)
    points = points_of(image, camera)
    assert set(np.unique(image.instances)) == {0, 1, 3, 4}
    np.testing.assert_allclose(points[image.instances == 1][:, 2], 0, atol=1e-4)
    x, y, _ = points[image.instances == 0].T
    assert np.minimum.reduce([abs(x), abs(y), abs(x - SIZE[0]), abs(y - SIZE[1])]).max() < 1e-4
    inside = np.abs(points[image.instances == 3] - [1.5, 1.6, 0.62]) <= np.array(TABLE_TOP) / 2 + 1e-4
    assert inside.all()
    turned = (points[image.instances == 4] - [0.6, 2.6, 0.2]) @ np.array(
        [[np.cos(0.5), -np.sin(0.5), 0], [np.sin(0.5), np.cos(0.5), 0], [0, 0, 1]]
    )
    np.testing.assert_allclose(np.abs(turned).max(1), 0.2, atol=1e-4)
    names = np.array(["wall", "floor", "ceiling", "table", "box"])[image.instances]
    assert (np.array(CLASSES)[image.classes] == names).all()
    np.testing.assert_allclose(np.linalg.norm(image.normals, axis=-1), 1, atol=1e-5)
    assert ((points - camera.centre.numpy()) * image.normals).sum(-1).max() <= 1e-4


def test_a_point_looks_the_same_from_everywhere(renderer: RoomRenderer) -> None:
    first, second = camera_at((2.5, 0.5, 1.7), (0.8, 2.4, 0.3)), camera_at((1.9, 0.4, 1.2), (0.8, 2.4, 0.3), side=128)
    seen, other = renderer.render(first), renderer.render(second)
    points = points_of(seen, first).reshape(-1, 3)
    pose, K = second.world_to_camera.double().numpy(), second.K.double().numpy()
    local = points @ pose[:3, :3].T + pose[:3, 3]
    pixel = local @ K.T
    x, y = np.floor(pixel[:, :2] / pixel[:, 2:]).astype(int).T
    valid = (x >= 2) & (y >= 2) & (x < 126) & (y < 126) & (local[:, 2] > 0)
    x, y, rows = x[valid], y[valid], np.flatnonzero(valid)
    shown = np.abs(other.depth[y, x] - local[rows, 2]) < 0.02
    x, y, rows = x[shown], y[shown], rows[shown]
    assert len(rows) > 1000
    difference = np.abs(seen.rgb.reshape(-1, 3)[rows].astype(int) - other.rgb[y, x]).max(1)
    assert np.quantile(difference, 0.9) <= 6


def test_rays_that_leave_the_room_see_nothing() -> None:
    room = Room("test", 0, SIZE, (*shell()[1:2], box("box", (0.4, 0.4, 0.4), (1.5, 1.6, 0.2))), room_of().lights)
    image = RoomRenderer(room, threads=1).render(camera_at((1.5, 0.3, 0.6), (1.5, 2.6, 0.6)))
    nothing = image.instances == -1
    assert nothing[0].all()
    assert not nothing[-1].any()
    for values, empty in ((image.depth, 0), (image.normals, 0), (image.classes, VOID), (image.rgb, 0)):
        assert (values[0] == empty).all()


def test_where_open3d_cannot_be_loaded_a_sentence_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(InputError, match=r"Rooms are made with Open3D, which could not be loaded .* libusb-1\.0-0"):
        RayCaster(np.zeros((3, 3), np.float32), np.array([[0, 1, 2]], np.int32))


def test_shadows_are_dark_and_soft(renderer: RoomRenderer) -> None:
    x = np.linspace(0.25, 1.5, 30)
    light = light_around(renderer, 1, np.stack([x, np.full(30, 1.6), np.zeros(30)], -1))
    assert light[-1] < 0.35 * light.max()
    # The lamp is 40 cm wide: the shadow of the edge at x = 1 ends gradually.
    assert np.abs(np.diff(light)).max() < 0.7 * (light.max() - light.min())
    assert light.argmax() < 16


def test_no_light_leaks_into_closed_rooms() -> None:
    sides = [box("box", (1.2, 0.05, 1.0), (1.5, 1.6 + d, 0.5)) for d in (-0.575, 0.575)]
    sides += [box("box", (0.05, 1.1, 1.0), (1.5 + d, 1.6, 0.5)) for d in (-0.575, 0.575)]
    renderer = RoomRenderer(room_of(*sides, box("box", (1.2, 1.2, 0.05), (1.5, 1.6, 1.025))), threads=1)
    under = light_around(renderer, 1, np.array([[1.5, 1.6, 0], [1.2, 1.8, 0], [1.8, 1.3, 0]]))
    beside = light_around(renderer, 1, np.array([[0.5, 1.6, 0], [2.5, 1.6, 0]]))
    assert under.max() < 0.01 * beside.min()
    # Nor do walls darken or brighten where they meet the ceiling's outside.
    s = renderer.surfaces
    walls = renderer.light[s.instance_of_part[s.part_of_vertex] == 0].mean(1)
    assert walls.max() < 6 * np.median(walls)
    assert walls.min() > 0.1 * np.median(walls)


def test_walls_take_the_colour_of_what_lies_beside_them() -> None:
    plain = RoomRenderer(room_of(box("box", (1.0, 0.3, 1.5), (1.5, 3.0, 0.75), GREY)), threads=1)
    red = RoomRenderer(room_of(box("box", (1.0, 0.3, 1.5), (1.5, 3.0, 0.75), RED)), threads=1)
    near = np.array([[1.5, 2.75, 0.0]])

    def warmth(renderer: RoomRenderer) -> float:
        s = renderer.surfaces
        own = np.flatnonzero((s.instance_of_part[s.part_of_vertex] == 1) & (s.normals[:, 2] > 0.9))
        light = renderer.light[own[np.linalg.norm(s.vertices[own] - near, axis=1).argmin()]]
        return float(light[0] / light[1])

    assert abs(warmth(plain) - 1) < 0.01
    assert warmth(red) > 1.03


def test_a_room_is_neither_dark_nor_blown_out(renderer: RoomRenderer) -> None:
    rgb = renderer.render(camera_at((2.5, 0.5, 1.7), (0.8, 2.4, 0.3))).rgb
    assert 70 < rgb.mean() < 180
    assert (rgb == 255).mean() < 0.01


def test_edges_are_smoothed_in_colours_but_not_in_maps(renderer: RoomRenderer) -> None:
    image = renderer.render(camera_at((1.8, 1.8, 1.2), (0.6, 2.6, 0.2)))
    fine = renderer.render(camera_at((1.8, 1.8, 1.2), (0.6, 2.6, 0.2), side=256, focal=200.0)).rgb.astype(float)
    truth = fine.reshape(64, 4, 64, 4, 3).mean((1, 3))
    nearest = fine[2::4, 2::4]
    outline = np.zeros((64, 64), bool)
    outline[:, 1:] = image.instances[:, 1:] != image.instances[:, :-1]
    assert outline.sum() > 20
    error = np.abs(image.rgb - truth)[outline].mean()
    assert error < 0.5 * np.abs(nearest - truth)[outline].mean()
    assert set(np.unique(image.classes)) <= {CLASSES.index(n) for n in ("wall", "floor", "box", "table")}


def test_the_same_room_gives_the_same_picture_at_any_number_of_threads(renderer: RoomRenderer) -> None:
    camera = camera_at((2.5, 0.5, 1.7), (0.8, 2.4, 0.3))
    again = RoomRenderer(renderer.room, threads=2).render(camera)
    first = renderer.render(camera)
    for name in ("rgb", "depth", "normals", "classes", "instances"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))


def test_divided_surfaces_keep_their_area_normals_and_have_no_cracks() -> None:
    ball = Thing(ThingWords("ball"), (Part(trimesh.creation.icosphere(2, 0.4), GREY),), np.eye(4))
    ball.pose[:3, 3] = (1.5, 1.6, 1.2)
    long = box("shelf", (2.6, 0.02, 0.3), (1.5, 0.02, 1.0))
    surfaces = room_surfaces(Room("test", 0, SIZE, (*shell(), long, ball), ()))
    corners = surfaces.vertices[surfaces.faces]
    assert np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=-1).max() < COARSEST + 1e-5
    doubled = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    of = surfaces.instance_of_face
    assert doubled[of == 3].sum() / 2 == pytest.approx(2 * (2.6 * 0.02 + 2.6 * 0.3 + 0.02 * 0.3), rel=1e-4)
    # A long thin box stays cheap.
    assert (of == 3).sum() < 5000
    own = surfaces.instance_of_part[surfaces.part_of_vertex]
    np.testing.assert_allclose(np.abs(surfaces.normals[own == 3]).max(1), 1, atol=1e-5)
    outwards = surfaces.vertices[own == 4] - [1.5, 1.6, 1.2]
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    assert (outwards * surfaces.normals[own == 4]).sum(1).min() > 0.98
    directions = np.random.default_rng(0).normal(size=(100_000, 3)).astype(np.float32)
    caster = RayCaster(surfaces.vertices, surfaces.faces, 1)
    assert np.isfinite(caster.first_hits(np.array([0.7, 0.9, 1.8], np.float32), directions)[0]).all()


def test_cameras_stand_in_free_space_and_show_things() -> None:
    wardrobe = box("cabinet", (1.2, 0.7, 2.2), (0.8, 2.7, 1.1))
    room = room_of(wardrobe, box("table", (0.8, 0.6, 0.7), (2.4, 1.0, 0.35)), box("box", (0.3,) * 3, (0.3, 0.3, 0.15)))
    cameras = room_cameras(room, 12, 64, 48, seed=3)
    places = np.stack([camera.centre.numpy() for camera in cameras])
    assert len(cameras) == 12
    assert {(camera.width, camera.height) for camera in cameras} == {(64, 48)}
    assert ((places > 0.25) & (places < np.array(SIZE) - 0.25)).all()
    assert places[:, 2].min() >= 1.0
    assert places[:, 2].max() <= 1.9
    assert np.ptp(places[:, 2]) > 0.3
    apart = np.abs(places - [0.8, 2.7, 1.1]) - np.array([0.6, 0.35, 1.1])
    assert np.linalg.norm(np.maximum(apart, 0), axis=1).min() > 0.2
    fields = [2 * np.degrees(np.arctan(32 / float(camera.K[0, 0]))) for camera in cameras]
    assert min(fields) > 59
    assert max(fields) < 76
    assert np.ptp(fields) > 5
    renderer = RoomRenderer(room, threads=1)
    images = [renderer.render(camera) for camera in cameras]
    seen = [{i for i in np.unique(image.instances) if i >= 3} for image in images]
    assert set.union(*seen) == {3, 4, 5}
    assert sum(bool(s) for s in seen) >= 10
    for camera in cameras:
        down = camera.world_to_camera[1, :3].numpy()
        assert down[2] < -0.3


def test_cameras_are_those_of_their_seed() -> None:
    room = room_of(box("table", (0.8, 0.6, 0.7), (2.4, 1.0, 0.35)))
    first, again, other = (room_cameras(room, 4, 32, 32, seed=seed) for seed in (1, 1, 2))
    assert all((a.world_to_camera == b.world_to_camera).all() for a, b in zip(first, again, strict=True))
    assert all((a.world_to_camera != b.world_to_camera).any() for a, b in zip(first, other, strict=True))


def test_a_room_without_space_says_so() -> None:
    room = room_of(box("cabinet", (2.95, 3.15, 2.4), (1.5, 1.6, 1.2)))
    with pytest.raises(InputError, match="no place for a camera"):
        room_cameras(room, 2, 32, 32, seed=0)
