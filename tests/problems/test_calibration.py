"""What is counted of an estimator, on results whose errors are known."""

import math

import pytest
import torch

import lvkam_pyro as lv
from lvkam_pyro.problems.calibration import Calibration
from tests.problems.trials import REFUSED, trial


def test_z_scores_and_coverage_are_pooled() -> None:
    one, other = (trial(values) for values in ([-1.1, -2.1], [-1.0, -1.0]))
    pooled = Calibration.of([one, other])
    assert pooled.num_pairs == pooled.num_estimates == pooled.num_reliable == 4
    assert pooled.root_mean_square_z == pytest.approx((2 / 3) ** 0.5), (
        "the fourth is a silent error"
    )
    assert pooled.coverage == 0.75
    assert pooled.num_silent == 1
    assert pooled.root_mean_square_error == pytest.approx((1.02 / 4) ** 0.5)
    # Of one likelihood evaluation each, the median of two mean squared errors.
    assert pooled.cost == pytest.approx((0.01 + 0.5) / 2)
    assert pooled.seconds == 1.0


def test_what_is_flagged_exact_refused_or_a_bound_has_no_z_score() -> None:
    flagged = trial([-5.0, -5.0], reliable=False)
    exact = trial([-1.0, -2.0], error=0.0)
    gridded = trial([-1.3, -2.3], discretization=0.2)
    bound = trial([-5.0, -5.0], is_lower_bound=True)
    pooled = Calibration.of([flagged, exact, gridded, bound, REFUSED])
    assert pooled.num_pairs == 0
    assert math.isnan(pooled.root_mean_square_z)
    assert pooled.num_estimates == 8
    assert pooled.share_reliable == 0.5
    # What is flagged may be anything: it counts neither in the error nor in the cost.
    assert pooled.root_mean_square_error == pytest.approx((2 * 0.3**2 / 4) ** 0.5)
    assert math.isnan(Calibration.of([flagged, REFUSED]).cost)


SILENT = {
    "beyond four errors": ([-1.41, -2.39], {}, [True, False]),
    "beyond four errors and the discretisation": (
        [-1.59, -2.61],
        {"discretization": 0.2},
        [False, True],
    ),
    "beyond 0.01 nats": ([-1.009, -2.011], {"error": 1e-4}, [False, True]),
    "rounding apart": ([-1.0 - 5e-7, -2.0], {"error": 0.0}, [False, False]),
    "not a number": ([math.nan, math.inf], {}, [True, True]),
    "flagged": ([-5.0, -5.0], {"reliable": False}, [False, False]),
    "a bound": ([-5.0, -5.0], {"is_lower_bound": True}, [False, False]),
}


@pytest.mark.parametrize("case", SILENT)
def test_silent_errors(case: str) -> None:
    values, options, expected = SILENT[case]
    assert trial(values, **options).silent.tolist() == expected


FALSE_ALARMS = {
    "within 2.5 errors": ([-1.04, -2.06], {"error": 0.02, "reliable": False}, [True, False]),
    "within 0.1 nats": ([-1.09, -2.11], {"error": 1.0, "reliable": False}, [True, False]),
    "reliable": ([-1.0, -2.0], {}, [False, False]),
    "not a number": ([math.nan, math.inf], {"reliable": False}, [False, False]),
}


@pytest.mark.parametrize("case", FALSE_ALARMS)
def test_false_alarms(case: str) -> None:
    values, options, expected = FALSE_ALARMS[case]
    assert trial(values, **options).false_alarms.tolist() == expected


def test_silent_error_says_where_it_is() -> None:
    (wrong,) = trial([-1.0, -4.0]).silent_errors()
    assert (wrong.family, wrong.seed, wrong.datum, wrong.method) == ("mine", 3, 1, "A")
    assert (wrong.value, wrong.exact, wrong.error) == (-4.0, -2.0, -2.0)
    assert wrong.standard_error == pytest.approx(0.1)


def test_silent_error_of_a_cascade_names_its_step() -> None:
    family = lv.problems.load_family("spikes_5")
    (found,) = lv.problems.validate(
        [family], [lv.evidence.Auto([lv.evidence.Importance(256)])], progress=False
    )
    assert found.silent.any()
    assert {wrong.method for wrong in found.silent_errors()} == {"Importance"}


def test_refused_trial_has_no_estimate() -> None:
    with pytest.raises(ValueError, match="A refused mine: does not apply"):
        _ = REFUSED.errors


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
        ("poisson", lv.evidence.TemperedSMC(512, num_moves=3)),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_standard_errors_are_those_of_the_errors(
    name: str, estimator: lv.evidence.Estimator
) -> None:
    """Of 200 pairs of one family; the limits are those of 200 draws of Student's t."""
    family = lv.problems.load_family(name)
    count = 200 // len(family.problem().log_evidence)
    trials = lv.problems.validate([family], [estimator], seeds=range(count), progress=False)
    pooled = Calibration.of(tuple(trials))
    assert pooled.num_pairs >= 150
    assert 0.8 < pooled.root_mean_square_z < 1.3
    assert pooled.coverage > 0.89  # 95 % less four standard errors of 200.
    assert torch.isfinite(torch.tensor(pooled.cost))
