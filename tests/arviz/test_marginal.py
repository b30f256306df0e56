"""az.loo and az.compare on the marginal log likelihood: exact values and calibrated errors."""

from typing import Any

import arviz as az
import numpy as np
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from tests.arviz.test_convert import loo_total, values
from tests.assertions import assert_within_standard_errors
from tests.checks import programs

MODEL = programs.linear_gaussian
pytestmark = pytest.mark.filterwarnings(
    # ArviZ 0.23 sorts in a way of which pandas 3 warns.
    "ignore:The inplace keyword",
)


def evidence_of(log_evidence: Tensor, standard_error: Tensor) -> lv.evidence.Evidence:
    num_data = len(log_evidence)
    return lv.evidence.Evidence(
        log_evidence=log_evidence,
        standard_error=standard_error,
        total=float(log_evidence.sum()),
        total_standard_error=float(standard_error.square().sum().sqrt()),
        diagnostics={},
        verdict=lv.evidence.Verdict(True, (), "", torch.zeros(num_data, dtype=torch.bool)),
        num_likelihood_evaluations=1,
        estimator="Given",
        num_replicates=100,
        data_hash="",
    )


def p_loo(loo: Any) -> float:
    return float(loo["p_loo"] if "p_loo" in dir(loo) else loo.p)


def test_loo_is_the_estimate_less_half_its_variances() -> None:
    """The draws are normal, so that their harmonic mean is exp(value - variance / 2)."""
    estimate = torch.linspace(-60.0, -40.0, 20).double()
    error = torch.linspace(0.0, 0.3, 20).double()
    loo = az.loo(lv.to_arviz(evidence_of(estimate, error), num_draws=10_000))
    variance = float(error.square().sum())
    # The draws' own mean errs by the errors over the square root of their 40,000.
    tolerance = 5 * variance**0.5 / 200
    assert abs(loo_total(loo) - float(estimate.sum()) + variance / 2) < tolerance
    assert abs(p_loo(loo) - variance) < tolerance


def test_compare_gives_the_exact_difference_and_its_spread_over_the_data() -> None:
    torch.manual_seed(0)
    x = programs.draw_data(40)
    exact = programs.exact_log_evidence(x).double(), programs.exact_log_evidence(x + 1).double()
    none = torch.zeros(40).double()
    names = ["right", "shifted"]
    found = {
        name: lv.to_arviz(evidence_of(value, none + 1e-6), num_draws=50)
        for name, value in zip(names, exact, strict=True)
    }
    table = az.compare(found)
    assert list(table.index) == names
    differences = exact[0] - exact[1]
    # ArviZ 1.0 rounds to what the standard error resolves, and turned the sign around.
    assert abs(table["elpd_diff"].iloc[1]) == pytest.approx(float(differences.sum()), rel=0.05)
    spread = float(differences.std(correction=0)) * 40**0.5
    assert table["dse"].iloc[1] == pytest.approx(spread, rel=0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::lvkam_pyro.arviz.weights.UnreliablePosteriorWarning")
def test_error_of_a_guide_covers_the_exact_evidence() -> None:
    """Totals over data that share particles: their draws are correlated, as their errors are."""
    torch.manual_seed(1)
    scores, options = [], {"num_particles": 4000, "num_chains": 2}
    for seed in range(40):
        x = programs.draw_data(6)
        idata = lv.to_arviz(MODEL, x, num_draws=100, seed=seed, **options)
        total = values(idata, "log_likelihood", "x").sum(-1).flatten()
        exact = programs.exact_log_evidence(x).double().sum()
        scores.append(float((total.mean() - exact) / total.std()))
    z = torch.tensor(scores).double()
    assert_within_standard_errors(z.mean(), torch.tensor(0.0).double(), z.std() / len(z) ** 0.5)
    # A chi-square with 40 degrees of freedom, over 40, has standard deviation 0.22.
    assert abs(float(z.square().mean()) - 1) < 4 * (2 / len(z)) ** 0.5


@pytest.mark.parametrize("error", [0.0, 1e-12, 1e-3])
def test_an_exact_evidence_is_no_cause_of_warnings(error: float) -> None:
    estimate = torch.tensor([-0.3, -50.0, 0.0, 1e4]).double()
    loo = az.loo(lv.to_arviz(evidence_of(estimate, torch.full((4,), error).double())))
    assert loo_total(loo) == pytest.approx(float(estimate.sum()), abs=1e-3)


def test_equal_weights_are_no_cause_of_warnings() -> None:
    idata = lv.to_arviz(MODEL, programs.draw_data(3), guide=programs.exact_guide, num_draws=100)
    assert np.isfinite(loo_total(az.loo(idata)))


def test_conditional_log_likelihood_is_kept_from_loo() -> None:
    torch.manual_seed(0)
    x = programs.draw_data(5)
    idata = lv.to_arviz(MODEL, x, guide=programs.exact_guide)
    (name,) = idata["log_likelihood"].data_vars
    assert name == "x"
    conditional = values(idata, "conditional_log_likelihood", "x")
    gap = conditional.mean((0, 1)) - programs.exact_log_evidence(x).double()
    # E log p(x|z) exceeds log p(x) by the divergence of posterior from prior.
    assert np.asarray(gap > 0.5).all()
