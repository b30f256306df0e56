"""Sums of few rows are the product with a matrix of zeros, with all its derivatives."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import grad, jacrev, vmap

from lvkam_pyro.kan import rows as rows_module
from lvkam_pyro.kan.rows import spread, sum_rows

R, OUT, N, M = 7, 4, 5, 3
PRECISIONS = [torch.float32, torch.float64]
"""The kernel serves the first, the dense product the second."""

Sums = Callable[[Tensor, Tensor, Tensor], Tensor]


@pytest.fixture(autouse=True)
def products_of_any_size_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "SMALL_PRODUCT", 0)


def by_definition(weights: Tensor, rows: Tensor, matrix: Tensor) -> Tensor:
    return (weights.unsqueeze(-1) * matrix[rows]).sum(-2)


def arguments(precision: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    rows = torch.rand(N, R).argsort(-1)[:, :M]
    return torch.randn(N, M, dtype=precision), rows, torch.randn(R, OUT, dtype=precision)


both_precisions = pytest.mark.parametrize("precision", PRECISIONS)


@both_precisions
@settings(max_examples=30, deadline=None, derandomize=True)
@given(batch=st.lists(st.integers(0, 3), max_size=3))
def test_sums_rows(batch: list[int], precision: torch.dtype) -> None:
    rows = torch.rand(*batch, R).argsort(-1)[..., :M]
    weights, matrix = torch.randn(*batch, M).to(precision), torch.randn(R, OUT).to(precision)
    torch.testing.assert_close(
        sum_rows(weights, rows, matrix), by_definition(weights, rows, matrix)
    )


@both_precisions
def test_first_and_second_gradients(precision: torch.dtype) -> None:
    weights, rows, matrix = arguments(precision)
    wanted = weights.requires_grad_(), matrix.requires_grad_()

    def gradients(sums: Sums) -> tuple[Tensor, ...]:
        value = sums(weights, rows, matrix).sin().sum()
        first = torch.autograd.grad(value, wanted, create_graph=True)
        size = torch.stack([g.square().sum() for g in first]).sum()
        return *first, *torch.autograd.grad(size, wanted)

    torch.testing.assert_close(gradients(sum_rows), gradients(by_definition))
    # Both ways are looked at, each with one precision.
    assert rows_module._has_kernel(weights, matrix) == (precision == torch.float32)


@both_precisions
@pytest.mark.parametrize("wanted", [0, 2])
def test_gradient_for_one_argument_only(precision: torch.dtype, wanted: int) -> None:
    given = arguments(precision)
    given[wanted].requires_grad_()
    (gradient,) = torch.autograd.grad(sum_rows(*given).sin().sum(), given[wanted])
    (expected,) = torch.autograd.grad(by_definition(*given).sin().sum(), given[wanted])
    torch.testing.assert_close(gradient, expected)


def push_forward(function: Callable[..., Tensor], primals: tuple[Tensor, ...]) -> Tensor:
    tangents = tuple(p.cos() for p in primals)
    return torch.func.jvp(function, primals, tangents)[1]


TRANSFORMS: dict[str, Callable[[Sums, Tensor, Tensor, Tensor], object]] = {
    "vmap": lambda sums, w, r, a: vmap(sums, (0, 0, None))(w.unsqueeze(1), r.unsqueeze(1), a),
    "vmap over matrices": lambda sums, w, r, a: vmap(sums, (None, None, 0))(
        w, r, torch.stack([a, a.sin()])
    ),
    "jacrev": lambda sums, w, r, a: jacrev(lambda w, a: sums(w, r, a), (0, 1))(w, a),
    "jacrev twice": lambda sums, w, r, a: jacrev(
        jacrev(lambda w, a: sums(w, r, a).sin().sum(), (0, 1)), (0, 1)
    )(w, a),
    "gradients of each": lambda sums, w, r, a: vmap(
        grad(lambda w, r: sums(w.unsqueeze(0), r.unsqueeze(0), a).sin().sum())
    )(w, r),
    "tangents": lambda sums, w, r, a: push_forward(lambda w, a: sums(w, r, a), (w, a)),
    "tangent of weights": lambda sums, w, r, a: push_forward(lambda w: sums(w, r, a), (w,)),
    "tangent of the matrix": lambda sums, w, r, a: push_forward(lambda a: sums(w, r, a), (a,)),
}


# On its first use the forward mode of torch warns of its own age.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@both_precisions
@pytest.mark.parametrize("name", TRANSFORMS)
def test_functional_transforms(name: str, precision: torch.dtype) -> None:
    given = arguments(precision)
    transform = TRANSFORMS[name]
    torch.testing.assert_close(transform(sum_rows, *given), transform(by_definition, *given))


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:DeprecationWarning")
@both_precisions
def test_is_recorded_by_a_trace(precision: torch.dtype) -> None:
    weights, rows, matrix = arguments(precision)
    matrix.requires_grad_()
    traced = torch.jit.trace(sum_rows, (weights, rows, matrix))
    other = weights.cos(), rows.flip(-1), matrix
    torch.testing.assert_close(traced(*other), by_definition(*other))
    values = traced(*other).sin().sum(), by_definition(*other).sin().sum()
    torch.testing.assert_close(*(torch.autograd.grad(value, matrix) for value in values))


def test_size_changes_the_way_and_not_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    given = arguments(torch.float32)
    large = sum_rows(*given)
    monkeypatch.setattr(rows_module, "SMALL_PRODUCT", N * R * OUT + 1)
    assert not rows_module._has_kernel(given[0], given[2])
    torch.testing.assert_close(sum_rows(*given), large)


def test_spreads_into_any_shape() -> None:
    values = spread(torch.tensor([[1.0, 2.0]]), torch.tensor([[2, 0]]), 3)
    assert values.tolist() == [[2.0, 0.0, 1.0]]
    assert spread(torch.ones(0, 2), torch.ones(0, 2, dtype=torch.long), 3).shape == (0, 3)


@both_precisions
def test_refuses_rows_that_do_not_exist(precision: torch.dtype) -> None:
    weights, _, matrix = arguments(precision)
    with pytest.raises((IndexError, RuntimeError), match=r"range|bounds|index"):
        sum_rows(weights, torch.full((N, M), R), matrix)
