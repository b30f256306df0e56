"""A layer with formulas is a KAN layer in every respect."""

import copy
import pickle
import re
from collections.abc import Callable

import pytest
import sympy
import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional as F

from lvkam_pyro.kan.grids.grid import refine_grid, update_grid
from lvkam_pyro.kan.layer import Activation, KANLayer
from lvkam_pyro.kan.network import KAN
from lvkam_pyro.kan.pruning import edge_importance, prune
from lvkam_pyro.kan.regularization import edge_magnitudes, roughness
from lvkam_pyro.kan.symbolic.forms import FORMS, Formula, SymbolicForm, X
from lvkam_pyro.kan.symbolic.layer import SymbolicLayer
from lvkam_pyro.kan.symbolic.layer_fit import fit_symbolic_layer

IN, OUT = 3, 4
FORMULAS = {
    (0, 1): Formula(FORMS["sin"], a=3.0, b=0.2, c=-1.5, d=0.1),
    (2, 1): Formula(FORMS["log"], b=0.5, c=2.0),
    (2, 3): Formula(FORMS["sin"], a=0.7),
}
all_activations = pytest.mark.parametrize("base_activation", [F.silu, None])


def make(base_activation: Activation | None = F.silu) -> tuple[KANLayer, SymbolicLayer]:
    """A layer of splines, and the same with formulas."""
    splines = KANLayer(IN, OUT, base_activation=base_activation).double()
    layer = SymbolicLayer(splines)
    for edge, formula in FORMULAS.items():
        layer.set_formula(*edge, formula)
    return splines, layer


def inputs(*shape: int) -> Tensor:
    return torch.rand((*shape, IN), dtype=torch.float64)


def by_definition(splines: KANLayer, z: Tensor) -> Tensor:
    values = splines.unsummed(z).clone()
    for (i, o), formula in FORMULAS.items():
        values[..., i, o] = formula(z[..., i])
    return values


def choose(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(-1, index.unsqueeze(-1)).squeeze(-1)


@all_activations
def test_all_forms_are_the_formulas_among_the_splines(base_activation: Activation | None) -> None:
    splines, layer = make(base_activation)
    z = inputs(5, 2)
    index = torch.randint(OUT, z.shape)
    exact = by_definition(splines, z)
    torch.testing.assert_close(layer.unsummed(z), exact)
    torch.testing.assert_close(layer(z), exact.sum(-2))
    torch.testing.assert_close(layer.selected(z, index), choose(exact, index))


def test_all_forms_have_the_same_gradients() -> None:
    _, layer = make()
    z = inputs(6)
    index = torch.randint(OUT, z.shape)
    parameters = [layer.constants, layer.coefficients]
    pairs = [
        (layer(z), layer.unsummed(z).sum(-2)),
        (layer.selected(z, index), choose(layer.unsummed(z), index)),
    ]
    for first, second in pairs:
        gradients = (torch.autograd.grad(v.square().sum(), parameters) for v in (first, second))
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other)


def test_gradient_reaches_constants_of_formulas_and_coefficients_of_splines_alone() -> None:
    _, layer = make()
    layer(inputs(20)).square().sum().backward()
    has_formula = torch.zeros(IN, OUT, dtype=torch.bool)
    for edge in FORMULAS:
        has_formula[edge] = True
    assert torch.equal(layer.constants.grad.bool().all(-1), has_formula)
    assert torch.equal(layer.coefficients.grad.bool().any(1), ~has_formula)


def test_layer_without_formulas_is_the_layer_it_was_made_of() -> None:
    splines = KANLayer(IN, OUT, base_activation=None)
    splines.set_mask(torch.eye(IN, OUT))
    state = torch.get_rng_state()
    layer = SymbolicLayer(splines)
    assert torch.equal(state, torch.get_rng_state())
    z = inputs(5).float()
    assert torch.equal(layer(z), splines(z))
    assert torch.equal(layer.to_polynomials(), splines.to_polynomials())
    with torch.no_grad():
        layer.coefficients += 1
    assert not torch.equal(layer(z), splines(z))


def test_splines_come_back_as_they_were() -> None:
    splines, layer = make()
    z = inputs(5)
    for edge in FORMULAS:
        layer.restore_spline(*edge)
    layer.restore_spline(1, 1)
    assert not layer.formulas
    assert layer.mask.all()
    torch.testing.assert_close(layer(z), splines(z))


def test_mask_is_of_splines_and_formulas_stay() -> None:
    _, layer = make()
    layer.set_mask(torch.zeros(IN, OUT))
    z = inputs(5)
    assert layer.unsummed(z)[:, 0, 1].all()
    assert not layer.unsummed(z)[:, 1].any()
    layer.set_mask(torch.ones(IN, OUT))
    torch.testing.assert_close(layer.unsummed(z)[:, 0, 1], FORMULAS[0, 1](z[:, 0]))
    assert layer.mask.sum() == IN * OUT - len(FORMULAS)


