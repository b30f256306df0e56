"""Regressions: linear, logistic, Poisson, robust, by a module, by a Gaussian process."""

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, PyroSample
from torch import Tensor, nn

from tests.programs.integrals import grid, log_integral
from tests.programs.known import Known, counts, normal, zeros_and_ones


class BayesianRegression(PyroModule):
    """The linear layer of Pyro's tutorial, its weight and bias random."""

    def __init__(self, num_inputs: int) -> None:
        super().__init__()
        self.linear = PyroModule[nn.Linear](num_inputs, 1)
        self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, num_inputs]).to_event(2))
        self.linear.bias = PyroSample(dist.Normal(0.0, 10.0).expand([1]).to_event(1))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        sigma = pyro.sample("sigma", dist.Uniform(0.0, 10.0))
        mean = self.linear(x).squeeze(-1)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("obs", dist.Normal(mean, sigma), obs=y)
        return mean


def evidence_of_linear_layer(x: Tensor, y: Tensor) -> Tensor:
    fixed = 100.0 + x.double() @ x.double().T
    return of_noise(y, fixed, lambda sigma: dist.Uniform(0.0, 10.0).log_prob(sigma))


def of_noise(y: Tensor, fixed: Tensor, log_prior: Callable[[Tensor], Tensor]) -> Tensor:
    """Normal data of a fixed covariance plus noise whose scale below 10 is integrated."""
    zeros, identity = torch.zeros(len(y), dtype=torch.float64), torch.eye(len(y))

    def log_density(logit: Tensor) -> Tensor:
        sigma = 10 * logit.sigmoid()
        log_jacobian = sigma.log() + torch.nn.functional.logsigmoid(-logit)
        covariance = fixed + sigma[:, None, None] ** 2 * identity
        mvn = dist.MultivariateNormal(zeros, covariance)
        return log_prior(sigma) + log_jacobian + mvn.log_prob(y.double())

    return log_integral(log_density, grid(-12.0, 25.0, 1501))


def ruggedness(is_african: Tensor, rugged: Tensor, log_gdp: Tensor | None = None) -> None:
    """Terrain and wealth of nations, with an interaction, as Pyro's tutorial has it."""
    a = pyro.sample("a", dist.Normal(0.0, 10.0))
    b_a = pyro.sample("bA", dist.Normal(0.0, 1.0))
    b_r = pyro.sample("bR", dist.Normal(0.0, 1.0))
    b_ar = pyro.sample("bAR", dist.Normal(0.0, 1.0))
    sigma = pyro.sample("sigma", dist.Uniform(0.0, 10.0))
    mean = a + b_a * is_african + b_r * rugged + b_ar * is_african * rugged
    with pyro.plate("data", len(rugged)):
        pyro.sample("obs", dist.Normal(mean, sigma), obs=log_gdp)


def evidence_of_ruggedness(is_african: Tensor, rugged: Tensor, log_gdp: Tensor) -> Tensor:
    columns = torch.stack([is_african, rugged, is_african * rugged]).double()
    fixed = 100.0 + columns.T @ columns
    return of_noise(log_gdp, fixed, lambda sigma: dist.Uniform(0.0, 10.0).log_prob(sigma))


def logistic_regression(x: Tensor, y: Tensor) -> None:
    weights = pyro.sample("weights", dist.Normal(torch.zeros(2), 1.5).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Bernoulli(logits=(weights * x).sum(-1)), obs=y)


def logistic_by_matmul(x: Tensor, y: Tensor) -> None:
    """The same as most people write it: x @ weights, for one particle."""
    weights = pyro.sample("weights", dist.Normal(torch.zeros(2), 1.5).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Bernoulli(logits=x @ weights), obs=y)


def evidence_of_logistic(x: Tensor, y: Tensor) -> Tensor:
    def log_density(first: Tensor, second: Tensor) -> Tensor:
        logits = first[..., None] * x[:, 0].double() + second[..., None] * x[:, 1].double()
        prior = dist.Normal(0.0, 1.5)
        log_likelihood = dist.Bernoulli(logits=logits).log_prob(y.double()).sum(-1)
        return prior.log_prob(first) + prior.log_prob(second) + log_likelihood

    return log_integral(log_density, grid(-12.0, 12.0, 401), grid(-12.0, 12.0, 401))


