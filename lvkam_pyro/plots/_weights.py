"""Importance weights datum by datum: Pareto k and effective sample size."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lvkam_pyro.checks.weights_check import WeightsCheck
from lvkam_pyro.evidence.verdict import MIN_EFFECTIVE_SAMPLE_SIZE
from lvkam_pyro.plots._arrays import Values, as_array
from lvkam_pyro.plots.style import MODEL, PALETTE, QUIET, panels, styled
from lvkam_pyro.statistics.weights import MAX_PARETO_K

_GOOD_K = 0.5
"""Up to it the weights have a variance."""


@styled
def importance_weights(result: WeightsCheck, *, axes: object = None) -> NDArray[np.object_]:
    """Pareto k and effective sample size of every datum's particles.

    The dashed lines are the limits above which (k = 0.7) or below which (10) nothing should be
    trusted; data beyond them are marked. A k that could not be fitted is drawn at the top.

    Args:
        result: The result of `check_weights`.
        axes: Two axes; None: a new figure.

    Returns:
        The two axes.

    Raises:
        ValueError: If there are fewer than two axes.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> axes = lv.plots.importance_weights(lv.checks.check_weights(torch.randn(1000, 30)))
        >>> axes[0].get_ylabel(), axes[1].get_ylabel()
        ('Pareto k', 'effective sample size')
    """
    left, right = pair = panels(2, axes, size=(3.7, 2.9))
    failed = result.failed.cpu().numpy()
    _draw_pareto_k(left, as_array(result.pareto_k), failed)
    _draw_ess(right, as_array(result.ess), failed, result.num_particles)
    return pair


def _draw_pareto_k(axes: Axes, k: Values, failed: NDArray[np.bool_]) -> None:
    finite = k[np.isfinite(k)]
    top = max(1.05, float(finite.max(initial=0.0)) + 0.15)
    _draw_points(axes, np.where(np.isfinite(k), k, top), failed)
    for limit, style in ((_GOOD_K, ":"), (MAX_PARETO_K, "--")):
        axes.axhline(limit, color="black", linewidth=0.8, linestyle=style)
        axes.annotate(
            f"{limit:g}", (1.0, limit), xycoords=("axes fraction", "data"), xytext=(3, 0),
            textcoords="offset points", va="center", fontsize=8, annotation_clip=False,
        )  # fmt: skip
    axes.set(ylabel="Pareto k", title="tail of the weights")


def _draw_ess(axes: Axes, ess: Values, failed: NDArray[np.bool_], num_particles: int) -> None:
    _draw_points(axes, np.maximum(ess, 0.5), failed)
    axes.set_yscale("log")
    axes.axhline(MIN_EFFECTIVE_SAMPLE_SIZE, color="black", linewidth=0.8, linestyle="--")
    axes.axhline(num_particles, color=QUIET, linewidth=0.8)
    axes.set(ylabel="effective sample size", title=f"of {num_particles} particles")
    axes.set_ylim(min(5.0, float(ess.min(initial=5.0))) / 1.5, 1.6 * num_particles)


def _draw_points(axes: Axes, values: Values, failed: NDArray[np.bool_]) -> None:
    data = np.arange(len(values))
    axes.plot(data[~failed], values[~failed], "o", color=MODEL, markersize=3, alpha=0.7)
    axes.plot(data[failed], values[failed], "x", color=PALETTE[1], markersize=5)
    axes.set(xlabel="datum")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
