"""Chebyshev polynomials against their formula."""

import numpy as np
import pytest
import torch
from torch.func import jacrev, vmap

from lvkam_pyro.kan.bases.chebyshev import ChebyshevBasis
from lvkam_pyro.kan.bases.extrapolation import LinearExtrapolation
from tests.kan.formulas import assert_matches_formula


@pytest.mark.parametrize("domain", [(0.0, 1.0), (-1.0, 1.0), (-2.25, 3.75)])
@pytest.mark.parametrize("num_functions", [1, 2, 8, 20])
def test_matches_the_formula(domain: tuple[float, float], num_functions: int) -> None:
    low, high = np.longdouble(domain[0]), np.longdouble(domain[1])

    def formula(z: np.ndarray) -> np.ndarray:
        # Half the angle of x = cos(angle) by its sine, which is exact near both ends.
        sine, cosine = np.sqrt((high - z) / (high - low)), np.sqrt((z - low) / (high - low))
        return np.cos(np.arange(num_functions) * 2 * np.arctan2(sine, cosine)[:, None])

    assert_matches_formula(ChebyshevBasis(num_functions, domain=domain), formula)


def test_slopes_at_the_ends_are_the_squares_of_the_degrees() -> None:
    basis = ChebyshevBasis(6, domain=(-1.0, 1.0))
    slopes = vmap(jacrev(basis))(torch.tensor([-1.0, 1.0], dtype=torch.float64))
    squares = torch.arange(6, dtype=torch.float64).square()
    signs = torch.tensor([1, 1, -1, 1, -1, 1])
    torch.testing.assert_close(slopes, torch.stack([signs * squares, squares]))


@pytest.mark.parametrize("z", [-1e30, -20.0, -1.0, 1.0, 1.0 + 1e-7, 20.0, 1e30])
def test_is_finite_with_a_finite_gradient_everywhere(z: float) -> None:
    basis = ChebyshevBasis(12, domain=(-1.0, 1.0))
    linear = ChebyshevBasis(12, domain=(-1.0, 1.0), extrapolation=LinearExtrapolation())
    for functions in (basis, linear):
        point = torch.tensor(z)
        assert functions(point).isfinite().all()
        assert jacrev(functions)(point).isfinite().all()


def test_breakpoints_are_the_extrema_of_the_last_function() -> None:
    basis = ChebyshevBasis(5, domain=(-2.0, 3.0)).double()
    last = basis(basis.breakpoints)[:, -1]
    torch.testing.assert_close(last, torch.tensor([1.0, -1, 1, -1, 1], dtype=torch.float64))