def test_formulas_are_those_that_were_set() -> None:
    _, layer = make()
    assert layer.formulas == FORMULAS
    assert "formulas=3" in repr(layer)
    layer.set_formula(0, 1, FORMULAS[2, 1])
    assert layer.formulas[0, 1] == FORMULAS[2, 1]


def test_regularizers_look_at_splines() -> None:
    splines, layer = make()
    with torch.no_grad():
        for i, o in FORMULAS:
            splines.coefficients[i, :, o] = 0
    torch.testing.assert_close(roughness(layer), roughness(splines))
    torch.testing.assert_close(edge_magnitudes(layer), edge_magnitudes(splines))


def test_pruning_knows_what_formulas_are_worth_and_leaves_them() -> None:
    _, layer = make()
    z = inputs(500)
    with torch.no_grad():
        layer.coefficients[1:] *= 1e-3
    (scores,) = edge_importance(layer, z)
    exact = layer.unsummed(z).std(0, correction=0) / layer(z).std(0, correction=0)
    torch.testing.assert_close(scores, exact.detach())
    prune(layer, z, threshold=0.02)
    assert layer.formulas == FORMULAS
    # The one spline left to output 1 stays, to hold the constants of those that went.
    assert layer.mask.sum(1).tolist() == [OUT - 1, 1, 0]


def test_formulas_outlast_a_change_of_grid() -> None:
    _, layer = make()
    z = inputs(500) ** 2
    before = layer.unsummed(z)
    refine_grid(layer, 10)
    torch.testing.assert_close(layer.unsummed(z), before)
    update_grid(layer, z, tolerance=torch.inf)
    assert layer.formulas == FORMULAS
    for i, o in FORMULAS:
        assert torch.equal(layer.unsummed(z)[:, i, o], before[:, i, o])


def test_state_round_trip() -> None:
    _, layer = make()
    twin = SymbolicLayer(KANLayer(IN, OUT).double())
    twin.load_state_dict(layer.state_dict())
    assert {"constants", "form_keys"} <= set(layer.state_dict())
    assert twin.formulas == layer.formulas
    z = inputs(5)
    assert torch.equal(twin(z), layer(z))
    twin.load_state_dict(SymbolicLayer(KANLayer(IN, OUT).double()).state_dict())
    assert not twin.formulas
    assert twin.mask.all()


def test_survives_copies_after_use() -> None:
    _, layer = make()
    z = inputs(5)
    value = layer(z)
    value.sum().backward()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(z), value)
        assert twin.formulas == FORMULAS


def test_follows_a_change_of_precision() -> None:
    _, layer = make()
    z = inputs(5)
    torch.testing.assert_close(layer.float()(z.float()), make_like(layer)(z).float())


def make_like(layer: SymbolicLayer) -> SymbolicLayer:
    return copy.deepcopy(layer).double()


def test_functional_transforms() -> None:
    _, layer = make()
    z = inputs(5)
    index = torch.randint(OUT, z.shape)
    torch.testing.assert_close(vmap(layer)(z), layer(z))
    torch.testing.assert_close(vmap(layer.unsummed)(z), layer.unsummed(z))
    torch.testing.assert_close(vmap(layer.selected)(z, index), layer.selected(z, index))


def test_own_form_is_learned_and_named_for_a_state() -> None:
    own = SymbolicForm("erf", torch.erf, sympy.erf(X), 2)
    layer = SymbolicLayer(KANLayer(1, 1))
    layer.set_formula(0, 0, Formula(own, a=2.0))
    z = torch.rand(5, 1)
    torch.testing.assert_close(layer(z), torch.erf(2 * z))
    with pytest.raises(ValueError, match="1 others"):
        SymbolicLayer(KANLayer(1, 1)).load_state_dict(layer.state_dict())
    twin = SymbolicLayer(KANLayer(1, 1), forms=[own])
    twin.load_state_dict(layer.state_dict())
    assert torch.equal(twin(z), layer(z))


