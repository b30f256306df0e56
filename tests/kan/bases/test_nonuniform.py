"""B-splines on cells of any widths, against SciPy's and against those of equal cells."""

import copy

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from torch import Tensor
from torch.func import functional_call, jacrev, stack_module_state, vmap

from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.extrapolation import LinearExtrapolation
from lvkam_pyro.kan.bases.nonuniform import NonUniformBSplineBasis
from lvkam_pyro.kan.bases.splines import MAX_DEGREE, extend

IN = 3
PRECISIONS = {torch.float32: 3e-6, torch.float64: 1e-14}
"""The largest error relative to the largest value of the function."""

all_degrees = pytest.mark.parametrize("degree", range(MAX_DEGREE + 1))


def rows(grid_size: int, *, low: float = -1.0, high: float = 2.0) -> Tensor:
    """Breakpoints for IN inputs, whose cells differ by a factor of up to 9."""
    edges = torch.rand(IN, grid_size, dtype=torch.float64).add(0.125).cumsum(-1)
    inner = low + (high - low) * edges[:, :-1] / edges[:, -1:]
    ends = torch.tensor([low, high], dtype=torch.float64).expand(IN, 2)
    return torch.cat([ends[:, :1], inner, ends[:, 1:]], -1)


def points(breakpoints: Tensor) -> Tensor:
    """Points inside the cells, 1e-4 of a cell or more from their ends: (cells x 21, IN)."""
    t = torch.linspace(1e-4, 1 - 1e-4, 21, dtype=torch.float64)
    inside = breakpoints[:, :-1, None] + breakpoints.diff(dim=-1).unsqueeze(-1) * t
    return inside.flatten(1).T


@all_degrees
@pytest.mark.parametrize("grid_size", [1, 2, 7, 20])
@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS.items())
def test_matches_scipy(
    degree: int, grid_size: int, precision: torch.dtype, tolerance: float
) -> None:
    # In the precision under test from the start, so that both have the same knots and points.
    breakpoints = rows(grid_size).to(precision)
    basis = NonUniformBSplineBasis(breakpoints, degree=degree)
    z = points(breakpoints.double()).to(precision)
    coefficients = torch.randn(IN, basis.num_functions, dtype=torch.float64)
    values = (basis(z) * coefficients.to(precision)).sum(-1).double().numpy()
    knots = extend(breakpoints.double(), degree).numpy()
    for i in range(IN):
        exact = BSpline(knots[i], coefficients[i].numpy(), degree)(z[:, i].double().numpy())
        assert np.abs(values[:, i] - exact).max() <= tolerance * np.abs(exact).max()


@all_degrees
def test_equal_cells_are_the_uniform_basis(degree: int) -> None:
    uniform = BSplineBasis(grid_size=6, degree=degree, domain=(-2.0, 1.0)).double()
    basis = NonUniformBSplineBasis(uniform.breakpoints, degree=degree)
    z = torch.rand(501, dtype=torch.float64) * 5 - 3
    torch.testing.assert_close(basis(z), uniform(z), rtol=0, atol=1e-13)
    torch.testing.assert_close(
        basis.slopes_at_ends(z.dtype), uniform.slopes_at_ends(z.dtype), rtol=0, atol=1e-12
    )


@all_degrees
def test_rows_are_bases_of_their_own(degree: int) -> None:
    breakpoints = rows(5)
    together = NonUniformBSplineBasis(
        breakpoints, degree=degree, extrapolation=LinearExtrapolation()
    )
    z = torch.rand(4, 2, IN, dtype=torch.float64) * 5 - 2
    for i, row in enumerate(breakpoints):
        alone = NonUniformBSplineBasis(row, degree=degree, extrapolation=LinearExtrapolation())
        torch.testing.assert_close(together(z)[..., i, :], alone(z[..., i]))


