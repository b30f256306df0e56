"""The evidence of several models by several estimators, as a forest of intervals."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from math import isfinite

from matplotlib.axes import Axes

from lvkam_pyro.comparison.rows import EvidenceRow
from lvkam_pyro.plots.style import PALETTE, QUIET, panels, quote, styled

_ROW_HEIGHT, _MARGIN = 0.27, 1.0
_WIDTH = 6.4
_GAP = 0.6
"""Between models, in rows."""

_MIN_MARGIN = 5e-5
"""In nats per datum: of a finer scale the ticks could not be read."""


@styled
def evidence(
    comparison: Iterable[EvidenceRow], *, level: float = 0.95, axes: object = None
) -> Axes:
    r"""The mean log evidence of each model by each estimator, with confidence intervals.

    A row is an estimate in nats (per datum, where data are independent), with the interval
    :math:`\bar e \pm (t_{R-1} s + d)` of its R replicates' standard error s and its discretisation
    error d. A colour is an estimator (of a recipe); a hollow point is unreliable; a triangle is a
    lower bound, at the left edge and turned that way where it lies outside of the estimates.

    Args:
        comparison: Results on the same data, as `compare_evidence` returns them.
        level: Of the intervals, between 0 and 1.
        axes: Where to draw; None: a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: If there is no result, or the level is not between 0 and 1.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> estimators = [lv.evidence.Lookahead(64), lv.evidence.Importance(512)]
        >>> comparison = lv.compare_evidence(problem.model, problem.x, estimators, progress=False)
        >>> lv.plots.evidence(comparison).get_xlabel()
        'log evidence (nats per datum, mean of 4 data)'
    """
    rows = list(comparison)
    if not rows:
        raise ValueError("Expected at least one result to plot, but got none.")
    height = _ROW_HEIGHT * len(rows) + _MARGIN
    (one,) = panels(1, axes, size=(_WIDTH, height))
    heights, limits = _heights(rows), _limits(rows, level)
    names = list(dict.fromkeys(row.method for row in rows))
    for row, y in zip(rows, heights, strict=True):
        color = PALETTE[names.index(row.method) % len(PALETTE)]
        _draw(one, row, y, color=color, level=level, left=limits[0])
    _label(one, rows, heights)
    one.set(xlim=limits, ylim=(max(heights) + 0.7, min(heights) - 0.7))
    first = rows[0].evidence
    mean = f", mean of {first.num_data} data" if first.num_data > 1 else ""
    one.set_xlabel(f"log evidence ({first.nats}{mean})")
    return one


def _heights(rows: Sequence[EvidenceRow]) -> list[float]:
    """Row by row downwards, with a gap before each new model."""
    steps = (1.0 + _GAP * (row.model != above.model) for above, row in pairwise(rows))
    return list(accumulate(steps, initial=0.0))


def _limits(rows: Sequence[EvidenceRow], level: float) -> tuple[float, float]:
    """The scale: all estimates' intervals, or the bounds where there is nothing else."""
    estimates = [row for row in rows if not row.is_lower_bound] or rows
    ends = [end for row in estimates for end in row.evidence.mean_interval(level)]
    finite = [end for end in ends if isfinite(end)] or [0.0]
    low, high = min(finite), max(finite)
    margin = max(0.06 * (high - low) or 1.0, _MIN_MARGIN)
    return low - margin, high + margin


def _draw(axes: Axes, row: EvidenceRow, y: float, *, color: str, level: float, left: float) -> None:
    mean = row.evidence.mean
    if row.is_lower_bound:
        shape, x = (">", mean) if mean > left else ("<", left)
        axes.plot(x, y, shape, color=color, markersize=6, clip_on=False)
        return
    axes.hlines(y, *row.evidence.mean_interval(level), color=color, linewidth=1.8)
    face = color if row.is_reliable else "white"
    axes.plot(mean, y, "o", color=color, markerfacecolor=face, markersize=6)


def _label(axes: Axes, rows: Sequence[EvidenceRow], heights: Sequence[float]) -> None:
    """Names of models and estimators on the left, estimates on the right."""
    axes.set_yticks(heights, [f"{row.model}, {row.method}" for row in rows])
    axes.grid(axis="x", color=QUIET, alpha=0.3, linewidth=0.6)
    axes.tick_params(axis="y", length=0, pad=8)
    axes.locator_params(axis="x", nbins=5)
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.spines["left"].set_visible(False)
    estimates = axes.secondary_yaxis("right")
    estimates.set_yticks(heights, [_quote(row) for row in rows])
    estimates.tick_params(axis="y", length=0)
    estimates.spines["right"].set_visible(False)


def _quote(row: EvidenceRow) -> str:
    estimate = quote(row.evidence.mean, row.evidence.mean_standard_error)
    return f"> {estimate}" if row.is_lower_bound else estimate
