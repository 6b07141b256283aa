"""The fused structural similarity against pytorch_msssim and float64 autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from render.errors import InputError
from training.ssim import ssim, ssim_reference


def _images(height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height * width)
    smooth = torch.rand(1, 3, height // 4 + 1, width // 4 + 1, generator=generator)
    target = torch.nn.functional.interpolate(smooth, (height, width), mode="bilinear")[0].permute(1, 2, 0)
    noise = 0.2 * torch.randn(height, width, 3, generator=generator)
    return (target + noise).clamp(0, 1).requires_grad_(), target.contiguous()


@pytest.mark.parametrize(("height", "width"), [(14, 13), (12, 75), (64, 23), (139, 80), (75, 141)])
def test_fused_ssim_and_its_gradient_equal_pytorch_msssim(height: int, width: int) -> None:
    from pytorch_msssim import SSIM

    prediction, target = _images(height, width)
    module = SSIM(data_range=1.0, size_average=True, channel=3)
    theirs = module(prediction.permute(2, 0, 1)[None], target.permute(2, 0, 1)[None])
    (their_gradient,) = torch.autograd.grad(theirs, prediction)
    ours = ssim(prediction, target)
    (our_gradient,) = torch.autograd.grad(ours, prediction)
    assert abs(ours.item() - theirs.item()) < 1e-6
    assert (our_gradient - their_gradient).norm() < 2e-5 * their_gradient.norm()


def test_fused_gradient_equals_float64_autograd() -> None:
    prediction, target = _images(70, 50)
    exact_input = prediction.detach().double().requires_grad_()
    (exact,) = torch.autograd.grad(ssim_reference(exact_input, target.double()), exact_input)
    (fused,) = torch.autograd.grad(3.0 * ssim(prediction, target), prediction)
    assert (fused / 3.0 - exact).norm() < 1e-5 * exact.norm()


def test_one_and_two_threads_give_the_same_bits() -> None:
    prediction, target = _images(250, 40)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            value = ssim(prediction, target)
            results.append((value.item(), torch.autograd.grad(value, prediction)[0]))
    finally:
        torch.set_num_threads(before)
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


def test_an_image_compared_with_itself_has_index_one() -> None:
    prediction, _ = _images(40, 30)
    assert ssim(prediction.detach(), prediction.detach()).item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("shape", [(20, 20, 4), (10, 30, 3)])
def test_wrong_shapes_are_a_sentence(shape: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="found"):
        ssim(torch.zeros(shape), torch.zeros(shape))
