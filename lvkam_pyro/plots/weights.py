"""Importance weights datum by datum: Pareto k and effective sample size."""

from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from lvkam_pyro.plots.samples import Values, as_array
from lvkam_pyro.plots.style import MODEL, PALETTE, QUIET, panels, styled
from lvkam_pyro.statistics.weights import MAX_PARETO_K

GOOD_K, BAD_K = 0.5, MAX_PARETO_K
_FEW_ESS = 10.0


class HasWeights(Protocol):
    """What a `WeightsCheck` says that a picture needs."""

    @property
    def pareto_k(self) -> Tensor:
        """Of each datum, `(N,)`."""

    @property
    def ess(self) -> Tensor:
        """Effective sample size of each datum, `(N,)`."""

    @property
    def num_particles(self) -> int:
        """The number of particles."""


@styled
def plot_importance_weights(check: HasWeights, *, axes: object = None) -> NDArray[np.object_]:
    """Pareto k and effective sample size of every datum's particles.

    The dashed lines are the limits above which (k = 0.7) or below which (10) nothing should be
    trusted; data beyond them are marked. A k that could not be fitted is drawn at the top.

    Args:
        check: What `check_weights` found.
        axes: Two axes; None: a new figure.

    Returns:
        The two axes.

    Raises:
        ValueError: If there are fewer than two axes.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> axes = plot_importance_weights(lv.checks.check_weights(torch.randn(1000, 30)))
        >>> axes[0].get_ylabel(), axes[1].get_ylabel()
        ('Pareto k', 'effective sample size')
    """
    left, right = pair = panels(2, axes, num_columns=2, size=(3.7, 2.9))
    k, ess = as_array(check.pareto_k), as_array(check.ess)
    finite = k[np.isfinite(k)]
    top = max(1.05, float(finite.max(initial=0.0)) + 0.15)
    failed = ~(k <= BAD_K) | (ess < _FEW_ESS)
    _draw_points(left, np.where(np.isfinite(k), k, top), failed)
    for limit, style in ((GOOD_K, ":"), (BAD_K, "--")):
        left.axhline(limit, color="black", linewidth=0.8, linestyle=style)
        left.annotate(
            f"{limit:g}", (1.0, limit), xycoords=("axes fraction", "data"), xytext=(3, 0),
            textcoords="offset points", va="center", fontsize=8, annotation_clip=False,
        )  # fmt: skip
    left.set(ylabel="Pareto k", title="tail of the weights")
    _draw_points(right, np.maximum(ess, 0.5), failed)
    right.set_yscale("log")
    right.axhline(_FEW_ESS, color="black", linewidth=0.8, linestyle="--")
    right.axhline(check.num_particles, color=QUIET, linewidth=0.8)
    right.set(ylabel="effective sample size", title=f"of {check.num_particles} particles")
    right.set_ylim(min(5.0, float(ess.min(initial=5.0))) / 1.5, 1.6 * check.num_particles)
    return pair


def _draw_points(axes: Axes, values: Values, failed: NDArray[np.bool_]) -> None:
    data = np.arange(len(values))
    axes.plot(data[~failed], values[~failed], "o", color=MODEL, markersize=3, alpha=0.7)
    axes.plot(data[failed], values[failed], "x", color=PALETTE[1], markersize=5)
    axes.set(xlabel="datum")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
