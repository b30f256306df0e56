"""Pictures over the temperatures of a ladder: its thermodynamic curve, and its chains."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lvkam_pyro.checks.convergence_check import MIN_ESS, MIN_SWAP_RATE, ConvergenceCheck
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.verdict import MAX_RHAT
from lvkam_pyro.ladder.ladder import LadderSamples
from lvkam_pyro.plots._arrays import Values, as_array
from lvkam_pyro.plots.style import (
    MODEL,
    PALETTE,
    error_band,
    legend_above,
    panels,
    quote,
    styled,
)

EXPONENT = 5.0
TICKS = (0.0, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5, 1.0)
CURVE = ("temperatures", "mean_log_likelihood", "mean_log_likelihood_error")
"""The diagnostics that hold the curve of an estimator on a ladder."""


@styled
def thermodynamic_curve(evidence: Evidence, *, axes: object = None) -> NDArray[np.object_]:
    r"""The curve :math:`E_t = \mathrm{E}_{p_t}[\log p(x \mid z)]` and the area under it.

    .. math:: \log p(x) = \int_0^1 E_t \, dt = \int_0^1 5 u^4 E_{u^5} \, du, \qquad t = u^5

    Of a ladder that began at a guide, log p(x | z) stands for log p(x, z) - log q(z | x): in
    both cases the logarithm of the density at its end over that at its start.

    Both panels have u as their scale, marked in t, for most of the curve's rise is next to t = 0.
    On the left is the curve itself, which can only rise: a fall shows chains that did not mix. On
    the right is the second integrand, whose area is the log evidence. The bands are two standard
    errors each way, from the spread of the chains' means.

    Args:
        evidence: The estimate of `ThermodynamicIntegration` or `SteppingStone`, which is quoted.
        axes: Two axes; None: a new figure.

    Returns:
        The two axes.

    Raises:
        ValueError: If the estimator has no curve, or there are fewer than two axes.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> ladder = lv.ladder.Ladder(num_temperatures=8, num_warmup=20, num_samples=20)
        >>> estimator = lv.evidence.ThermodynamicIntegration(ladder)
        >>> axes = lv.plots.thermodynamic_curve(estimator.estimate(problem.model, problem.x))
        >>> axes[0].get_xlabel()
        'temperature t'
    """
    temperatures, mean, error = _curve(evidence)
    left, right = pair = panels(2, axes, size=(3.6, 2.8))
    _draw(left, temperatures, mean, error)
    left.set_title(f"expected log ratio, end to start ({evidence.num_data} data)")
    left.set_ylabel("$E_t$ (nats per datum)")
    stretch = EXPONENT * temperatures ** (1 - 1 / EXPONENT)
    _draw(right, temperatures, mean * stretch, error * stretch)
    right.fill_between(temperatures, mean * stretch, color=MODEL, alpha=0.15, linewidth=0)
    right.axhline(0, color="black", linewidth=0.6)
    right.set_ylabel("$E_t \\; dt/du$ (nats per datum)")
    area = quote(evidence.mean, evidence.mean_standard_error)
    right.set_title(f"log evidence (area): {area}")
    return pair


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
        _draw_spread(one, temperatures[: len(values)], as_array(values), limit)
        _set_temperature_scale(one)
        one.set_ylabel(name)
    all_axes[1].set_yscale("log")
    all_axes[2].set_ylim(0, 1)
    legend_above(all_axes, own_figure=axes is None)
    return all_axes


def has_curve(evidence: Evidence) -> bool:
    """Whether `thermodynamic_curve` can draw it: whether its estimator climbs a ladder.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> lv.plots.has_curve(lv.evidence.Importance(64).estimate(problem.model, problem.x))
        False
    """
    return set(CURVE) <= evidence.diagnostics.keys()


def _curve(evidence: Evidence) -> tuple[Values, Values, Values]:
    """Temperatures, means and their standard errors, `(T,)` each."""
    if not has_curve(evidence):
        raise ValueError(
            f"Expected evidence with a thermodynamic curve, got that of {evidence.estimator}. "
            "Estimate it by ThermodynamicIntegration or SteppingStone."
        )
    temperatures, means, errors = (as_array(evidence.diagnostics[name]) for name in CURVE)
    # No two data share chains, so that their errors are independent.
    return temperatures, means.mean(1), np.sqrt(np.square(errors).sum(1)) / means.shape[1]


def _draw(axes: Axes, temperatures: Values, mean: Values, error: Values) -> None:
    error_band(axes, temperatures, mean, error, color=PALETTE[1], alpha=0.35)
    axes.plot(temperatures, mean, "o-", color=MODEL, markersize=3, linewidth=1.2)
    _set_temperature_scale(axes)


def _set_temperature_scale(axes: Axes) -> None:
    """A scale of temperatures that shows those next to 0: even in their fifth root."""
    to_root, to_power = (
        lambda t: np.clip(t, 0, None) ** (1 / EXPONENT),
        lambda u: np.clip(u, 0, None) ** EXPONENT,
    )
    axes.set_xscale("function", functions=(to_root, to_power))
    axes.set(xlim=(0, 1), xlabel="temperature t", xticks=TICKS)
    axes.set_xticklabels([f"{tick:g}" for tick in TICKS], rotation=45, ha="right")


def _draw_spread(axes: Axes, temperatures: Values, values: Values, limit: float) -> None:
    shade = values.min(1), values.max(1)
    axes.fill_between(temperatures, *shade, color=MODEL, alpha=0.25, linewidth=0, label="all data")
    axes.plot(temperatures, np.median(values, 1), color=MODEL, label="median datum")
    axes.axhline(limit, color=PALETTE[1], linestyle="--", linewidth=0.9, label="limit")
