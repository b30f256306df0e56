"""Learned reference measures: the laws of scipy, and gradients of finite differences."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import Gamma

from lvkam_pyro.distributions.univariate import UnivariateDensity
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.modules.prior import EnergyPrior
from lvkam_pyro.modules.priors import MixturePrior, ProductPrior
from lvkam_pyro.modules.reference import LogNormalReference, NormalReference, ReferenceMeasure

# The mass below, inside and above the domain: every panel and both tails take part.
NORMALS = {"inside": (0.3, 0.5), "wide": (0.0, 4.0), "above": (5.0, 0.7), "below": (-12.0, 1.5)}
every_normal = pytest.mark.parametrize(("loc", "scale"), NORMALS.values(), ids=NORMALS)
STEP = 1e-4


def build(measure: ReferenceMeasure, low: float = -1.0, *, sd: float = 0.0) -> MixturePrior:
    basis = BSplineBasis(grid_size=6, domain=(low, 2.0))
    prior = MixturePrior(2, num_components=2, basis=basis, reference=measure).double()
    with torch.no_grad():
        coefficients = prior.functions.coefficients
        coefficients.copy_(sd * torch.randn_like(coefficients))
        prior.logits.normal_()
    return prior


def normal_prior(loc: float, scale: float, *, sd: float = 1.0) -> MixturePrior:
    return build(NormalReference(loc, scale), sd=sd)


@every_normal
def test_without_energy_the_prior_is_the_normal(loc: float, scale: float) -> None:
    """To the quadrature (1e-9) wherever the normal lies; its parameters are single floats."""
    prior = normal_prior(loc, scale, sd=0.0)
    exact = stats.norm(prior.measure.loc.item(), prior.measure.scale.item())
    assert_is(prior.densities(), exact)


@pytest.mark.parametrize(("loc", "scale"), [(0.0, 0.5), (2.0, 0.3), (-3.0, 1.5)])
def test_without_energy_the_prior_is_the_lognormal(loc: float, scale: float) -> None:
    prior = build(LogNormalReference(loc, scale), low=0.0)
    measure = prior.measure
    assert_is(prior.densities(), stats.lognorm(measure.scale.item(), scale=np.exp(loc)))


def assert_is(density: UnivariateDensity, exact: Any) -> None:
    levels = np.linspace(0.01, 0.99, 21)
    z = torch.as_tensor(exact.ppf(levels))[:, None].expand(-1, 2)
    with torch.no_grad():
        log_prob, cdf = density.log_prob(z)[:, 0], density.cdf(z)[:, 0]
        quantiles = density.icdf(torch.as_tensor(levels)[:, None])[:, 0]
    np.testing.assert_allclose(log_prob, exact.logpdf(z[:, 0]), rtol=0, atol=1e-8)
    np.testing.assert_allclose(cdf, levels, rtol=0, atol=1e-8)
    np.testing.assert_allclose(quantiles, z[:, 0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(density.mean.detach()[0], exact.mean(), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(density.stddev.detach()[0], exact.std(), rtol=1e-7)
    np.testing.assert_allclose(density.entropy().detach()[0], exact.entropy(), atol=1e-7)


def assert_gradient(prior: EnergyPrior, value: Callable[[], Tensor], accuracy: float) -> None:
    """Autograd in every parameter of the measure against central differences of `value`."""
    parameters = list(prior.measure.parameters())
    exact = torch.autograd.grad(value(), parameters)
    for parameter, gradient in zip(parameters, exact, strict=True):
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * STEP
                sides.append(value().item())
                parameter -= sign * STEP
        difference = (sides[0] - sides[1]) / (2 * STEP)
        assert gradient.item() == pytest.approx(difference, rel=accuracy, abs=accuracy)


@every_normal
def test_gradient_of_the_normaliser(loc: float, scale: float) -> None:
    """Log Z enters every log density; differences of step 1e-4 are right to 1e-6."""
    prior = normal_prior(loc, scale)
    z = torch.tensor([[-0.5, 1.5], [0.2, 0.9]], dtype=torch.float64)
    assert_gradient(prior, lambda: prior().log_prob(z).sum(), accuracy=1e-5)
    assert_gradient(prior, lambda: prior.densities().entropy().sum(), accuracy=1e-5)


@every_normal
def test_gradient_of_draws(loc: float, scale: float) -> None:
    """The implicit gradient is that of the quantile function at the same probability."""
    prior = normal_prior(loc, scale)
    u = torch.linspace(0.02, 0.98, 7, dtype=torch.float64)[:, None].expand(-1, 2)

    def quantiles() -> Tensor:
        density = prior.densities()
        return density._with_implicit_gradient(density.icdf(u)).sum()

    assert_gradient(prior, quantiles, accuracy=1e-4)


def test_reparameterised_draws_carry_the_gradient() -> None:
    """Without energy a draw is loc + scale e: its derivative in loc is 1, per draw."""
    prior = normal_prior(0.3, 0.8, sd=0.0)
    draws = prior().rsample((50,))
    (gradient,) = torch.autograd.grad(draws.sum(), prior.measure.loc)
    assert gradient.item() == pytest.approx(draws.numel(), rel=1e-6)


def test_the_normal_learns_where_the_latents_are() -> None:
    """From far above the domain to the maximum of the likelihood, which is known."""
    prior = ProductPrior(1, reference=NormalReference(18.0, 1.0))
    with torch.no_grad():
        prior.functions.coefficients.zero_()
    z = 20 + 0.5 * torch.randn(2000, 1, 1)
    optimiser = torch.optim.Adam(prior.measure.parameters(), lr=0.1)
    for _ in range(200):
        optimiser.zero_grad()
        (-prior().log_prob(z).mean()).backward()
        optimiser.step()
    assert prior.measure.loc.item() == pytest.approx(z.mean().item(), abs=1e-3)
    assert prior.measure.scale.item() == pytest.approx(z.std().item(), rel=1e-2)


def test_a_distribution_keeps_the_measure_it_was_made_with() -> None:
    prior = normal_prior(0.3, 0.8)
    density = prior.densities()
    z = torch.zeros(2, dtype=torch.float64)
    before = density.log_prob(z)
    with torch.no_grad():
        prior.measure.loc += 3
    torch.testing.assert_close(density.log_prob(z), before)
    assert not torch.allclose(prior.densities().log_prob(z), before)


def test_copies_and_restored_states_are_the_same_law() -> None:
    prior = normal_prior(2.0, 0.5)
    prior().rsample().sum().backward()
    other = normal_prior(0.0, 1.0)
    other.load_state_dict(prior.state_dict())
    z = torch.randn(5, 2, dtype=torch.float64)
    for same in (copy.deepcopy(prior), other):
        torch.testing.assert_close(same().log_prob(z), prior().log_prob(z))
        torch.testing.assert_close(same.densities().cdf(z), prior.densities().cdf(z))


BAD_INPUT: list[tuple[Callable[[], object], str]] = [
    (lambda: NormalReference(torch.nan), "loc=nan"),
    (lambda: NormalReference(0.0, 0.0), "scale=0.0"),
    (lambda: LogNormalReference(0.0, -1.0), "above 0"),
    (lambda: LogNormalReference(0.0, torch.inf), "scale=inf"),
    (lambda: MixturePrior(1, reference=torch.distributions.Uniform(0.0, 2.0)), "reach"),
    (lambda: MixturePrior(1, reference=Gamma(2.0, 1.0)), "with icdf"),
    (lambda: build(LogNormalReference(), low=-1.0), r"inside the support \[0"),
]


@pytest.mark.parametrize(("call", "match"), BAD_INPUT)
def test_bad_input(call: Callable[[], object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize("prior", [MixturePrior, ProductPrior])
def test_flat_measure_follows_a_loaded_domain(prior: type) -> None:
    wide = prior(2, num_components=2, basis=BSplineBasis(domain=(-2.0, 3.0), grid_size=5))
    narrow = prior(2, num_components=2, basis=BSplineBasis(grid_size=5))
    z = wide().sample((5,))
    narrow().log_prob(narrow().sample((5,)))
    narrow.load_state_dict(wide.state_dict())
    assert narrow.reference.low == -2.0
    assert narrow.reference.high == 3.0
    torch.testing.assert_close(narrow().log_prob(z), wide().log_prob(z))
