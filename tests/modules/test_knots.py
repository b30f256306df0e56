"""Knots that follow the posterior: the same densities, on cells where the samples are."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Beta, Normal, kl_divergence

import lvkam_pyro as lv
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.radial import RBFBasis
from lvkam_pyro.modules.prior import EnergyPrior
from lvkam_pyro.modules.priors import MixturePrior, ProductPrior

SAMPLES = torch.stack([Beta(40.0, 10.0).sample((2000,)), Beta(3.0, 30.0).sample((2000,))], -1)


def build(kind: type[EnergyPrior] = MixturePrior, **kwargs: Any) -> EnergyPrior:
    basis = kwargs.pop("basis", BSplineBasis(grid_size=10))
    return kind(2, num_components=3, basis=basis, **kwargs)


def samples_of(prior: EnergyPrior) -> Tensor:
    shape = (500, *prior().event_shape)
    return SAMPLES[:500].view(500, 2, *[1] * (len(shape) - 2)).expand(shape)


every_prior = pytest.mark.parametrize("kind", [MixturePrior, ProductPrior])


@every_prior
def test_parabolas_are_the_same_densities(kind: type[EnergyPrior]) -> None:
    """Cubic splines on any knots hold them: the change is the rounding of float32."""
    prior = build(kind)
    z = torch.linspace(0, 1, 60, dtype=torch.float64)
    basis = copy.deepcopy(prior.functions.basis).double()
    values = (-8 * (z - 0.4) ** 2)[:, None]
    with torch.no_grad():
        prior.functions.coefficients.copy_(torch.linalg.lstsq(basis(z), values).solution)
    before = prior().log_prob(samples_of(prior))
    update = prior.update_knots(samples_of(prior), tolerance=1e-8)
    assert update.kl.shape == prior.densities().batch_shape
    assert float(update.log_ratio.max()) < 1e-4
    torch.testing.assert_close(prior().log_prob(samples_of(prior)), before, rtol=0, atol=1e-4)


@every_prior
def test_cells_follow_the_samples_of_each_latent(kind: type[EnergyPrior]) -> None:
    prior = build(kind)
    prior.update_knots(samples_of(prior), tolerance=math.inf)
    breakpoints = prior.functions.basis.breakpoints
    assert breakpoints.shape == (2, 11)
    assert torch.equal(breakpoints[:, [0, -1]], torch.tensor([[0.0, 1.0]] * 2))
    middle = SAMPLES[:500].median(0).values
    torch.testing.assert_close(breakpoints[:, 5], 0.95 * middle + 0.05 * 0.5, rtol=0, atol=2e-3)


def test_report_is_of_the_densities() -> None:
    """KL and log ratio against those of the priors before and after, computed by hand."""
    prior = build()
    torch.nn.init.normal_(prior.functions.coefficients, 0.0, 1.0)
    old = copy.deepcopy(prior).double().densities()
    with pytest.warns(UserWarning, match="changed a density by more than the tolerance"):
        update = prior.update_knots(SAMPLES)
    new = copy.deepcopy(prior).double().densities()
    z = old.icdf(torch.linspace(0.001, 0.999, 999).double()[:, None].expand(-1, 2))
    log_ratio = (old.log_prob(z) - new.log_prob(z)).abs().amax(0)
    torch.testing.assert_close(update.kl, kl_divergence(old, new).detach())
    torch.testing.assert_close(update.log_ratio, log_ratio.detach(), rtol=1e-3, atol=0)
    grid = torch.linspace(0, 1, 200_001).double()[:, None].expand(-1, 2)
    log_p, log_q = old.log_prob(grid).detach(), new.log_prob(grid).detach()
    exact = torch.trapezoid(log_p.exp() * (log_p - log_q), grid, dim=0)
    torch.testing.assert_close(update.kl, exact, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("reference", [None, Normal(0.5, 0.4)], ids=["uniform", "normal"])
@every_prior
def test_moved_prior_is_normalised_and_drawn(
    kind: type[EnergyPrior], reference: Normal | None
) -> None:
    prior = build(kind, reference=reference).double()
    torch.nn.init.normal_(prior.functions.coefficients, 0.0, 2.0)
    prior.update_knots(samples_of(prior).double(), tolerance=math.inf)
    densities = prior.densities()
    grid = torch.linspace(-4, 5, 400_001, dtype=torch.float64)
    column = grid.view(-1, *[1] * len(densities.batch_shape))
    with torch.no_grad():
        inside = (column >= 0) & (column <= 1) if reference is None else column > -9
        values = densities.log_prob(column.clamp(0, 1) if reference is None else column).exp()
    mass = torch.trapezoid(values * inside, grid, dim=0)
    torch.testing.assert_close(mass, torch.ones_like(mass), rtol=0, atol=1e-4)
    z = prior().rsample((200,))
    z.sum().backward()
    assert prior.functions.coefficients.grad.isfinite().all()
    u = densities.cdf(z.detach())
    torch.testing.assert_close(densities.icdf(u), z.detach(), rtol=0, atol=1e-5)


def test_moved_prior_is_restored_copied_summarised_and_moved_again() -> None:
    prior, other = build(), build()
    prior.update_knots(SAMPLES, tolerance=math.inf)
    other.load_state_dict(prior.state_dict())
    z = torch.rand(7, 2)
    for same in (other, copy.deepcopy(prior)):
        torch.testing.assert_close(same().log_prob(z), prior().log_prob(z))
    assert len(prior.summary().rows) == 2
    assert len(lv.plots.prior_densities(prior)) == 2
    assert prior.update_knots(SAMPLES).kl.max() < 1e-6


def test_a_narrow_posterior_is_learned_better_on_knots_that_follow_it() -> None:
    """Maximum likelihood of 8 cells on a posterior of sd 0.01: held-out nats per datum."""
    z = 0.37 + 0.01 * torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    losses = []
    for follows in (False, True):
        prior = MixturePrior(1, basis=BSplineBasis(grid_size=8))
        if follows:
            prior.update_knots(z, tolerance=math.inf)
        optimizer = torch.optim.Adam(prior.parameters(), lr=0.3)
        for _ in range(150):
            optimizer.zero_grad()
            loss = -prior().log_prob(z[:2000]).mean()
            loss.backward()
            optimizer.step()
        losses.append(-prior().log_prob(z[2000:]).mean().item())
    entropy = 0.5 * math.log(2 * math.pi * math.e) + math.log(0.01)
    # The mean of 2000 log densities is known to 0.016; the eight equal cells lack 0.18.
    assert losses[0] > entropy + 0.1
    assert losses[1] == pytest.approx(entropy, abs=0.05)


BAD_INPUT: list[tuple[Callable[[], object], str]] = [
    (lambda: build().update_knots(torch.rand(5, 3)), r"\(\.\.\., 2\).*got \(5, 3\)"),
    (lambda: build().update_knots(torch.rand(2)), "one dimension before the latents"),
    (lambda: build(ProductPrior).update_knots(torch.rand(9, 2)), r"\(\.\.\., 2, 3\)"),
    (lambda: build().update_knots(SAMPLES, ratio=0.0), "ratio"),
    (lambda: build().update_knots(torch.full((9, 2), torch.nan)), "NaN"),
    (lambda: build(basis=RBFBasis()).update_knots(SAMPLES), "layer of B-splines"),
]


@pytest.mark.parametrize(("call", "match"), BAD_INPUT)
def test_bad_input(call: Callable[[], object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call()
