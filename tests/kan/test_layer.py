"""The KAN layer's forms agree, and every basis serves it."""

import copy
import functools
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.func import functional_call, jacrev, stack_module_state, vmap
from torch.nn import functional as F

from lvkam_pyro.kan import rows
from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.nonuniform import NonUniformBSplineBasis
from lvkam_pyro.kan.bases.radial import RBFBasis
from lvkam_pyro.kan.layer import Activation, KANLayer
from tests.kan.bases.bases import BASES

IN, OUT = 3, 4
ROWS = torch.tensor([[0.0, 0.2, 0.5, 1.0], [0.0, 0.3, 0.6, 1.0], [0.0, 0.7, 0.9, 1.0]])
"""Breakpoints for each of IN inputs."""

all_bases = pytest.mark.parametrize(
    "basis",
    [pytest.param(b, id=name) for name, b in BASES.items()]
    + [
        pytest.param(NonUniformBSplineBasis(ROWS, degree=d), id=f"rows degree {d}")
        for d in range(6)
    ],
)
all_activations = pytest.mark.parametrize("base_activation", [F.silu, nn.Tanh(), None])


@pytest.fixture(autouse=True)
def products_of_any_size_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that layers of single precision go the way of large ones."""
    monkeypatch.setattr(rows, "SMALL_PRODUCT", 0)


def make(basis: Basis | None = None, base_activation: Activation | None = F.silu) -> KANLayer:
    return KANLayer(IN, OUT, basis=basis, base_activation=base_activation).double()


def inputs(layer: KANLayer, *shape: int) -> Tensor:
    low, high = layer.domain
    return low + (high - low) * torch.rand((*shape, layer.in_features), dtype=torch.float64)


def by_definition(layer: KANLayer, z: Tensor) -> Tensor:
    """The formula of the class, term by term: (..., I, O)."""
    values = torch.einsum("...ik,oik->...io", layer.basis(z), layer.spline_coefficients)
    if layer.base_activation is None:
        return values
    weights = layer.coefficients[:, -1] * layer.mask
    return values + layer.base_activation(z).unsqueeze(-1) * weights


@all_bases
@all_activations
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_all_forms_are_the_formula(
    basis: Basis, base_activation: Activation | None, precision: torch.dtype
) -> None:
    layer = make(basis, base_activation).to(precision)
    layer.set_mask(torch.rand(IN, OUT) < 0.7)
    z = (inputs(layer, 5, 2) * 1.2 - 0.1).to(precision)
    index = torch.randint(OUT, z.shape)
    exact = by_definition(layer, z)
    # In single precision sums of an unlike order differ by the rounding of their largest term.
    tolerance = None if precision == torch.float64 else 1e-5
    assert_close = functools.partial(torch.testing.assert_close, rtol=tolerance, atol=tolerance)
    assert_close(layer.unsummed(z), exact)
    assert_close(layer(z), exact.sum(-2))
    assert_close(layer.selected(z, index), choose(exact, index))
    assert_close(
        torch.einsum("...ik,iko->...io", layer.features(z), layer._masked_coefficients()), exact
    )


def choose(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(-1, index.unsqueeze(-1)).squeeze(-1)


@all_bases
@all_activations
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_all_forms_have_the_same_gradients(
    basis: Basis, base_activation: Activation | None, precision: torch.dtype
) -> None:
    layer = make(basis, base_activation).to(precision)
    z = inputs(layer, 6).to(precision).requires_grad_()
    index = torch.randint(OUT, z.shape)
    unsummed = layer.unsummed(z)
    wanted = [*layer.parameters(), z]
    for value, same in [
        (layer(z), unsummed.sum(-2)),
        (layer.selected(z, index), choose(unsummed, index)),
    ]:
        gradients = torch.autograd.grad(value.sin().sum(), wanted)
        expected = torch.autograd.grad(same.sin().sum(), wanted, retain_graph=True)
        tolerance = None if precision == torch.float64 else 1e-4
        torch.testing.assert_close(gradients, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("base_activation", [F.silu, None])
def test_gradients(base_activation: Activation | None) -> None:
    layer = make(BSplineBasis(grid_size=2), base_activation)
    z = inputs(layer, 2).requires_grad_()
    index = torch.randint(OUT, z.shape)

    def forms(z: Tensor, coefficients: Tensor) -> tuple[Tensor, ...]:
        parameters = {"coefficients": coefficients}
        return tuple(
            functional_call(Form(layer, name), {f"layer.{k}": v for k, v in parameters.items()}, a)
            for name, a in [("forward", (z,)), ("unsummed", (z,)), ("selected", (z, index))]
        )

    coefficients = layer.coefficients.detach().requires_grad_()
    assert torch.autograd.gradcheck(forms, (z, coefficients))
    assert torch.autograd.gradgradcheck(forms, (z, coefficients))


class Form(nn.Module):
    """One form of a layer as a module's forward, for `functional_call`."""

    def __init__(self, layer: KANLayer, name: str) -> None:
        super().__init__()
        self.layer = layer
        self.name = name

    def forward(self, *arguments: Tensor) -> Tensor:
        return getattr(self.layer, self.name)(*arguments)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    batch=st.lists(st.integers(0, 3), max_size=3),
    in_features=st.integers(1, 4),
    out_features=st.integers(1, 4),
)
def test_shapes(batch: list[int], in_features: int, out_features: int) -> None:
    layer = KANLayer(in_features, out_features)
    z = torch.rand(*batch, in_features)
    index = torch.randint(out_features, z.shape)
    assert layer(z).shape == (*batch, out_features)
    assert layer.unsummed(z).shape == (*batch, in_features, out_features)
    assert layer.selected(z, index).shape == z.shape


