"""The thermodynamic curve: the mean log-likelihood along the ladder of power posteriors."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.plots._arrays import Values, as_array
from lvkam_pyro.plots.style import MODEL, PALETTE, error_band, panels, quote, styled

EXPONENT = 5.0
TICKS = (0.0, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5, 1.0)
CURVE = ("temperatures", "mean_log_likelihood", "mean_log_likelihood_error")
"""The diagnostics that hold the curve of an estimator on a ladder."""


@styled
def thermodynamic_curve(
    evidence: Evidence, *, datum: int | None = None, axes: object = None
) -> NDArray[np.object_]:
    r"""The curve :math:`E_t = \mathrm{E}_{p_t}[\log p(x \mid z)]` and the area under it.

    .. math:: \log p(x) = \int_0^1 E_t \, dt = \int_0^1 5 u^4 E_{u^5} \, du, \qquad t = u^5

    Both panels have u as their scale, marked in t, for most of the curve's rise is next to t = 0.
    On the left is the curve itself, which can only rise: a fall shows chains that did not mix. On
    the right is the second integrand, whose area is the log evidence. The bands are two standard
    errors each way, from the spread of the chains' means.

    Args:
        evidence: The estimate of `ThermodynamicIntegration` or `SteppingStone`, which is quoted.
        datum: Index of one datum; None: the mean over all data.
        axes: Two axes; None: a new figure.

    Returns:
        The two axes.

    Raises:
        ValueError: If the estimator has no curve, or there are fewer than two axes.
        IndexError: If there is no such datum.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> ladder = lv.ladder.Ladder(num_temperatures=8, num_warmup=20, num_samples=20)
        >>> estimator = lv.evidence.ThermodynamicIntegration(ladder)
        >>> axes = lv.plots.thermodynamic_curve(estimator.estimate(problem.model, problem.x))
        >>> axes[0].get_xlabel()
        'temperature t'
    """
    temperatures, mean, error = _curve(evidence, datum)
    left, right = pair = panels(2, axes, size=(3.6, 2.8))
    whose = f"{evidence.num_data} data" if datum is None else f"datum {datum}"
    _draw(left, temperatures, mean, error)
    left.set(title=f"expected log-likelihood ({whose})", ylabel="$E_t$ (nats per datum)")
    stretch = EXPONENT * temperatures ** (1 - 1 / EXPONENT)
    _draw(right, temperatures, mean * stretch, error * stretch)
    right.fill_between(temperatures, mean * stretch, color=MODEL, alpha=0.15, linewidth=0)
    right.axhline(0, color="black", linewidth=0.6)
    right.set(title=_quote(evidence, datum), ylabel="$E_t \\; dt/du$ (nats per datum)")
    return pair


def has_curve(evidence: Evidence) -> bool:
    """Whether `thermodynamic_curve` can draw it: whether its estimator climbs a ladder.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> lv.plots.has_curve(lv.evidence.Importance(64).estimate(problem.model, problem.x))
        False
    """
    return set(CURVE) <= evidence.diagnostics.keys()


def _curve(evidence: Evidence, datum: int | None) -> tuple[Values, Values, Values]:
    """Temperatures, means and their standard errors, `(T,)` each."""
    if not has_curve(evidence):
        raise ValueError(
            f"Expected evidence with a thermodynamic curve, got that of {evidence.estimator}. "
            "Estimate it by ThermodynamicIntegration or SteppingStone."
        )
    temperatures, means, errors = (as_array(evidence.diagnostics[name]) for name in CURVE)
    if datum is not None:
        return temperatures, means[:, datum], errors[:, datum]
    # No two data share chains, so that their errors are independent.
    return temperatures, means.mean(1), np.sqrt(np.square(errors).sum(1)) / means.shape[1]


def _draw(axes: Axes, temperatures: Values, mean: Values, error: Values) -> None:
    error_band(axes, temperatures, mean, error, color=PALETTE[1], alpha=0.35)
    axes.plot(temperatures, mean, "o-", color=MODEL, markersize=3, linewidth=1.2)
    set_temperature_scale(axes)


def set_temperature_scale(axes: Axes) -> None:
    """A scale of temperatures that shows those next to 0: even in their fifth root."""
    axes.set_xscale("function", functions=(_stretch, _unstretch))
    axes.set(xlim=(0, 1), xlabel="temperature t", xticks=TICKS)
    axes.set_xticklabels([f"{tick:g}" for tick in TICKS], rotation=45, ha="right")


def _stretch(t: Values) -> Values:
    return np.clip(t, 0, None) ** (1 / EXPONENT)


def _unstretch(u: Values) -> Values:
    return np.clip(u, 0, None) ** EXPONENT


def _quote(evidence: Evidence, datum: int | None) -> str:
    value, error = evidence.mean, evidence.mean_standard_error
    if datum is not None:
        value = float(evidence.log_evidence[datum])
        error = float(evidence.standard_error[datum])
    return f"log evidence (area): {quote(value, error)}"
