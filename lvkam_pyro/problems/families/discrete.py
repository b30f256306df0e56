"""Counts, choices and yes or no."""

from functools import partial

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from lvkam_pyro.problems.families.pieces import (
    NUM_DATA,
    log_integer,
    log_plane_integral,
    log_uniform,
    normal_product,
    simulate,
)
from lvkam_pyro.problems.family import Family, Half
from lvkam_pyro.problems.problem import Answered
from lvkam_pyro.problems.shapes import LabelSwitching


class Choices:
    r"""Two latents behind answers of several kinds, each question with loadings of its own.

    .. math:: z \sim N(0, I_2), \qquad x_o \sim \mathrm{Categorical}(\mathrm{softmax}(W_o z + b_o))

    Args:
        weight: W, `(O, C, 2)` in float64.
        bias: b, `(O, C)`.

    Example:
        >>> model = Choices(torch.zeros(5, 2, 2).double(), torch.zeros(5, 2).double())
        >>> model.log_evidence(torch.zeros(1, 5).double())  # -5 log 2
        tensor([-3.4657], dtype=torch.float64)
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight = weight
        self.bias = bias

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the answers x (N, O)."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            logits = self._logits(z)
            pyro.sample("x", dist.Categorical(logits=logits).to_event(1), obs=x)

    def _logits(self, z: Tensor) -> Tensor:
        return torch.einsum("ocq,...q->...oc", self.weight.to(z), z) + self.bias.to(z)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`."""
        return torch.stack([log_plane_integral(partial(self._log_joint, row), 8.0) for row in x])

    def _log_joint(self, row: Tensor, z: Tensor) -> Tensor:
        log_prior = dist.Normal(0.0, 1.0).log_prob(z).sum(-1)
        log_joint: Tensor = log_prior + dist.Categorical(logits=self._logits(z)).log_prob(row).sum(
            -1
        )
        return log_joint


def _poisson() -> Answered:
    """Rates from 1 to 1000, which a count knows well or hardly."""
    rate = float(log_uniform(1.0, 1000.0))
    model, x = normal_product(
        log_integer(2, 10), lambda y: dist.Poisson(rate * (y - 1).clamp(max=20.0).exp())
    )
    return model, x, model.log_evidence(x)


def _binomial() -> Answered:
    """Of 10 to 10,000 trials."""
    trials = log_integer(10, 10_000)
    model, x = normal_product(log_integer(2, 10), lambda y: dist.Binomial(trials, logits=2 * y))
    return model, x, model.log_evidence(x)


def _bernoulli() -> Answered:
    """One bit a latent: the posterior is close to the prior."""
    steepness = float(log_uniform(1.0, 30.0))
    model, x = normal_product(
        log_integer(4, 20), lambda y: dist.Bernoulli(logits=steepness * (y - 0.5))
    )
    return model, x, model.log_evidence(x)


def _choices() -> Answered:
    shape = (log_integer(10, 40), log_integer(2, 4))
    weight = float(log_uniform(0.5, 5.0)) * torch.randn(*shape, 2, dtype=torch.float64)
    model = Choices(weight, torch.randn(shape, dtype=torch.float64))
    x = simulate(model, torch.zeros(NUM_DATA, shape[0], dtype=torch.float64)).double()
    return model, x, model.log_evidence(x)


def _exchangeable() -> Answered:
    """Points of two components that overlap or not, which can change places."""
    model = LabelSwitching(scale=float(log_uniform(0.4, 2.0)))
    x = simulate(model, torch.zeros(NUM_DATA, log_integer(5, 20), dtype=torch.float64))
    return model, x, model.log_evidence(x)


FAMILIES = (
    Family("poisson", "counts of rotated latents", Half.CHOOSING, _poisson, "quadratures"),
    Family("binomial", "trials of rotated latents", Half.REPORTING, _binomial, "quadratures"),
    Family("bernoulli", "bits of rotated latents", Half.CHOOSING, _bernoulli, "quadratures"),
    Family("choices", "answers to questions, 2-D", Half.REPORTING, _choices, "tensor quadrature"),
    Family(
        "exchangeable",
        "exchangeable components, 2-D",
        Half.CHOOSING,
        _exchangeable,
        "tensor quadrature",
    ),
)
