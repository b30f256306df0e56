"""Moving and refining grids: the function stays, over the whole domain, and the report is true."""

import copy
import math
import warnings
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.optim import SGD, Optimizer

from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.extrapolation import LinearExtrapolation
from lvkam_pyro.kan.bases.fourier import FourierBasis
from lvkam_pyro.kan.bases.nonuniform import NonUniformBSplineBasis
from lvkam_pyro.kan.bases.radial import RBFBasis
from lvkam_pyro.kan.grids.grid import GridUpdate, refine_grid, update_grid
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN, layer_inputs, layers_of
from tests.kan.grids.grids import DOMAIN, make, make_network, moved, samples, splines


def points(network: KAN | KANLayer, count: int = 400) -> Tensor:
    """A fine grid over the domain for every input: (count, I)."""
    layer = layers_of(network)[0]
    edges = torch.linspace(*layer.domain, count + 1, dtype=torch.float64)
    return ((edges[1:] + edges[:-1]) / 2).unsqueeze(-1).expand(-1, layer.in_features)


def functions(layer: KANLayer) -> Tensor:
    """The spline parts on a fine grid: (S, I, O)."""
    basis = copy.deepcopy(layer.basis).double()
    values = basis(points(layer))
    spline = layer.coefficients[:, : basis.num_functions].detach().double()
    return torch.einsum("sik,iko->sio", values, spline)


def relative_change(before: Tensor, after: Tensor) -> Tensor:
    """As `GridUpdate.relative_errors` defines it: (I,)."""
    return ((after - before).square().sum((0, 2)) / before.square().sum((0, 2))).sqrt()


def test_grid_follows_the_samples_of_every_input() -> None:
    layer = make()
    z = samples(4000, spread=0.1)
    update_grid(layer, z.view(40, 100, 3), ratio=0.05, tolerance=math.inf)
    assert isinstance(layer.basis, NonUniformBSplineBasis)
    levels = torch.linspace(0, 1, 7, dtype=torch.float64)[1:-1]
    expected = 0.05 * (DOMAIN[0] + 3 * levels) + 0.95 * z.quantile(levels, 0).T
    torch.testing.assert_close(layer.basis.breakpoints[:, 1:-1], expected)
    assert layer.domain == DOMAIN


def test_uniform_ratio_changes_nothing() -> None:
    layer = make()
    before = functions(layer)
    update = update_grid(layer, samples(), ratio=1.0)
    # float64 rounding of a solve with a few hundred terms.
    assert update.worst < 1e-12
    torch.testing.assert_close(functions(layer), before, rtol=0, atol=1e-12)


@pytest.mark.parametrize("ratio", [0.05, 0.5])
def test_reported_error_is_the_change(ratio: float) -> None:
    layer = make()
    before = functions(layer)
    update = update_grid(layer, samples(), ratio=ratio, tolerance=math.inf)
    # The midpoint rule at 400 points against exact integrals.
    torch.testing.assert_close(
        update.relative_errors[0], relative_change(before, functions(layer)), rtol=0.02, atol=1e-9
    )
    assert update.worst == float(update.relative_errors[0].max())


def test_smooth_functions_are_kept_where_there_are_no_samples() -> None:
    layer = make(splines(20))
    with torch.no_grad():
        abscissae = torch.linspace(-1.15, 2.15, 23, dtype=torch.float64)
        layer.coefficients[:, :23] = abscissae.sin()[None, :, None]
    before = functions(layer)
    part = torch.rand(1000, 3, dtype=torch.float64) * 0.3
    update = update_grid(layer, part, ratio=0.3)
    unseen = (points(layer) > 0.3) | (points(layer) < 0)
    change = (functions(layer) - before)[unseen].square().mean() / before[unseen].square().mean()
    # Cells three times as wide: an error of h^4 f'''' / 384 times a few, h = 0.45.
    assert change.sqrt() < 1e-2
    assert update.worst < 1e-2


def test_straight_lines_survive_any_grid() -> None:
    layer = make()
    with torch.no_grad():
        abscissae = torch.arange(9, dtype=torch.float64)
        layer.coefficients[:, :9] = abscissae[:, None] * torch.randn(3, 1, 4).double() + 2
    before = functions(layer)
    update = update_grid(layer, samples(spread=0.01), ratio=0.01)
    assert update.worst < 1e-12
    torch.testing.assert_close(functions(layer), before, rtol=0, atol=1e-10)


