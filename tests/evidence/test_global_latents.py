"""Evidence of whole data sets: vague priors, many coordinates, many data, against exact answers."""

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.evidence.estimator import Estimator
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.session import LargestArray
from tests.assertions import assert_within_standard_errors

WIDER = 1.6
"""Student's tail of 16 replicates over the normal one, at the suite's rate."""


class Regression:
    """Normal noise of scale 1 about a linear function with standard normal weights."""

    def __init__(self, num_weights: int, num_data: int, dtype: torch.dtype = torch.float64) -> None:
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(num_data, num_weights, generator=generator, dtype=torch.float64)
        weights = torch.randn(num_weights, generator=generator, dtype=torch.float64)
        noise = torch.randn(num_data, generator=generator, dtype=torch.float64)
        self.x, self.y = x.to(dtype), (x @ weights + noise).to(dtype)

    def __call__(self, y: Tensor) -> None:
        zeros = self.x.new_zeros(self.x.shape[-1])
        w = pyro.sample("w", dist.Normal(zeros, 1.0).to_event(1))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal((self.x * w).sum(-1), 1.0), obs=y)

    def exact(self) -> Tensor:
        x, y = self.x.double(), self.y.double()
        precision = torch.eye(x.shape[-1]).double() + x.T @ x
        moment = x.T @ y
        fit = moment @ torch.linalg.solve(precision, moment)
        constant = len(y) * math.log(2 * math.pi) + torch.linalg.slogdet(precision)[1]
        return -(y.square().sum() - fit + constant) / 2


def assert_exact(
    estimator: Estimator, model: Callable[[Tensor], None], y: Tensor, exact: Tensor
) -> None:
    evidence = estimator.estimate(model, y)
    assert evidence.verdict.reliable, str(evidence)
    assert evidence.num_data == 1
    total = torch.tensor([evidence.total]).double()
    error = torch.tensor([WIDER * evidence.total_standard_error]).double()
    assert_within_standard_errors(total, exact.reshape(1), error, extra=1e-6 * abs(float(exact)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_weights", [5, 30], ids=lambda count: f"D{count}")
def test_a_linear_regression_of_many_weights(num_weights: int, dtype: torch.dtype) -> None:
    model = Regression(num_weights, 200, dtype)
    assert_exact(lv.evidence.Auto(), model, model.y, model.exact())


def vague(y: Tensor) -> None:
    """A mean and a variance of which the prior says nothing."""
    mean = pyro.sample("mean", dist.Normal(y.new_zeros(()), 1000.0))
    variance = pyro.sample("variance", dist.InverseGamma(y.new_tensor(0.001), 0.001))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mean, variance.sqrt()), obs=y)


def vague_evidence(y: Tensor) -> Tensor:
    """By the trapezoid rule over the log variance, the mean integrated in closed form."""
    y = y.double()
    log_variance = torch.linspace(-15, 40, 40_001).double()
    variance, count = log_variance.exp(), len(y)
    spread = (y - y.mean()).square().sum() / variance + count * (2 * math.pi * variance).log()
    of_mean = dist.Normal(0.0, (1e6 + variance / count).sqrt()).log_prob(y.mean())
    likelihood = -spread / 2 + (2 * math.pi * variance / count).log() / 2 + of_mean
    prior = dist.InverseGamma(torch.tensor(0.001).double(), 0.001).log_prob(variance) + log_variance
    return (likelihood + prior).logsumexp(0) + (log_variance[1] - log_variance[0]).log()


def vague_groups(y: Tensor) -> None:
    """The same above groups of one reading each, with known noise: a centred hierarchy."""
    mean = pyro.sample("mean", dist.Normal(y.new_zeros(()), 1000.0))
    variance = pyro.sample("variance", dist.InverseGamma(y.new_tensor(0.001), 0.001))
    with pyro.plate("groups", len(y)):
        effect = pyro.sample("effect", dist.Normal(mean, variance.sqrt()))
        pyro.sample("y", dist.Normal(effect, 0.3), obs=y)


def vague_groups_evidence(y: Tensor) -> Tensor:
    y = y.double()
    log_variance = torch.linspace(-15, 40, 40_001).double()
    variance, count = log_variance.exp(), len(y)
    total = variance + 0.09
    spread = (y - y.mean()).square().sum() / total + count * (2 * math.pi * total).log()
    of_mean = dist.Normal(0.0, (1e6 + total / count).sqrt()).log_prob(y.mean())
    likelihood = -spread / 2 + (2 * math.pi * total / count).log() / 2 + of_mean
    prior = dist.InverseGamma(torch.tensor(0.001).double(), 0.001).log_prob(variance) + log_variance
    return (likelihood + prior).logsumexp(0) + (log_variance[1] - log_variance[0]).log()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("model", "exact"), [(vague, vague_evidence), (vague_groups, vague_groups_evidence)]
)
def test_vague_priors(
    model: Callable[[Tensor], None], exact: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> None:
    y = torch.tensor([2.1, -0.4, 3.3, 1.7, 0.2, 2.9, -1.1, 4.0], dtype=dtype)
    assert_exact(lv.evidence.MixtureImportance(), model, y, exact(y))
    assert_exact(lv.evidence.MixtureSMC(), model, y, exact(y))


BOUNDED = {
    "importance": lambda: lv.evidence.Importance(256),
    "mixture": lambda: lv.evidence.MixtureImportance(64, num_pilots=32, num_moves=1),
}


@pytest.mark.parametrize("make", BOUNDED.values(), ids=BOUNDED)
def test_the_memory_of_many_data_is_bounded(make: Callable[[], Estimator]) -> None:
    model = Regression(5, 20_000, torch.float32)
    program = bind(model, model.y)
    with LargestArray() as largest:
        make().estimate(program)
    assert largest.num_values <= 2**23
