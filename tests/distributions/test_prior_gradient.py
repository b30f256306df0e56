"""Fisher's identity for energies: grad E_post[log p] = E_post[grad f] - E_prior[grad f].

The prior's expectation comes here from a quadrature of its own, which shares no code with the
library's, and the whole from finite differences besides.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import LogNormal, Normal, Uniform

from lvkam_pyro.distributions.energy import EnergyDistribution
from lvkam_pyro.distributions.logspline import LogSpline, LogSplineMixture
from lvkam_pyro.distributions.mixture import EnergyMixture
from lvkam_pyro.distributions.univariate import UnivariateDensity
from lvkam_pyro.kan.bases.bspline import BSplineBasis

GRID_SIZE, NUM_FUNCTIONS, NUM_COMPONENTS = 6, 9, 3
REFERENCES = {
    "uniform": (Uniform(-2.0, 3.0), (-2.0, 3.0), ()),
    "normal": (Normal(0.5, 1.2), (-2.0, 3.0), (-12.0, 13.0)),
    "lognormal": (LogNormal(0.0, 0.6), (0.0, 3.0), (0.0, 60.0)),
}
"""Name to the measure, the domain of the splines, and where its tails end."""


class Law:
    """Splines of coefficients `(3, K)` on a reference measure, in both forms, and as mixtures."""

    def __init__(self, reference: str) -> None:
        self.reference, self.domain, self.tails = REFERENCES[reference]
        self.basis = BSplineBasis(grid_size=GRID_SIZE, domain=self.domain).double()

    def log_spline(self, theta: Tensor) -> LogSpline:
        table = self.basis.to_polynomials(theta)
        return LogSpline(table, self.basis.breakpoints, self.reference)

    def energy(self, theta: Tensor) -> EnergyDistribution:
        return EnergyDistribution(
            lambda z: (self.basis(z) * theta).sum(-1),
            self.reference,
            breakpoints=self.basis.breakpoints,
        )

    def rule(self) -> tuple[Tensor, Tensor]:
        """40 Gauss-Legendre nodes in each cell, in 30 pieces of each tail."""
        cells = self.basis.breakpoints.tolist()
        low, high = self.tails or self.domain
        pieces = [*np.linspace(low, cells[0], 31), *cells, *np.linspace(cells[-1], high, 31)]
        nodes, weights = np.polynomial.legendre.leggauss(40)
        both = [((a + b + (b - a) * nodes) / 2, (b - a) * weights / 2) for a, b in pairwise(pieces)]
        places, masses = (
            torch.from_numpy(np.concatenate(part)) for part in zip(*both, strict=True)
        )
        inside = masses > 0
        return places[inside], masses[inside]

    def features(self, z: Tensor) -> Tensor:
        """What the gradient of the energy in its coefficients is: the basis, constant outside."""
        return self.basis(z.clamp(*self.domain))

    def prior_expectation(self, theta: Tensor) -> Tensor:
        """Expectations of the features under each density, of shape `(3, K)`."""
        nodes, weights = self.rule()
        features = self.features(nodes)
        log_mass = theta @ features.T + self.reference.log_prob(nodes) + weights.log()
        return log_mass.softmax(-1) @ features


def weighted_draws(law: Law) -> tuple[Tensor, Tensor]:
    """Any weighted points will do for a posterior: `(S, 3)` both, weights of mean total 2."""
    z = law.reference.sample((40, NUM_COMPONENTS)).double().clamp(-8, 8)
    return z, 2 * torch.rand(40, NUM_COMPONENTS, dtype=torch.float64) / 40


def assert_gradient_follows(objective: Callable[[Tensor], Tensor], theta: Tensor) -> None:
    """Along a random direction, by central differences."""
    (gradient,) = torch.autograd.grad(objective(theta), theta)
    direction = torch.randn_like(theta)
    with torch.no_grad():
        ends = [objective(theta + step * direction) for step in (1e-5, -1e-5)]
    difference = (ends[0] - ends[1]) / 2e-5
    torch.testing.assert_close((gradient * direction).sum(), difference, rtol=1e-6, atol=1e-8)


each_reference = pytest.mark.parametrize("reference", REFERENCES)


@each_reference
@pytest.mark.parametrize("form", ["log_spline", "energy"])
def test_posterior_minus_prior_expectation(form: str, reference: str) -> None:
    law = Law(reference)
    theta = 2 * torch.randn(NUM_COMPONENTS, NUM_FUNCTIONS, dtype=torch.float64)
    theta.requires_grad_()
    z, weights = weighted_draws(law)

    def objective(theta: Tensor) -> Tensor:
        density: UnivariateDensity = getattr(law, form)(theta)
        return (weights * density.log_prob(z)).sum()

    (gradient,) = torch.autograd.grad(objective(theta), theta)
    posterior = torch.einsum("sp,spk->pk", weights, law.features(z))
    prior = weights.sum(0)[:, None] * law.prior_expectation(theta.detach())
    torch.testing.assert_close(gradient, posterior - prior, rtol=1e-6, atol=1e-8)
    assert_gradient_follows(objective, theta)


@each_reference
@pytest.mark.parametrize("form", ["log_spline", "energy"])
def test_mixtures_share_the_posterior_by_responsibility(form: str, reference: str) -> None:
    law = Law(reference)
    theta = 2 * torch.randn(NUM_COMPONENTS, NUM_FUNCTIONS, dtype=torch.float64)
    logits = torch.randn(NUM_COMPONENTS, dtype=torch.float64)
    z, weights = (part[:, 0] for part in weighted_draws(law))
    mixture = LogSplineMixture if form == "log_spline" else EnergyMixture

    def objective(parameters: Tensor) -> Tensor:
        density = mixture(getattr(law, form)(parameters[:, 1:]), parameters[:, 0])
        return (weights * density.log_prob(z)).sum()

    parameters = torch.cat([logits[:, None], theta], 1).requires_grad_()
    (gradient,) = torch.autograd.grad(objective(parameters), parameters)
    log_prob = getattr(law, form)(theta).log_prob(z[:, None].expand(-1, NUM_COMPONENTS))
    shares = weights[:, None] * (logits + log_prob).softmax(-1)
    prior = law.prior_expectation(theta)
    expected = torch.einsum("sp,sk->pk", shares, law.features(z)) - shares.sum(0)[:, None] * prior
    torch.testing.assert_close(gradient[:, 1:], expected, rtol=1e-6, atol=1e-8)
    of_logits = shares.sum(0) - weights.sum() * logits.softmax(-1)
    torch.testing.assert_close(gradient[:, 0], of_logits, rtol=1e-6, atol=1e-8)
    assert_gradient_follows(objective, parameters)
