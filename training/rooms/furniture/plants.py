"""Plants in pots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.rooms.furniture.pieces import Maker, Part, Piece
from training.rooms.materials import Material
from training.rooms.shapes import capsule, globe, joined, lathe, moved, rod
from training.rooms.words import ThingWords

if TYPE_CHECKING:
    import trimesh

GOLDEN_ANGLE = 2.4  # radians between leaves


def plant(m: Maker, *, large: bool) -> Piece:
    """A plant in a pot: leafy, a bush, a cactus or flowers."""
    kind = m.choose("leafy", "leafy", "bush", "cactus", "flowers")
    s = m.size(0.9, 1.15) * (1.0 if large else 0.58)
    r, h = 0.15 * s, 0.27 * s
    profile = [(0.0, 0.0), (r * 0.72, 0.0), (r, h), (r * 0.88, h), (r * 0.85, h * 0.85), (0.0, h * 0.85)]
    pot_word, pattern = m.word("green"), m.pattern(0.2)
    pot = Part(lathe(profile, 18), m.patterned(pot_word, pattern, 0.05 * s + 0.01, axis=2, around=8))
    green = _foliage_colour(m)
    parts = {"leafy": _leafy, "bush": _bush, "cactus": _cactus, "flowers": _flowers}[kind](m, s, h * 0.8, green)
    bounds = np.stack([part.mesh.bounds for part in (pot, *parts)])
    top, reach = float(bounds[:, 1, 2].max()), np.abs(bounds[..., :2]).max((0, 1))
    words = ThingWords("plant", "cactus" if kind == "cactus" else "", "green", "", "", "large" if large else "small")
    return Piece(words, (pot, *parts), (float(reach[0]), float(reach[1])), top)


def _foliage_colour(m: Maker) -> Material:
    light = m.colour("green")
    return Material("leaf", (light, (light[0] * 0.55, light[1] * 0.65, light[2] * 0.55)), 0.07, m.seed())


def _leaf(length: float, width: float, tilt: float, turn: float, z: float) -> trimesh.Trimesh:
    """A leaf that rises from the axis at a height, ``tilt`` away from upright."""
    import trimesh

    leaf = trimesh.creation.icosphere(1, 1.0)
    leaf.apply_scale([width / 2, 0.006 + 0.04 * width, length / 2])
    leaf.apply_translation([0, 0, length / 2])
    leaf.apply_transform(trimesh.transformations.rotation_matrix(tilt, [1, 0, 0]))
    leaf.apply_transform(trimesh.transformations.rotation_matrix(turn, [0, 0, 1]))
    return moved(leaf, 0, 0, z)


def _leafy(m: Maker, s: float, base: float, green: Material) -> list[Part]:
    tall, leaves = m.chance(0.5), []
    wide = m.size(0.8, 1.5)
    for i in range(15):
        tilt = m.size(0.15, 0.5) if tall else m.size(0.3, 0.95)
        z = base + s * (m.size(0.0, 0.3) if tall else m.size(0, 0.1))
        leaves.append(_leaf(s * m.size(0.26, 0.44), 0.11 * s * wide, tilt, i * GOLDEN_ANGLE + m.size(0, 0.5), z))
    return [Part(joined(*leaves, rod(0.014 * s + 0.004, base + 0.3 * s, (0, 0, 0), 6)), green)]


def _bush(m: Maker, s: float, base: float, green: Material) -> list[Part]:
    tall, r = m.size(0.25, 0.5) * s, m.size(0.17, 0.22) * s
    balls = [globe(r, (0, 0, base + tall + r * 0.5))]
    if m.chance(0.5):
        balls.append(globe(r * 0.65, (0, 0, base + tall + r * 1.9)))
    for mesh in balls:
        middle = mesh.vertices.mean(0)
        mesh.vertices = middle + (mesh.vertices - middle) * m.random.uniform(0.85, 1.12, (len(mesh.vertices), 1))
    trunk = rod(0.02 * s, tall + r, (0, 0, base - 0.02), 8)
    return [Part(joined(*balls), green), Part(trunk, m.plain("brown"))]


def _cactus(m: Maker, s: float, base: float, green: Material) -> list[Part]:
    import trimesh

    skin = Material("stripes", (green.colours[0], green.colours[1]), 0.03, m.seed(), 0, 12, 0.7)
    tall, r = m.size(0.42, 0.6) * s, 0.075 * s
    meshes = [capsule(tall, r, 12)]
    meshes[0].apply_translation([0, 0, base])
    for side in (-1, 1) if m.chance(0.6) else (1,):
        z = base + tall * m.size(0.25, 0.5)
        elbow = capsule(0.1 * s, r * 0.6, 10)
        elbow.apply_transform(trimesh.transformations.rotation_matrix(side * np.pi / 2, [0, 1, 0]))
        arm = capsule(tall * 0.35, r * 0.6, 10)
        meshes += [moved(elbow, side * r * 0.5, 0, z), moved(arm, side * (r * 0.5 + 0.1 * s), 0, z)]
    return [Part(joined(*meshes), skin)]


def _flowers(m: Maker, s: float, base: float, green: Material) -> list[Part]:
    petals, hearts, stems = [], [], []
    for i in range(4 + int(m.random.integers(3))):
        angle, reach, z = i * GOLDEN_ANGLE, 0.12 * s * m.size(0.2, 1), base + s * m.size(0.28, 0.48)
        x, y = reach * np.cos(angle), reach * np.sin(angle)
        head = globe(0.07 * s, (0, 0, 0))
        head.apply_scale([1, 1, 0.5])
        petals.append(moved(head, x, y, z))
        hearts.append(globe(0.03 * s, (x, y, z + 0.028 * s)))
        stems.append(rod(0.008 * s + 0.002, z - base + 0.02, (x, y, base - 0.02), 6))
    stems += [_leaf(0.2 * s, 0.08 * s, m.size(0.6, 1.1), i * GOLDEN_ANGLE, base) for i in range(7)]
    bloom = m.plain(m.choose("red", "orange", "yellow", "purple", "pink", "white"))
    return [Part(joined(*petals), bloom), Part(joined(*hearts), m.plain("yellow")), Part(joined(*stems), green)]
