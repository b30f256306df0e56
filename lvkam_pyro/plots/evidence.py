"""The evidence of several models by several estimators, as a forest of intervals."""

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Protocol

from matplotlib.axes import Axes

from lvkam_pyro.plots.style import PALETTE, QUIET, panels, quote, styled

_ROW_HEIGHT, _MARGIN = 0.27, 1.0
_WIDTH = 6.4
_GAP = 0.6
"""Between models, in rows."""


class IntervalEvidence(Protocol):
    """What an `Evidence` says that a forest needs."""

    @property
    def num_data(self) -> int:
        """Number of data."""

    @property
    def mean(self) -> float:
        """The mean over the data, in nats per datum."""

    @property
    def mean_standard_error(self) -> float:
        """Its standard error."""

    def mean_interval(self, level: float = ...) -> tuple[float, float]:
        """Its confidence interval."""


class ForestRow(Protocol):
    """What an `EvidenceRow` says that a forest needs."""

    @property
    def model(self) -> str:
        """Name of the model."""

    @property
    def method(self) -> str:
        """Name of the estimator, with that of the recipe where there is one."""

    @property
    def evidence(self) -> IntervalEvidence:
        """The result."""

    @property
    def is_lower_bound(self) -> bool:
        """Whether it is a lower bound."""

    @property
    def is_reliable(self) -> bool:
        """Whether nothing is known to be wrong with it."""


@styled
def plot_evidence(
    comparison: Iterable[ForestRow], *, level: float = 0.95, axes: object = None
) -> Axes:
    r"""The mean log evidence of each model by each estimator, with confidence intervals.

    A row is an estimate in nats per datum, with the interval
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
        >>> plot_evidence(comparison).get_xlabel()
        'log evidence (nats per datum, mean of 4 data)'
    """
    rows = list(comparison)
    if not rows:
        raise ValueError("Expected at least one result to plot, but got none.")
    height = _ROW_HEIGHT * len(rows) + _MARGIN
    (one,) = panels(1, axes, num_columns=1, size=(_WIDTH, height))
    heights, limits = _heights(rows), _limits(rows, level)
    names = list(dict.fromkeys(row.method for row in rows))
    for row, y in zip(rows, heights, strict=True):
        color = PALETTE[names.index(row.method) % len(PALETTE)]
        _draw(one, row, y, color=color, level=level, left=limits[0])
    _label(one, rows, heights)
    one.set(xlim=limits, ylim=(max(heights) + 0.7, min(heights) - 0.7))
    one.set_xlabel(f"log evidence (nats per datum, mean of {rows[0].evidence.num_data} data)")
    return one


def _heights(rows: Sequence[ForestRow]) -> list[float]:
    """Row by row downwards, with a gap before each new model."""
    heights, y = [], 0.0
    for index, row in enumerate(rows):
        if index:
            y += 1.0 + _GAP * (row.model != rows[index - 1].model)
        heights.append(y)
    return heights


def _limits(rows: Sequence[ForestRow], level: float) -> tuple[float, float]:
    """The scale: all estimates' intervals, or the bounds where there is nothing else."""
    estimates = [row for row in rows if not row.is_lower_bound] or rows
    ends = [end for row in estimates for end in row.evidence.mean_interval(level)]
    finite = [end for end in ends if isfinite(end)] or [0.0]
    low, high = min(finite), max(finite)
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _draw(axes: Axes, row: ForestRow, y: float, *, color: str, level: float, left: float) -> None:
    evidence = row.evidence
    if row.is_lower_bound:
        inside = evidence.mean > left
        shape, x = (">", evidence.mean) if inside else ("<", left)
        axes.plot(x, y, shape, color=color, markersize=6, clip_on=False)
        return
    axes.hlines(y, *evidence.mean_interval(level), color=color, linewidth=1.8)
    face = color if row.is_reliable else "white"
    axes.plot(evidence.mean, y, "o", color=color, markerfacecolor=face, markersize=6)


def _label(axes: Axes, rows: Sequence[ForestRow], heights: Sequence[float]) -> None:
    """Estimators on the left under their models, numbers on the right."""
    axes.set_yticks(heights, [f"{row.model}, {row.method}" for row in rows])
    axes.grid(axis="x", color=QUIET, alpha=0.3, linewidth=0.6)
    axes.tick_params(axis="y", length=0, pad=8)
    axes.spines["left"].set_visible(False)
    numbers = axes.secondary_yaxis("right")
    numbers.set_yticks(heights, [_number(row) for row in rows])
    numbers.tick_params(axis="y", length=0)
    numbers.spines["right"].set_visible(False)


def _number(row: ForestRow) -> str:
    number = quote(row.evidence.mean, row.evidence.mean_standard_error)
    return f"> {number}" if row.is_lower_bound else number
