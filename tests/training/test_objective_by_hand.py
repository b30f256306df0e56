"""The objective in training loops of the user's own: Adam, L-BFGS, SVI."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI
from torch import Tensor, nn

import lvkam_pyro as lv
from tests.training.toy import FactorModel, toy_data

X = toy_data(60).double()


def small_model() -> lv.LVKAM:
    torch.manual_seed(2)
    basis = lv.BSplineBasis(grid_size=4)
    return lv.LVKAM(
        lv.MixturePrior(2, num_components=2, basis=basis),
        lv.KANGenerator(2, 3, basis=basis),
        lv.NormalLikelihood(3, scale=0.5),
    ).double()


class Fixed(pyro.nn.PyroModule):
    """q(z | x) = Normal(0, 1.5), for ever."""

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(2), 1.5).to_event(1))


def closure_of(objective: nn.Module, optimizer: torch.optim.Optimizer) -> object:
    def closure() -> Tensor:
        torch.manual_seed(0)
        optimizer.zero_grad()
        loss = objective(X)
        loss.backward()
        return loss

    return closure


MODELS = {
    "hand-written": (lambda: FactorModel().double(), lambda model: Fixed()),
    "ready-made": (small_model, lambda model: lv.PriorGuide(copy.deepcopy(model))),
}


@pytest.mark.parametrize(("build", "guide_of"), MODELS.values(), ids=MODELS)
def test_gradient_is_that_of_the_seeded_value(build: object, guide_of: object) -> None:
    """Along a random direction, against the central difference: what a line search relies on."""
    model = build()
    objective = lv.EmpiricalBayes(16)(model, guide_of(model))
    parameters = list(model.parameters())
    direction = [torch.randn_like(p) for p in parameters]
    torch.manual_seed(0)
    gradients = torch.autograd.grad(objective(X), parameters)
    slope = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))

    def value(step: float) -> Tensor:
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p.add_(step * d)
            torch.manual_seed(0)
            loss = objective(X)
            for p, d in zip(parameters, direction, strict=True):
                p.sub_(step * d)
        return loss

    # Error of the difference: h^2 of the third derivative, and rounding of the value over h.
    h = 1e-5
    difference = (value(h) - value(-h)) / (2 * h)
    torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-4)


def test_gradient_of_a_prior_that_is_learned_is_not_that_of_the_seeded_value() -> None:
    """Why the documentation says to freeze it: its own draws move with the parameters."""
    model = small_model()
    objective = lv.EmpiricalBayes(16)(model, lv.PriorGuide(model))
    coefficients = model.prior.functions.coefficients
    torch.manual_seed(0)
    (gradient,) = torch.autograd.grad(objective(X), coefficients)
    values = []
    with torch.no_grad():
        for step in (1e-5, -2e-5):
            coefficients.add_(step * gradient)
            torch.manual_seed(0)
            values.append(objective(X))
    difference = (values[0] - values[1]) / 2e-5
    assert (difference / gradient.square().sum() - 1).abs() > 0.01


def test_lbfgs_on_all_data_finds_a_stationary_point() -> None:
    model = small_model()
    objective = lv.EmpiricalBayes(32)(model, lv.PriorGuide(copy.deepcopy(model)))
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=60, line_search_fn="strong_wolfe", tolerance_grad=1e-3
    )
    closure = closure_of(objective, optimizer)
    before = closure()
    start = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    optimizer.step(closure)
    after = closure()
    end = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    assert after < before - 30
    assert end < 0.02 * start


def test_closure_gives_the_same_value_each_time() -> None:
    model = small_model()
    objective = lv.EmpiricalBayes(8)(model, lv.AmortizedGuide(model, X, hidden=(4,)).double())
    closure = closure_of(objective, torch.optim.SGD(objective.parameters(), lr=0.0))
    assert torch.equal(closure(), closure())


def test_svi_and_torch_make_the_same_updates() -> None:
    """One seed, plain gradient descent: the same draws, hence the same weights."""
    weights = []
    for by_svi in (True, False):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        model = FactorModel().double()
        guide, elbo = Fixed(), lv.EmpiricalBayes(8)
        if by_svi:
            svi = SVI(model, guide, pyro.optim.SGD({"lr": 1e-3}), loss=elbo)
        else:
            objective = elbo(model, guide)
            optimizer = torch.optim.SGD(objective.parameters(), lr=1e-3)
        for step in range(5):
            pyro.set_rng_seed(step)
            if by_svi:
                svi.step(X)
                continue
            optimizer.zero_grad()
            objective(X).backward()
            optimizer.step()
        weights.append([p.detach().clone() for p in model.parameters()])
    assert len(weights[0]) == 3
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-12, atol=0)


def test_svi_refuses_the_second_instance_of_a_class() -> None:
    """The documented limit: Pyro's store would train the first one's parameters instead."""
    first, second = (
        SVI(FactorModel().double(), Fixed(), pyro.optim.SGD({"lr": 1e-3}), lv.EmpiricalBayes(8))
        for _ in range(2)
    )
    first.step(X)
    with pytest.raises(ValueError, match="those of a second instance of the class"):
        second.step(X)
