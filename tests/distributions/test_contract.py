"""What every one-dimensional density keeps: normalised, consistent, drawn as it is scored."""

import copy
import pickle
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import simpson
from scipy.stats import kstest
from torch import Tensor
from torch.distributions import biject_to

from lvkam_pyro.distributions.univariate import UnivariateDensity
from tests.assertions import TEST_FAILURE_RATE, assert_p_value
from tests.distributions.densities import DENSITIES, integration_bounds, make, parameters

pytestmark = pytest.mark.parametrize("name", DENSITIES)

NORMALISATION = 1e-6
"""Relative error of the mass, the accuracy that the library promises in float64."""
PROBABILITY = 1e-6
"""Error of F(F^{-1}(u)), promised in both precisions."""


def integrate(
    density: UnivariateDensity, integrand: Callable[[Tensor], Tensor], low: float, high: float
) -> Tensor:
    """Simpson's rule, 2048 intervals in each smooth piece: the oracle for every batch entry."""
    inside = [p for p in density.breakpoints.unique().tolist() if low < p < high]
    total = torch.zeros(density.batch_shape, dtype=torch.float64)
    for a, b in pairwise([low, *inside, high]):
        # Just inside the piece, so that its ends belong to it.
        z = torch.linspace(a, b, 2049, dtype=torch.float64)
        z = z.clamp(a + 1e-13, b - 1e-13)
        values = integrand(z.view(-1, *[1] * len(density.batch_shape)))
        total += torch.as_tensor(simpson(values.numpy(), x=z.numpy(), axis=0))
    return total


def test_is_normalised(name: str) -> None:
    density = make(name)
    mass = integrate(density, lambda z: density.log_prob(z).exp(), *integration_bounds(density))
    assert (mass - 1).abs().max() < NORMALISATION


def test_cdf_is_the_integral_of_the_density(name: str) -> None:
    density = make(name)
    low, high = integration_bounds(density)
    for place in (0.13, 0.5, 0.71):
        z = low + place * (min(high, 6.0) - low)
        exact = integrate(density, lambda s: density.log_prob(s).exp(), low, z)
        assert (density.cdf(torch.tensor(z).double()) - exact).abs().max() < NORMALISATION


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_icdf_inverts_cdf(name: str, dtype: torch.dtype) -> None:
    density = make(name, dtype=dtype)
    u = torch.rand(500, *density.batch_shape, dtype=torch.float64)
    z = density.icdf(u)
    assert z.dtype == dtype
    exact = make(name)  # the same parameters up to the rounding of float32
    if dtype == torch.float32:
        exact = DENSITIES[name][0](parameters(name, dtype=dtype).double())
    slack = exact.log_prob(z.double()).exp() * z.abs() * torch.finfo(dtype).eps
    assert ((exact.cdf(z.double()) - u).abs() - slack).max() < PROBABILITY


def test_draws_follow_the_density(name: str) -> None:
    density = make(name)
    u = density.cdf(density.sample((20_000,))).reshape(20_000, -1)
    for column in u.T:
        assert_p_value(kstest(column.numpy(), "uniform").pvalue)
    # Entries of the batch are drawn independently of each other.
    if u.shape[1] > 1:
        limit = abs(torch.distributions.Normal(0, 1).icdf(torch.tensor(TEST_FAILURE_RATE)))
        assert abs(torch.corrcoef(u.T)[0, 1]) < limit / len(u) ** 0.5


def test_implicit_gradient_equals_finite_differences_of_icdf(name: str) -> None:
    theta = parameters(name).requires_grad_()
    density = DENSITIES[name][0](theta)
    z = density.rsample((7,))
    weights = torch.rand_like(z)
    (gradient,) = torch.autograd.grad((weights * z).sum(), theta)
    with torch.no_grad():
        u = density.cdf(z)
        direction = torch.randn_like(theta)
        step = 1e-6
        shifted = [DENSITIES[name][0](theta + s * step * direction).icdf(u) for s in (1, -1)]
        exact = (weights * (shifted[0] - shifted[1])).sum() / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), exact, rtol=1e-4, atol=1e-8)


