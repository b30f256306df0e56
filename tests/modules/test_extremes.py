"""Priors at their limits: energies of 10,000 nats, a thousand latents, dozens of components."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.modules.prior import EnergyPrior
from lvkam_pyro.modules.priors import MixturePrior, ProductPrior
from lvkam_pyro.modules.reference import NormalReference, ReferenceMeasure

HEIGHT = 1e4
Reference = Distribution | ReferenceMeasure | None
REFERENCES: dict[str, Callable[[], Reference]] = {
    "uniform": lambda: None,
    "normal": lambda: Normal(0.5, 1.0),
    "learned normal": lambda: NormalReference(0.5, 1.0),
}
every_reference = pytest.mark.parametrize("reference", REFERENCES.values(), ids=REFERENCES)
every_prior = pytest.mark.parametrize("kind", [MixturePrior, ProductPrior])


def build(
    kind: type[EnergyPrior], reference: Distribution | ReferenceMeasure | None
) -> EnergyPrior:
    """Lines of slope 10,000 both ways, a wave between -10,000 and 10,000, and nothing."""
    basis = BSplineBasis(grid_size=8, degree=1)
    prior = kind(2, num_components=2, basis=basis, reference=reference)
    line = torch.linspace(-HEIGHT, HEIGHT, 9)
    wave = HEIGHT * torch.tensor([1.0, -1.0]).repeat(5)[:9]
    columns = torch.stack([line, -line, wave, torch.zeros(9)]).view(2, 2, 9).movedim(-1, 1)
    with torch.no_grad():
        prior.functions.coefficients.copy_(columns)
    return prior


@every_reference
@every_prior
def test_energies_of_ten_thousand_stay_finite(
    kind: type[EnergyPrior], reference: Callable[[], Reference]
) -> None:
    prior = build(kind, reference())
    z = prior().rsample((200,))
    assert z.isfinite().all()
    log_prob = prior().log_prob(torch.cat([z.detach(), torch.rand_like(z)]))
    assert log_prob.isfinite().all()
    (log_prob.mean() + z.mean()).backward()
    for name, parameter in prior.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_steep_line_is_the_exponential() -> None:
    """Its slope is 20,000 per unit: draws lie 1/20,000 below the end, the density is its own."""
    prior = build(ProductPrior, None).double()
    slope = 2 * HEIGHT
    density = prior.densities()
    below = torch.tensor([0.1, 1.0, 5.0, 100.0], dtype=torch.float64) / slope
    z = (1 - below).view(-1, 1, 1).expand(-1, 2, 2)
    exact = torch.log(torch.tensor(slope)) - slope * below
    # The place 1 - z is known to 1e-16, times the slope.
    torch.testing.assert_close(density.log_prob(z)[:, 0, 0], exact.double(), rtol=1e-6, atol=1e-6)
    distances = 1 - prior().sample((4000,))[:, 0, 0]
    # The mean of 4000 exponential draws, to four of its standard errors.
    assert float(distances.mean() * slope) == pytest.approx(1, abs=4 / 4000**0.5)


def test_gradient_of_a_steep_line_is_known() -> None:
    """D log p(z) / dc_k = phi_k(z) - E phi_k, and the exponential has all its mass at the end."""
    prior = build(ProductPrior, None).double()
    z = torch.full((1, 2, 2), 0.5, dtype=torch.float64)
    prior.densities().log_prob(z)[0, 0, 0].backward()
    gradient = prior.functions.coefficients.grad[0, :, 0]
    exact = torch.zeros(9, dtype=torch.float64)
    near_end = 8 / (2 * HEIGHT)
    exact[4], exact[8], exact[7] = 1.0, near_end - 1, -near_end
    torch.testing.assert_close(gradient, exact, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("kind", "shape"), [(MixturePrior, (64, 64)), (ProductPrior, (250, 8))])
def test_many_latents_and_components(kind: type[EnergyPrior], shape: tuple[int, int]) -> None:
    prior = kind(shape[0], num_components=shape[1])
    assert_same_as_one_latent(prior, prior().rsample((3,)))


def assert_same_as_one_latent(prior: EnergyPrior, z: Tensor) -> None:
    """The last latent's log density is that of a prior of it alone."""
    alone = type(prior)(1, num_components=prior.num_components)
    with torch.no_grad():
        alone.functions.coefficients.copy_(prior.functions.coefficients[-1:])
    last = prior.densities().log_prob(z)[:, -1:]
    torch.testing.assert_close(alone.densities().log_prob(z[:, -1:]), last)