def poisson_regression(x: Tensor, exposure: Tensor, y: Tensor) -> None:
    """Counts over times of exposure."""
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    b = pyro.sample("b", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Poisson(exposure * (a + b * x).exp()), obs=y)


def evidence_of_poisson(x: Tensor, exposure: Tensor, y: Tensor) -> Tensor:
    def log_density(a: Tensor, b: Tensor) -> Tensor:
        prior = dist.Normal(0.0, 1.0)
        log_rate = exposure.double().log() + a[..., None] + b[..., None] * x.double()
        log_likelihood = y * log_rate - log_rate.exp() - torch.lgamma(y.double() + 1)
        return prior.log_prob(a) + prior.log_prob(b) + log_likelihood.sum(-1)

    return log_integral(log_density, grid(-8.0, 8.0, 801), grid(-8.0, 8.0, 801))


def robust_regression(x: Tensor, y: Tensor) -> None:
    """Heavy tails, with one outlier."""
    slope = pyro.sample("slope", dist.Normal(0.0, 2.0))
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.StudentT(3.0, slope * x, scale), obs=y)


def evidence_of_robust(x: Tensor, y: Tensor) -> Tensor:
    def log_density(slope: Tensor, log_scale: Tensor) -> Tensor:
        scale = log_scale.exp()
        log_prior = dist.Normal(0.0, 2.0).log_prob(slope) + log_scale
        log_prior = log_prior + dist.HalfNormal(1.0).log_prob(scale)
        likelihood = dist.StudentT(3.0, slope[..., None] * x.double(), scale[..., None])
        return log_prior + likelihood.log_prob(y.double()).sum(-1)

    return log_integral(log_density, grid(-16.0, 16.0, 1601), grid(-9.0, 2.5, 301))


def gaussian_process(x: Tensor, y: Tensor) -> None:
    """One normal vector whose kernel's scale and length are unknown."""
    length = pyro.sample("length", dist.LogNormal(0.0, 0.5))
    variance = pyro.sample("variance", dist.LogNormal(0.0, 0.5))
    square = (x[:, None] - x) ** 2
    kernel = variance[..., None, None] * (-square / (2 * length[..., None, None] ** 2)).exp()
    covariance = kernel + 0.1 * torch.eye(len(x))
    pyro.sample("y", dist.MultivariateNormal(torch.zeros(len(x)), covariance), obs=y)


def process_of_one_particle(x: Tensor, y: Tensor) -> None:
    """The same without further axes for the kernel's parameters."""
    length = pyro.sample("length", dist.LogNormal(0.0, 0.5))
    variance = pyro.sample("variance", dist.LogNormal(0.0, 0.5))
    kernel = variance * (-((x[:, None] - x) ** 2) / (2 * length**2)).exp()
    covariance = kernel + 0.1 * torch.eye(len(x))
    pyro.sample("y", dist.MultivariateNormal(torch.zeros(len(x)), covariance), obs=y)


def evidence_of_process(x: Tensor, y: Tensor) -> Tensor:
    square = ((x[:, None] - x) ** 2).double()

    def log_density(log_length: Tensor, log_variance: Tensor) -> Tensor:
        prior = dist.Normal(0.0, 0.5)
        length, variance = log_length.exp()[..., None, None], log_variance.exp()[..., None, None]
        covariance = variance * (-square / (2 * length**2)).exp() + 0.1 * torch.eye(len(x))
        mvn = dist.MultivariateNormal(torch.zeros(len(x), dtype=torch.float64), covariance)
        return prior.log_prob(log_length) + prior.log_prob(log_variance) + mvn.log_prob(y.double())

    return log_integral(log_density, grid(-4.0, 4.0, 161), grid(-4.0, 4.0, 161))


