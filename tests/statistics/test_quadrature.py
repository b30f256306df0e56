"""Gauss-Legendre rules: exact for polynomials, in every panel, and made once."""

import pytest
import torch

from lvkam_pyro.statistics.quadrature import composite_gauss_legendre, gauss_legendre


@pytest.mark.parametrize("count", [1, 2, 5, 8, 40])
def test_is_exact_up_to_its_degree(count: int) -> None:
    nodes, weights = gauss_legendre(count)
    assert nodes.shape == weights.shape == (count,)
    assert (nodes.diff() > 0).all()
    powers = torch.arange(2 * count, dtype=torch.float64)
    integrals = (weights * nodes ** powers[:, None]).sum(-1)
    torch.testing.assert_close(integrals, 1 / (powers + 1))


def test_is_tabulated_once() -> None:
    assert gauss_legendre(6)[0] is gauss_legendre(6)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_panels_of_every_row_are_integrated(dtype: torch.dtype) -> None:
    edges = torch.tensor([[-1.0, 0.5, 0.5, 2.0], [0.0, 1.0, 3.0, 4.0]], dtype=dtype)
    nodes, weights = composite_gauss_legendre(edges, 3)
    assert nodes.shape == weights.shape == (2, 9)
    assert nodes.dtype == weights.dtype == dtype
    exact = (edges[:, -1] ** 6 - edges[:, 0] ** 6) / 6
    torch.testing.assert_close((weights * nodes**5).sum(-1), exact)
