"""Distributions whose own sampler has another density than they say: drawn right all the same."""

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from tests.assertions import assert_within_standard_errors

ETA = 2.0


def squared_correlation(x: Tensor) -> None:
    """The likelihood is the square of the last correlation; the evidence its prior mean."""
    root = pyro.sample("root", dist.LKJCholesky(3, ETA))
    pyro.factor("square", (root @ root.mT)[..., 2, 0].square().log() + 0.0 * x.sum())


def squared_correlations(x: Tensor) -> None:
    """The same with a latent for each datum."""
    with pyro.plate("data", len(x)):
        root = pyro.sample("root", dist.LKJCholesky(3, ETA))
        pyro.factor("square", (root @ root.mT)[..., 2, 0].square().log() + 0.0 * x)


@pytest.mark.parametrize("model", [squared_correlation, squared_correlations])
@pytest.mark.parametrize(
    "estimator", [lv.evidence.Importance(40_000), lv.evidence.TemperedSMC(2048)]
)
def test_lkj_is_weighed_by_what_it_draws(
    estimator: lv.evidence.Estimator, model: Callable[[Tensor], None]
) -> None:
    """R = 2 b - 1 with b ~ Beta(a, a), a = eta + 1/2: E r^2 = 1 / (2 a + 1)."""
    evidence = estimator.estimate(model, torch.zeros(2), seed=1)
    exact = torch.full_like(evidence.log_evidence, -math.log(2 * (ETA + 0.5) + 1))
    assert_within_standard_errors(evidence.log_evidence, exact, 1.6 * evidence.standard_error)