def test_base_activation_and_mask_stay() -> None:
    layer = make()
    layer.set_mask(torch.rand(3, 4) < 0.5)
    mask, base = layer.mask.clone(), layer.coefficients[:, -1].clone()
    moved(layer)
    assert torch.equal(layer.mask, mask)
    assert torch.equal(layer.coefficients[:, -1], base)
    refine_grid(layer, 12)
    assert torch.equal(layer.mask, mask)
    assert torch.equal(layer.coefficients[:, -1], base)
    assert torch.equal(
        layer.unsummed(samples())[:, mask == 0], torch.zeros(500, int((mask == 0).sum())).double()
    )


def test_hidden_function_is_kept_too_but_not_judged() -> None:
    layer = make()
    layer.set_mask(torch.zeros(3, 4))
    before = functions(layer)
    update = update_grid(layer, samples(), ratio=0.9, tolerance=0.0)
    assert update.worst == 0.0
    change = relative_change(before, functions(layer))
    assert 0 < change.max() < 0.2


def test_degree_extrapolation_dtype_and_state_are_kept() -> None:
    basis = splines(degree=2, extrapolation=LinearExtrapolation())
    for change in (moved, lambda layer: refine_grid(layer, 12)):
        layer = KANLayer(3, 4, basis=basis)
        change(layer)
        assert layer.basis.degree == 2
        assert layer.basis.extrapolation == LinearExtrapolation()
        assert layer.domain == DOMAIN
        assert {t.dtype for t in (layer.coefficients, layer.basis.breakpoints)} == {torch.float32}
        assert layer.coefficients.is_contiguous()


def test_layers_of_a_network_follow_what_they_see() -> None:
    network, z = make_network(), samples()
    before = network(z).detach()
    update = update_grid(network, z, ratio=0.3, tolerance=math.inf)
    assert len(update.relative_errors) == len(update.num_outside) == 2
    (_, inputs), (second, hidden) = layer_inputs(network, z)
    assert torch.equal(inputs, z)
    levels = torch.linspace(0, 1, 7, dtype=torch.float64)[1:-1]
    expected = 0.3 * (DOMAIN[0] + 3 * levels) + 0.7 * hidden.quantile(levels, 0).T
    torch.testing.assert_close(second.basis.breakpoints[:, 1:-1], expected.detach())
    # The functions are random splines on other knots: near, not equal.
    assert (network(z) - before).std() < 0.3 * before.std()


def test_second_update_moves_the_grid_again() -> None:
    layer = moved(make())
    before = layer.basis.breakpoints.clone()
    update_grid(layer, samples() + 0.1, tolerance=math.inf)
    assert (layer.basis.breakpoints - before)[:, 1:-1].min() > 0


@pytest.mark.parametrize("start", [make, lambda: moved(make()), make_network])
@pytest.mark.parametrize("factor", [2, 3])
def test_refining_nested_grids_is_exact(start: Callable[[], KANLayer], factor: int) -> None:
    network = start()
    z = points(network)
    before = network(z)
    update = refine_grid(network, 6 * factor)
    assert update.worst < 1e-12
    assert all(layer.basis.grid_size == 6 * factor for layer in layers_of(network))
    torch.testing.assert_close(network(z), before, rtol=0, atol=1e-11)


def test_refining_any_grid_that_is_not_uniform_is_exact() -> None:
    layer = moved(make())
    before = functions(layer)
    for grid_size in (7, 10, 23):
        assert refine_grid(layer, grid_size).worst < 1e-12
        torch.testing.assert_close(functions(layer), before, rtol=0, atol=1e-11)


