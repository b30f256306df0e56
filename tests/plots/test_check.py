"""Every check has a picture, by its class."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

import lvkam_pyro as lv
from lvkam_pyro.checks.check import CheckResult, SignificanceCheck, SkippedCheck
from tests.checks.results import CHECKS


@pytest.mark.parametrize("make", CHECKS.values(), ids=CHECKS)
def test_check_draws_labelled_axes_or_those_given(make: Callable[[], CheckResult]) -> None:
    result = make()
    axes = lv.plots.check(result)
    assert all(one.has_data() and one.get_xlabel() for one in axes)
    pyplot.close("all")
    given = np.array(Figure().subplots(1, len(axes)), dtype=object).reshape(-1)
    assert list(lv.plots.check(result, axes=given)) == list(given)
    assert not pyplot.get_fignums()


def test_every_class_of_checks_has_a_picture() -> None:
    classes = {*CheckResult.__subclasses__(), *SignificanceCheck.__subclasses__()}
    classes -= {SkippedCheck, SignificanceCheck}
    assert {type(make()).__name__ for make in CHECKS.values()} >= {"SBC", "EvidenceCheck"}
    without = lv.plots.check.dispatch(object)
    assert not [kind for kind in classes if lv.plots.check.dispatch(kind) is without]


def test_check_without_a_picture_is_refused() -> None:
    with pytest.raises(TypeError, match="got SkippedCheck"):
        lv.plots.check(SkippedCheck("mine", "No data."))
