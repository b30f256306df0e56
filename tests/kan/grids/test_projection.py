"""Projection: exact where the bases are nested, the nearest function where they are not."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.grids.projection import project

DOMAIN = (-1.5, 2.0)
# A few hundred operations on numbers of order 1, each rounded to 1e-16.
ROUNDING = 1e-12


def splines(grid_size: int, degree: int = 3) -> BSplineBasis:
    return BSplineBasis(grid_size=grid_size, degree=degree, domain=DOMAIN)


def values(basis: Basis, coefficients: Tensor, z: Tensor) -> Tensor:
    """Functions of coefficients (I, K, O) at points (S,): (I, S, O)."""
    return basis(z) @ coefficients


def random_coefficients(basis: Basis, inputs: int = 3, outputs: int = 4) -> Tensor:
    return torch.randn(inputs, basis.num_functions, outputs, dtype=torch.float64)


def points(count: int = 500) -> Tensor:
    return torch.linspace(*DOMAIN, count, dtype=torch.float64)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    grid_size=st.integers(1, 6),
    factor=st.integers(1, 4),
    degree=st.integers(0, 5),
    raised=st.booleans(),
)
def test_nested_functions_are_kept(grid_size: int, factor: int, degree: int, raised: bool) -> None:
    source, target = splines(grid_size, degree), splines(grid_size * factor, degree)
    if raised and grid_size == 1:
        # One cell has no inner knots, so polynomials of a higher degree hold those of a lower one.
        target = splines(factor, min(degree + 1, 5))
    c = random_coefficients(source)
    projection = project(source, target)
    z = (points(200)[:-1] + points(200)[1:]) / 2
    change = values(target, projection(c), z) - values(source, c, z)
    assert change.abs().max() < ROUNDING * c.abs().max()
    assert projection.relative_error(c).max() < ROUNDING


@pytest.mark.parametrize(("before", "after"), [(9, 4), (5, 7), (6, 1)])
def test_nearest_function_of_all(before: int, after: int) -> None:
    source, target = splines(before), splines(after)
    c = random_coefficients(source)
    projection = project(source, target)
    least = mean_square(source, target, c, projection(c))
    for _ in range(20):
        direction = 1e-3 * random_coefficients(target)
        up, down = (
            mean_square(source, target, c, projection(c) + sign * direction) for sign in (1, -1)
        )
        assert (up > least).all()
        # A quadratic is even around its minimum.
        torch.testing.assert_close(up, down, rtol=1e-9, atol=1e-12)


def mean_square(
    source: BSplineBasis, target: BSplineBasis, before: Tensor, after: Tensor
) -> Tensor:
    """The mean square of the change over the domain: (I, O)."""
    # In cells that hold those of both grids, with more nodes than squares of cubics need.
    edges = points(math.lcm(source.grid_size, target.grid_size) + 1)
    nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(8))
    z = (edges[:-1, None] + edges.diff()[:, None] * (1 + nodes) / 2).flatten()
    change = values(target, after, z) - values(source, before, z)
    return weights.repeat(len(edges) - 1) @ change.square() / (2 * len(edges) - 2)


def test_error_is_the_relative_root_mean_square() -> None:
    source, target = splines(9), splines(4)
    c = random_coefficients(source)
    projection = project(source, target)
    lost = mean_square(source, target, c, projection(c)).sum(-1)
    size = mean_square(source, target, c, torch.zeros_like(projection(c))).sum(-1)
    # The midpoint rule on 1260 cells: h^2 f'' / 24 with f'' of order 9^2.
    torch.testing.assert_close(
        projection.relative_error(c), (lost / size).sqrt(), rtol=1e-3, atol=0
    )


def test_function_of_zero_has_no_error() -> None:
    projection = project(splines(5), splines(3))
    assert projection.relative_error(torch.zeros(2, 8, 1)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_result_is_contiguous_and_of_the_same_dtype(dtype: torch.dtype) -> None:
    c = random_coefficients(splines(5)).to(dtype).permute(2, 1, 0)
    moved = project(splines(5), splines(7))(c)
    assert moved.dtype == dtype
    assert moved.is_contiguous()


def test_bases_are_left_alone() -> None:
    source, target = splines(5), splines(7)
    project(source, target)
    assert source.breakpoints.dtype == target.breakpoints.dtype == torch.float32


def test_refuses_another_domain() -> None:
    with pytest.raises(ValueError, match=r"one domain, got \(-1\.5, 2\.0\) and \(0\.0, 1\.0\)"):
        project(splines(3), BSplineBasis())
