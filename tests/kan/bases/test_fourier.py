"""The Fourier basis against its formula."""

import numpy as np
import pytest
import torch

from lvkam_pyro.kan.bases.extrapolation import AnalyticExtrapolation
from lvkam_pyro.kan.bases.fourier import FourierBasis
from tests.kan.formulas import assert_matches_formula


@pytest.mark.parametrize("domain", [(0.0, 1.0), (-1.0, 1.0), (-2.25, 3.75)])
@pytest.mark.parametrize("num_functions", [1, 2, 9, 20])
@pytest.mark.parametrize("bandwidth", [0.5, 1.0])
def test_matches_the_formula(
    domain: tuple[float, float], num_functions: int, bandwidth: float
) -> None:
    low, high = np.longdouble(domain[0]), np.longdouble(domain[1])
    two_pi = 8 * np.arctan(np.longdouble(1))

    def formula(z: np.ndarray) -> np.ndarray:
        angle = two_pi * bandwidth * (z - (low + high) / 2) / (high - low)
        columns = [np.ones_like(z)]
        for k in range(1, num_functions):
            columns += [np.cos(k * angle), np.sin(k * angle)]
        return np.stack(columns, -1)[:, :num_functions]

    basis = FourierBasis(num_functions, bandwidth=bandwidth, domain=domain)
    assert_matches_formula(basis, formula)


def test_functions_are_orthogonal() -> None:
    basis = FourierBasis(7, domain=(-1.0, 3.0))
    z = torch.arange(32, dtype=torch.float64) / 8 - 1
    gram = basis(z).T @ basis(z) / 32
    exact = torch.diag(torch.tensor([1.0] + 6 * [0.5], dtype=torch.float64))
    torch.testing.assert_close(gram, exact, rtol=0, atol=1e-14)


def test_repeats_outside_the_domain_on_request() -> None:
    basis = FourierBasis(5, domain=(-1.0, 3.0), extrapolation=AnalyticExtrapolation())
    z = torch.linspace(-1, 3, 9, dtype=torch.float64)
    torch.testing.assert_close(basis(z + 12), basis(z))


@pytest.mark.parametrize(
    ("num_functions", "bandwidth", "num_cells"), [(1, 1.0, 1), (9, 1.0, 8), (8, 1.5, 12)]
)
def test_two_cells_for_every_oscillation(
    num_functions: int, bandwidth: float, num_cells: int
) -> None:
    assert len(FourierBasis(num_functions, bandwidth=bandwidth).breakpoints) == num_cells + 1
