"""The chains of a ladder, temperature by temperature."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lvkam_pyro.checks.convergence_check import MIN_ESS, MIN_SWAP_RATE, ConvergenceCheck
from lvkam_pyro.evidence.verdict import MAX_RHAT
from lvkam_pyro.ladder.ladder import LadderSamples
from lvkam_pyro.plots._arrays import Values, as_array
from lvkam_pyro.plots._thermodynamic import set_temperature_scale
from lvkam_pyro.plots.style import MODEL, PALETTE, legend_above, panels, styled


@styled
def convergence(
    result: ConvergenceCheck | LadderSamples, *, axes: object = None
) -> NDArray[np.object_]:
    """R-hat, effective draws and rates of exchange over the temperatures.

    Lines are medians over the data, shades reach from the least to the largest. A rate of exchange
    stands at the lower of its two temperatures.

    Args:
        result: The result of `check_convergence`, or the draws of a ladder themselves.
        axes: Three axes; None: a new figure.

    Returns:
        The three axes.

    Raises:
        ValueError: If there are fewer than three axes.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> ladder = lv.ladder.Ladder(num_temperatures=6, num_warmup=20, num_samples=20)
        >>> axes = lv.plots.convergence(ladder.sample(problem.model, problem.x))
        >>> [one.get_ylabel() for one in axes]
        ['R-hat', 'effective draws', 'rate of exchange']
    """
    all_axes = panels(3, axes, size=(2.6, 2.8))
    samples = result.samples if isinstance(result, ConvergenceCheck) else result
    temperatures = as_array(samples.temperatures)
    curves = (
        ("R-hat", samples.rhat, MAX_RHAT),
        ("effective draws", samples.ess, MIN_ESS),
        ("rate of exchange", samples.swap_rate, MIN_SWAP_RATE),
    )
    for one, (name, values, limit) in zip(all_axes, curves, strict=True):
        _draw(one, temperatures[: len(values)], as_array(values), limit)
        set_temperature_scale(one)
        one.set_ylabel(name)
    all_axes[1].set_yscale("log")
    all_axes[2].set_ylim(0, 1)
    legend_above(all_axes, own_figure=axes is None)
    return all_axes


def _draw(axes: Axes, temperatures: Values, values: Values, limit: float) -> None:
    shade = values.min(1), values.max(1)
    axes.fill_between(temperatures, *shade, color=MODEL, alpha=0.25, linewidth=0, label="all data")
    axes.plot(temperatures, np.median(values, 1), color=MODEL, label="median datum")
    axes.axhline(limit, color=PALETTE[1], linestyle="--", linewidth=0.9, label="limit")
