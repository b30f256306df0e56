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
from tests.kan.bases import BASES

all_bases = pytest.mark.parametrize(
    "basis", [pytest.param(b, id=name) for name, b in BASES.items()]
)


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
    low, high = basis.domain
    outside = torch.tensor([low - 7.0, -torch.inf, high + 1e-3, torch.inf], requires_grad=True)
    values = basis(outside)
    torch.testing.assert_close(values, basis(torch.tensor([low, low, high, high])))
    (gradient,) = torch.autograd.grad(values.square().sum(), outside)
    assert not gradient.any()


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
