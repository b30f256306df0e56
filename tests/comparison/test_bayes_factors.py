"""Bayes factors by hand and against exact evidence."""

import pytest
import torch

import lvkam_pyro as lv
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.problems.linear import LinearGaussian, linear_gaussian
from tests.assertions import assert_within_standard_errors
from tests.evidence.results import result

ROWS = (
    result("a", "A", [-1.0, -2.0], error=0.3),
    result("a", "B", [-1.0, -2.5], error=0.3, discretization=0.2),
    result("a", "bound", [-9.0, -9.0], is_lower_bound=True),
    result("b", "A", [-4.0, -6.0], error=0.4, reliable=False),
    result("b", "B", [-4.0, -6.0], error=0.4, discretization=0.1),
    result("b", "bound", [-9.0, -9.0], is_lower_bound=True),
    result("c", "A", [-1.0, -1.0]),
)


def test_errors_add_as_errors_do() -> None:
    factor = EvidenceComparison(ROWS).bayes_factors()["b", "A"]
    assert factor.log_bayes_factor == -7.0
    assert factor.standard_error == pytest.approx(0.5)
    assert factor.discretization_error == 0.0
    assert factor.differences.tolist() == [-3.0, -4.0]
    assert factor.difference_errors.tolist() == pytest.approx([0.5 / 2**0.5] * 2)
    assert factor.data_standard_error == pytest.approx(1.0)
    assert not factor.reliable


def test_rows_are_estimators_that_both_have_without_bounds() -> None:
    factors = EvidenceComparison(ROWS).bayes_factors(reference="b")
    assert [(row.model, row.estimator) for row in factors] == [("a", "A"), ("a", "B"), ("c", "A")]
    assert factors["a", "B"].discretization_error == pytest.approx(0.3)
    assert factors["a", "B"].log_bayes_factor == 6.5
    assert factors.to_frame()["model"].tolist() == ["a", "a", "c"]
    text = str(factors).splitlines()
    assert text[0] == "log Bayes factors against b, of 2 data, in nats"
    assert text[-1].split() == ["c", "A", "8.000", "0.41", "0", "2", "unreliable"]


def test_exact_bayes_factor_of_two_linear_models() -> None:
    model, x, log_evidence = linear_gaussian(2)
    wide = LinearGaussian(2 * model.weight)
    models = {"narrow": model, "wide": wide}
    estimators = [lv.evidence.Importance(2048)]
    comparison = lv.compare_evidence(models, x, estimators, progress=False)
    factor = comparison.bayes_factors("narrow")["wide", "Importance"]
    exact = wide.log_evidence(x) - log_evidence
    assert_within_standard_errors(factor.differences, exact, 1.4 * factor.difference_errors)
    total = torch.tensor(factor.log_bayes_factor, dtype=torch.float64)
    error = torch.tensor(1.4 * factor.standard_error)
    assert_within_standard_errors(total, exact.sum(), error)


WRONG = {
    "an unknown model": (ROWS, "z", "model 'z' and of others"),
    "one model alone": (ROWS[:2], None, r"of others, but got results of \['a'\]"),
    "no estimator in common": ((ROWS[1], ROWS[6]), None, "same estimators for all"),
    "bounds alone": ((ROWS[2], ROWS[5]), None, r"other than bounds"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_request_is_refused(case: str) -> None:
    rows, reference, match = WRONG[case]
    with pytest.raises(ValueError, match=match):
        EvidenceComparison(rows).bayes_factors(reference)


def test_bayes_factor_that_is_not_there() -> None:
    with pytest.raises(KeyError, match=r"No result \('d', 'A'\)"):
        EvidenceComparison(ROWS).bayes_factors()["d", "A"]
