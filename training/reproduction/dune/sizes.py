"""How much memory and disk a reproduction takes."""

from __future__ import annotations

from training.reproduction.dune.plan import CLOSE, WHOLE, WIDE, Plan

BASE = 1_600_000_000  # bytes of a process with its libraries, teachers and a student that is trained
PATCH, HALF = 8, 2  # of the student, in pixels; bytes of a number
CHANNELS = 256 + 64 + 192  # of the teachers
STUDENT = 24_000_000  # bytes of a student's file
PIXEL = 14  # bytes of a photo's files


def memory_needed(plan: Plan) -> int:
    """Bytes that a process needs at most, about."""
    return BASE + 2 * _outputs(plan)


def disk_needed(plan: Plan, students: int) -> int:
    """Bytes of the folder, about."""
    rooms = sum(count for _, _, count in plan.rooms.values())
    return _outputs(plan) + rooms * plan.views * PIXEL * plan.width * plan.height + students * 2 * STUDENT


def _outputs(plan: Plan) -> int:
    photos = sum(plan.rooms[name][2] for name in (WHOLE, CLOSE, WIDE)) * plan.views
    return photos * -(-plan.width // PATCH) * -(-plan.height // PATCH) * CHANNELS * HALF