def test_icdf_is_differentiable(name: str) -> None:
    """In the probabilities and in the parameters: what a copula or a quasi-random draw needs."""
    theta = parameters(name)
    u = 0.02 + 0.96 * torch.rand(4, *make(name).batch_shape, dtype=torch.float64)

    def quantile(theta: Tensor, u: Tensor) -> Tensor:
        return DENSITIES[name][0](theta).icdf(u)

    inputs = (theta.requires_grad_(), u.requires_grad_())
    # Finite differences see the residual of the inversion, which the analytic gradient does not.
    assert torch.autograd.gradcheck(
        quantile, inputs, eps=1e-4, atol=1e-4, rtol=1e-3, fast_mode=True
    )


def test_moments_and_entropy(name: str) -> None:
    density = make(name)
    bounds = integration_bounds(density)

    def expectation(g: Callable[[Tensor], Tensor]) -> Tensor:
        return integrate(density, lambda z: g(z) * density.log_prob(z).exp(), *bounds)

    mean = expectation(lambda z: z)
    torch.testing.assert_close(density.mean, mean, rtol=1e-6, atol=1e-6)
    variance = expectation(lambda z: (z - mean).square())
    torch.testing.assert_close(density.variance, variance, rtol=1e-6, atol=1e-6)
    entropy = expectation(lambda z: -density.log_prob(z))
    torch.testing.assert_close(density.entropy(), entropy, rtol=1e-6, atol=1e-6)


def test_gradient_of_log_prob(name: str) -> None:
    z = make(name).sample((3,))
    constructor = DENSITIES[name][0]

    def log_prob(theta: Tensor) -> Tensor:
        return constructor(theta).log_prob(z)

    inputs = (parameters(name).requires_grad_(),)
    assert torch.autograd.gradcheck(log_prob, inputs, atol=1e-6)


def test_gradient_in_the_value_is_the_slope(name: str) -> None:
    density = make(name)
    z = density.sample((20,)).requires_grad_()
    (slope,) = torch.autograd.grad(density.log_prob(z).sum(), z)
    step = 1e-6
    with torch.no_grad():
        exact = (density.log_prob(z + step) - density.log_prob(z - step)) / (2 * step)
    torch.testing.assert_close(slope, exact, rtol=1e-4, atol=1e-4)


def test_shapes_of_every_rank(name: str) -> None:
    density = make(name)
    for shape in ((), (5,), (2, 0), (4, 3, 2)):
        draws = density.sample(shape)
        assert draws.shape == (*shape, *density.batch_shape)
        assert density.log_prob(draws).shape == draws.shape
        assert density.cdf(draws).shape == draws.shape
    assert density.mean.shape == density.variance.shape == density.batch_shape
    assert density.entropy().shape == density.batch_shape


def test_expand_keeps_the_law_and_the_table(name: str) -> None:
    density = make(name)
    expanded = density.expand((4, 2, *density.batch_shape))
    z = expanded.sample((3,))
    assert z.shape == (3, 4, 2, *density.batch_shape)
    torch.testing.assert_close(expanded.log_prob(z), density.log_prob(z))
    assert expanded._tables is density._tables
    value = density.sample()
    assert expanded.log_prob(value).shape == expanded.batch_shape
    assert expanded.cdf(value).shape == expanded.mean.shape == expanded.batch_shape


def test_expand_of_size_one_keeps_the_law_and_the_table(name: str) -> None:
    density = make(name)
    batch = density.batch_shape
    theta = parameters(name).unsqueeze(len(batch)).requires_grad_()
    single = DENSITIES[name][0](theta)
    wide = single.expand((2, *batch, 1)).expand((2, *batch, 5))
    z = wide.rsample((4,))
    assert z.shape == (4, 2, *batch, 5)
    assert wide.mean.shape == wide.entropy().shape == wide.batch_shape
    assert wide._tables is single._tables
    inside = z.detach()
    u = wide.cdf(inside).detach()
    # The same, with the new dimension among the draws.
    for ours, theirs, value in (
        (wide.log_prob, density.log_prob, inside),
        (wide.cdf, density.cdf, inside),
        (wide.icdf, density.icdf, u),
        (single.icdf, density.icdf, u),
    ):
        torch.testing.assert_close(ours(value), theirs(value.movedim(-1, 0)).movedim(0, -1))
    weights = torch.rand_like(z)
    (gradient,) = torch.autograd.grad((weights * z).sum(), theta, retain_graph=True)
    slope = (weights / wide.log_prob(inside).exp()).detach()
    (expected,) = torch.autograd.grad(-(slope * wide.cdf(inside)).sum(), theta)
    torch.testing.assert_close(gradient, expected)


