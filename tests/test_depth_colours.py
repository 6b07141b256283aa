"""Depth as colours."""

from __future__ import annotations

import numpy as np

from render.depth_colours import colour_depth, depth_range


def test_near_is_warm_far_is_cold_and_nothing_is_black() -> None:
    depth = np.array([[1.0, 4.0, 0.0]])
    near, far, nothing = colour_depth(depth, depth_range([depth]))[0].astype(int)
    assert near[0] > near[2]
    assert far[2] > far[0]
    assert nothing.tolist() == [0, 0, 0]


def test_a_picture_of_nothing_is_black() -> None:
    depth = np.zeros((2, 3))
    assert not colour_depth(depth, depth_range([depth])).any()
