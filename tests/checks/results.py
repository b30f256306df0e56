"""A result of every check, of good and of bad samplers and data."""

from collections.abc import Callable
from functools import cache

import torch

import lvkam_pyro as lv
from lvkam_pyro.checks.check import CheckResult
from tests.checks import programs
from tests.checks.programs import linear_gaussian

X = torch.randn(12, programs.NUM_OUTPUTS, generator=torch.Generator().manual_seed(0))
LADDER = lv.ladder.Ladder(num_temperatures=5, num_chains=6, num_warmup=20, num_samples=20)


@cache
def climb() -> lv.ladder.LadderSamples:
    return LADDER.sample(linear_gaussian, X)


def compare() -> lv.comparison.EvidenceComparison:
    estimators = [lv.evidence.Importance(256), lv.evidence.ELBO()]
    return lv.compare_evidence(
        linear_gaussian, X, estimators, guide=programs.exact_guide, progress=False
    )


CHECKS: dict[str, Callable[[], CheckResult]] = {
    "weights": lambda: lv.checks.check_weights(
        lv.draw_particles(linear_gaussian, programs.wide_guide, X, num_particles=300)
    ),
    "bad weights": lambda: lv.checks.check_weights(9 * torch.randn(300, 5)),
    "chains": lambda: lv.checks.check_convergence(climb()),
    "SBC": lambda: lv.checks.sbc(
        linear_gaussian, X, posterior=programs.exact_guide, num_simulations=30
    ),
    "bad SBC": lambda: lv.checks.sbc(linear_gaussian, X, posterior=lv.PriorGuide(linear_gaussian)),
    "prior predictive": lambda: lv.checks.prior_predictive_check(linear_gaussian, X, num_draws=50),
    "bad predictive": lambda: lv.checks.prior_predictive_check(linear_gaussian, 9 * X),
    "posterior predictive": lambda: lv.checks.posterior_predictive_check(
        linear_gaussian, X, posterior=programs.exact_guide, num_draws=50
    ),
    "LOO-PIT": lambda: lv.checks.loo_pit(
        linear_gaussian, X, posterior=programs.exact_guide, num_draws=50
    ),
    "bad LOO-PIT": lambda: lv.checks.loo_pit(
        linear_gaussian, 9 * X, posterior=programs.exact_guide, num_draws=50
    ),
    "mismatch": lambda: lv.checks.prior_posterior_mismatch(
        linear_gaussian, X, posterior=programs.exact_guide, num_draws=50
    ),
    "bad mismatch": lambda: lv.checks.prior_posterior_mismatch(
        linear_gaussian, X + 5, posterior=programs.exact_guide, num_draws=50
    ),
    "evidence": lambda: lv.checks.EvidenceCheck(compare()),
}