def test_polynomials_are_the_functions() -> None:
    layer = make(BSplineBasis(grid_size=4, domain=(-1.0, 1.0)), None)
    layer.set_mask(torch.rand(IN, OUT) < 0.7)
    a = layer.to_polynomials()
    assert a.shape == (IN, OUT, 4, 4)
    t = torch.tensor(0.3, dtype=torch.float64)
    middles = (layer.basis.breakpoints[:-1] + 0.3 * 0.5).unsqueeze(-1).expand(-1, IN)
    pieces = (a * t ** torch.arange(4)).sum(-1)
    torch.testing.assert_close(pieces.permute(2, 0, 1), layer.unsummed(middles))
    (gradient,) = torch.autograd.grad(a.sum(), layer.coefficients)
    assert gradient.any()


def test_mask_switches_functions_off() -> None:
    layer = make()
    mask = torch.ones(IN, OUT)
    mask[1, 2] = 0
    layer.set_mask(mask)
    z = inputs(layer, 20)
    index = torch.full(z.shape, 2)
    for value in (layer(z), layer.unsummed(z), layer.selected(z, index)):
        (gradient,) = torch.autograd.grad(value.square().sum(), layer.coefficients)
        assert not gradient[1, :, 2].any()
        assert gradient[0, :, 2].any()
    assert not layer.unsummed(z)[:, 1, 2].any()
    assert not layer.spline_coefficients[2, 1].any()
    layer.set_mask(torch.ones(IN, OUT, dtype=torch.bool))
    assert layer.unsummed(z)[:, 1, 2].all()


def test_state_round_trip() -> None:
    layer, twin = make(), make()
    layer.set_mask(torch.eye(IN, OUT))
    z = inputs(layer, 5)
    twin.load_state_dict(layer.state_dict())
    basis_state = {"basis.domain", "basis.grid_size"}
    assert set(layer.state_dict()) == {"coefficients", "mask", *basis_state}
    assert torch.equal(twin(z), layer(z))
    twin.load_state_dict(make().state_dict())
    assert twin.mask.all()
    torch.testing.assert_close(twin(z), by_definition(twin, z).sum(-2))


def test_survives_copies_after_use() -> None:
    layer = make()
    layer.set_mask(torch.eye(IN, OUT))
    z = inputs(layer, 5)
    value = layer(z)
    value.sum().backward()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(z), value)


def test_keeps_a_copy_of_the_basis() -> None:
    basis = BSplineBasis()
    first, second = KANLayer(1, 1, basis=basis), KANLayer(1, 1, basis=basis)
    assert len({id(basis), id(first.basis), id(second.basis)}) == 3


def test_functional_transforms() -> None:
    layer = make()
    z = inputs(layer, 5)
    index = torch.randint(OUT, z.shape)
    torch.testing.assert_close(vmap(layer)(z), layer(z))
    torch.testing.assert_close(vmap(layer.unsummed)(z), layer.unsummed(z))
    torch.testing.assert_close(vmap(layer.selected)(z, index), layer.selected(z, index))
    z.requires_grad_()
    sums = layer.unsummed(z).sum((0, 1))
    gradients = [torch.autograd.grad(value, z, retain_graph=True)[0] for value in sums]
    torch.testing.assert_close(vmap(jacrev(layer))(z), torch.stack(gradients, 1))


def test_an_ensemble_evaluates_at_once() -> None:
    layers = [make() for _ in range(3)]
    parameters, buffers = stack_module_state(layers)
    z = inputs(layers[0], 5)
    values = vmap(lambda p, b: functional_call(layers[0], (p, b), (z,)))(parameters, buffers)
    torch.testing.assert_close(values, torch.stack([layer(z) for layer in layers]))