def test_refining_to_a_uniform_grid_that_is_not_nested_reports_its_error() -> None:
    layer = make()
    before = functions(layer)
    update = refine_grid(layer, 7, tolerance=math.inf)
    assert isinstance(layer.basis, BSplineBasis)
    change = relative_change(before, functions(layer))
    torch.testing.assert_close(update.relative_errors[0], change, rtol=0.02, atol=0)
    assert update.worst > 1e-3


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    rows=st.lists(st.lists(st.floats(-1e9, 1e9), min_size=3, max_size=3), min_size=1, max_size=9),
    constant=st.booleans(),
    grid_size=st.integers(1, 12),
    degree=st.integers(0, 5),
    ratio=st.sampled_from([1e-3, 0.05, 0.5]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_any_samples_leave_a_sound_layer(
    rows: list[list[float]],
    constant: bool,
    grid_size: int,
    degree: int,
    ratio: float,
    dtype: torch.dtype,
) -> None:
    z = torch.tensor(rows, dtype=dtype)
    z = z[:1].expand(50, 3) if constant else z
    layer = KANLayer(3, 4, basis=splines(grid_size, degree=degree)).to(dtype)
    before = functions(layer)
    update = update_grid(layer, z, ratio=ratio, tolerance=math.inf)
    assert update.num_outside == (int(((z < DOMAIN[0]) | (z > DOMAIN[1])).sum()),)
    assert layer.coefficients.isfinite().all()
    assert layer.basis.breakpoints.isfinite().all()
    assert (layer.basis.breakpoints.diff(dim=-1) > 0).all()
    change = (functions(layer) - before).square().sum((0, 2)).sqrt()
    size = before.square().sum((0, 2)).sqrt()
    # 400 points against integrals of pieces that may be narrower, and the rounding of the
    # coefficients to the layer's dtype.
    reported = update.relative_errors[0]
    assert (change <= (1.3 * reported + 0.02 + 10 * torch.finfo(dtype).eps) * size).all()
    assert (reported <= 1).all()


@pytest.mark.parametrize("basis", [RBFBasis(5), FourierBasis(4)], ids=["rbf", "fourier"])
def test_other_bases_are_refused_by_name(basis: Basis) -> None:
    network = KAN([3, 5, 4])
    network.layers[1] = KANLayer(5, 4, basis=basis)
    for change in (lambda: update_grid(network, Z), lambda: refine_grid(network, 9)):
        with pytest.raises(ValueError, match=f"of B-splines, got {type(basis).__name__}.*Build"):
            change()
    assert isinstance(network.layers[0].basis, BSplineBasis)


def test_large_errors_are_warned_about() -> None:
    with pytest.warns(UserWarning, match="tolerance of 0.01:\nlayer 0: relative error at most"):
        update_grid(make(), samples(), ratio=0.01)
    with pytest.warns(UserWarning, match="more than the tolerance of 1e-05"):
        refine_grid(make(), 7, tolerance=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        update_grid(make(), samples(), ratio=0.01, tolerance=math.inf)


def test_report_says_it_in_words() -> None:
    errors = torch.tensor([1e-5, 0.02], dtype=torch.float64)
    update = GridUpdate((errors, errors / 10), (0, 3))
    assert str(update) == (
        "layer 0: relative error at most 2.0e-02 (input 1)\n"
        "layer 1: relative error at most 2.0e-03 (input 1), 3 values outside the domain"
    )
    assert update.worst == 0.02


def foreign() -> Optimizer:
    return SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)


Z = torch.rand(9, 3)
WRONG: dict[str, tuple[Callable[[KAN], object], type[Exception], str]] = {
    "inputs": (lambda n: update_grid(n, Z[:, :2]), ValueError, r"shape \(\.\.\., 3\).*\(9, 2\)"),
    "one row": (lambda n: update_grid(n, Z[0]), ValueError, r"before the inputs.*\(3,\)"),
    "array": (lambda n: update_grid(n, Z.numpy()), TypeError, "torch.Tensor, got ndarray"),
    "empty": (lambda n: update_grid(n, Z[:0]), ValueError, r"at least one sample.*\(0, 3\)"),
    "missing": (lambda n: update_grid(n, Z / 0 * 0), ValueError, "9 rows of 9 with a NaN"),
    "ratio": (lambda n: update_grid(n, Z, ratio=0.0), ValueError, r"ratio from 0\.001.*got 0\.0"),
    "optimizer": (
        lambda n: update_grid(n, Z, optimizer=foreign()),
        ValueError,
        "without 2 of the 2",
    ),
    "no optimizer": (lambda n: update_grid(n, Z, optimizer="Adam"), TypeError, "got 'Adam'"),
    "coarser": (lambda n: refine_grid(n, 5), ValueError, "above the 6 there are, got 5"),
    "equal": (lambda n: refine_grid(n, 6), ValueError, "above the 6 there are, got 6"),
    "part of a cell": (lambda n: refine_grid(n, 7.5), ValueError, "whole number.*got 7.5"),
    "refined": (lambda n: refine_grid(n, 9, optimizer=foreign()), ValueError, "without 2 of the 2"),
}


@pytest.mark.parametrize(("call", "error", "match"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_refused_and_nothing_changes(
    call: Callable[[KAN], object], error: type[Exception], match: str
) -> None:
    network = make_network()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(error, match=match):
        call(network)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(isinstance(layer.basis, BSplineBasis) for layer in network.layers)
