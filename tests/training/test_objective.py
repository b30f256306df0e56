"""The empirical Bayes objective: Fisher's gradient, exact where the posterior is known."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI
from scipy.stats import t as student_t
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.training.objective import Dreams
from tests.assertions import TEST_FAILURE_RATE, assert_within_standard_errors


class Shifted(pyro.nn.PyroModule):
    """z ~ N(0, 1), x ~ N(z + shift, 1): the evidence is N(shift, 2) and its gradient known."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, x: Tensor) -> None:
        zero = torch.zeros((), dtype=x.dtype)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(zero, 1.0))
            pyro.sample("x", dist.Normal(z + self.shift, 1.0), obs=x)


class ExactGuide(pyro.nn.PyroModule):
    """The posterior of Shifted at its first shift, with a trainable offset."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = torch.nn.Parameter(torch.tensor(0.0, dtype=torch.float64))

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x - 0.3) / 2 + self.offset, 0.5**0.5))


X = torch.tensor([-1.0, 0.2, 2.0], dtype=torch.float64)


def exact_loss(x: Tensor, shift: float) -> Tensor:
    return -dist.Normal(torch.tensor(shift), 2**0.5).log_prob(x).sum()


def test_loss_is_minus_the_evidence_under_the_exact_posterior() -> None:
    model, guide = Shifted(), ExactGuide()
    loss = lv.EmpiricalBayes(4)(model, guide)(X)
    torch.testing.assert_close(loss, exact_loss(X, 0.3))


@pytest.mark.parametrize("proposal", ["prior", "posterior"])
def test_gradient_is_fishers(proposal: str) -> None:
    model = Shifted()
    guide = lv.PriorGuide(model) if proposal == "prior" else ExactGuide()
    objective = lv.EmpiricalBayes(20_000)(model, guide)
    gradients = []
    for _ in range(16):
        (gradient,) = torch.autograd.grad(objective(X), model.shift)
        gradients.append(gradient)
    assert_mean(torch.stack(gradients), float(-((X - 0.3) / 2).sum()))


def test_guide_is_pulled_to_the_posterior() -> None:
    model, guide = Shifted(), ExactGuide()
    with torch.no_grad():
        guide.offset.fill_(0.5)
    objective = lv.EmpiricalBayes(2000)(model, guide)
    gradients = [torch.autograd.grad(objective(X), guide.offset)[0] for _ in range(16)]
    # - d/d offset of E_posterior[log q] is offset / variance for each of the three data; that of
    # self-normalised weights is biased by about 1 / S, far below the error of 16 replicates.
    assert_mean(torch.stack(gradients), 3 * 0.5 / 0.5)


def test_particles_carry_no_gradient_to_the_guide_through_the_model() -> None:
    """Under the exact posterior the weights are equal and the guide's gradient has mean zero."""
    model, guide = Shifted(), ExactGuide()
    objective = lv.EmpiricalBayes(20_000)(model, guide)
    (gradient,) = torch.autograd.grad(objective(X), guide.offset)
    error = (3 / 0.5 / 20_000) ** 0.5  # three data, score variance 1 / variance
    limit = float(dist.Normal(0.0, 1.0).icdf(torch.tensor(1 - TEST_FAILURE_RATE / 2)))
    assert abs(float(gradient)) < limit * error


def test_svi_takes_it_as_a_loss() -> None:
    fitted = []
    for seed in range(8):
        pyro.set_rng_seed(seed)
        pyro.clear_param_store()
        model, guide = Shifted(), ExactGuide()
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), loss=lv.EmpiricalBayes(64))
        for _ in range(200):
            svi.step(X)
        fitted.append(pyro.param("shift").detach())
    assert_mean(torch.stack(fitted), float(X.mean()))


def test_loss_and_grads_adds_to_the_gradients() -> None:
    model = Shifted()
    elbo = lv.EmpiricalBayes(64)
    value = elbo.loss_and_grads(model, lv.PriorGuide(model), X)
    first = model.shift.grad.clone()
    elbo.loss_and_grads(model, lv.PriorGuide(model), X)
    assert isinstance(value, float)
    assert model.shift.grad != first


def test_loss_alone_leaves_no_gradients() -> None:
    model = Shifted()
    assert isinstance(lv.EmpiricalBayes(64).loss(model, lv.PriorGuide(model), X), float)
    assert model.shift.grad is None


def test_subsampled_plates_are_scaled_to_the_whole() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", 30, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=x.dtype), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", 30, subsample_size=len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))

    loss = lv.EmpiricalBayes(4).loss(model, guide, X)
    assert loss == pytest.approx(10 * float(exact_loss(X, 0.0)))


def test_lbfgs_climbs_on_full_batches() -> None:
    assert_mean(torch.stack([lbfgs_fit(seed) for seed in range(8)]), float(X.mean()))


def lbfgs_fit(seed: int) -> Tensor:
    """The shift of largest estimated evidence, with the same draws in every evaluation."""
    model = Shifted()
    objective = lv.EmpiricalBayes(2000)(model, lv.PriorGuide(model))
    optimizer = torch.optim.LBFGS(objective.parameters(), max_iter=20)

    def closure() -> Tensor:
        pyro.set_rng_seed(seed)
        optimizer.zero_grad()
        loss = objective(X)
        loss.backward()
        return loss

    optimizer.step(closure)
    return model.shift.detach()


def assert_mean(replicates: Tensor, exact: float) -> None:
    """The mean of independent replicates is exact, by Student's t at the suite's rate."""
    error = float(replicates.std()) / len(replicates) ** 0.5
    limit = student_t.isf(TEST_FAILURE_RATE / 2, len(replicates) - 1)
    assert abs(float(replicates.mean()) - exact) < limit * error


def test_one_particle_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 particles, got num_particles = 1"):
        lv.EmpiricalBayes(1)


def test_dreams_pull_the_guide_to_the_posterior() -> None:
    """In dreams the guide's score is E[(z - mean) / variance]: only an offset has a mean."""
    model, guide = Shifted(), ExactGuide()
    with torch.no_grad():
        guide.offset.fill_(0.5)
    x = torch.zeros(40_000, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(
        -Dreams.of(bind(model, x)).log_guide(bind(model, x), guide).mean(),
        guide.offset,
    )
    # The score has variance 1 / 0.5 about its mean 0.5 / 0.5.
    assert_within_standard_errors(
        gradient, torch.tensor(1.0), torch.tensor((1 / 0.5 / len(x)) ** 0.5)
    )


def test_dreams_leave_the_loss_and_the_models_gradient_alone() -> None:
    losses, gradients = [], []
    for weight in (0.0, 1.0):
        model, guide = Shifted(), ExactGuide()
        pyro.set_rng_seed(3)
        loss = lv.EmpiricalBayes(4, sleep_weight=weight)(model, guide)(X)
        losses.append(loss)
        gradients.append(torch.autograd.grad(loss, [model.shift, guide.offset]))
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(gradients[0][0], gradients[1][0])
    assert gradients[0][1] != gradients[1][1]


def test_a_model_of_something_else_than_its_argument_does_not_dream() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=x.dtype), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=2 * x)

    assert Dreams.of(bind(model, X)) is None
    loss = lv.EmpiricalBayes(4, sleep_weight=1.0).loss(model, ExactGuide(), X)
    assert math.isfinite(loss)
