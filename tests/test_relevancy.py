"""Relevancies against their formula, and what is made of them."""

from __future__ import annotations

import pytest
import torch

from render.errors import InputError
from uplift import relevancy
from uplift.relevancy import most_relevant_pixel, relevancies, relevant, start_nodes


def unit(rows: int, channels: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, channels, generator=generator), dim=1)


def reference(values: torch.Tensor, queries: torch.Tensor, negatives: torch.Tensor, temperature: float) -> torch.Tensor:
    """(C.2) as it is written, in float64."""
    f = torch.nn.functional.normalize(values.double(), dim=1)
    q, k = (torch.exp(temperature * f @ e.double().T) for e in (queries, negatives))
    return (q[:, :, None] / (q[:, :, None] + k[:, None, :])).amin(2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "c", "q", "k"), [(203, 64, 5, 4), (7, 37, 1, 1), (130, 16, 3, 2), (1, 1, 2, 1)])
def test_relevancies_equal_their_formula_in_float64(dtype: torch.dtype, n: int, c: int, q: int, k: int) -> None:
    values = (unit(n, c, 0) * torch.linspace(0.01, 30, n)[:, None]).to(dtype)
    queries, negatives = unit(q, c, 1), unit(k, c, 2)
    found = relevancies(values, queries, negatives, temperature=7)
    assert (found.shape, found.dtype) == ((n, q), torch.float32)
    torch.testing.assert_close(found.double(), reference(values, queries, negatives, 7), rtol=1e-5, atol=1e-6)


def test_every_fp16_number_is_read_as_what_it_is() -> None:
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    every = bits.view(torch.float16)
    every = every[every.isfinite()]
    # One channel carries the number, the other keeps the length from cancelling it.
    values = torch.stack([every, torch.full_like(every, 1.0)], dim=1)
    found = relevancies(values, torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]]), temperature=1)
    torch.testing.assert_close(
        found.double().logit(),
        reference(values, torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2), 1).logit(),
        rtol=1e-5,
        atol=3e-7,
    )
    small = torch.stack([torch.tensor([6e-8, 1e-6, -2e-5]), torch.tensor([-6e-8, 3e-6, 1e-5])], dim=1).half()
    queries, negatives = unit(2, 2, 1), unit(2, 2, 2)
    torch.testing.assert_close(
        relevancies(small, queries, negatives).double(), reference(small, queries, negatives, 10), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_threads_and_chunks_leave_the_bits_alone(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    values, queries, negatives = unit(1001, 24, 0).to(dtype), unit(3, 24, 1), unit(4, 24, 2)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = relevancies(values, queries, negatives)
        torch.set_num_threads(3)
        assert torch.equal(relevancies(values, queries, negatives), one)
    finally:
        torch.set_num_threads(before)
    whole = relevancy._margins(values, queries, negatives)
    monkeypatch.setattr(relevancy, "CHUNK_BYTES", 4 * 24 * 7)
    torch.testing.assert_close(relevancy._margins(values, queries, negatives), whole)
    torch.testing.assert_close((whole * 10).sigmoid(), one, rtol=1e-5, atol=1e-6)


def test_features_of_zeros_are_relevant_to_nothing() -> None:
    values = unit(9, 20, 0)
    values[[2, 8]] = 0
    for dtype in (torch.float16, torch.float64):
        found = relevancies(values.to(dtype), unit(2, 20, 1), unit(3, 20, 2))
        assert (found[[2, 8]] == 0).all()
        assert (found[[0, 1, 3, 4, 5, 6, 7]] > 0).all()


def test_rows_of_a_larger_field_are_read_in_their_own_order() -> None:
    values = unit(50, 30, 0)
    part = values[::2, 5:21]
    torch.testing.assert_close(
        relevancies(part, unit(2, 16, 1), unit(2, 16, 2)),
        relevancies(part.contiguous(), unit(2, 16, 1), unit(2, 16, 2)),
    )


def test_queries_of_other_channels_and_no_negatives_are_refused() -> None:
    with pytest.raises(InputError, match="same channels"):
        relevancies(unit(4, 8, 0), unit(1, 9, 0), unit(1, 8, 0))
    with pytest.raises(InputError, match="at least one negative"):
        relevancies(unit(4, 8, 0), unit(1, 8, 0), torch.zeros(0, 8))
    with pytest.raises(InputError, match="temperature above 0"):
        relevancies(unit(4, 8, 0), unit(1, 8, 0), unit(1, 8, 0), temperature=0)


def test_otsu_finds_the_positives_and_twice_more_the_start() -> None:
    # Above the middle of the range: a low group, a middle one and a high one, itself of two.
    levels = [0.2] * 50 + [0.45] * 9 + [0.52] * 20 + [0.7] * 6 + [0.71] * 4 + [0.78] * 3 + [0.8]
    values = torch.tensor([*levels, 0.99])
    seen = torch.ones(len(values), dtype=torch.bool)
    seen[-1] = False
    positives, start = start_nodes(values, seen)
    assert positives.sum() == 14
    assert not positives[-1]
    # Among .70 .71 .78 .80 the gap below .78, and among those two the gap below .80.
    assert (start > 0).nonzero().flatten().tolist() == [len(levels) - 1]
    assert float(start[-2]) == 1


def test_relevancies_that_are_the_same_everywhere_start_nowhere() -> None:
    values, seen = torch.full((5,), 0.5), torch.ones(5, dtype=torch.bool)
    for visible in (seen, ~seen):
        positives, start = start_nodes(values, visible)
        assert not positives.any()
        assert not start.any()


def test_what_stands_out_lies_near_the_maximum_and_above_otsu() -> None:
    scores = torch.tensor([0.1] * 30 + [0.6] * 2 + [0.66] * 5 + [0.68] * 5 + [0.8] * 4)
    mask, threshold = relevant(scores, 0.8)
    assert mask.nonzero().flatten().tolist() == [42, 43, 44, 45]
    assert 0.68 < threshold < 0.8
    assert relevant(scores, 0.9)[0].sum() == 4  # one value is left: it is not split
    assert relevant(scores, 0.0)[0].sum() == 16
    nothing, zero = relevant(torch.zeros(3), 0.8)
    assert (bool(nothing.any()), zero) == (False, 0.0)


def test_what_stands_apart_from_the_rest_is_not_split() -> None:
    scores = torch.tensor([0.1] * 5 + [0.9, 0.9, 0.95, 1.0])
    mask, threshold = relevant(scores, 0.8)
    assert mask.tolist() == [False] * 5 + [True] * 4
    assert threshold == pytest.approx(0.5)
    assert relevant(torch.tensor([0.79, 0.84, *scores.tolist()]), 0.8)[0].sum() == 4  # of five above 0.8


def test_a_place_is_found_after_a_mean_over_five_by_five_pixels() -> None:
    image = torch.zeros(12, 20)
    image[2, 3] = 5.0  # a speck: 5 / 25
    image[6:11, 12:17] = 0.5  # a patch
    assert most_relevant_pixel(image) == (14, 8, pytest.approx(0.5))
    corner = torch.zeros(12, 20)
    corner[0, 19] = 1.0
    column, row, score = most_relevant_pixel(corner)
    assert (column, row, score) == (19, 0, pytest.approx(1 / 9))  # of the nine pixels that exist