def test_one_event_in_pyro(name: str) -> None:
    density = make(name)
    event = density.to_event(len(density.batch_shape))
    draws = event.sample((3,))
    torch.testing.assert_close(event.log_prob(draws), density.log_prob(draws).reshape(3, -1).sum(1))


@settings(max_examples=8)
@given(
    sample=st.lists(st.integers(0, 3), max_size=2), extra=st.lists(st.integers(1, 3), max_size=2)
)
def test_any_shape(name: str, sample: list[int], extra: list[int]) -> None:
    density = make(name)
    wide = density.expand((*extra, *density.batch_shape)).expand((2, *extra, *density.batch_shape))
    z = wide.rsample(torch.Size(sample))
    assert wide.batch_shape == (2, *extra, *density.batch_shape)
    assert z.shape == wide.log_prob(z).shape == (*sample, *wide.batch_shape)
    assert wide.cdf(z).shape == wide.icdf(wide.cdf(z)).shape == z.shape
    event = wide.to_event(1)
    assert biject_to(event.support).inv(z).shape == z.shape
    # torch's sum over an event refuses no draws.
    if z.numel():
        assert event.log_prob(z).shape == z.shape[:-1]
        assert event.mask(False).log_prob(z).eq(0).all()


def test_parameters_and_support_keep_their_constraints(name: str) -> None:
    density = make(name)
    for parameter, constraint in density.arg_constraints.items():
        assert constraint.check(getattr(density, parameter)).all()
    assert density.has_rsample
    assert not density.support.is_discrete
    z = density.sample((50,))
    assert density.support.check(z).all()
    transform = biject_to(density.support)
    torch.testing.assert_close(transform(transform.inv(z)), z)


def test_what_is_not_a_number_stays_so(name: str) -> None:
    density = make(name)
    density._validate_args = False
    value = torch.full(density.batch_shape, torch.nan, dtype=density.dtype)
    for function in (density.log_prob, density.cdf, density.icdf):
        assert function(value).isnan().all()
    density._validate_args = True
    for function in (density.log_prob, density.cdf, density.icdf):
        with pytest.raises(ValueError, match=r"Expected"):
            function(value)


def test_expand_refuses_what_does_not_broadcast(name: str) -> None:
    density = make(name).expand((2, 5, *make(name).batch_shape))
    for shape in ((3, 3, *density.batch_shape[2:]), (5, *density.batch_shape[2:])):
        with pytest.raises(ValueError, match=r"broadcasts to, got"):
            density.expand(shape)


def test_copies_after_use(name: str) -> None:
    """Neither a table nor a graph is in the way, also after a backward pass."""
    density = make(name)
    z = density.sample((3,))
    log_prob = density.log_prob(z)
    torch.testing.assert_close(copy.deepcopy(density).log_prob(z), log_prob)
    if hasattr(density, "coefficients"):
        density.coefficients.requires_grad_()
        density.rsample().sum().backward()
        torch.testing.assert_close(copy.deepcopy(density).log_prob(z), log_prob)
    # Python does not pickle a function made inside another, which is what these energies are.
    if not has_callable(density):
        torch.testing.assert_close(pickle.loads(pickle.dumps(density)).log_prob(z), log_prob)


def has_callable(density: UnivariateDensity) -> bool:
    return hasattr(density, "energy") or hasattr(getattr(density, "components", None), "energy")


