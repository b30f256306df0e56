"""The curve is that of the evidence beside it."""

import numpy as np

import lvkam_pyro as lv
from lvkam_pyro.plots.style import quote
from tests.plots import results


def test_thermodynamic_curve_is_that_of_the_evidence_which_it_quotes() -> None:
    evidence = results.climb_and_integrate()
    left, right = lv.plots.thermodynamic_curve(evidence)
    temperatures, curve = left.get_lines()[0].get_data()
    assert np.allclose(temperatures, evidence.diagnostics["temperatures"])
    assert np.allclose(curve, evidence.diagnostics["mean_log_likelihood"].mean(1))
    assert quote(evidence.mean, evidence.mean_standard_error) in right.get_title()
