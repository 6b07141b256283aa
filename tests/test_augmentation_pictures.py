"""Pictures of policies show what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib import colormaps

from app.augmentation_pictures import CELL, evolution_plot, likely_sheet, policy_pie
from render.errors import InputError
from training.augmentation import POOL, Policy

NAMES = ("Identity", "Rotate", "Invert", "Brightness", "Cutout", "Equalize", "Color")


def count(picture: np.ndarray, name: str) -> int:
    """Pixels of a transformation's colour."""
    colour = np.rint(255 * np.array(colormaps["tab20"](list(POOL).index(name))[:3]))
    return int((np.abs(picture.astype(float) - colour).max(2) <= 1).sum())


def test_slices_are_as_wide_as_likely_and_as_long_as_strong() -> None:
    shares, bounds = torch.tensor([0.3, 0.3, 0.2, 0.2]), torch.tensor([0.5, 0.9, 0.2, 0.6])
    policy = Policy(("Rotate", "Brightness", "Identity", "Cutout"), shares.log()[None], bounds)
    picture = policy_pie(policy)
    assert picture.dtype == np.uint8
    areas = {"Rotate": 0.3 * 0.5**2, "Brightness": 0.3 * 0.9**2, "Identity": 0.2 * 1.0, "Cutout": 0.2 * 0.6**2}
    found = {name: count(picture, name) for name in areas}
    for name in areas:
        ratio = found[name] / found["Identity"]
        assert ratio == pytest.approx(areas[name] / areas["Identity"], abs=0.07), name
    # The mean over steps counts.
    twice = Policy(("Rotate", "Identity"), torch.tensor([[9.0, -9.0], [-9.0, 9.0]]), torch.ones(2))
    both = policy_pie(twice)
    assert count(both, "Rotate") == pytest.approx(count(both, "Identity"), rel=0.05)


def test_areas_are_as_high_as_transformations_were_likely() -> None:
    first, last = np.full((2, 3), 1 / 3), np.array([[0.8, 0.1, 0.1], [0.2, 0.1, 0.7]])
    history = np.stack([first, first, last])
    picture = evolution_plot(history, ("Rotate", "Invert", "Cutout"), at=[0, 400, 800], what="step")
    # Of the area until 400 a third each, after it between a third and the last.
    wanted = {"Rotate": (1 / 3 + (1 / 3 + 0.5) / 2) / 2, "Invert": (1 / 3 + (1 / 3 + 0.1) / 2) / 2}
    found = {name: count(picture, name) for name in ("Rotate", "Invert", "Cutout")}
    total = sum(found.values())
    for name, share in wanted.items():
        assert found[name] / total == pytest.approx(share, abs=0.02)
    with pytest.raises(InputError, match="Expected two policies or more of 2"):
        evolution_plot(history, ("Rotate", "Invert"))


def test_photos_are_shown_after_what_is_likely_and_what_is_not() -> None:
    logits = torch.tensor([[5.0, 0.0, 4.0, 3.0, -2.0, -3.0, 1.0]])
    policy = Policy(NAMES, logits, torch.full((7,), 0.5))
    photo = np.full((20, 20, 3), 100, np.uint8)
    photo[:10, :10] = 160
    sheet = likely_sheet(policy, [photo, photo // 2])
    # Identity, Invert, Brightness; Rotate, Cutout, Equalize.
    top, across = 30, CELL + 8
    row = sheet[top + CELL // 4]
    cells = [row[8 + k * across + CELL // 4] for k in range(7)]
    np.testing.assert_array_equal(cells[0], [160] * 3)
    np.testing.assert_array_equal(cells[1], [160] * 3)
    np.testing.assert_array_equal(cells[2], [95] * 3)
    factor = int(cells[3][0]) / 160
    assert factor == pytest.approx(1 + 0.99 * 0.5, abs=0.01) or factor == pytest.approx(1 - 0.99 * 0.5, abs=0.01)
    assert sheet.shape[0] > 2 * CELL
    assert np.array_equal(sheet, likely_sheet(policy, [photo, photo // 2]))
    with pytest.raises(InputError, match="at least one photo"):
        likely_sheet(policy, [])
