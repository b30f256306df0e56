"""Energies that are networks: the laws of their brute-force integrals, and a watched resolution."""

import copy

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor
from torch.distributions import Normal

from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.extrapolation import LinearExtrapolation
from lvkam_pyro.kan.parallel import ParallelKAN
from lvkam_pyro.modules.energies import evaluate
from lvkam_pyro.modules.prior import EnergyPrior
from lvkam_pyro.modules.priors import MixturePrior, ProductPrior
from tests.assertions import assert_p_value

ROUGHNESS, VERY_ROUGH = 1.0, 25.0
GRID = torch.linspace(0, 1, 100_001, dtype=torch.float64)


def build(kind: type[EnergyPrior], *, sd: float = ROUGHNESS) -> EnergyPrior:
    prior = kind(2, num_components=3, hidden=(4, 3)).double()
    for parameter in prior.functions.parameters():
        torch.nn.init.normal_(parameter, 0.0, sd)
    return prior


def log_normalizers(prior: EnergyPrior) -> Tensor:
    """By the trapezoidal rule on 100,000 cells: off by less than 1e-7."""
    with torch.no_grad():
        energies = evaluate(prior.functions, GRID[:, None, None].expand(-1, 2, 3))
    peak = energies.amax(0)
    return torch.trapezoid((energies - peak).exp(), GRID, dim=0).log() + peak


def test_densities_are_the_normalised_energies() -> None:
    prior = build(ProductPrior)
    z = torch.rand(50, 2, 3, dtype=torch.float64)
    exact = evaluate(prior.functions, z) - log_normalizers(prior)
    torch.testing.assert_close(prior.densities().log_prob(z), exact, rtol=0, atol=2e-6)


def test_draws_follow_the_density() -> None:
    prior = build(MixturePrior)
    u = prior.densities().cdf(prior().sample((5000,))).detach()
    for column in u.T:
        assert_p_value(kstest(column.numpy(), "uniform").pvalue)


def test_every_layer_has_a_gradient() -> None:
    prior = build(MixturePrior)
    prior().log_prob(prior().rsample((20,))).mean().backward()
    for name, parameter in prior.functions.named_parameters():
        assert bool((parameter.grad != 0).any()), name


def test_tails_are_those_of_the_reference() -> None:
    basis = BSplineBasis(grid_size=6, domain=(-2.0, 2.0))
    prior = MixturePrior(2, basis=basis, hidden=(4,), reference=Normal(0.0, 1.5)).double()
    z = torch.tensor([2.5, 3.0, 6.0], dtype=torch.float64)
    log_prob = prior.densities().log_prob(z[:, None])[:, 0]
    exact = Normal(0.0, 1.5).log_prob(z)
    torch.testing.assert_close(log_prob - log_prob[0], exact - exact[0])


def roughen(prior: EnergyPrior, sd: float) -> int:
    """Coefficients so large that hidden values jump; the number of cells used at once."""
    torch.manual_seed(0)
    for parameter in prior.functions.parameters():
        torch.nn.init.normal_(parameter, 0.0, sd)
    return len(prior.components().breakpoints) - 1


def test_cells_are_cut_until_the_normaliser_stays() -> None:
    """Slopes of 1e7 across the domain pass between 64 cells."""
    assert roughen(MixturePrior(2, hidden=(4, 3)).double(), ROUGHNESS) == 64
    assert roughen(MixturePrior(2, hidden=(4, 3)).double(), VERY_ROUGH) > 64


def test_functions_too_rough_are_warned_about() -> None:
    with pytest.warns(UserWarning, match="too rough to integrate"):
        roughen(MixturePrior(1, hidden=(4, 3)).double(), 1000.0)


def test_resolution_is_looked_at_again_while_training() -> None:
    prior = MixturePrior(2, hidden=(4, 3)).double()
    roughen(prior, ROUGHNESS)
    counts = [roughen(prior, VERY_ROUGH)]
    counts += [len(prior.components().breakpoints) - 1 for _ in range(99)]
    assert counts[:99] == [64] * 99
    assert counts[99] > 64


def test_copies_and_restored_states_are_the_same_law() -> None:
    prior, other = build(ProductPrior), build(ProductPrior)
    other.load_state_dict(prior.state_dict())
    z = torch.rand(5, 2, 3, dtype=torch.float64)
    assert isinstance(prior.functions, ParallelKAN)
    for same in (copy.deepcopy(prior), other):
        torch.testing.assert_close(same().log_prob(z), prior().log_prob(z))
    assert len(prior.summary().rows) == 6


def test_a_basis_with_other_tails_is_refused() -> None:
    """A prior's tails are its reference measure's: a basis that goes on would be cut unseen."""
    basis = BSplineBasis(extrapolation=LinearExtrapolation())
    with pytest.raises(ValueError, match=r"constant outside.*got LinearExtrapolation"):
        MixturePrior(1, basis=basis, reference=Normal(0.0, 1.0))
    assert MixturePrior(1, basis=basis)().event_shape == (1,)


def test_hidden_widths_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="hidden widths of at least 1"):
        MixturePrior(1, hidden=(3, 0))
