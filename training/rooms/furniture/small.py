"""Things that stand on furniture or on the floor."""

from __future__ import annotations

import numpy as np

from training.rooms.furniture.pieces import Maker, Part, Piece
from training.rooms.materials import Material
from training.rooms.shapes import block, globe, joined, lathe, moved, rod
from training.rooms.words import ThingWords


def vase(m: Maker) -> Piece:
    """A vase, bulging, slim or straight."""
    word, pattern = m.word(), m.pattern(0.4)
    h, r, shape = m.size(0.28, 0.42), m.size(0.075, 0.11), m.choose("round", "long", "")
    if shape == "round":
        outline = [(0.5, 0), (1.1, 0.25), (1.2, 0.45), (0.8, 0.7), (0.4, 0.85), (0.5, 1)]
    elif shape == "long":
        outline = [(0.6, 0), (0.7, 0.3), (0.6, 0.6), (0.35, 0.8), (0.5, 1)]
    else:
        outline = [(0.75, 0), (0.85, 0.5), (0.95, 1)]
    outside = [(a * r, b * h) for a, b in outline]
    inside = [(outside[-1][0] - 0.012, h), (outside[-1][0] - 0.02, h * 0.8), (0.0, h * 0.78)]
    body = lathe([(0.0, 0.0), *outside, *inside])
    made = m.choose("ceramic", "glass", "ceramic")
    part = Part(body, m.patterned(word, pattern, 0.045, axis=2, around=8))
    return Piece(ThingWords("vase", shape, word, made, pattern), (part,), (1.2 * r, 1.2 * r), h)


def ball(m: Maker) -> Piece:
    """A ball."""
    word, pattern, r = m.word(), m.pattern(0.55), m.size(0.11, 0.17)
    shape, paint = "", m.patterned(word, pattern, r * 0.5, axis=2, around=8)
    if not pattern and m.chance(0.4):
        shape = "beach ball"
        word = m.word("white", "beige", "grey", "black")
        paint = Material("sectors", (m.colour(word), m.colour("white")), 0.1, 0, 2, 6)
    mesh = globe(r, (0, 0, 0))
    part = Part(mesh, paint)
    size = "large" if r > 0.155 else "small" if r < 0.125 else ""
    return Piece(ThingWords("ball", shape, word, "", pattern, size), (part,), (r, r), 2 * r, foot=-r)


def cup(m: Maker) -> Piece:
    """A cup with a handle."""
    import trimesh

    word, pattern, h, r = m.word(), m.pattern(0.3), m.size(0.13, 0.17), m.size(0.055, 0.07)
    body = lathe([(0.0, 0.0), (r * 0.85, 0.0), (r, h), (r - 0.01, h), (r * 0.8, 0.02), (0.0, 0.02)], 18)
    handle = trimesh.creation.torus(h * 0.28, 0.012, major_sections=12, minor_sections=6)
    handle.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, [1, 0, 0]))
    part = Part(joined(body, moved(handle, r, 0, h * 0.5)), m.patterned(word, pattern, 0.03, axis=2, around=8))
    return Piece(ThingWords("cup", "", word, "ceramic", pattern), (part,), (1.6 * r, r), h)


def monitor(m: Maker) -> Piece:
    """A screen on a foot, or a laptop, showing something."""
    word, laptop = m.choose("black", "grey", "white"), m.chance(0.3)
    x, h = (m.size(0.18, 0.22), m.size(0.24, 0.28)) if laptop else (m.size(0.22, 0.32), m.size(0.3, 0.36))
    low = 0.025 if laptop else 0.12
    frame = block(2 * x, 0.03, h, (0, 0, low))
    if laptop:
        foot = joined(block(2 * x, 0.26, 0.025, (0, -0.115, 0)))
    else:
        foot = joined(rod(0.12, 0.015, (0, 0.0, 0), 16), block(0.05, 0.03, 0.16, (0, 0.03, 0)))
    screen = block(2 * x - 0.04, 0.006, h - 0.04, (0, -0.016, -(h - 0.04) / 2))
    shown = m.of(
        "screen", (m.choose("blue", "turquoise", "purple", "black"), "black", "white", "black"), 0.1, extent=(x, h / 2)
    )
    keys = block(2 * x - 0.06, 0.13, 0.004, (0, -0.1, 0.025))
    parts = [Part(joined(frame, foot), m.plain(word)), Part(screen, shown)]
    if laptop:
        parts.append(Part(keys, m.of("checks", ("black", "grey") if word != "black" else ("grey", "white"), 0.03)))
    # The picture on the screen has its middle at the origin of the thing's frame.
    middle = low + h / 2
    for part in parts:
        if part.mesh is not screen:
            part.mesh.apply_translation([0, 0, -middle])
    half_y = 0.25 if laptop else 0.12
    return Piece(
        ThingWords("monitor", "laptop" if laptop else "", word), tuple(parts), (x, half_y), h + low, foot=-middle
    )


def box(m: Maker, *, large: bool) -> Piece:
    """A box, of cardboard with tape or in a colour with a lid."""
    s = m.size(0.16, 0.22) if large else m.size(0.08, 0.12)
    x, y, h = s * m.size(0.8, 1.3), s * m.size(0.8, 1.1), s * m.size(1.0, 1.8)
    if m.chance(0.4):
        word, made, pattern = "brown", "cardboard", ""
        second = Part(block(0.06, 2 * y + 0.004, h + 0.003, (0, 0, 0)), m.plain("beige"))
        body = Part(block(2 * x, 2 * y, h, (0, 0, 0)), m.plain("brown"))
    else:
        word, made, pattern = m.word(), "", m.pattern(0.4)
        lid = m.patterned(word, pattern, 0.06) if m.chance(0.5) else m.plain(m.word(word))
        second = Part(block(2 * x + 0.015, 2 * y + 0.015, h * 0.22, (0, 0, h * 0.8)), lid)
        body = Part(block(2 * x, 2 * y, h, (0, 0, 0)), m.patterned(word, pattern, 0.06))
    words = ThingWords("box", "", word, made, pattern, "large" if large else "small")
    return Piece(words, (body, second), (x, y), h * 1.02)


