"""A network of formulas is what it says it is."""

import re
from collections.abc import Callable

import pytest
import sympy
import torch
from torch import Tensor

from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN
from lvkam_pyro.kan.symbolic.forms import FORMS, Formula
from lvkam_pyro.kan.symbolic.layer import SymbolicLayer
from lvkam_pyro.kan.symbolic.network import auto_symbolic, to_sympy


def make_symbolic(widths: list[int], *, layer_norm: bool = False) -> tuple[KAN, Tensor]:
    basis = BSplineBasis(domain=(-1.0, 2.0))
    network = KAN(widths, basis=basis, layer_norm=layer_norm).double()
    samples = torch.rand(300, widths[0], dtype=torch.float64) * 3 - 1
    auto_symbolic(network, samples, min_r_squared=0.0)
    return network, samples


@pytest.mark.parametrize(
    ("widths", "layer_norm"), [([2, 3], False), ([2, 3, 2], False), ([2, 2, 1], True)]
)
def test_expressions_give_the_numbers_of_the_network(widths: list[int], layer_norm: bool) -> None:
    network, samples = make_symbolic(widths, layer_norm=layer_norm)
    expressions = to_sympy(network, names=["u", "v"])
    compiled = sympy.lambdify(sympy.symbols("u v"), expressions, "numpy")
    columns = samples[:50].T.numpy()
    values = torch.stack([torch.as_tensor(value + 0 * columns[0]) for value in compiled(*columns)])
    torch.testing.assert_close(values.T, network(samples[:50]))


def test_formulas_of_a_network_come_from_where_its_samples_are() -> None:
    network = KAN([1, 1, 1]).double()
    samples = 0.3 + 0.2 * torch.rand(300, 1, dtype=torch.float64)
    before = network(samples)
    auto_symbolic(network, samples, min_r_squared=0.0)
    left = (network(samples) - before).square().mean() / before.var()
    assert left < 0.02


def test_functions_that_no_formula_explains_stay_splines() -> None:
    network = KAN([1, 3], base_activation=None)
    (fit,) = auto_symbolic(network, min_r_squared=0.999)
    assert len(network.layers[0].formulas) == (fit.r_squared >= 0.999).sum() < 3
    (again,) = auto_symbolic(network, min_r_squared=0.0)
    assert len(network.layers[0].formulas) == 3
    assert again.r_squared.shape == (1, 3)


def test_masked_functions_are_left_out() -> None:
    layer = SymbolicLayer(KANLayer(2, 1))
    layer.set_mask(torch.tensor([[0.0], [1.0]]))
    layer.set_formula(1, 0, Formula(FORMS["exp"], a=-1.23456))
    assert to_sympy(layer, digits=3) == (sympy.exp(sympy.Float("-1.23") * sympy.Symbol("z1")),)


BAD_INPUT: list[tuple[Callable[[], object], str]] = [
    (lambda: to_sympy(KAN([2, 2, 1])), "[0, 0], [0, 1], [1, 0], [1, 1]] (input, output) of layer"),
    (lambda: to_sympy(make_symbolic([2, 1])[0], names=["u"]), "2 inputs, got 1"),
    (lambda: auto_symbolic(KAN([2, 1]), torch.rand(5, 3)), "(..., 2)"),
]


@pytest.mark.parametrize(("call", "match"), BAD_INPUT)
def test_bad_input(call: Callable[[], object], match: str) -> None:
    with pytest.raises(ValueError, match=re.escape(match)):
        call()
