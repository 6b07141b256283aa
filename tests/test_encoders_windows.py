"""Overlapping windows blended to one map."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from uplift.encoders import windows
from uplift.encoders.windows import Axis, encode_windows, node_positions

CPU = torch.device("cpu")


def patch_means(patch: int) -> windows.Forward:
    """A network that sees the mean of each patch."""

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        b, c, h, w = pixels.shape
        return pixels.reshape(b, c, h // patch, patch, w // patch, patch).mean((3, 5)).permute(0, 2, 3, 1)

    return forward


def ramp(height: int, width: int) -> np.ndarray:
    """Red grows by 1 per pixel to the right, green by 1 per pixel down."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.full_like(x, 7)], -1).astype(np.uint8)


@pytest.mark.parametrize("size", [(56, 140), (50, 131), (61, 45), (13, 70), (3, 5)])
@pytest.mark.parametrize(("window", "tolerance"), [(42, 3), (56, 1.5), (500, 1e-3)])
def test_nodes_see_the_photo_at_the_places_that_an_encoder_promises(
    size: tuple[int, int], window: int, tolerance: float
) -> None:
    height, width = size
    made = encode_windows(ramp(height, width), patch_means(14), patch=14, window=window, stride=14, device=CPU)
    x, y = node_positions(made.shape[1], width), node_positions(made.shape[0], height)
    # A patch that begins in the mirrored margin sees other values.  A window is constant beyond the centres of its
    # outer patches, so where it ends in the photo its small share is off by up to half a patch.
    inner_x, inner_y = (x > 21) & (x < width - 21), (y > 21) & (y < height - 21)
    red, green = (made[..., i].numpy() * 255 for i in (0, 1))
    np.testing.assert_allclose(
        red[:, inner_x], np.broadcast_to(x[inner_x] - 0.5, red[:, inner_x].shape), atol=tolerance
    )
    expected = np.broadcast_to(y[inner_y][:, None] - 0.5, green[inner_y].shape)
    np.testing.assert_allclose(green[inner_y], expected, atol=tolerance)
    torch.testing.assert_close(made[..., 2], torch.full(made.shape[:2], 7 / 255))


def test_a_photo_of_whole_patches_in_one_window_gives_the_networks_own_tokens() -> None:
    image = np.random.default_rng(0).integers(0, 256, (42, 70, 3), dtype=np.uint8)
    tokens: list[torch.Tensor] = []

    def remembered(pixels: torch.Tensor) -> torch.Tensor:
        torch.testing.assert_close(pixels[0], torch.from_numpy(image).permute(2, 0, 1) / 255)
        tokens.append(patch_means(14)(pixels))
        return tokens[0]

    made = encode_windows(image, remembered, patch=14, window=840, stride=200, device=CPU)
    assert torch.equal(made, tokens[0][0])


def test_windows_cover_the_photo_and_are_at_most_a_stride_apart() -> None:
    axis = Axis.cut(1920, 14, 840, 200)
    assert axis.size == 840
    assert axis.starts[0] == 0
    assert axis.starts[-1] + 840 == axis.before + 1920 + axis.after == 1932
    assert max(np.diff(axis.starts)) <= 200
    assert len(axis.starts) == 7
    assert Axis.cut(837, 14, 840, 200).starts == (0,)
    assert Axis.cut(900, 16, 840, 200).size == 832


def test_padding_is_even_and_less_than_a_patch() -> None:
    for length in range(1, 60):
        axis = Axis.cut(length, 14, 28, 10)
        assert 0 <= axis.after - axis.before <= 1
        assert axis.before + length + axis.after == 14 * -(-length // 14)


def test_windows_that_disagree_are_blended_without_seams() -> None:
    seen: list[int] = []

    def disagreeing(pixels: torch.Tensor) -> torch.Tensor:
        b, _, h, w = pixels.shape
        levels = torch.arange(len(seen), len(seen) + b, dtype=torch.float32)
        seen.extend(range(b))
        return levels[:, None, None, None].expand(b, h // 14, w // 14, 1)

    image = np.zeros((56, 420, 3), np.uint8)
    made = encode_windows(image, disagreeing, patch=14, window=140, stride=70, device=CPU)[0, :, 0]
    assert len(seen) == 5
    assert (made[0], made[-1]) == (0, 4)
    steps = made.diff()
    assert (steps >= -1e-6).all()
    assert steps.max() < 0.2  # a seam would be a step of 1


def test_the_network_never_sees_more_than_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(1).integers(0, 256, (70, 98, 3), dtype=np.uint8)
    whole = encode_windows(image, patch_means(14), patch=14, window=28, stride=14, device=CPU)
    sizes: list[int] = []

    def counted(pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        return patch_means(14)(pixels)

    monkeypatch.setattr(windows, "TOKENS_PER_BATCH", 13)
    parts = encode_windows(image, counted, patch=14, window=28, stride=14, device=CPU)
    assert set(sizes) == {3}
    assert sum(sizes) == 4 * 6
    torch.testing.assert_close(parts, whole)