@all_degrees
def test_partition_of_unity(degree: int) -> None:
    values = NonUniformBSplineBasis(rows(9).float(), degree=degree)(4 * torch.rand(200, IN) - 2)
    assert (values >= -1e-6).all()
    torch.testing.assert_close(values.sum(-1), torch.ones(200, IN))


@all_degrees
def test_right_end_belongs_to_the_last_cell(degree: int) -> None:
    basis = NonUniformBSplineBasis([0.0, 0.1, 0.5, 1.0], degree=degree)
    cell, values = basis.local(torch.tensor([0.0, 0.1, 0.5, 1.0]))
    assert cell.tolist() == [0, 1, 2, 2]
    torch.testing.assert_close(values.sum(-1), torch.ones(4))


def test_never_leaves_the_grid() -> None:
    z = torch.tensor([-torch.inf, torch.nan, torch.inf])
    for breakpoints in ([0.0, 0.5, 1.0], [[0.0, 0.5, 1.0]] * IN):
        cell, _ = NonUniformBSplineBasis(breakpoints).local(z)
        assert cell.min() >= 0
        assert cell.max() <= 1


@all_degrees
@pytest.mark.parametrize("shared", [True, False])
def test_polynomials_are_the_spline(degree: int, shared: bool) -> None:
    breakpoints = rows(5)
    basis = NonUniformBSplineBasis(breakpoints[0] if shared else breakpoints, degree=degree)
    coefficients = torch.randn(2, IN, basis.num_functions, dtype=torch.float64)
    z = torch.rand(40, IN, dtype=torch.float64) * 3 - 1
    cell, _ = basis.local(z)
    edges = breakpoints[:1].expand(IN, -1) if shared else breakpoints
    left, right = (edges.gather(1, (cell + shift).T).T for shift in (0, 1))
    powers = ((z - left) / (right - left)).unsqueeze(-1) ** torch.arange(degree + 1)
    pieces = basis.to_polynomials(coefficients)
    assert pieces.shape == (2, IN, 5, degree + 1)
    chosen = pieces[:, torch.arange(IN), cell]
    expected = torch.einsum("nik,oik->oni", basis(z), coefficients)
    torch.testing.assert_close((chosen * powers).sum(-1), expected)


