"""Latents that all data share: one evidence of the data set."""

from collections.abc import Callable
from functools import partial

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from lvkam_pyro.problems.families.pieces import (
    log_integer,
    log_plane_integral,
    log_uniform,
    nodes_on,
    panels,
    simulate,
)
from lvkam_pyro.problems.family import Family, Half
from lvkam_pyro.problems.linear import normal_log_prob
from lvkam_pyro.problems.problem import Answered

_EFFECTS = (28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0)
_ERRORS = (15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0)


class Schools:
    r"""Effects of groups about a common mean (Rubin 1981, https://doi.org/10.2307/1164617).

    .. math:: \mu \sim N(0, 10^2), \quad \tau \sim \mathrm{HalfCauchy}(10), \quad
              \theta_j \sim N(\mu, \tau^2), \quad y_j \sim N(\theta_j, \sigma_j^2)

    Example:
        >>> data = torch.tensor([_EFFECTS, _ERRORS], dtype=torch.float64).T
        >>> Schools().log_evidence(data)
        tensor([-31.7298], dtype=torch.float64)
    """

    def __call__(self, x: Tensor) -> None:
        """Declares the model of effects and their errors x (N, 2)."""
        mu = pyro.sample("mu", dist.Normal(x.new_zeros(()), 10.0))
        tau = pyro.sample("tau", dist.HalfCauchy(x.new_tensor(10.0)))
        with pyro.plate("schools", len(x)):
            theta = pyro.sample("theta", dist.Normal(mu, tau))
            pyro.sample("y", dist.Normal(theta, x[:, 1]), obs=x[:, 0])

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(y), `(1,)`: normal given the spread, whose logarithm has the nodes."""
        log_tau, log_weights = nodes_on(panels(-15.0, 12.0))
        tau = log_tau.exp()
        y, error = x.double().T
        spread = torch.diag_embed(error.square() + tau.square()[:, None])
        log_likelihood = normal_log_prob(y[None], torch.zeros(len(tau), len(y)).to(y), spread + 100)
        log_masses = log_weights + log_tau + dist.HalfCauchy(10.0).log_prob(tau)
        return (log_masses + log_likelihood).logsumexp(-1)


class Regression:
    r"""Two coefficients behind all data.

    .. math:: \beta \sim N(0, 2^2 I_2), \qquad y_n \sim p(y_n | b_1 t_{n1} + b_2 t_{n2})

    Args:
        likelihood: From the linear predictor, the distribution of a response.

    Example:
        >>> model = Regression(lambda loc: dist.Normal(loc, 1.0))
        >>> model.log_evidence(torch.tensor([[0.0, 1.0, 0.0]]).double())  # log N(0; 0, 5)
        tensor([-1.7237], dtype=torch.float64)
    """

    prior = 2.0

    def __init__(self, likelihood: Callable[[Tensor], TorchDistribution]) -> None:
        self.likelihood = likelihood

    def __call__(self, x: Tensor) -> None:
        """Declares the model of responses and features x (N, 3)."""
        beta = pyro.sample("beta", dist.Normal(x.new_zeros(2), self.prior).to_event(1))
        with pyro.plate("data", len(x)):
            loc = (beta * x[:, 1:]).sum(-1)
            pyro.sample("x", self.likelihood(loc), obs=x[:, 0])

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(y), `(1,)`, by nodes on both coefficients."""
        return log_plane_integral(partial(self._log_joint, x.double()), 7 * self.prior)[None]

    def _log_joint(self, x: Tensor, beta: Tensor) -> Tensor:
        log_prior = dist.Normal(0.0, self.prior).log_prob(beta).sum(-1)
        log_joint: Tensor = log_prior + self.likelihood(beta @ x[:, 1:].T).log_prob(x[:, 0]).sum(-1)
        return log_joint


def _schools() -> Answered:
    """The eight schools, their effects up to four times as large, or from 4 to 20 drawn ones."""
    count, factor = log_integer(4, 20), float(log_uniform(0.25, 4.0))
    chosen = torch.randint(8, (count,))
    x = torch.tensor([_EFFECTS, _ERRORS], dtype=torch.float64).T[chosen]
    x = torch.stack([factor * x[:, 0], x[:, 1]], 1)
    return Schools(), x, Schools().log_evidence(x)


def _sharp_groups() -> Answered:
    """Groups known much better than their spread, or the other way round: a funnel or none."""
    count, spread = log_integer(4, 30), float(log_uniform(0.1, 100.0))
    error = log_uniform(1.0, 10.0, count)
    y = 5 + (spread**2 + error.square()).sqrt() * torch.randn(count, dtype=torch.float64)
    x = torch.stack([y, error], 1)
    return Schools(), x, Schools().log_evidence(x)


