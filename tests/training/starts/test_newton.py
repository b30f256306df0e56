"""The prior's M-step: the maximum that others find, monotone, at every prior, in place."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Beta, Normal

from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.fourier import FourierBasis
from lvkam_pyro.kan.bases.nonuniform import NonUniformBSplineBasis
from lvkam_pyro.kan.regularization import roughness
from lvkam_pyro.modules.prior import EnergyPrior
from lvkam_pyro.modules.priors import MixturePrior, ProductPrior
from lvkam_pyro.training.starts.newton import NewtonMStep

KNOTS = torch.tensor(
    [[0.0, 0.1, 0.2, 0.6, 1.0], [0.0, 0.4, 0.6, 0.8, 1.0], [0.0, 0.2, 0.5, 0.6, 1.0]]
)
PRIORS: dict[str, Callable[[], EnergyPrior]] = {
    "one component": lambda: MixturePrior(3),
    "mixture": lambda: MixturePrior(3, num_components=2),
    "equal weights": lambda: MixturePrior(3, num_components=2, learn_weights=False),
    "own knots": lambda: MixturePrior(3, basis=NonUniformBSplineBasis(KNOTS)),
    "product of own knots": lambda: ProductPrior(
        3, num_components=2, basis=NonUniformBSplineBasis(KNOTS)
    ),
    "waves": lambda: MixturePrior(3, basis=FourierBasis(5)),
    "product": lambda: ProductPrior(3, num_components=2),
    "base activation": lambda: MixturePrior(3, base_activation=torch.sin),
    "tails": lambda: MixturePrior(3, reference=Normal(0.5, 1.0), base_activation=torch.sin),
}
each_prior = pytest.mark.parametrize("name", PRIORS)


def draws(prior: EnergyPrior, *shape: int) -> Tensor:
    """Latents of a law that is neither uniform nor equal for all."""
    event = prior().event_shape
    skew = torch.linspace(1.0, 3.0, event.numel()).view(event)
    z = Beta(skew, 2.0).sample(shape).clamp(1e-4, 1 - 1e-4)
    # Where the reference has tails, some draws lie in them.
    return 2 * z - 0.5 if isinstance(prior.reference, Normal) else z


def mean_log_prior(prior: EnergyPrior, z: Tensor, weights: Tensor, smoothness: float) -> Tensor:
    """The objective by its definition."""
    total = (weights * prior().log_prob(z)).sum()
    return (total - smoothness * roughness(prior.functions)) / weights.sum()


@each_prior
def test_objective_is_the_penalised_mean_log_prior_and_rises(name: str) -> None:
    prior = PRIORS[name]().double()
    z = draws(prior, 4, 100).double()
    weights = torch.rand(4, 100, dtype=torch.float64).softmax(0)
    before = mean_log_prior(prior, z, weights, 0.3)
    step = NewtonMStep(num_rounds=5, smoothness=0.3)(prior, z, weights)
    after = mean_log_prior(prior, z, weights, 0.3)
    # The two quadratures agree to what the densities promise.
    torch.testing.assert_close(step.objective[0], before, rtol=0, atol=1e-6)
    torch.testing.assert_close(step.objective[-1], after, rtol=0, atol=1e-6)
    assert (step.objective.diff() >= -1e-12).all()
    assert after > before + 0.02
    assert step.missing < 1e-10


@pytest.mark.parametrize("name", sorted(set(PRIORS) - {"mixture", "equal weights"}))
def test_gradient_vanishes_at_the_maximum(name: str) -> None:
    prior = PRIORS[name]().double()
    z = draws(prior, 1, 400).double()
    weights = torch.ones(1, 400, dtype=torch.float64)
    NewtonMStep(smoothness=0.2, tolerance=1e-14)(prior, z, weights)
    mean_log_prior(prior, z, weights, 0.2).backward()
    assert prior.functions.coefficients.grad.abs().max() < 1e-6


def test_agrees_with_lbfgs() -> None:
    """A quadratic energy on a normal, whose maximum is a normal in closed form, and beyond it."""
    data = Normal(0.7, 0.6).sample((1, 300, 1)).double().clamp(-4.9, 4.9)
    basis = BSplineBasis(grid_size=6, domain=(-5.0, 5.0))
    newton = MixturePrior(1, basis=basis, reference=Normal(0.0, 1.0)).double()
    other = MixturePrior(1, basis=basis, reference=Normal(0.0, 1.0)).double()
    weights = torch.ones(1, 300, dtype=torch.float64)
    step = NewtonMStep(smoothness=0.01)(newton, data)
    optimizer = torch.optim.LBFGS(
        other.parameters(), max_iter=2000, tolerance_grad=1e-9, tolerance_change=1e-14
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = -mean_log_prior(other, data, weights, 0.01)
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    with torch.no_grad():
        found = [mean_log_prior(prior, data, weights, 0.01) for prior in (newton, other)]
    torch.testing.assert_close(*found, rtol=0, atol=1e-8)
    assert step.num_steps[0] <= 10


def test_a_mixture_of_em_rounds_agrees_with_adam() -> None:
    prior = MixturePrior(2, num_components=2).double()
    z = torch.cat([Beta(2.0, 9.0).sample((1, 300, 2)), Beta(9.0, 3.0).sample((1, 100, 2))], 1)
    z = z.double()
    weights = torch.ones(1, 400, dtype=torch.float64)
    step = NewtonMStep(num_rounds=500, smoothness=0.5)(prior, z)
    optimizer = torch.optim.Adam(prior.parameters(), lr=1e-3)
    for _ in range(200):
        optimizer.zero_grad()
        (-mean_log_prior(prior, z, weights, 0.5)).backward()
        optimizer.step()
    gained = mean_log_prior(prior, z, weights, 0.5) - step.objective[-1]
    # What EM's last rounds had left, or less.
    assert gained < 1e-3


def test_parameters_change_in_place_and_stay_contiguous() -> None:
    prior = MixturePrior(2, num_components=3)
    coefficients, logits = prior.functions.coefficients, prior.logits
    strides = coefficients.stride()
    version = coefficients._version
    NewtonMStep(smoothness=0.1)(prior, draws(prior, 1, 50))
    assert prior.functions.coefficients is coefficients
    assert prior.logits is logits
    assert coefficients.is_contiguous()
    assert coefficients.stride() == strides
    assert coefficients._version > version
    assert coefficients.dtype == torch.float32
    assert coefficients.grad is None
    torch.testing.assert_close(logits.logsumexp(-1), torch.zeros(2))


def test_equal_weights_stay_equal() -> None:
    prior = MixturePrior(2, num_components=3, learn_weights=False)
    NewtonMStep(smoothness=0.1)(prior, draws(prior, 1, 50))
    assert not prior.logits.any()


def test_functions_that_are_switched_off_stay_off() -> None:
    prior = MixturePrior(2, num_components=2)
    mask = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    prior.functions.set_mask(mask)
    before = prior.functions.coefficients.detach().clone()
    step = NewtonMStep(num_rounds=3, smoothness=0.1)(prior, draws(prior, 1, 100))
    moved = (prior.functions.coefficients != before).any(1)
    assert (moved == mask.bool()).all()
    assert (step.objective.diff() > -1e-6).all()


def test_shared_draws_are_weighted_by_all_data() -> None:
    """Draws `(S, 1, Q)` with weights `(S, N)` are the same as draws repeated for each datum."""
    z, weights = torch.rand(30, 1, 2).double(), torch.rand(30, 7).double().softmax(0)
    steps, log_priors = [], []
    for shared in (z, z.expand(30, 7, 2)):
        torch.manual_seed(0)
        prior = MixturePrior(2).double()
        steps.append(NewtonMStep(smoothness=0.5)(prior, shared, weights))
        log_priors.append(prior().log_prob(z))
    torch.testing.assert_close(steps[0].objective, steps[1].objective)
    torch.testing.assert_close(*log_priors)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    z = torch.rand(3, 50, 2)
    objectives = []
    for size in (2**14, 7):
        monkeypatch.setattr("lvkam_pyro.training.starts.newton._BLOCK", size)
        torch.manual_seed(0)
        objectives.append(NewtonMStep(smoothness=0.5)(MixturePrior(2), z).objective)
    torch.testing.assert_close(*objectives)


Z = torch.rand(4, 5, 3)
WRONG: dict[str, tuple[Tensor, Tensor | None, str]] = {
    "latents": (Z[..., :2], None, r"\(S, N, 3\).*got \(4, 5, 2\)"),
    "no particles": (Z[0], None, r"\(S, N, 3\).*first dimension of 1"),
    "nothing": (Z[:0], None, r"got \(0, 5, 3\)"),
    "not finite": (Z / 0, None, "60 that are not"),
    "weights' shape": (Z, torch.ones(4), r"weights of shape \(S, N\)"),
    "weights of other data": (Z, torch.ones(4, 6), r"weights of shape \(S, N\)"),
    "negative": (Z, -torch.ones(4, 5), "Exponentiate log weights"),
    "zero": (Z, torch.zeros(4, 5), "one at least positive"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_draws(case: str) -> None:
    z, weights, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        NewtonMStep()(MixturePrior(3), z, weights)


def test_a_prior_of_networks_is_refused() -> None:
    with pytest.raises(TypeError, match=r"linear in its coefficients, got ParallelKAN"):
        NewtonMStep()(MixturePrior(3, hidden=(2,)), Z)


@pytest.mark.parametrize(
    "wrong", [{"num_rounds": 0}, {"max_steps": 0}, {"smoothness": -1.0}, {"tolerance": 0.0}]
)
def test_wrong_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        NewtonMStep(**wrong)