@pytest.mark.parametrize(
    ("basis", "name"),
    [
        (BSplineBasis(), "forward"),
        (BSplineBasis(), "unsummed"),
        (BSplineBasis(), "selected"),
        (NonUniformBSplineBasis(ROWS), "forward"),
        (RBFBasis(5), "forward"),
    ],
)
def test_compiles_to_one_graph(basis: Basis, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The compiler switches the validation of distributions off for good: undone after the test.
    monkeypatch.setattr(Distribution, "_validate_args", Distribution._validate_args)
    layer = KANLayer(IN, OUT, basis=basis)
    z = torch.rand(5, IN, requires_grad=True)
    extra = (torch.randint(OUT, z.shape),) if name == "selected" else ()
    torch.compiler.reset()
    compiled = torch.compile(Form(layer, name), backend="aot_eager", fullgraph=True)
    wanted = [z, *layer.parameters()]
    gradients = torch.autograd.grad(compiled(z, *extra).sin().sum(), wanted)
    expected = torch.autograd.grad(getattr(layer, name)(z, *extra).sin().sum(), wanted)
    torch.testing.assert_close(gradients, expected)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_bad_numbers_stay_in_their_row(value: float) -> None:
    layer = KANLayer(IN, OUT, base_activation=torch.tanh)
    z = torch.rand(4, IN)
    z[2, 1] = value
    index = torch.zeros(4, IN, dtype=torch.long)
    results = layer(z), layer.unsummed(z).flatten(1), layer.selected(z, index)
    for result in results:
        assert result.isfinite().all(-1).tolist() == [True, True, value == value, True]


@pytest.mark.parametrize("base_activation", [F.silu, None])
@pytest.mark.parametrize("size", [1, 50])
def test_starts_with_values_of_order_one(size: int, base_activation: Activation | None) -> None:
    layers = [KANLayer(size, 50, base_activation=base_activation) for _ in range(10)]
    z = torch.rand(200, size)
    spread = torch.stack([layer(z) for layer in layers]).square().mean().sqrt()
    assert 0.1 <= spread <= 1.0


def test_values_are_pinned() -> None:
    torch.manual_seed(0)
    layer = KANLayer(2, 1, basis=BSplineBasis(grid_size=2, degree=1), base_activation=torch.tanh)
    with torch.no_grad():
        layer.coefficients.copy_(torch.arange(8.0).view(2, 4, 1))
    # First input 0.25: (0 + 1) / 2 + 3 tanh 0.25; second input 1.0: 6 + 7 tanh 1.
    expected = 0.5 + 3 * torch.tensor(0.25).tanh() + 6 + 7 * torch.tensor(1.0).tanh()
    torch.testing.assert_close(layer(torch.tensor([0.25, 1.0])), expected.unsqueeze(0))


def test_repr_names_the_parts() -> None:
    assert "BSplineBasis(grid_size=5" in repr(KANLayer(2, 3, base_activation=None))
    assert "KANLayer(\n  2, 3, base_activation=None" in repr(KANLayer(2, 3, base_activation=None))


Z = torch.rand(5, IN)
INDEX = torch.zeros(5, IN, dtype=torch.long)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: KANLayer(0, 2), ValueError, "in_features >= 1, but got 0"),
        (lambda: KANLayer(2, -1), ValueError, "out_features >= 1, but got -1"),
        (lambda: KANLayer(2, 2, basis="rbf"), TypeError, "Expected a Basis.*'rbf'"),
        (lambda: KANLayer(2, 2, base_activation="silu"), TypeError, "callable.*'silu'"),
        (lambda: KANLayer(IN, OUT)(torch.rand(5, 2)), ValueError, r"\(\.\.\., 3\), got \(5, 2\)"),
        (lambda: KANLayer(IN, OUT)(torch.tensor(1.0)), ValueError, r"got \(\)"),
        (lambda: KANLayer(IN, OUT).unsummed(torch.rand(IN, 5)), ValueError, r"got \(3, 5\)"),
        (lambda: KANLayer(IN, OUT).selected(Z[:, :2], INDEX), ValueError, r"got \(5, 2\)"),
        (lambda: KANLayer(IN, OUT).selected(Z, INDEX[0]), ValueError, r"\(5, 3\), got \(3,\)"),
        (lambda: KANLayer(IN, OUT).selected(Z, INDEX.int()), TypeError, "int64, got torch.int32"),
        (
            lambda: KANLayer(IN, OUT).selected(Z, INDEX + OUT),
            IndexError,
            "outputs from 0 to 3, got values from 4 to 4",
        ),
        (
            lambda: KANLayer(IN, OUT).selected(Z, INDEX - 1),
            IndexError,
            "outputs from 0 to 3, got values from -1 to -1",
        ),
        (lambda: KANLayer(IN, OUT).to_polynomials(), ValueError, "base_activation=None"),
        (
            lambda: KANLayer(IN, OUT).set_mask(torch.ones(OUT, IN)),
            ValueError,
            r"\(3, 4\).*\(4, 3\)",
        ),
        (lambda: KANLayer(IN, OUT).set_mask(torch.full((IN, OUT), 0.5)), ValueError, "0.5"),
    ],
)
def test_refuses_what_is_wrong(call: object, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()
