"""The pooled calibration of an estimator, on results whose errors are known."""

from dataclasses import replace

import pytest
import torch

import lvkam_pyro as lv
from lvkam_pyro.problems.problem import Problem
from lvkam_pyro.problems.report import Calibration
from lvkam_pyro.problems.validation import ValidationTrial
from tests.evidence.results import result

EXACT = torch.tensor([-1.0, -2.0]).double()


def trial(estimates: list[float], **options: float) -> ValidationTrial:
    evidence = result("m", "A", estimates, **options).evidence
    problem = Problem(
        name="p", title="p", model=lambda x: None, x=EXACT, log_evidence=EXACT, source="by hand"
    )
    return ValidationTrial(problem, "A", (evidence,), 1.0)


def test_z_scores_and_coverage_are_pooled() -> None:
    # An error of 0.1 of two data's total is one of 0.07 of each.
    one, other = (trial(values, error=0.02**0.5) for values in ([-1.1, -2.1], [-1.0, -1.0]))
    pooled = Calibration.of([one, other])
    assert pooled.num_pairs == 4
    assert pooled.root_mean_square_z == pytest.approx(((1 + 1 + 0 + 100) / 4) ** 0.5)
    assert pooled.coverage == 0.75


def test_what_is_flagged_exact_or_blind_does_not_count() -> None:
    flagged = trial([-5.0, -5.0], error=0.1, reliable=False)
    exact = trial([-1.0, -2.0], error=0.0)
    gridded = trial([-1.3, -2.3], error=0.1, discretization=0.4)
    blind = trial([-5.0, -5.0], error=0.1)
    blind = replace(blind, problem=replace(blind.problem, blind_spot="far away"))
    bound = trial([-5.0, -5.0], error=0.1)
    (evidence,) = bound.results
    bound = replace(bound, results=(replace(evidence, is_lower_bound=True),))
    refused = replace(blind, results=(), refusal="does not apply")
    pooled = Calibration.of([flagged, exact, gridded, blind, bound, refused])
    assert pooled.num_pairs == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "estimator"),
    [
        ("linear_gaussian_1", lv.evidence.QuasiMonteCarlo(4096)),
        ("linear_gaussian_1", lv.evidence.Importance(8192)),
        (
            "conjugate_regression",
            lv.evidence.MixtureImportance(2048, num_pilots=256, num_replicates=16),
        ),
        ("conjugate_regression", lv.evidence.TemperedSMC(512, num_moves=3)),
        ("mixture_prior", lv.evidence.Lookahead(1024)),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_standard_errors_are_those_of_the_errors(
    name: str, estimator: lv.evidence.Estimator
) -> None:
    """Of 200 pairs of one problem; the limits are those of 200 draws of Student's t."""
    problem = lv.problems.load_problem(name)
    trials = lv.problems.validate(
        [problem], [estimator], seeds=range(200 // len(problem.x)), progress=False
    )
    pooled = Calibration.of(tuple(trials))
    assert pooled.num_pairs >= 150
    assert 0.8 < pooled.root_mean_square_z < 1.3
    assert pooled.coverage > 0.89  # 95 % less four standard errors of 200.