def _nested_means() -> Answered:
    """A common mean, one of each of up to 40 groups, and a datum of each group."""
    count, noise = log_integer(5, 40), float(log_uniform(0.05, 2.0))

    def model(x: Tensor) -> None:
        mu = pyro.sample("mu", dist.Normal(x.new_zeros(()), 10.0))
        with pyro.plate("groups", len(x)):
            z = pyro.sample("z", dist.Normal(mu, 1.0))
            pyro.sample("x", dist.Normal(z, noise), obs=x)

    x = simulate(model, torch.zeros(count, dtype=torch.float64))
    covariance = (1 + noise**2) * torch.eye(count).double() + 100
    return model, x, normal_log_prob(x[None], torch.zeros_like(x), covariance)


def _crossed() -> Answered:
    """A table of rows' effects plus columns' effects plus noise."""
    rows, columns = log_integer(3, 10), log_integer(3, 8)
    noise = float(log_uniform(0.1, 2.0))

    def model(x: Tensor) -> None:
        mu = pyro.sample("mu", dist.Normal(x.new_zeros(()), 3.0))
        across, along = pyro.plate("columns", columns, dim=-1), pyro.plate("rows", rows, dim=-2)
        with along:
            a = pyro.sample("a", dist.Normal(x.new_zeros(()), 1.0))
        with across:
            b = pyro.sample("b", dist.Normal(x.new_zeros(()), 1.0))
        with along, across:
            pyro.sample("x", dist.Normal(mu + a + b, noise), obs=x)

    x = simulate(model, torch.zeros(rows, columns, dtype=torch.float64))
    own_row, own_column = (
        torch.kron(torch.eye(rows), torch.ones(columns, columns)).double(),
        torch.kron(torch.ones(rows, rows), torch.eye(columns)).double(),
    )
    covariance = 9 + own_row + own_column + noise**2 * torch.eye(rows * columns).double()
    return model, x, normal_log_prob(x.reshape(1, -1), x.new_zeros(x.numel()), covariance)


def _straight_lines() -> Answered:
    """A linear regression on up to ten features that resemble each other."""
    count, size = log_integer(10, 60), log_integer(2, 10)
    noise, alike = float(log_uniform(0.05, 1.0)), float(torch.rand(()))
    t = torch.randn(count, size, dtype=torch.float64) + 3 * alike * torch.randn(count, 1).double()

    def model(x: Tensor) -> None:
        beta = pyro.sample("beta", dist.Normal(x.new_zeros(size), 1.0).to_event(1))
        with pyro.plate("data", count):
            pyro.sample("x", dist.Normal((beta * t.to(x)).sum(-1), noise), obs=x)

    x = t @ torch.randn(size, dtype=torch.float64)
    x = x + noise * torch.randn_like(x)
    covariance = t @ t.T + noise**2 * torch.eye(count).double()
    return model, x, normal_log_prob(x[None], torch.zeros_like(x), covariance)


def _regression(likelihood: Callable[[Tensor], TorchDistribution]) -> Answered:
    model, count = Regression(likelihood), log_integer(20, 200)
    features = torch.stack([torch.ones(count), torch.randn(count)], 1).double()
    beta = torch.tensor([0.5, -1.0], dtype=torch.float64)
    y = likelihood(features @ beta).sample()
    x = torch.cat([y[:, None], features], 1)
    return model, x, model.log_evidence(x)


def _logistic() -> Answered:
    return _regression(lambda loc: dist.Bernoulli(logits=3 * loc))


def _robust() -> Answered:
    """Noise of Student's t with two degrees of freedom."""
    scale = float(log_uniform(0.1, 1.0))
    return _regression(lambda loc: dist.StudentT(2.0, loc, scale))


FAMILIES = (
    Family("schools", "groups like the eight schools", Half.CHOOSING, _schools, "quadrature"),
    Family("sharp_groups", "groups known well", Half.REPORTING, _sharp_groups, "quadrature"),
    Family("nested_means", "groups' means about a mean", Half.CHOOSING, _nested_means),
    Family("crossed", "rows' plus columns' effects", Half.REPORTING, _crossed),
    Family("straight_lines", "linear regression", Half.CHOOSING, _straight_lines),
    Family("logistic", "logistic regression", Half.REPORTING, _logistic, "tensor quadrature"),
    Family("robust", "regression with outliers", Half.CHOOSING, _robust, "tensor quadrature"),
)