def test_divergence_of_batches_broadcasts(name: str) -> None:
    p, q = make(name), make(name, seed=1)
    kl = torch.distributions.kl_divergence(p, q)
    wide, tall = p.expand((4, 2, *p.batch_shape)), q.expand((2, *q.batch_shape))
    for first, second in ((wide, q), (p, wide), (tall, wide), (wide, tall)):
        both = torch.distributions.kl_divergence(first, second)
        shape = torch.broadcast_shapes(first.batch_shape, second.batch_shape)
        assert both.shape == shape
    torch.testing.assert_close(
        torch.distributions.kl_divergence(wide, tall), kl.expand(wide.batch_shape)
    )
    torch.testing.assert_close(
        torch.distributions.kl_divergence(
            p.to_event((p.batch_shape and 1) or 0), q.to_event((q.batch_shape and 1) or 0)
        ),
        kl.sum(-1) if p.batch_shape else kl,
    )


def test_outside_the_support(name: str) -> None:
    density = make(name)
    low, _ = density._bounds
    if low == -torch.inf:
        pytest.skip("the support is the real line")
    outside = torch.full(density.batch_shape, low - 1.0, dtype=density.dtype)
    with pytest.raises(ValueError, match="within the support"):
        density.log_prob(outside)
    density._validate_args = False
    value = outside.requires_grad_()
    assert (density.log_prob(value) == -torch.inf).all()
    assert (density.cdf(value) == 0).all()
    (gradient,) = torch.autograd.grad(density.log_prob(value).sum(), value)
    assert gradient.isfinite().all()


def test_draws_stay_off_the_ends(name: str) -> None:
    density = make(name, dtype=torch.float32)
    ends = density.icdf(torch.tensor([0.0, 1.0]).view(2, *[1] * len(density.batch_shape)))
    unconstrained = biject_to(density.support).inv(ends)
    assert unconstrained.isfinite().all()
    assert density.log_prob(ends).isfinite().all()


def test_table_made_without_gradients_is_not_reused_with_them(name: str) -> None:
    theta = parameters(name).requires_grad_()
    density = DENSITIES[name][0](theta)
    z = density.sample((2,))
    (gradient,) = torch.autograd.grad(density.log_prob(z).sum(), theta)
    fresh = DENSITIES[name][0](theta)
    (expected,) = torch.autograd.grad(fresh.log_prob(z).sum(), theta)
    torch.testing.assert_close(gradient, expected)


def test_kl_divergence(name: str) -> None:
    p, q = make(name), make(name, seed=1)
    kl = torch.distributions.kl_divergence(p, q)
    assert kl.shape == p.batch_shape
    zero = torch.distributions.kl_divergence(p, p)
    torch.testing.assert_close(zero, torch.zeros_like(zero))
    exact = integrate(
        p,
        lambda z: p.log_prob(z).exp() * (p.log_prob(z) - q.log_prob(z)),
        *integration_bounds(p),
    )
    torch.testing.assert_close(kl, exact, rtol=1e-6, atol=1e-6)


def test_two_backward_passes(name: str) -> None:
    """One object serves several losses, as torch's own distributions do."""
    constructor, _ = DENSITIES[name]
    density = constructor(parameters(name).requires_grad_())
    if hasattr(density, "coefficients"):
        density = type(density)(
            density.coefficients.detach().requires_grad_(), density.panels, density.reference
        )
    elif not hasattr(density, "energy"):
        pytest.skip("its components' graph is the caller's")
    z = density.sample((2,))
    losses = []
    for _ in range(2):
        loss = density.log_prob(z).sum() + density.entropy().sum()
        (loss + density.rsample().sum()).backward()
        losses.append(loss.detach())
    torch.testing.assert_close(losses[0], losses[1])


def test_another_sampler_changes_neither_the_law_nor_the_gradient(name: str) -> None:
    theta = parameters(name).requires_grad_()
    constructor, _ = DENSITIES[name]
    density = constructor(theta)
    z = density.sample((5,))
    drawn = density.drawn_by(lambda density, shape: z.expand(shape)).expand(density.batch_shape)
    torch.testing.assert_close(drawn.rsample((5,)), z)
    assert drawn._tables is density._tables
    torch.testing.assert_close(drawn.log_prob(z), density.log_prob(z))
    (gradient,) = torch.autograd.grad(drawn.rsample((5,)).sum(), theta)
    reparameterised = constructor(theta)._with_implicit_gradient(z)
    (expected,) = torch.autograd.grad(reparameterised.sum(), theta)
    torch.testing.assert_close(gradient, expected)
