"""Distribution functions of what should be uniform, less the diagonal, with their band."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lvkam_pyro.checks.calibration import SBC
from lvkam_pyro.checks.leave_one_out import LOOPIT
from lvkam_pyro.plots._arrays import Values, as_array
from lvkam_pyro.plots.style import (
    MODEL,
    PALETTE,
    QUIET,
    error_band,
    legend_in_headroom,
    panels,
    styled,
)
from lvkam_pyro.statistics.uniformity import Uniformity

_MAX_NAMED = 5
_NUM_BINS = 20


@styled
def ecdf_difference(
    uniformity: Uniformity,
    *,
    names: Sequence[str] = (),
    xlabel: str = "PIT value (share of the draws below)",
    axes: object = None,
) -> Axes:
    """Each sample's distribution function less that of the uniform distribution.

    The grey band holds the whole function of a uniform sample with the chance of its level; the
    functions of the smallest p-values are named, the others thin. A function that leaves the band
    falling, then rising, belongs to a distribution too narrow; rising, then falling, to one too
    wide.

    Args:
        uniformity: The result of `check_uniformity(values)`, or the `uniformity` of a check.
        names: Of the samples; none are named if there are none.
        xlabel: The name of the values.
        axes: One axes; None: a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: If there are names, but not one a sample.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> found = lv.statistics.check_uniformity(torch.rand(200, 3))
        >>> lv.plots.ecdf_difference(found, names="abc").get_ylabel()
        'ECDF − uniform'
    """
    functions = as_array(uniformity.ecdf)
    functions = functions.reshape(-1, functions.shape[-1])
    if names and len(names) != len(functions):
        raise ValueError(f"Expected {len(functions)} names, one a sample, got {len(names)}.")
    (one,) = panels(1, axes, size=(4.2, 2.9))
    points = np.concatenate([[0.0], as_array(uniformity.points), [1.0]])
    _draw_band(one, uniformity, points)
    order = np.argsort(as_array(uniformity.p_value).reshape(-1))
    differences = np.stack([_difference(function, points) for function in functions])
    draw_differences(one, points, differences[order], [names[i] for i in order] if names else [])
    one.set(xlabel=xlabel, ylabel="ECDF \N{MINUS SIGN} uniform")
    return one


def draw_differences(
    axes: Axes,
    points: Values,
    differences: Values,
    names: Sequence[str],
    errors: Values | None = None,
) -> None:
    """Distribution functions less what they should be, the farthest from it first.

    Args:
        axes: The axes.
        points: Their abscissae, `(K,)`.
        differences: `(M, K)`; the first are named, the others thin.
        names: Of the M; none are named if there are none.
        errors: Their standard errors, `(M, K)`, for a band of two each way around those named.
    """
    num_named = min(_MAX_NAMED, len(names))
    axes.plot(points, differences[num_named:].T, color=QUIET, linewidth=0.7)
    # The farthest last, on top of the others.
    for rank in reversed(range(num_named)):
        colour, difference = PALETTE[rank], differences[rank]
        if errors is not None:
            error_band(axes, points, difference, errors[rank], color=colour, alpha=0.15)
        axes.plot(points, difference, color=colour, linewidth=1.4, label=names[rank])
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_xlim(0, 1)
    legend_in_headroom(axes)


@styled
def ranks(result: SBC, *, axes: object = None) -> NDArray[np.object_]:
    """Ranks of simulation-based calibration: distribution functions, and the worst histogram.

    Args:
        result: The result of `sbc`.
        axes: Two axes; None: a new figure.

    Returns:
        The two axes.

    Raises:
        ValueError: If there are fewer than two axes.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> axes = lv.plots.ranks(lv.checks.sbc(problem.model, problem.x, num_simulations=100))
        >>> axes[1].get_ylabel()
        'simulated data'
    """
    left, right = pair = panels(2, axes, size=(3.7, 2.9))
    xlabel = "rank of the truth (share of draws below)"
    ecdf_difference(result.uniformity, names=result.names, xlabel=xlabel, axes=left)
    left.set_title("all quantities")
    worst = int(as_array(result.uniformity.p_value).argmin())
    _draw_ranks(right, as_array(result.ranks[:, worst]), result.num_draws)
    right.set_title(f"ranks of {result.names[worst]}, the least uniform")
    return pair


@styled
def loo_pit(result: LOOPIT, *, axes: object = None) -> NDArray[np.object_]:
    """Distribution functions of the leave-one-out PIT values with their band, and their histogram.

    The band is for each of the functions by itself. The histogram is of all entries of all data,
    which depend on each other, so it has no band: U-shaped for predictions too narrow, a hump for
    those too wide, a slope for biased ones.

    Args:
        result: The result of `lv.checks.loo_pit`.
        axes: Two axes; None: a new figure.

    Returns:
        The two axes.

    Raises:
        ValueError: If there are fewer than two axes.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_10")
        >>> axes = lv.plots.loo_pit(lv.checks.loo_pit(problem.model, problem.x))
        >>> axes[1].get_xlabel()
        'LOO-PIT'
    """
    left, right = pair = panels(2, axes, size=(3.7, 2.9))
    num_data, num_entries = result.pit.shape
    names = [f"entry {index}" for index in range(num_entries)] if num_entries > 1 else []
    ecdf_difference(result.uniformity, names=names, xlabel="LOO-PIT", axes=left)
    left.set_title(f"each entry over {num_data} data")
    _draw_density(right, as_array(result.pit).reshape(-1))
    right.set(xlabel="LOO-PIT", title="all entries")
    return pair


def _draw_band(axes: Axes, uniformity: Uniformity, points: Values) -> None:
    ends = uniformity.lower, uniformity.upper
    low, high = (_difference(as_array(end), points) for end in ends)
    label = f"{uniformity.level:.0%} band"
    axes.fill_between(points, low, high, color=QUIET, alpha=0.35, linewidth=0, label=label)


def _difference(function: Values, points: Values) -> Values:
    """A function known between the ends, less the diagonal."""
    return np.concatenate([[0.0], function, [1.0]]) - points


def _draw_ranks(axes: Axes, values: Values, num_draws: int) -> None:
    """As many ranks in each bin, so that uniform ranks give even bars."""
    count = num_draws + 1
    num_bins = max(n for n in range(1, min(_NUM_BINS, count) + 1) if count % n == 0)
    axes.hist(values, np.linspace(-0.5, count - 0.5, num_bins + 1).tolist(), color=MODEL, alpha=0.7)
    expected = len(values) / num_bins
    spread = 2 * (expected * (1 - 1 / num_bins)) ** 0.5
    axes.axhspan(
        max(0.0, expected - spread), expected + spread, color=QUIET, alpha=0.35, linewidth=0
    )
    axes.axhline(expected, color="black", linewidth=0.6)
    axes.set(xlabel=f"rank (0 to {num_draws})", ylabel="simulated data", xlim=(-0.5, count - 0.5))


def _draw_density(axes: Axes, values: Values) -> None:
    bins = np.linspace(0, 1, _NUM_BINS + 1).tolist()
    axes.hist(values, bins, density=True, color=MODEL, alpha=0.7)
    axes.axhline(1, color="black", linewidth=0.6)
    axes.set(xlim=(0, 1), ylabel="density (uniform: 1)")
