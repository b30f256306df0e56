"""What every basis promises, whatever its functions."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import jacrev, vmap

from lvkam_pyro.kan.basis import Basis
from lvkam_pyro.kan.extrapolation import (
    ConstantExtrapolation,
    Extrapolation,
    LinearExtrapolation,
)
from tests.kan.bases import BASES

all_bases = pytest.mark.parametrize(
    "basis", [pytest.param(b, id=name) for name, b in BASES.items()]
)

EXTRAPOLATIONS = [ConstantExtrapolation(), LinearExtrapolation()]


def replace_extrapolation(basis: Basis, extrapolation: Extrapolation) -> Basis:
    twin = copy.deepcopy(basis)
    twin.extrapolation = extrapolation
    return twin


def inside(basis: Basis, *shape: int) -> Tensor:
    low, high = basis.domain
    return low + (high - low) * torch.rand(shape, dtype=torch.float64)


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
def test_continues_with_the_values_at_the_ends(basis: Basis) -> None:
    constant = replace_extrapolation(basis, ConstantExtrapolation())
    low, high = basis.domain
    outside = torch.tensor([low - 7.0, -torch.inf, high + 1e-3, torch.inf], requires_grad=True)
    values = constant(outside)
    torch.testing.assert_close(values, constant(torch.tensor([low, low, high, high])))
    (gradient,) = torch.autograd.grad(values.square().sum(), outside)
    assert not gradient.any()


@all_bases
def test_continues_along_the_tangents_at_the_ends(basis: Basis) -> None:
    linear = replace_extrapolation(basis, LinearExtrapolation())
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
    expected, values = basis(z), replace_extrapolation(basis, extrapolation)(z)
    assert torch.equal(values, expected)
    weights = torch.randn_like(values)
    gradients = [torch.autograd.grad(v, z, weights)[0] for v in (values, expected)]
    torch.testing.assert_close(*gradients)


@all_bases
def test_nan_stays_nan(basis: Basis) -> None:
    assert basis(torch.tensor([torch.nan])).isnan().any()


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
def test_survives_copies(basis: Basis) -> None:
    z = inside(basis, 5)
    values = basis(z)
    for twin in (copy.deepcopy(basis), pickle.loads(pickle.dumps(basis))):
        assert torch.equal(twin(z), values)
