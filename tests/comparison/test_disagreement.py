"""Which estimates disagree: by hand."""

from math import inf, nan

import pytest
from scipy.stats import t as student_t

from lvkam_pyro.comparison.comparison import EvidenceComparison, find_disagreements
from lvkam_pyro.comparison.rows import EvidenceRow
from tests.evidence.results import result

FIRST = result("m", "A", [-1.0, -2.0], error=0.3)


def z_of(other: EvidenceRow) -> list[float]:
    return [found.z for found in find_disagreements([FIRST, other])]


def test_difference_is_measured_in_the_errors_of_both() -> None:
    other = result("m", "B", [-4.0, -6.0], error=0.4)
    assert z_of(other) == [pytest.approx(7.0 / 0.5, rel=1e-5)]


def test_limit_is_students_at_the_fewer_replicates() -> None:
    limit = float(student_t.isf(0.5e-4, 3)) * 0.5

    def no_handlers(distance: float) -> list[float]:
        return z_of(result("m", "B", [-3.0, -distance], error=0.4, num_replicates=4))

    assert not no_handlers(0.999 * limit)
    assert no_handlers(1.001 * limit)


def test_discretization_errors_excuse_a_difference() -> None:
    assert not z_of(result("m", "B", [-4.0, -6.0], error=0.4, discretization=7.0))
    (z,) = z_of(result("m", "B", [-4.0, -6.0], error=0.4, discretization=2.0))
    assert z == pytest.approx(5.0 / 0.5, rel=1e-5)


@pytest.mark.parametrize("value", [nan, inf])
def test_value_that_is_not_finite_disagrees_with_all(value: float) -> None:
    assert z_of(result("m", "B", [value, 0.0])) == [inf]


def test_exact_results_disagree_by_more_than_rounding() -> None:
    exact = [result("m", name, [-100.0 - d], error=0.0) for name, d in (("A", 0.0), ("B", 5e-5))]
    assert not find_disagreements(exact)
    wrong = result("m", "C", [-101.0], error=0.0)
    assert [found.z for found in find_disagreements([exact[0], wrong])] == [inf]


def test_bounds_and_other_models_are_left_aside() -> None:
    far = [-50.0, -50.0]
    bound = result("m", "C", far, is_lower_bound=True)
    assert not find_disagreements([FIRST, bound, result("other", "B", far)])


def test_bound_is_a_field_and_no_name() -> None:
    """A bound of any name is one, and an estimate whose name begins with ELBO is none."""
    far = [-50.0, -50.0]
    assert not find_disagreements([FIRST, result("m", "IWAE bound", far, is_lower_bound=True)])
    (found,) = find_disagreements([FIRST, result("m", "ELBOW", far)])
    assert found.estimators == ("A", "ELBOW")
    assert "lower bound" in str(EvidenceComparison((result("m", "B", far, is_lower_bound=True),)))


def test_recipes_of_one_model_are_held_against_each_other() -> None:
    rows = (
        result("m", "A", [-1.0, -2.0], error=0.3, recipe="one"),
        result("m", "A", [-4.0, -6.0], error=0.4, recipe="other"),
    )
    comparison = EvidenceComparison(rows)
    (found,) = comparison.disagreements
    assert (found.model, found.estimators) == ("m", ("A (one)", "A (other)"))
    assert comparison["m", "A (other)"] is rows[1].evidence
    assert comparison.to_frame()["recipe"].tolist() == ["one", "other"]
    assert str(comparison).splitlines()[0].split()[:3] == ["model", "recipe", "estimator"]


def test_models_need_not_stand_together() -> None:
    rows = [FIRST, result("n", "A", [0.0, 0.0]), result("m", "B", [-9.0, -9.0])]
    (found,) = find_disagreements(rows)
    assert (found.model, found.estimators, found.difference) == ("m", ("A", "B"), 15.0)


def test_table_says_it_in_a_sentence() -> None:
    rows = (FIRST, result("m", "B", [-4.0, -6.0], error=0.4))
    assert str(EvidenceComparison(rows)).splitlines()[-1] == (
        "m: A and B disagree by 7 nats in total (14.0 standard errors)."
    )
    assert "disagree" not in str(EvidenceComparison(rows[:1]))