def test_training_moves_constants_to_the_truth() -> None:
    truth = {(0, 0): (2.0, -0.3, 1.5, 0.0), (1, 0): (-1.0, 0.0, 0.8, 0.5)}
    forms = {(0, 0): FORMS["tanh"], (1, 0): FORMS["exp"]}
    z = torch.rand(200, 2, dtype=torch.float64) * 2 - 1
    target = sum(Formula(forms[e], *truth[e])(z[:, e[0]]) for e in truth)
    layer = SymbolicLayer(KANLayer(2, 1).double())
    for edge, form in forms.items():
        layer.set_formula(*edge, Formula(form, a=truth[edge][0] * 0.7, c=1.0))
    optimizer = torch.optim.LBFGS([layer.constants], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = (layer(z)[:, 0] - target).square().mean()
        value.backward()
        return value

    for _ in range(3):
        optimizer.step(loss)
    found = layer.formulas
    # b of exp and the two constants d are free to trade places: what is fixed is compared.
    assert found[0, 0].constants[:3] == pytest.approx(truth[0, 0][:3], rel=1e-3)
    assert found[1, 0].a == pytest.approx(-1, rel=1e-3)


def test_layer_of_formulas_is_found_from_its_values() -> None:
    _, layer = make()
    layer.set_mask(torch.zeros(IN, OUT))
    fit = fit_symbolic_layer(layer)
    assert fit.r_squared.shape == (IN, OUT)
    assert (fit.r_squared > 1 - 1e-9).all()
    for edge, formula in FORMULAS.items():
        assert fit[edge][0].form == formula.form
        assert fit[edge][0].constants == pytest.approx(formula.constants, abs=1e-4)
    assert fit[1, 1][0].form.name == "0"
    twin = SymbolicLayer(layer_of_splines := KANLayer(IN, OUT).double())
    assert twin.replace(fit) == IN * OUT
    z = inputs(7)
    torch.testing.assert_close(twin(z), layer(z), rtol=1e-5, atol=1e-5)
    assert layer_of_splines.mask.all()


def test_only_good_formulas_replace_splines() -> None:
    layer = SymbolicLayer(KANLayer(IN, OUT))
    mask = torch.ones(IN, OUT)
    mask[0] = 0
    layer.set_mask(mask)
    fit = fit_symbolic_layer(layer, torch.rand(300, IN))
    good = (fit.r_squared >= 0.98) & mask.bool()
    assert layer.replace(fit, min_r_squared=0.98) == good.sum()
    assert set(layer.formulas) == {tuple(edge) for edge in good.nonzero().tolist()}


def test_samples_say_where_a_function_matters() -> None:
    layer = KANLayer(1, 1, base_activation=torch.abs)
    with torch.no_grad():
        layer.coefficients[:, :-1] = 0
        layer.coefficients[:, -1] = 1
    layer.basis.domain = (-1.0, 1.0)
    assert fit_symbolic_layer(layer)[0, 0][0].form.name == "abs"
    assert fit_symbolic_layer(layer, torch.rand(1000, 1))[0, 0][0].form.name == "x"


def test_table_of_a_large_layer_shows_what_varies_most() -> None:
    layer = KANLayer(2, 30, base_activation=None)
    with torch.no_grad():
        layer.coefficients[1, :, 7] = torch.linspace(0, 50, layer.basis.num_functions)
    lines = str(fit_symbolic_layer(layer, forms=[FORMS["x"]])).splitlines()
    assert len(lines) == 42
    assert lines[-1] == "and 20 that vary less"
    assert any(line.startswith("    1      7") for line in lines)


def test_network_with_formulas_trains() -> None:
    network = KAN([2, 3, 1])
    network.layers[0] = SymbolicLayer(network.layers[0])
    network.layers[0].set_formula(0, 0, Formula(FORMS["sin"], a=2.0))
    network(torch.rand(10, 2)).sum().backward()
    assert network.layers[0].constants.grad[0, 0].any()


BAD_INPUT: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: SymbolicLayer(torch.nn.Linear(1, 1)), TypeError, "got Linear"),  # type: ignore[arg-type]
    (lambda: SymbolicLayer(make()[1]), TypeError, "got SymbolicLayer"),
    (lambda: make(None)[1].to_polynomials(), ValueError, "[(0, 1), (2, 1), (2, 3)]"),
    (
        lambda: make()[1].set_formula(0, 0, Formula(SymbolicForm("sin", torch.cos, X, 1))),
        ValueError,
        "another name than 'sin'",
    ),
    (lambda: make()[1].set_formula(IN, 0, FORMULAS[0, 1]), IndexError, "3"),
    (lambda: make()[1](torch.rand(5, 4)), ValueError, "(..., 3)"),
    (lambda: fit_symbolic_layer(make()[0], torch.rand(5, 4)), ValueError, "(..., 3)"),
    (lambda: make()[1].set_mask(torch.ones(4, 3)), ValueError, "(3, 4)"),
]


@pytest.mark.parametrize(("call", "error", "match"), BAD_INPUT)
def test_bad_input(call: Callable[[], object], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=re.escape(match)):
        call()
