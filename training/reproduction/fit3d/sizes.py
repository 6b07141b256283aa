"""How much memory and disk a reproduction takes."""

from __future__ import annotations

from training.reproduction.fit3d.plan import Plan

BASE = 1_200_000_000  # bytes of a process with its libraries and networks
CHANNELS, PATCH, HALF = 256, 8, 2  # of tiny-dino; bytes of a number
AT_ONCE = 5  # maps of all photos: original, fine-tuned, and both again as rows that heads learn from
GAUSSIAN = 130  # bytes in its file, and of what else belongs to a room
PIXEL = 12  # of a photo's files
MATRIX = 6 * 120  # bytes of a row of a room's matrix
ENCODER = 20_000_000  # bytes of a file


def memory_needed(plan: Plan) -> int:
    """Bytes that a process needs at most, about."""
    return BASE + AT_ONCE * _maps(plan)


def disk_needed(plan: Plan, encoders: int, seeds: int) -> int:
    """Bytes of the folder, about."""
    rooms = plan.rooms + plan.test_rooms
    photos = plan.views * (PIXEL * plan.width * plan.height + MATRIX * _patches(plan))
    return rooms * (photos + GAUSSIAN * plan.gaussians) + encoders * (_maps(plan) + 2 * seeds * ENCODER)


def _maps(plan: Plan) -> int:
    return (plan.rooms + plan.test_rooms) * plan.views * _patches(plan) * CHANNELS * HALF


def _patches(plan: Plan) -> int:
    return -(-plan.width // PATCH) * -(-plan.height // PATCH)
