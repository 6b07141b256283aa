"""Furnished rooms: what stands where, from a split and a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from render.errors import InputError
from training.rooms import furniture as make
from training.rooms.furniture import SMALL, Maker, Part, Piece, Top
from training.rooms.shapes import block, outline
from training.rooms.words import ThingWords

if TYPE_CHECKING:
    from jaxtyping import Float

SPLIT_NUMBER: Mapping[str, int] = {"train": 0, "val": 1, "test": 2}
"""Part of the seed: rooms of different splits never share one."""

GAP = 0.06  # metres between things that stand on the floor
TRIES = 40
WALL = 0.12  # thickness
MOST_SMALL = 3  # things on one top
MOST_BOOKS = 3  # on one board, apart from those in a row
MOST_THINGS = 31  # with walls, floor and ceiling, before what is left stays out
SILL = 0.07  # metres that a window's sill sticks out on both sides, at most
ABOVE = 0.35  # metres over furniture that what stands on it may need


@dataclass(frozen=True, eq=False)
class Thing:
    """Something in a room.

    Attributes:
        words: What can be said of it.
        parts: Meshes in the thing's frame, with their materials.
        pose: Thing to world; ``[4, 4]``.
    """

    words: ThingWords
    parts: tuple[Part, ...]
    pose: Float[np.ndarray, "4 4"]


@dataclass(frozen=True)
class Light:
    """A light that shines to all sides.

    Attributes:
        position: World, metres.
        colour: Linear intensity.
        radius: Metres; a larger light throws softer shadows.
    """

    position: tuple[float, float, float]
    colour: tuple[float, float, float]
    radius: float


@dataclass(frozen=True, eq=False)
class Room:
    """A furnished room, [0, x] x [0, y] x [0, z] metres, z up.

    Attributes:
        split: train, val or test.
        index: Its number in the split.
        size: Along x, y and z; metres.
        things: The walls (one thing), the floor, the ceiling, then everything else; instance = index.
        lights: Lamps and windows.
    """

    split: str
    index: int
    size: tuple[float, float, float]
    things: tuple[Thing, ...]
    lights: tuple[Light, ...]


def build_room(split: str, index: int) -> Room:
    """The room of a split with this number, the same on every machine.

    Raises:
        InputError: there is no such split or number.
    """
    if split not in SPLIT_NUMBER or index < 0:
        raise InputError(f"Expected a split of {', '.join(SPLIT_NUMBER)} and a number from 0, found {split}, {index}.")
    random = np.random.default_rng(np.random.SeedSequence([SPLIT_NUMBER[split], index]))
    return _Layout(Maker(random)).room(split, index)


class _Layout:
    """Places pieces one after the other where there is room."""

    def __init__(self, maker: Maker) -> None:
        self.m = maker
        self.size = (maker.size(3.0, 4.4), maker.size(3.0, 4.4), maker.size(2.4, 2.75))
        self.things: list[Thing] = []
        self.taken: list[tuple[np.ndarray, np.ndarray, float]] = []  # on the floor: middles, half extents, heights
        self.windows: list[np.ndarray] = []
        self.tops: list[tuple[Piece, Top, np.ndarray]] = []  # to be filled
        self.lamps: list[tuple[float, float, float]] = []  # where light comes from
        self.on_walls: list[list[tuple[float, float, float, float]]] = [[], [], [], []]
        self.last = (0.0, 0.0, 0.0, 0.0)

    def room(self, split: str, index: int) -> Room:
        m = self.m
        self._shell()
        self._door()
        for _ in range(1 + m.chance(0.5)):
            window = make.window(m)
            if self._hang(window, m.size(1.35, 1.5)):
                self.windows.append(self.things[-1].pose)
                if m.chance(0.5):
                    self._curtains(window)
        large = [make.bed(m)] if m.chance(0.55) else []
        if not large or m.chance(0.45):
            large.append(make.sofa(m))
        for _ in range(1 + m.chance(0.35)):
            large.append(make.shelf(m))
        if m.chance(0.75):
            large.append(make.cabinet(m))
        for piece in large:
            self._at_wall(piece)
        if m.chance(0.35):
            self._at_wall(make.armchair(m))
        self._tables()
        if m.chance(0.75):
            self._lay(make.rug(m))
        if m.chance(0.6):
            lamp = make.lamp(m, standing=True)
            if self._free(lamp, near_wall=True):
                x, y, _ = self.things[-1].pose[:3, 3]
                self.lamps.append((float(x), float(y), lamp.height + 0.03))
        if m.chance(0.7):
            self._free(make.plant(m, large=True), near_wall=True)
        for _ in range(1 + int(m.random.integers(2))):
            self._hang(make.picture(m), m.size(1.45, 1.7))
        if m.chance(0.5):
            self._hang(make.clock(m), m.size(1.7, 1.95))
        if m.chance(0.55):
            self._ceiling_lamp()
        loose = [make.stool, make.ball, make.bin_, make.basket, make.teddy, lambda m: make.box(m, large=True)]
        for i in m.random.permutation(len(loose)):
            for _ in range(int(m.chance(0.5)) + int(m.chance(0.1))):
                self._free(loose[i](m), any_turn=True)
        for i in m.random.permutation(len(self.tops)):
            self._fill(*self.tops[i])
        return Room(split, index, self.size, tuple(self.things), tuple(self._lights()))

    def _ceiling_lamp(self) -> None:
        """Above the middle of the room, where nothing tall stands."""
        m, lamp = self.m, make.hanging_lamp(self.m)
        half = np.array(lamp.half)
        for _ in range(TRIES):
            at = np.array([self.size[i] * m.size(0.3, 0.7) for i in (0, 1)])
            low = self.size[2] - lamp.height
            if all((np.abs(at - other) > half + extent).any() or low > top for other, extent, top in self.taken):
                self._add(lamp, (float(at[0]), float(at[1]), self.size[2]), 0.0)
                self.lamps.append((float(at[0]), float(at[1]), low - 0.03))
                return

    def _lights(self) -> list[Light]:
        """A main light, that of the lamps, and daylight at the windows."""
        m, (x, y, z) = self.m, self.size
        warmth, strength = m.size(-0.12, 0.14), m.size(0.8, 1.1)
        tint = (strength * (1 + warmth), strength, strength * (1 - warmth))
        lights = []
        for at in self.lamps:
            share = m.size(0.35, 0.8) if at[2] < 1.75 and len(self.lamps) > 1 else 1.0
            lights.append(Light(at, (tint[0] * share, tint[1] * share, tint[2] * share), m.size(0.08, 0.2)))
        if not self.lamps or m.chance(0.3):
            at = (x * m.size(0.3, 0.7), y * m.size(0.3, 0.7), z - 0.2)
            lights.append(Light(at, tint, m.size(0.12, 0.35)))
        for window in self.windows:
            if m.chance(0.6):
                place = window @ np.array([0, -0.3, 0, 1.0])
                power = m.size(0.2, 0.6)
                day = (power * m.size(0.85, 1.0), power, power * m.size(1.0, 1.15))
                lights.append(Light((float(place[0]), float(place[1]), float(place[2])), day, m.size(0.25, 0.4)))
        return lights

    def _shell(self) -> None:
        m, (x, y, z) = self.m, self.size
        word = m.choose(
            "white", "beige", "grey", "yellow", "green", "blue", "pink", "turquoise", "orange", "white", "beige"
        )
        pattern = m.choose("striped", "dotted", "checked", "zigzag") if m.chance(0.25) else ""
        made = "brick" if not pattern and m.chance(0.12) else ""
        if made:
            word = m.choose("red", "brown", "white", "grey")
            along = m.of("bricks", (word, "beige"), 0.09, ratio=0.45)
        else:
            along = m.patterned(word, pattern, m.size(0.12, 0.25), axis=0)
        across = replace(along, axis=1)
        walls = (
            Part(block(x + 2 * WALL, WALL, z, (x / 2, -WALL / 2, 0)), along),
            Part(block(x + 2 * WALL, WALL, z, (x / 2, y + WALL / 2, 0)), along),
            Part(block(WALL, y, z, (-WALL / 2, y / 2, 0)), across),
            Part(block(WALL, y, z, (x + WALL / 2, y / 2, 0)), across),
        )
        self.things.append(Thing(ThingWords("wall", "", word, "stone" if made else "", pattern), walls, np.eye(4)))
        kind = m.choose("planks", "planks", "tiles", "plain", "checks", "marble")
        first = m.choose(
            *("brown", "beige", "orange") if kind == "planks" else ("grey", "white", "beige", "blue", "green")
        )
        if kind == "planks":
            floor = m.of("planks", (first, "brown"), m.size(0.1, 0.16), axis=int(m.chance(0.5)), ratio=8.0)
        elif kind == "tiles":
            floor = m.of("tiles", (first, m.choose("grey", "black", "white")), m.size(0.3, 0.5))
        elif kind == "checks":
            floor = m.of("checks", (first, "white" if first != "white" else "black"), m.size(0.3, 0.5))
        elif kind == "marble":
            floor = m.of("marble", (first, "white" if first != "white" else "grey"), 0.6)
        else:
            floor = m.plain(first)
        made = {"planks": "wooden", "tiles": "stone", "marble": "stone"}.get(kind, "")
        look = {"checks": "checked", "marble": "marbled"}.get(kind, "")
        slab = block(x + 2 * WALL, y + 2 * WALL, WALL, (x / 2, y / 2, -WALL))
        self.things.append(Thing(ThingWords("floor", "", first, made, look), (Part(slab, floor),), np.eye(4)))
        word = m.choose("white", "white", "beige", "grey")
        roof = block(x + 2 * WALL, y + 2 * WALL, WALL, (x / 2, y / 2, z))
        self.things.append(Thing(ThingWords("ceiling", "", word), (Part(roof, m.plain(word)),), np.eye(4)))

    def _add(self, piece: Piece, at: tuple[float, float, float], turn: float) -> None:
        """Put a piece where it belongs, and small things on it."""
        pose = _pose((at[0], at[1], at[2] - piece.foot), turn)
        self.things.append(Thing(piece.words, piece.parts, pose))
        self.tops += [(piece, top, pose) for top in piece.tops]
        for seat in piece.seats:
            for side in (-1, 1):
                if self.m.chance(0.45):
                    self._stand(
                        make.cushion(self.m), seat.x + side * seat.half_x, seat.y + seat.half_y, seat.height, pose, 0.0
                    )

    def _fill(self, piece: Piece, top: Top, pose: np.ndarray) -> None:
        m = self.m
        board = piece.words.category == "shelf" and top.headroom < 0.6
        x = -top.half_x
        if board and m.chance(0.4):
            row = make.book_row(m, 1.9 * top.half_x * m.size(0.4, 1.0), top.headroom)
            if row.half[0] <= top.half_x and row.half[1] <= top.half_y + 0.02:
                self._stand(row, top.x + x + row.half[0], top.y, top.height, pose, 0.0)
                x += 2 * row.half[0] + 0.02
        elif board and m.chance(0.4) and len(self.things) < MOST_THINGS:
            if m.chance(0.4):
                x += m.size(0, top.half_x)
            for _ in range(1 + int(m.random.integers(MOST_BOOKS))):
                item = make.book(m, upright=True)
                if item.height > top.headroom or x + 2 * item.half[0] > top.half_x:
                    break
                self._stand(item, top.x + x + item.half[0], top.y, top.height, pose, 0.0)
                x += 2 * item.half[0] + 0.003
            x += 0.05
        count = int(m.random.integers(0 if board else 1, (1 if board else MOST_SMALL) + 1))
        if piece.words.category == "table" and piece.words.shape != "coffee table":
            count = max(count, 2)
        count = min(count, max(0, MOST_THINGS - len(self.things)))
        placed: list[tuple[float, float, float]] = []
        often = {"desk": 0.85, "long": 0.25, "chest of drawers": 0.2}.get(piece.words.shape, 0.0)
        chosen = ["monitor"] if m.chance(often) else []
        for _ in range(count):
            names = chosen or [
                n
                for n in SMALL
                if not (board and n in ("monitor", "lamp")) and not (n == "monitor" and piece.words.category == "shelf")
            ]
            item, chosen = SMALL[m.choose(*names)](m), []
            radius = max(item.half)
            low = x + item.half[0] if board else -top.half_x + min(radius, top.half_x)
            high = top.half_x - (item.half[0] if board else min(radius, top.half_x))
            deep = max(top.half_y - item.half[1], 0.0)
            headroom = min(top.headroom, self.size[2] - top.height - 0.1)
            if low > high or item.height > headroom or item.half[1] > top.half_y + 0.06:
                continue
            for _ in range(TRIES // 4):
                u, v = m.size(low, high), m.size(-deep, deep)
                if all((u - a) ** 2 + (v - b) ** 2 > (radius + r + 0.02) ** 2 for a, b, r in placed):
                    placed.append((u, v, radius))
                    free = item.words.category not in ("monitor",) and not board
                    turn = m.size(-0.6, 0.6) if free else 0.0
                    self._stand(item, top.x + u, top.y + v, top.height, pose, turn)
                    break

    def _stand(self, item: Piece, x: float, y: float, z: float, pose: np.ndarray, turn: float) -> None:
        self.things.append(Thing(item.words, item.parts, pose @ _pose((x, y, z + 0.001 - item.foot), turn)))

    def _tables(self) -> None:
        """One or two tables; chairs around those that one sits at."""
        m = self.m
        for number in range(1 + m.chance(0.45)):
            table = make.table(m, "coffee table" if number > 0 and m.chance(0.7) else "")
            spot = self._find(table.half, near_wall=m.chance(0.3))
            if spot is None:
                continue
            x, y, turn = spot
            self._take((x, y), outline(table.half, turn), table.height + ABOVE)
            self._add(table, (x, y, 0.0), turn)
            if table.words.shape == "coffee table":
                continue
            chair = make.chair(m)
            # A desk has its chair in front, where its drawers open.
            sides = [0] if table.words.shape == "desk" else list(m.random.permutation(4)[: 1 + m.random.integers(3)])
            for side in sides:
                angle = turn + side * np.pi / 2
                reach = (table.half[1] if side % 2 == 0 else table.half[0]) + chair.half[1] + m.size(-0.12, 0.1)
                # The chair's front looks at the table: it stands at the table's -y side and is turned round.
                at = (x + np.sin(angle) * reach, y - np.cos(angle) * reach)
                facing = angle + np.pi + m.size(-0.2, 0.2)
                half = outline(chair.half, facing)
                if self._is_free(at, half, over=(x, y)):
                    self._take(at, half, chair.height)
                    self._add(chair, (at[0], at[1], 0.0), facing)
                    chair = chair if m.chance(0.85) else make.chair(m)

    def _at_wall(self, piece: Piece) -> None:
        """With its back at a wall, not before the door or under a window that it would cover."""
        m = self.m
        for _ in range(TRIES):
            wall = int(m.random.integers(4))
            length = self._length(wall)
            if piece.half[0] * 2 + 0.1 > length:
                continue
            along = m.size(piece.half[0] + 0.04, length - piece.half[0] - 0.04)
            if not self._wall_is_free(wall, along, piece.half[0], 0.0, piece.height + (ABOVE if piece.tops else 0.0)):
                continue
            at, turn = self._before(wall, along, piece.half[1] + 0.02)
            half = outline(piece.half, turn)
            if self._is_free(at, half):
                self._take(at, half, piece.height + ABOVE)
                self.on_walls[wall].append((along, piece.half[0], 0.0, piece.height))
                self._add(piece, (at[0], at[1], 0.0), turn)
                return

    def _free(self, piece: Piece, *, near_wall: bool = False, any_turn: bool = False) -> bool:
        """Somewhere on the floor; whether there was a place."""
        spot = self._find(piece.half, near_wall=near_wall, any_turn=any_turn)
        if spot is None:
            return False
        x, y, turn = spot
        self._take((x, y), outline(piece.half, turn), piece.height + (ABOVE if piece.tops else 0.0))
        self._add(piece, (x, y, 0.0), turn)
        return True

    def _lay(self, rug: Piece) -> None:
        """A rug lies under what stands there."""
        x, y = (self.size[i] * self.m.size(0.4, 0.6) for i in (0, 1))
        self._add(rug, (x, y, 0.001), float(self.m.random.integers(2)) * np.pi / 2)

    def _hang(self, piece: Piece, height: float) -> bool:
        """On a wall, its middle at a height; whether there was a place."""
        m = self.m
        low, high = height - piece.height / 2, height + piece.height / 2
        for _ in range(TRIES):
            wall = int(m.random.integers(4))
            length = self._length(wall)
            along = m.size(piece.half[0] + 0.1, length - piece.half[0] - 0.1)
            if self._wall_is_free(wall, along, piece.half[0], low, high):
                self.last = (along, piece.half[0] + 0.05, low, high)
                self.on_walls[wall].append(self.last)
                at, turn = self._before(wall, along, 0.0)
                self._add(piece, (at[0], at[1], height), turn)
                return True
        return False

    def _curtains(self, window: Piece) -> None:
        """On both sides of the window that was hung last."""
        m = self.m
        curtain = make.curtain(m, window.height + 0.3)
        pose = self.things[-1].pose
        for side in (-1, 1):
            offset = _pose((side * (window.half[0] + curtain.half[0] + SILL), 0.0, 0.0), 0.0)
            place = pose @ offset
            wall = next(i for i, places in enumerate(self.on_walls) if places and places[-1] is self.last)
            along = float(place[0, 3] if wall < 2 else place[1, 3])
            low, high = place[2, 3] - curtain.height / 2, place[2, 3] + curtain.height / 2
            others = [spot for spot in self.on_walls[wall] if spot is not self.last]
            clear = all(abs(along - o) > curtain.half[0] + w or low > t or high < b for o, w, b, t in others)
            if clear and curtain.half[0] < along < self._length(wall) - curtain.half[0]:
                self.things.append(Thing(curtain.words, curtain.parts, place))
                self.on_walls[wall].insert(0, (along, curtain.half[0], low, high))

    def _door(self) -> None:
        door = make.door(self.m)
        wall = int(self.m.random.integers(4))
        along = self.m.size(door.half[0] + 0.1, self._length(wall) - door.half[0] - 0.1)
        self.on_walls[wall].append((along, door.half[0], 0.0, door.height))
        at, turn = self._before(wall, along, 0.0)
        self._add(door, (at[0], at[1], 0.0), turn)
        middle, _ = self._before(wall, along, 0.35)
        self._take(middle, outline((0.4, 0.35), turn), 0.0)

    def _length(self, wall: int) -> float:
        return self.size[0] if wall < 2 else self.size[1]

    def _before(self, wall: int, along: float, distance: float) -> tuple[tuple[float, float], float]:
        """A point at a distance from a wall, and the turn that puts a thing's back there.

        Walls: y = 0, y = sy, x = 0, x = sx.
        """
        x, y, _ = self.size
        places = ((along, distance), (along, y - distance), (distance, along), (x - distance, along))
        return places[wall], (np.pi, 0.0, np.pi / 2, -np.pi / 2)[wall]

    def _wall_is_free(self, wall: int, along: float, half: float, low: float, high: float) -> bool:
        return all(
            abs(along - other) > half + width + 0.03 or low > top - 0.02 or high < bottom + 0.02
            for other, width, bottom, top in self.on_walls[wall]
        )

    def _find(
        self, half: tuple[float, float], *, near_wall: bool, any_turn: bool = False
    ) -> tuple[float, float, float] | None:
        """A free place on the floor, and a turn."""
        m = self.m
        for _ in range(TRIES):
            turn = m.size(0, 2 * np.pi) if any_turn else float(m.random.integers(4)) * np.pi / 2
            extent = outline(half, turn) + 0.04
            if (2 * extent > np.array(self.size[:2])).any():
                continue
            place = np.array([m.size(extent[i], self.size[i] - extent[i]) for i in (0, 1)])
            if near_wall:
                axis = int(m.random.integers(2))
                place[axis] = extent[axis] + 0.02 if m.chance(0.5) else self.size[axis] - extent[axis] - 0.02
            if self._is_free((place[0], place[1]), extent - 0.04):
                return float(place[0]), float(place[1]), turn
        return None

    def _is_free(self, at: tuple[float, float], half: np.ndarray, *, over: tuple[float, float] | None = None) -> bool:
        """Whether a rectangle is inside the room and touches no other; ``over`` names a table it may go under."""
        place = np.array(at)
        if (place - half < 0.01).any() or (place + half > np.array(self.size[:2]) - 0.01).any():
            return False
        for middle, other, _ in self.taken:
            gap = -0.14 if over is not None and np.allclose(middle, over) else GAP
            if (np.abs(place - middle) < half + other + gap).all():
                return False
        return True

    def _take(self, at: tuple[float, float], half: np.ndarray | Sequence[float], height: float) -> None:
        self.taken.append((np.array(at), np.array(half), height))


def _pose(at: tuple[float, float, float], turn: float) -> Float[np.ndarray, "4 4"]:
    """Turned about z, then moved."""
    pose = np.eye(4)
    c, s = np.cos(turn), np.sin(turn)
    pose[:2, :2] = [[c, -s], [s, c]]
    pose[:3, 3] = at
    return pose
