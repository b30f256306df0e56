"""Checks of programs of any form: covariates, keyword arguments, latents that all data share."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

import lvkam_pyro as lv
from tests.assertions import (
    TEST_FAILURE_RATE,
    assert_p_value,
    assert_within_standard_errors,
)
from tests.checks import samplers

COVARIATES = torch.linspace(-3, 3, 40)
X = COVARIATES + 1.25**0.5 * torch.randn(40, generator=torch.Generator().manual_seed(0))


def conditional(x: Tensor, *, covariates: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(covariates, 1.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def conditional_guide(x: Tensor, *, covariates: Tensor) -> None:
    """The posterior."""
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal((covariates + 4 * x) / 5, 5**-0.5))


def blind_guide(x: Tensor, *, covariates: Tensor) -> None:
    """The posterior of a model without covariates."""
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.8 * x, 5**-0.5))


def indexed(x: Tensor) -> None:
    """The same, with covariates that the model finds by the indices of its plate."""
    with pyro.plate("data", len(x)) as index:
        z = pyro.sample("z", dist.Normal(COVARIATES[index], 1.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def indexed_guide(x: Tensor) -> None:
    """Its posterior."""
    with pyro.plate("data", len(x)) as index:
        pyro.sample("z", dist.Normal((COVARIATES[index] + 4 * x) / 5, 5**-0.5))


def test_calibration_keeps_the_covariates() -> None:
    right, wrong = (
        lv.checks.sbc(conditional, X, covariates=COVARIATES, posterior=guide)
        for guide in (conditional_guide, blind_guide)
    )
    assert_p_value(right.p_value)
    assert wrong.p_value < TEST_FAILURE_RATE


def test_calibration_keeps_the_indices_of_the_plate() -> None:
    found = lv.checks.sbc(indexed, X, posterior=indexed_guide)
    assert_p_value(found.p_value)


def test_predictions_follow_the_covariates() -> None:
    program = lv.bind(conditional, X, covariates=COVARIATES)
    assert_p_value(lv.checks.prior_predictive_check(program).p_value)
    check = lv.checks.posterior_predictive_check(program, posterior=conditional_guide)
    assert_p_value(check.p_value)
    shifted = lv.checks.prior_predictive_check(conditional, X, covariates=COVARIATES + 2)
    assert shifted.p_value == pytest.approx(12 / 2001, rel=0.5)


def test_values_are_predicted_from_all_others_where_data_share_a_latent() -> None:
    x = torch.randn(30, generator=torch.Generator().manual_seed(1))
    guide = samplers.normal_mean_guide
    found = lv.checks.loo_pit(samplers.normal_mean, x, posterior=guide, num_draws=4000)
    assert found.pit.shape == (30, 1)
    mean = (x.sum() - x) / 30
    exact = Normal(mean, (1 + 1 / 30) ** 0.5).cdf(x).double()
    error = found.standard_error[:, 0]
    # The weights' error is small beside that of the replicates.
    assert_within_standard_errors(found.pit[:, 0], exact, 1.2 * error, extra=1e-3)


def test_replicates_of_data_that_share_a_latent() -> None:
    x = torch.randn(30, generator=torch.Generator().manual_seed(1))
    program, guide = lv.bind(samplers.normal_mean, x), samplers.normal_mean_guide
    found = lv.checks.posterior_predictive_check(program, posterior=guide, num_draws=4000)
    assert found.num_data == 30
    drawn = found.replicated[:, 0].double()
    # Of the posterior's 1/31 and the noise's 1/30.
    variance = torch.tensor(1 / 31 + 1 / 30).double()
    mean = (x.sum() / 31).double()
    assert_within_standard_errors(drawn.mean(), mean, (variance / 4000).sqrt())
    assert_within_standard_errors(drawn.var(), variance, variance * (2 / 4000) ** 0.5)


def narrow_guide(x: Tensor) -> None:
    """Half as wide as the posterior of the mean."""
    pyro.sample("mean", dist.Normal(x.sum() / (len(x) + 1), 0.5 * (len(x) + 1) ** -0.5))


def test_whole_data_sets_are_simulated_where_data_share_a_latent() -> None:
    x = torch.zeros(30)
    right, wrong = (
        lv.checks.sbc(samplers.normal_mean, x, posterior=guide, num_simulations=200)
        for guide in (samplers.normal_mean_guide, narrow_guide)
    )
    assert right.ranks.shape == (200, 2)
    assert_p_value(right.p_value)
    assert wrong.p_value < TEST_FAILURE_RATE


def test_discrete_latents_take_part_in_all_checks() -> None:
    x = torch.tensor([-1.0, 0.5, 3.0, 1.2, -0.3])
    diagnosis = lv.diagnose(samplers.mixture, x, num_simulations=20, num_draws=100)
    made = {one.title for one in diagnosis.checks if one.verdict != "not made"}
    assert {"Simulation-based calibration", "LOO-PIT", "Posterior predictive check"} <= made


def test_checks_of_single_data_are_skipped_where_these_share_a_latent() -> None:
    x = torch.randn(30, generator=torch.Generator().manual_seed(1))
    diagnosis = lv.diagnose(samplers.normal_mean, x, num_simulations=20, num_draws=100)
    skipped = [one.title for one in diagnosis.checks if one.verdict == "not made"]
    assert skipped == ["Prior and aggregate posterior"]
    assert diagnosis.num_data == 30
    evidence = diagnosis[lv.checks.EvidenceCheck]
    assert evidence.headline.endswith(" nats")
    assert evidence.table()[0][1] == "nats"
    (row,) = evidence.comparison
    assert row.evidence.unit == "data set"
    assert "datum" not in str(row.evidence).split("Verdict")[0]
