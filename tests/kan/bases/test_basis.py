"""The promises of every basis, whatever its functions."""

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import jacrev, vmap

from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.chebyshev import ChebyshevBasis
from lvkam_pyro.kan.bases.extrapolation import (
    AnalyticExtrapolation,
    ConstantExtrapolation,
    Extrapolation,
    LinearExtrapolation,
)
from lvkam_pyro.kan.bases.fourier import FourierBasis
from lvkam_pyro.kan.bases.radial import RBFBasis, RSWAFBasis
from lvkam_pyro.kan.bases.wavelet import MorletBasis
from tests.kan.bases.bases import BASES, extrapolated

all_bases = pytest.mark.parametrize(
    "basis", [pytest.param(b, id=name) for name, b in BASES.items()]
)

EXTRAPOLATIONS = [ConstantExtrapolation(), LinearExtrapolation()]


def inside(basis: Basis, *shape: int) -> Tensor:
    low, high = basis.domain
    return low + (high - low) * torch.rand(shape, dtype=torch.float64)


def panels(edges: Tensor, count: int) -> Tensor:
    """Every cell cut into equal parts: (G * count + 1,)."""
    parts = edges[:-1, None] + edges.diff()[:, None] * torch.arange(count).double() / count
    return torch.cat([parts.flatten(), edges[-1:]])


def gram(basis: Basis, edges: Tensor, nodes: Tensor, weights: Tensor) -> Tensor:
    """The inner products of all functions, (K, K)."""
    half = edges.diff()[:, None] / 2
    values = basis((edges[:-1, None] + half * (1 + nodes)).flatten()).detach()
    return values.T @ ((half * weights).flatten()[:, None] * values)


@all_bases
@settings(max_examples=20, deadline=None, derandomize=True)
@given(shape=st.lists(st.integers(0, 4), max_size=3))
def test_one_column_for_each_function(basis: Basis, shape: list[int]) -> None:
    values = basis(inside(basis, *shape))
    assert values.shape == (*shape, basis.num_functions)
    assert values.dtype == torch.float64


@all_bases
def test_breakpoints_cut_the_domain(basis: Basis) -> None:
    breakpoints = basis.breakpoints
    assert (breakpoints[0], breakpoints[-1]) == basis.domain
    assert (breakpoints.diff() > 0).all()


@all_bases
def test_breakpoints_suffice_for_quadrature(basis: Basis) -> None:
    """Six Gauss-Legendre nodes a cell integrate every product of two functions."""
    basis = copy.deepcopy(basis).double()
    edges = basis.breakpoints
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(6))
    coarse, fine = (gram(basis, panels(edges, count), nodes, weights) for count in (1, 40))
    torch.testing.assert_close(coarse, fine, rtol=0, atol=1e-5 * float(edges[-1] - edges[0]))


@all_bases
def test_continues_with_the_values_at_the_ends(basis: Basis) -> None:
    constant = extrapolated(basis, ConstantExtrapolation())
    low, high = basis.domain
    outside = torch.tensor([low - 7.0, -torch.inf, high + 1e-3, torch.inf], requires_grad=True)
    values = constant(outside)
    torch.testing.assert_close(values, constant(torch.tensor([low, low, high, high])))
    (gradient,) = torch.autograd.grad(values.square().sum(), outside)
    assert not gradient.any()


@all_bases
def test_continues_along_the_tangents_at_the_ends(basis: Basis) -> None:
    linear = extrapolated(basis, LinearExtrapolation())
    ends = torch.tensor(basis.domain, dtype=torch.float64)
    steps = torch.tensor([[-7.0, 1e-3], [-0.1, 400.0]], dtype=torch.float64)
    slopes = vmap(jacrev(basis))(ends)
    torch.testing.assert_close(linear(ends + steps), basis(ends) + steps.unsqueeze(-1) * slopes)
    outside = (ends + steps).flatten().requires_grad_()
    torch.testing.assert_close(vmap(jacrev(linear))(outside), slopes.repeat(2, 1))
    assert torch.autograd.gradcheck(linear, outside)
    assert torch.autograd.gradgradcheck(linear, outside)


@all_bases
@pytest.mark.parametrize("extrapolation", EXTRAPOLATIONS)
def test_extrapolation_changes_nothing_inside(basis: Basis, extrapolation: Extrapolation) -> None:
    z = torch.cat([inside(basis, 20), torch.tensor(basis.domain)]).requires_grad_()
    expected, values = basis(z), extrapolated(basis, extrapolation)(z)
    assert torch.equal(values, expected)
    weights = torch.randn_like(values)
    gradients = [torch.autograd.grad(v, z, weights)[0] for v in (values, expected)]
    torch.testing.assert_close(*gradients)