def horseshoe(x: Tensor, y: Tensor) -> None:
    """Weights that are shrunk one by one and together."""
    tau = pyro.sample("tau", dist.HalfCauchy(0.5))
    with pyro.plate("inputs", x.shape[1]):
        lam = pyro.sample("lambda", dist.HalfCauchy(1.0))
        weight = pyro.sample("weight", dist.Normal(0.0, lam * tau))
    loc = (x * weight[..., None, :]).sum(-1)
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(loc, 0.7), obs=y)


def evidence_of_horseshoe(x: Tensor, y: Tensor) -> Tensor:
    """The two weights are integrated in closed form, the logarithms of scales by quadrature."""
    x, y = x.double() / 0.7, y.double() / 0.7
    gram, moment = x.T @ x, x.T @ y
    constant = -(y @ y) / 2 - len(y) * math.log(0.7 * math.sqrt(2 * math.pi))

    def log_density(log_tau: Tensor, first: Tensor, second: Tensor) -> Tensor:
        log_prior = log_half_cauchy(log_tau, 0.5)
        log_prior = log_prior + log_half_cauchy(first, 1.0) + log_half_cauchy(second, 1.0)
        a = gram[0, 0] + (-2 * (log_tau + first)).exp()
        b = gram[1, 1] + (-2 * (log_tau + second)).exp()
        determinant = a * b - gram[0, 1] ** 2
        square = b * moment[0] ** 2 + a * moment[1] ** 2 - 2 * gram[0, 1] * moment.prod()
        log_volume = 2 * log_tau + first + second + determinant.log() / 2
        return log_prior + constant + square / determinant / 2 - log_volume

    return log_integral(log_density, *[grid(-12.0, 10.0, 45)] * 3)


def log_half_cauchy(log_value: Tensor, scale: float) -> Tensor:
    """The density of the logarithm of a half-Cauchy value."""
    ratio = log_value - math.log(scale)
    return math.log(2 / math.pi) + ratio - torch.log1p((2 * ratio).exp())


INPUTS = normal(41, 10, 2)
LINE = normal(42, 8)
OUTLIER = torch.tensor([0.0, 0.0, 0.0, 6.0, 0.0, 0.0, 0.0, 0.0])
NATIONS = (zeros_and_ones(43, 0.4, 12), normal(44, 12), 8.0 + normal(45, 12))

PROGRAMS = [
    Known(
        "Bayesian linear layer",
        BayesianRegression(2),
        evidence_of_linear_layer,
        (INPUTS, INPUTS[:, 0] - 0.5 + 0.5 * normal(46, 10)),
        stacks=False,
        slow=True,
    ),
    Known("terrain ruggedness", ruggedness, evidence_of_ruggedness, NATIONS),
    Known(
        "logistic regression",
        logistic_regression,
        evidence_of_logistic,
        (INPUTS, (INPUTS[:, 0] > 0).float()),
    ),
    Known(
        "logistic regression by matmul",
        logistic_by_matmul,
        evidence_of_logistic,
        (INPUTS, (INPUTS[:, 0] > 0).float()),
        stacks=False,
        slow=True,
    ),
    Known(
        "Poisson regression",
        poisson_regression,
        evidence_of_poisson,
        (LINE, torch.linspace(0.5, 3.0, 8), counts(47, 2.0, 8)),
    ),
    Known(
        "robust regression",
        robust_regression,
        evidence_of_robust,
        (LINE, LINE + OUTLIER + 0.3 * normal(48, 8)),
    ),
    Known(
        "Gaussian process", gaussian_process, evidence_of_process, (LINE, LINE.sin() + OUTLIER / 9)
    ),
    Known(
        "Gaussian process of one particle",
        process_of_one_particle,
        evidence_of_process,
        (LINE, LINE.sin() + OUTLIER / 9),
        stacks=False,
        slow=True,
    ),
    Known(
        "horseshoe",
        horseshoe,
        evidence_of_horseshoe,
        (INPUTS[:6], INPUTS[:6, 0] + 0.7 * normal(49, 6)),
        is_hard=True,
    ),
]
