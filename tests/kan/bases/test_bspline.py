"""B-splines against SciPy's, and the properties of a partition of unity."""

import copy

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from torch import Tensor

from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.splines import MAX_DEGREE

DEGREES = range(MAX_DEGREE + 1)
DOMAINS = [(0.0, 1.0), (-1.0, 1.0), (-2.3, 3.7)]
GRID_SIZES = [1, 2, 5, 20]
PRECISIONS = {torch.float32: 3e-6, torch.float64: 1e-14}
"""The largest error relative to the largest value of the function."""

all_degrees = pytest.mark.parametrize("degree", DEGREES)


def knots(basis: BSplineBasis) -> np.ndarray:
    low, high = basis.domain
    cells = np.arange(-basis.degree, basis.grid_size + basis.degree + 1)
    return low + (high - low) / basis.grid_size * cells


def points(basis: BSplineBasis, precision: torch.dtype) -> Tensor:
    """Points inside the cells, 1e-4 of a cell or more from their ends, in every cell."""
    low, high = basis.domain
    positions = torch.arange(basis.grid_size)[:, None] + torch.linspace(
        1e-4, 1 - 1e-4, 41, dtype=torch.float64
    )
    return (low + (high - low) / basis.grid_size * positions.flatten()).to(precision)


@all_degrees
@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("grid_size", GRID_SIZES)
@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS.items())
def test_matches_scipy(
    degree: int,
    domain: tuple[float, float],
    grid_size: int,
    precision: torch.dtype,
    tolerance: float,
) -> None:
    basis = BSplineBasis(grid_size=grid_size, degree=degree, domain=domain).to(precision)
    z = points(basis, precision)
    coefficients = torch.randn(basis.num_functions, dtype=torch.float64)
    exact = BSpline(knots(basis), coefficients.numpy(), degree)(z.double().numpy())
    error = np.abs((basis(z) @ coefficients.to(precision)).double().numpy() - exact).max()
    assert error <= tolerance * np.abs(exact).max()


@all_degrees
def test_values_on_a_whole_grid_of_integers(degree: int) -> None:
    basis = BSplineBasis(grid_size=3, degree=degree, domain=(0.0, 3.0)).double()
    reference = BSpline.design_matrix(np.array([0.0, 0.5, 2.25]), knots(basis), degree).toarray()
    values = basis(torch.tensor([0.0, 0.5, 2.25], dtype=torch.float64))
    torch.testing.assert_close(values, torch.from_numpy(reference), rtol=0, atol=1e-15)


@all_degrees
def test_partition_of_unity(degree: int) -> None:
    basis = BSplineBasis(grid_size=6, degree=degree)
    values = basis(torch.linspace(-0.5, 1.5, 501))
    assert (values >= -1e-7).all()
    torch.testing.assert_close(values.sum(-1), torch.ones(501))


@all_degrees
def test_right_end_belongs_to_the_last_cell(degree: int) -> None:
    basis = BSplineBasis(grid_size=3, degree=degree)
    cell, values = basis.local(torch.tensor([0.0, 1.0]))
    assert cell.tolist() == [0, 2]
    torch.testing.assert_close(values.sum(-1), torch.ones(2))


def test_never_leaves_the_grid() -> None:
    basis = BSplineBasis(grid_size=3)
    cell, _ = basis.local(torch.tensor([-torch.inf, -1e30, torch.nan, 1e30, torch.inf]))
    assert cell.min() >= 0
    assert cell.max() <= 2


@all_degrees
def test_derivatives_below_the_degree_are_continuous(degree: int) -> None:
    basis = BSplineBasis(grid_size=5, degree=degree, domain=(0.0, 5.0))
    a = basis.to_polynomials(torch.eye(basis.num_functions, dtype=torch.float64))
    for order in range(degree):
        factors = [np.prod(np.arange(p - order + 1, p + 1)) for p in range(degree + 1)]
        derivative = a * torch.tensor(factors, dtype=torch.float64)
        at_left, at_right = derivative[..., order], derivative[..., order:].sum(-1)
        torch.testing.assert_close(at_right[:, :-1], at_left[:, 1:], rtol=0, atol=1e-13)


@all_degrees
def test_local_values_are_the_dense_ones(degree: int) -> None:
    basis = BSplineBasis(grid_size=4, degree=degree)
    z = torch.rand(7, 3)
    cell, values = basis.local(z)
    columns = cell[..., None] + torch.arange(degree + 1)
    dense = basis(z)
    assert torch.equal(dense.gather(-1, columns), values)
    assert dense.scatter(-1, columns, 0.0).count_nonzero() == 0


@all_degrees
def test_polynomials_are_the_spline(degree: int) -> None:
    basis = BSplineBasis(grid_size=5, degree=degree, domain=(-1.0, 1.0)).double()
    coefficients = torch.randn(2, basis.num_functions, dtype=torch.float64)
    z = points(basis, torch.float64)
    cell, _ = basis.local(z)
    t = (z - basis.breakpoints[cell]) / 0.4
    powers = t[:, None] ** torch.arange(degree + 1)
    pieces = basis.to_polynomials(coefficients)[:, cell]
    torch.testing.assert_close((pieces * powers).sum(-1), coefficients @ basis(z).T)


def test_polynomials_pass_gradients() -> None:
    basis = BSplineBasis(grid_size=3)
    coefficients = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(basis.to_polynomials, coefficients)


@pytest.mark.parametrize("domain", DOMAINS)
def test_conversion_is_as_accurate_as_construction(domain: tuple[float, float]) -> None:
    basis = BSplineBasis(grid_size=7, domain=domain)
    exact = torch.linspace(*domain, 8, dtype=torch.float64)
    there_and_back = copy.deepcopy(basis).half().double()
    z = points(basis, torch.float64)
    assert torch.equal(there_and_back.breakpoints, exact)
    assert torch.equal(there_and_back(z), copy.deepcopy(basis).double()(z))
    assert torch.equal(basis(z), copy.deepcopy(basis).double()(z))


def test_repr_shows_the_arguments() -> None:
    basis = BSplineBasis(grid_size=4, degree=2, domain=(-1, 1))
    assert repr(basis) == "BSplineBasis(grid_size=4, degree=2, domain=(-1.0, 1.0))"


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"grid_size": 0}, "grid_size >= 1, but got 0"),
        ({"degree": 6}, "from 0 to 5, got 6"),
        ({"degree": -1}, "from 0 to 5, got -1"),
        ({"domain": (1.0, 1.0)}, r"low < high, got \(1.0, 1.0\)"),
        ({"domain": (2.0, 1.0)}, "low < high"),
        ({"domain": (0.0, float("inf"))}, "finite"),
        ({"domain": (float("nan"), 1.0)}, "finite"),
    ],
)
def test_refuses_wrong_arguments(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        BSplineBasis(**arguments)


def test_refuses_coefficients_of_another_basis() -> None:
    with pytest.raises(ValueError, match=r"\(\.\.\., 8\).*got \(2, 7\)"):
        BSplineBasis().to_polynomials(torch.zeros(2, 7))