@all_bases
@pytest.mark.parametrize("extrapolation", EXTRAPOLATIONS)
def test_nan_stays_nan_and_touches_no_other_point(
    basis: Basis, extrapolation: Extrapolation
) -> None:
    functions = extrapolated(basis, extrapolation)
    z = inside(basis, 3)
    z[1] = torch.nan
    numbers, values = functions.nonzero(z)
    assert values[1].isnan().all()
    assert ((numbers >= 0) & (numbers < basis.num_functions)).all()
    assert torch.equal(functions(z)[::2], functions(z[::2]))


@all_bases
def test_what_is_not_listed_is_zero(basis: Basis) -> None:
    z = inside(basis, 5, 3)
    index, values = basis.nonzero(z)
    dense = values.new_zeros(5, 3, basis.num_functions).scatter(-1, index, values)
    torch.testing.assert_close(dense, basis(z), rtol=0, atol=0)


@all_bases
def test_gradients(basis: Basis) -> None:
    z = inside(basis, 6).requires_grad_()
    assert torch.autograd.gradcheck(basis, z)
    assert torch.autograd.gradgradcheck(basis, z)


@all_bases
def test_batches_under_functional_transforms(basis: Basis) -> None:
    z = inside(basis, 4, 3)
    torch.testing.assert_close(vmap(basis)(z), basis(z))
    jacobian = jacrev(basis)(z[0])
    assert jacobian.shape == (3, basis.num_functions, 3)
    torch.testing.assert_close(jacobian.diagonal(dim1=0, dim2=2).T, vmap(vmap(jacrev(basis)))(z)[0])


@all_bases
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_precision_follows_the_input(basis: Basis, precision: torch.dtype) -> None:
    converted = copy.deepcopy(basis).to(precision)
    assert converted(inside(basis, 3).to(precision)).dtype == precision
    assert converted.breakpoints.dtype == precision


@all_bases
def test_follows_its_input_to_another_device(basis: Basis) -> None:
    """Torch's meta device stands for an accelerator: it refuses to meet tensors of the host."""
    moved = copy.deepcopy(basis).to("meta")
    for extrapolation in EXTRAPOLATIONS:
        values = extrapolated(moved, extrapolation)(torch.empty(2, 3, device="meta"))
        assert values.device.type == "meta"
        assert values.shape == (2, 3, basis.num_functions)
    assert moved.breakpoints.device.type == "meta"


@all_bases
def test_state_is_restored(basis: Basis) -> None:
    source, target = copy.deepcopy(basis), copy.deepcopy(basis)
    for parameter in source.parameters():
        torch.nn.init.constant_(parameter, 0.3)
    target.load_state_dict(source.state_dict())
    z = inside(basis, 5)
    assert torch.equal(target(z), source(z))
    assert torch.equal(target(z), basis(z)) is not bool([*basis.parameters()])


@all_bases
def test_fresh_coefficients_have_one_row_for_each_function(basis: Basis) -> None:
    mapping = basis.noise_to_coefficients()
    assert mapping.dtype == torch.float64
    assert mapping.shape[-2] == basis.num_functions


@all_bases
def test_survives_copies(basis: Basis) -> None:
    z = inside(basis, 5)
    values = basis(z)
    for twin in (copy.deepcopy(basis), pickle.loads(pickle.dumps(basis))):
        assert torch.equal(twin(z), values)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: RBFBasis(domain=(1.0, 1.0)), ValueError, r"low < high, got \(1.0, 1.0\)"),
        (lambda: FourierBasis(domain=(2.0, 1.0)), ValueError, "low < high"),
        (lambda: ChebyshevBasis(domain=(0.0, float("inf"))), ValueError, "finite"),
        (lambda: MorletBasis(domain=(float("nan"), 1.0)), ValueError, "finite"),
        (lambda: RSWAFBasis(0), ValueError, "num_functions >= 1, but got 0"),
        (lambda: ChebyshevBasis(2.5), TypeError, "integer, but got 2.5"),
        (lambda: FourierBasis(-1), ValueError, "num_functions >= 1, but got -1"),
        (lambda: RBFBasis(bandwidth=0.0), ValueError, "positive and finite, got 0.0"),
        (lambda: FourierBasis(bandwidth=-2.0), ValueError, "positive and finite, got -2.0"),
        (lambda: MorletBasis(frequency=0.0), ValueError, "frequency.*positive.*got 0.0"),
        (lambda: MorletBasis(frequency=float("nan")), ValueError, "frequency.*got nan"),
        (lambda: RBFBasis(extrapolation="linear"), TypeError, "LinearExtrapolation.*'linear'"),
        (
            lambda: BSplineBasis(extrapolation=AnalyticExtrapolation()),
            ValueError,
            "for a BSplineBasis, whose formula explodes.*AnalyticExtrapolation",
        ),
        (
            lambda: ChebyshevBasis(extrapolation=AnalyticExtrapolation()),
            ValueError,
            "for a ChebyshevBasis",
        ),
    ],
)
def test_refuses_wrong_arguments(
    make: Callable[[], Basis], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        make()
