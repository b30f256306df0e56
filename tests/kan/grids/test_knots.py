"""Knots that follow samples: the published formula, increasing whatever the samples are."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lvkam_pyro.kan.grids.knots import adapt_breakpoints, quantiles, subdivide

DOMAIN = (-2.0, 3.0)
numbers = st.floats(-1e30, 1e30)


def assert_grid(breakpoints: Tensor, num_cells: int) -> None:
    assert breakpoints.shape[-1] == num_cells + 1
    assert breakpoints.isfinite().all()
    assert (breakpoints[..., 0] == DOMAIN[0]).all()
    assert (breakpoints[..., -1] == DOMAIN[1]).all()
    # Also after rounding to float32.
    assert (breakpoints.float().diff() > 0).all()


def test_breakpoints_are_the_formula() -> None:
    z = torch.randn(1000, 3, dtype=torch.float64).clamp(*DOMAIN)
    levels = torch.linspace(0, 1, 9, dtype=torch.float64)[1:-1]
    uniform = DOMAIN[0] + levels * (DOMAIN[1] - DOMAIN[0])
    expected = 0.3 * uniform + 0.7 * z.quantile(levels, 0).T
    torch.testing.assert_close(adapt_breakpoints(z, DOMAIN, 8, ratio=0.3)[:, 1:-1], expected)


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_quantiles_are_those_of_torch(count: int) -> None:
    z, levels = torch.randn(count, 4).double(), torch.linspace(0, 1, 13).double()
    torch.testing.assert_close(quantiles(z, levels), z.quantile(levels, 0).T)


def test_uniform_where_the_ratio_is_one() -> None:
    breakpoints = adapt_breakpoints(torch.randn(20, 1), DOMAIN, 5, ratio=1.0)
    torch.testing.assert_close(breakpoints[0], torch.linspace(*DOMAIN, 6).double())


def test_more_samples_than_torchs_quantile_takes() -> None:
    z = torch.linspace(*DOMAIN, 2**24 + 1)[:, None]
    breakpoints = adapt_breakpoints(z, DOMAIN, 4)
    torch.testing.assert_close(breakpoints[0], torch.linspace(*DOMAIN, 5).double())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    columns=st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=12),
    num_cells=st.integers(1, 60),
    ratio=st.sampled_from([1e-3, 0.05, 0.9, 1.0]),
)
def test_any_samples_give_a_grid(columns: list[list[float]], num_cells: int, ratio: float) -> None:
    breakpoints = adapt_breakpoints(torch.tensor(columns), DOMAIN, num_cells, ratio=ratio)
    assert breakpoints.shape == (3, num_cells + 1)
    assert_grid(breakpoints, num_cells)
    width = (DOMAIN[1] - DOMAIN[0]) / num_cells
    assert breakpoints.diff().min() >= ratio * width * (1 - 1e-9)


def test_infinite_samples_count_as_ends() -> None:
    z = torch.tensor([[torch.inf], [-torch.inf], [0.0]])
    assert_grid(adapt_breakpoints(z, DOMAIN, 6), 6)


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.5, float("nan")])
def test_wrong_ratio_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match=f"ratio from 0.001.*got {ratio}"):
        adapt_breakpoints(torch.rand(5, 1), DOMAIN, 4, ratio=ratio)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    widths=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=8),
    more=st.integers(0, 20),
    rows=st.integers(1, 3),
)
def test_subdivided_cells_keep_every_breakpoint(widths: list[float], more: int, rows: int) -> None:
    first = torch.tensor([0.0, *widths], dtype=torch.float64).cumsum(0)
    old = torch.stack([first, *[first[-1] - first.flip(0)] * (rows - 1)])
    new = subdivide(old, len(widths) + more)
    assert new.shape == (rows, len(widths) + more + 1)
    assert (new.diff() > 0).all()
    for before, after in zip(old, new, strict=True):
        distance = (before[:, None] - after).abs().min(1).values
        assert distance.max() < 1e-14
        # No cell is wider than the widest that could have been cut once more.
        parts = torch.stack([((after >= a) & (after < b)).sum() for a, b in before.unfold(0, 2, 1)])
        assert parts.max() - parts.min() <= 1


def test_widest_cells_are_cut_first() -> None:
    old = torch.tensor([[0.0, 1.0, 3.0, 6.0], [0.0, 4.0, 5.0, 6.0]])
    new = subdivide(old, 5)
    assert new.tolist() == [[0, 1, 2, 3, 4.5, 6], [0, 2, 4, 4.5, 5, 6]]