def test_gradients_with_rows() -> None:
    basis = NonUniformBSplineBasis(rows(4))
    z = (torch.rand(5, IN, dtype=torch.float64) * 3 - 1).requires_grad_()
    coefficients = torch.randn(2, IN, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(basis, z)
    assert torch.autograd.gradgradcheck(basis, z)
    assert torch.autograd.gradcheck(basis.to_polynomials, coefficients)


def test_functional_transforms_with_rows() -> None:
    basis = NonUniformBSplineBasis(rows(4))
    z = torch.rand(5, IN, dtype=torch.float64)
    torch.testing.assert_close(vmap(basis)(z), basis(z))
    jacobian = vmap(jacrev(basis))(z)
    # Input i moves the functions of input i only.
    assert jacobian.permute(1, 3, 0, 2)[~torch.eye(IN, dtype=torch.bool)].count_nonzero() == 0


def test_an_ensemble_evaluates_at_once() -> None:
    bases = [NonUniformBSplineBasis(rows(4)) for _ in range(3)]
    parameters, buffers = stack_module_state(bases)
    z = torch.rand(5, IN, dtype=torch.float64)
    values = vmap(lambda p, b: functional_call(bases[0], (p, b), (z,)))(parameters, buffers)
    torch.testing.assert_close(values, torch.stack([basis(z) for basis in bases]))


def test_conversion_keeps_breakpoints_and_values_together() -> None:
    basis = NonUniformBSplineBasis([0.0, 0.3, 1.0])
    rounded = copy.deepcopy(basis).half().double()
    made_of_rounded = NonUniformBSplineBasis(rounded.breakpoints)
    z = torch.rand(20, dtype=torch.float64)
    assert torch.equal(rounded(z), made_of_rounded(z))
    assert torch.equal(
        copy.deepcopy(basis).double()(z), NonUniformBSplineBasis(basis.breakpoints.double())(z)
    )


def test_keeps_a_copy_of_the_breakpoints() -> None:
    breakpoints = rows(4)
    basis = NonUniformBSplineBasis(breakpoints)
    before = basis.breakpoints.clone()
    breakpoints.zero_()
    assert torch.equal(basis.breakpoints, before)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_keeps_the_precision_of_the_breakpoints(precision: torch.dtype) -> None:
    assert NonUniformBSplineBasis(rows(4).to(precision)).breakpoints.dtype == precision
    assert NonUniformBSplineBasis([0, 1, 3]).breakpoints.dtype == torch.get_default_dtype()


def test_repr_shows_the_sizes() -> None:
    basis = NonUniformBSplineBasis([0.0, 0.5, 2.0], degree=2)
    assert repr(basis) == "NonUniformBSplineBasis(2 cells, degree=2, domain=(0.0, 2.0))"
    assert "3 rows of 4 cells" in repr(NonUniformBSplineBasis(rows(4)))


@pytest.mark.parametrize(
    ("breakpoints", "degree", "match"),
    [
        ([0.0], 3, r"at least one cell, got shape \(1,\)"),
        (torch.rand(2, 2, 2), 3, r"\(G\+1,\) or \(I, G\+1\).*\(2, 2, 2\)"),
        (torch.rand(0, 5), 3, r"got shape \(0, 5\)"),
        ([0.0, 0.5, 0.5], 3, "steps from 0 to 0.5"),
        ([0.0, 0.7, 0.5], 3, "steps from -0.2 to 0.7"),
        ([0.0, float("nan"), 1.0], 3, "finite"),
        ([0.0, 1.0, float("inf")], 3, "finite"),
        ([[0.0, 0.5, 1.0], [0.0, 0.5, 1.5]], 3, "last values from 1 to 1.5"),
        ([[0.0, 0.5, 1.0], [-1.0, 0.5, 1.0]], 3, "first values from -1 to 0"),
        ([0.0, 1.0], 6, "from 0 to 5, got 6"),
        ([0.0, 1.0], -1, "from 0 to 5, got -1"),
    ],
)
def test_refuses_wrong_arguments(breakpoints: object, degree: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        NonUniformBSplineBasis(breakpoints, degree=degree)


def test_refuses_wrong_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(\.\.\., 3\).*got \(5, 2\)"):
        NonUniformBSplineBasis(rows(4))(torch.rand(5, 2))
    with pytest.raises(ValueError, match=r"\(\.\.\., 6\).*got \(2, 7\)"):
        NonUniformBSplineBasis([0.0, 0.2, 0.4, 1.0]).to_polynomials(torch.zeros(2, 7))
    with pytest.raises(ValueError, match=r"\(\.\.\., 3, 7\).*got \(2, 7\)"):
        NonUniformBSplineBasis(rows(4)).to_polynomials(torch.zeros(2, 7))


@pytest.mark.parametrize("degree", range(1, 6))
@pytest.mark.parametrize("at_the_end", [False, True])
def test_narrow_cells_need_no_large_coefficients(degree: int, at_the_end: bool) -> None:
    narrow = torch.tensor([0.0, 1e-3, 2e-3, 3e-3, 1.0], dtype=torch.float64)
    basis = NonUniformBSplineBasis((1 - narrow).flip(0) if at_the_end else narrow, degree=degree)
    steps = torch.linspace(0, 1, 9, dtype=torch.float64)
    z = torch.cat([torch.lerp(a, b, steps) for a, b in basis.breakpoints.unfold(0, 2, 1)])
    # The largest coefficient of a function of size 1. It is 3e4 at degree 5, and 7e14 with knots
    # outside that are at the average distance.
    assert torch.linalg.pinv(basis(z)).abs().sum(1).max() < 5 * 10 ** (degree - 1)
