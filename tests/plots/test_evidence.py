"""The forest of intervals: what is drawn where."""

from math import nan

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex

from lvkam_pyro import plots
from lvkam_pyro.plots.style import PALETTE
from tests.evidence.results import result

ROWS = (
    result("a", "A", [-1.0, -2.0], error=0.3),
    result("a", "B", [-1.0, -2.5], error=0.3, discretization=0.2, reliable=False),
    result("a", "ELBO", [-90.0, -90.0], is_lower_bound=True),
    result("b", "A", [-4.0, -6.0], error=0.4),
    result("b", "ELBO", [-4.5, -6.0], is_lower_bound=True),
)


def test_intervals_are_those_of_the_means() -> None:
    drawn = [collection.get_segments()[0][:, 0] for collection in plots.evidence(ROWS).collections]
    expected = [row.evidence.mean_interval() for row in ROWS if not row.is_lower_bound]
    np.testing.assert_allclose(drawn, expected)
    wide = [c.get_segments()[0][:, 0] for c in plots.evidence(ROWS, level=0.99).collections]
    assert all(np.ptp(one) > np.ptp(other) for one, other in zip(wide, drawn, strict=True))


def test_points_say_estimator_and_verdict() -> None:
    points = plots.evidence(ROWS).lines
    shapes = [point.get_marker() for point in points]
    assert shapes == ["o", "o", "<", "o", ">"]
    colors = [to_hex(str(point.get_color())).upper() for point in points]
    assert colors == [PALETTE[i] for i in (0, 1, 2, 0, 2)]
    assert [point.get_markerfacecolor() == "white" for point in points[:2]] == [False, True]


def test_bound_outside_stays_at_the_edge() -> None:
    axes = plots.evidence(ROWS)
    left, right = axes.get_xlim()
    assert axes.lines[2].get_xdata()[0] == left
    assert -6.0 < left < -5.4
    assert -1.0 < right < -0.5


def test_models_stand_apart_and_rows_are_named() -> None:
    axes = plots.evidence(ROWS)
    assert np.diff(axes.get_yticks()) == pytest.approx([1.0, 1.0, 1.6, 1.0])
    assert [text.get_text() for text in axes.get_yticklabels()][:2] == ["a, A", "a, B"]
    numbers = [text.get_text() for text in axes.child_axes[0].get_yticklabels()]
    assert numbers[0] == "\N{MINUS SIGN}1.50 ± 0.15"
    assert numbers[2].startswith("> \N{MINUS SIGN}90")


def test_what_is_not_finite_leaves_the_scale_alone() -> None:
    axes = plots.evidence([ROWS[0], result("a", "C", [nan, 0.0])])
    assert np.isfinite(axes.get_xlim()).all()


def test_bounds_alone_are_drawn() -> None:
    left, right = plots.evidence([ROWS[2]]).get_xlim()
    assert left < -90 < right


def test_own_axes_are_used() -> None:
    _, axes = pyplot.subplots()
    assert plots.evidence(ROWS, axes=axes) is axes


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one result"):
        plots.evidence([])
    with pytest.raises(ValueError, match="between 0 and 1"):
        plots.evidence(ROWS, level=95)
