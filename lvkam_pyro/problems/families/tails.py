"""Heavy tails of the prior, of the noise or of both."""

from collections.abc import Callable

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from lvkam_pyro.problems.families.pieces import (
    NUM_DATA,
    Product,
    log_integer,
    log_uniform,
    normal_product,
    panels,
)
from lvkam_pyro.problems.family import Family, Half
from lvkam_pyro.problems.problem import Answered

_WIDE = panels(-60.0, 60.0, 6000)
"""Panels for latents of heavy tails, of which the data leave next to nothing beyond."""


def _heavy(
    degrees: float, likelihood: Callable[[Tensor], TorchDistribution], x: Tensor
) -> Answered:
    """Independent latents of Student's t distribution."""
    model = Product(lambda zeros: dist.StudentT(degrees, zeros, 1.0), likelihood, _WIDE)
    return model, x, model.log_evidence(x)


def _student_prior() -> Answered:
    """Many latents, sharp data, some of them far out."""
    scale, shape = float(log_uniform(0.03, 0.3)), (NUM_DATA, log_integer(2, 20))
    z = dist.StudentT(2.0, torch.zeros(shape).double(), 1.0).sample().clamp(-20, 20)
    return _heavy(2.0, lambda y: dist.Normal(y, scale), z + scale * torch.randn_like(z))


def _cauchy_prior() -> Answered:
    """A noise that is not normal: no estimator sees that the model is a sum."""
    scale, shape = float(log_uniform(0.1, 1.0)), (NUM_DATA, log_integer(1, 6))
    z = dist.Cauchy(torch.zeros(shape).double(), 1.0).sample().clamp(-30, 30)
    return _heavy(1.0, lambda y: dist.Laplace(y, scale), z + scale * torch.randn_like(z))


def _conflict() -> Answered:
    """Student's t against Student's t far away: a mode at each."""
    x = 4 + 8 * torch.rand(NUM_DATA, log_integer(1, 5), dtype=torch.float64)
    return _heavy(3.0, lambda y: dist.StudentT(3.0, y, 1.0), x)


def _student_noise() -> Answered:
    """Rotated normal latents; one output in ten is far out."""
    scale = float(log_uniform(0.03, 0.5))
    model, x = normal_product(log_integer(2, 10), lambda y: dist.StudentT(2.0, y, scale))
    return model, x, model.log_evidence(x)


def _cauchy_noise() -> Answered:
    """Data three times further out than the prior: prior and noise both explain them."""
    scale = float(log_uniform(0.03, 0.3))
    model, x = normal_product(log_integer(1, 5), lambda y: dist.Cauchy(y, scale))
    x = 3 * torch.randn_like(x)
    return model, x, model.log_evidence(x)


FAMILIES = (
    Family("student_prior", "latents of Student's t", Half.CHOOSING, _student_prior, "quadratures"),
    Family("cauchy_prior", "Cauchy latents", Half.REPORTING, _cauchy_prior, "quadratures"),
    Family("conflict", "heavy tails in conflict", Half.CHOOSING, _conflict, "quadratures"),
    Family("student_noise", "noise of Student's t", Half.REPORTING, _student_noise, "quadratures"),
    Family("cauchy_noise", "Cauchy noise", Half.CHOOSING, _cauchy_noise, "quadratures"),
)
