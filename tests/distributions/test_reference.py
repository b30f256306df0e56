"""The panels of the tails: exact where the reference measure is almost all below or above."""

from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import (
    Beta,
    Cauchy,
    Distribution,
    Exponential,
    Gamma,
    Gumbel,
    Laplace,
    LogNormal,
    Normal,
    StudentT,
)

from lvkam_pyro.distributions.energy import EnergyDistribution
from lvkam_pyro.distributions.panels import unit_nodes
from lvkam_pyro.distributions.reference import lower_tail, upper_tail

REFERENCES: dict[str, Distribution] = {
    "normal": Normal(0.3, 1.2),
    "normal far above": Normal(9.0, 0.5),
    "normal far below": Normal(-40.0, 1.0),
    "wide normal": Normal(0.0, 50.0),
    "narrow normal": Normal(0.0, 0.02),
    "lognormal": LogNormal(0.0, 1.0),
    "Laplace": Laplace(0.2, 1.0),
    "Gumbel": Gumbel(torch.tensor(0.0).double(), torch.tensor(1.0).double()),
    "Cauchy": Cauchy(0.0, 1.0),
    "exponential": Exponential(1.0),
}
every_reference = pytest.mark.parametrize("reference", REFERENCES.values(), ids=REFERENCES)


def build(reference: Distribution, energy: Callable[[Tensor], Tensor]) -> EnergyDistribution:
    low = 0.0 if isinstance(reference, Exponential | LogNormal) else 0.2
    breakpoints = torch.linspace(low, 2.0, 9, dtype=torch.float64)
    return EnergyDistribution(energy, reference, breakpoints=breakpoints)


@every_reference
def test_no_energy_gives_the_reference_itself(reference: Distribution) -> None:
    """Wherever its mass lies: log Z = 0 to the quadrature, and so is the distribution function."""
    density = build(reference, torch.zeros_like)
    levels = torch.linspace(0.01, 0.99, 23, dtype=torch.float64)
    z = reference.icdf(levels)
    torch.testing.assert_close(density.log_prob(z), reference.log_prob(z), rtol=0, atol=1e-7)
    torch.testing.assert_close(density.cdf(z), levels, rtol=0, atol=1e-7)
    torch.testing.assert_close(density.cdf(density.icdf(levels)), levels, rtol=0, atol=1e-7)


@every_reference
def test_tail_keeps_the_shape_of_the_reference(reference: Distribution) -> None:
    """Where the energy lifts the tail, its conditional law is the reference's own."""
    density = build(reference, lambda z: 3 * z)
    above = torch.tensor([0.3, 0.7, 0.99], dtype=torch.float64)
    z = torch.as_tensor(2.0 + above)
    own, exact = density.log_prob(z), reference.log_prob(z)
    torch.testing.assert_close(own - own[0], exact - exact[0])


def test_deep_tail_of_a_normal_has_its_mass() -> None:
    """Beyond 30 standard deviations, lifted by as much: no mass is cut, though it is 1e-197."""
    start = torch.tensor(30.0, dtype=torch.float64)
    edges = torch.cat([start[None], upper_tail(start, Normal(0.0, 1.0))])
    nodes, weights = unit_nodes(edges)
    widths = edges.diff()[:, None]
    log_density = Normal(0.0, 1.0).log_prob(edges[:-1, None] + widths * nodes)
    log_mass = float((log_density + (widths * weights).log()).flatten().logsumexp(0))
    assert log_mass == pytest.approx(stats.norm.logsf(30.0), abs=1e-9)


def test_tails_mirror_each_other() -> None:
    start = torch.tensor(0.7, dtype=torch.float64)
    upper = upper_tail(start, Normal(0.0, 2.0))
    torch.testing.assert_close(lower_tail(-start, Normal(0.0, 2.0)), -upper.flip(0))


def test_tails_carry_no_gradient() -> None:
    loc = torch.tensor(0.0, requires_grad=True)
    start = torch.tensor(0.5, dtype=torch.float64)
    for reference in (Normal(loc, 1.0), LogNormal(loc, 1.0), Laplace(loc, 1.0)):
        assert not upper_tail(start, reference).requires_grad
        assert not lower_tail(start, reference).requires_grad


@pytest.mark.parametrize("breakpoints", [8, torch.linspace(0, 3, 9)])
@pytest.mark.parametrize("reference", [Gamma(2.0, 1.0), StudentT(3.0)])
def test_a_tail_without_cdf_or_icdf_is_refused(
    reference: Distribution, breakpoints: Tensor | int
) -> None:
    with pytest.raises(ValueError, match="with icdf and cdf"):
        EnergyDistribution(lambda z: 0 * z, reference, breakpoints=breakpoints)


def test_a_bounded_reference_needs_neither() -> None:
    density = EnergyDistribution(lambda z: 0 * z, Beta(2.0, 3.0), breakpoints=8)
    torch.testing.assert_close(density.mean, torch.tensor(0.4))