def cushion(m: Maker) -> Piece:
    """A cushion that leans, or lies."""
    import trimesh

    word, pattern, s = m.word(), m.pattern(0.5), m.size(0.18, 0.22)
    mesh = trimesh.creation.icosphere(2, 1.0)
    flat = np.sign(mesh.vertices) * np.abs(mesh.vertices) ** 0.6
    mesh.vertices = flat * np.array([s, 0.075, s])
    tilt = trimesh.transformations.rotation_matrix(m.size(-0.5, -0.25), [1, 0, 0])
    mesh.apply_transform(tilt)
    mesh.apply_translation([0, 0, -float(mesh.bounds[0, 2])])
    part = Part(mesh, m.patterned(word, pattern, 0.06))
    return Piece(ThingWords("cushion", "", word, "fabric", pattern), (part,), (s, 0.12), 2 * s)


def bin_(m: Maker) -> Piece:
    """A bin, open at its top."""
    word, h, r = m.word(), m.size(0.3, 0.4), m.size(0.13, 0.17)
    body = lathe([(0.0, 0.0), (r * 0.8, 0.0), (r, h), (r - 0.012, h), (r * 0.75, 0.02), (0.0, 0.02)])
    pattern = m.choose("striped", "checked") if m.chance(0.2) else ""
    part = Part(body, m.patterned(word, pattern, 0.05, axis=2, around=8))
    return Piece(ThingWords("bin", "", word, m.choose("plastic", "metal"), pattern), (part,), (r, r), h)


def bowl(m: Maker) -> Piece:
    """An open bowl."""
    word, pattern, r = m.word(), m.pattern(0.3), m.size(0.11, 0.16)
    h = r * m.size(0.6, 0.85)
    outside = [(0.0, 0.0), (r * 0.5, 0.0), (r * 0.8, h * 0.35), (r, h)]
    body = lathe([*outside, (r - 0.012, h), (r * 0.75, h * 0.4), (0.0, h * 0.15)])
    made = m.choose("ceramic", "wooden", "metal")
    paint = m.wood(word) if made == "wooden" else m.patterned(word, pattern, 0.03, axis=2, around=8)
    words = ThingWords("bowl", "", word, made, "" if made == "wooden" else pattern)
    return Piece(words, (Part(body, paint),), (r, r), h)


def bottle(m: Maker) -> Piece:
    """A bottle with a label and a cap."""
    word, h, r = m.word(), m.size(0.26, 0.34), m.size(0.042, 0.055)
    body = lathe([(0.0, 0.0), (r, 0.0), (r, h * 0.6), (r * 0.4, h * 0.78), (r * 0.36, h * 0.95), (0.0, h * 0.95)], 16)
    label = rod(r + 0.002, h * 0.26, (0, 0, h * 0.18), 16)
    cap = rod(r * 0.45, h * 0.07, (0, 0, h * 0.93), 12)
    parts = (
        Part(body, m.plain(word)),
        Part(label, m.plain(m.choose("white", "beige", "yellow"))),
        Part(cap, m.plain(m.word(word))),
    )
    return Piece(ThingWords("bottle", "", word, m.choose("glass", "plastic")), parts, (r, r), h)


def basket(m: Maker) -> Piece:
    """A wicker basket, open at its top."""
    word, h, r = m.choose("beige", "brown", "white", "orange"), m.size(0.22, 0.32), m.size(0.17, 0.22)
    body = lathe([(0.0, 0.0), (r * 0.85, 0.0), (r, h), (r - 0.02, h), (r * 0.8, 0.03), (0.0, 0.03)], 24)
    paint = Material("wicker", (m.colour(word), m.colour("brown")), 0.05, m.seed(), 2, 20)
    return Piece(ThingWords("basket", "round", word, "wicker"), (Part(body, paint),), (r, r), h)


def teddy(m: Maker) -> Piece:
    """A toy bear that sits."""
    word, s = m.choose("brown", "beige", "white", "pink", "grey", "black"), m.size(0.9, 1.2)
    fur = [globe(0.11 * s, (0, 0, 0.11 * s)), globe(0.08 * s, (0, -0.01, 0.27 * s))]
    fur += [globe(0.03 * s, (side * 0.06 * s, 0, 0.34 * s)) for side in (-1, 1)]
    fur += [globe(0.045 * s, (side * 0.09 * s, -0.1 * s, 0.05 * s)) for side in (-1, 1)]
    fur += [globe(0.035 * s, (side * 0.12 * s, -0.04 * s, 0.17 * s)) for side in (-1, 1)]
    snout = globe(0.035 * s, (0, -0.085 * s, 0.255 * s))
    eyes = [globe(0.012 * s, (side * 0.03 * s, -0.08 * s, 0.295 * s)) for side in (-1, 1)]
    parts = (
        Part(joined(*fur), m.plain(word)),
        Part(snout, m.plain("beige" if word != "beige" else "white")),
        Part(joined(*eyes), m.plain("black" if word != "black" else "white")),
    )
    return Piece(ThingWords("teddy", "", word, "", "", ""), parts, (0.15 * s, 0.15 * s), 0.37 * s)
