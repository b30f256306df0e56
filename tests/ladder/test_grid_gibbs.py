"""Gibbs on nodes as a ladder's kernel, against exact answers."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from tests.assertions import assert_within_standard_errors
from tests.ladder.chains import chain, draw_data, exact_log_evidence
from tests.tracing import models


def square(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z.square(), 0.05), obs=x)


def ladder(**options: int) -> lv.ladder.Ladder:
    counts = {"num_temperatures": 12, "num_chains": 24, "num_warmup": 10, "num_samples": 20}
    return lv.ladder.Ladder(**{**counts, **options}, kernel=lv.ladder.GridGibbsKernel())


def test_evidence_of_a_chain() -> None:
    model = chain(6)
    x = draw_data(model, 4)
    samples = ladder().sample(model, x)
    exact = exact_log_evidence(model, x)
    for estimator in (lv.evidence.ThermodynamicIntegration(), lv.evidence.SteppingStone()):
        evidence = estimator.estimate_from(samples)
        assert evidence.verdict.reliable, str(evidence.verdict)
        extra = 1e-3 if evidence.discretization_error is None else evidence.discretization_error
        assert_within_standard_errors(
            evidence.log_evidence, exact, evidence.standard_error, extra=extra
        )


def test_draws_of_every_rung_have_the_power_posteriors_moments() -> None:
    """Linear Gaussian: at temperature t the posterior precision is I + t W'W / sigma^2."""
    model = models.LinearGaussian(2, 3)
    x = model.sample(2)
    samples = ladder(num_chains=64).sample(model, x)
    draws = samples.latents["z"].double()
    gram = model.weight.double().T @ model.weight.double() / model.scale**2
    covariance = torch.linalg.inv(torch.eye(2).double() + gram)
    mean = x.double() @ model.weight.double() @ covariance / model.scale**2
    chain_means = draws.mean(0)
    assert_within_standard_errors(
        chain_means.mean(0), mean, chain_means.std(0) / len(chain_means) ** 0.5
    )
    squares = (draws - mean).square().mean(0)
    assert_within_standard_errors(
        squares.mean(0), covariance.diagonal(), squares.std(0) / len(squares) ** 0.5, extra=2e-3
    )


def test_a_bimodal_conditional_is_crossed_at_once() -> None:
    """With x = z^2, the chains of one datum stand in both modes equally often."""
    positive = ladder(num_chains=32).sample(square, torch.ones(3)).latents["z"] > 0
    shares = positive.double().mean(0)
    assert_within_standard_errors(
        shares.mean(0), torch.full((3,), 0.5).double(), shares.std(0) / len(shares) ** 0.5
    )


def test_a_kernel_is_part_of_a_ladder() -> None:
    assert ladder() == ladder() != lv.ladder.Ladder()


def test_other_models_are_refused() -> None:
    with pytest.raises(ValueError, match="normal noise"):
        ladder().sample(models.with_factor, torch.zeros(3))


def test_no_node_is_refused() -> None:
    with pytest.raises(ValueError, match="num_nodes"):
        lv.ladder.GridGibbsKernel(num_nodes=0)
