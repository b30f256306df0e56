"""The aggregate posterior beside the prior, latent by latent."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from lvkam_pyro.plots.samples import as_array
from lvkam_pyro.plots.style import MODEL, PALETTE, QUIET, panels, styled

_MAX_NAMED = 4
_MAX_BARS = 24


class HasMismatch(Protocol):
    """What a `PriorPosteriorMismatch` says that a picture needs."""

    @property
    def names(self) -> Sequence[str]:
        """Of the Q latents."""

    @property
    def distance(self) -> Tensor:
        """Of the distribution functions, `(Q,)`."""

    @property
    def levels(self) -> Tensor:
        """Distribution function of the prior, `(G,)`."""

    @property
    def ecdf(self) -> Tensor:
        """Distribution function of the aggregate posterior, `(Q, G)`."""

    @property
    def ecdf_error(self) -> Tensor:
        """Its standard error, `(Q, G)`."""

    @property
    def contraction(self) -> Tensor:
        """How much the data say of each latent, `(Q,)`."""

    @property
    def contraction_error(self) -> Tensor:
        """Its standard error, `(Q,)`."""


@styled
def plot_mismatch(mismatch: HasMismatch, *, axes: object = None) -> NDArray[np.object_]:
    """Distribution functions of the aggregate posterior less the prior's, and contractions.

    On the left the latents that are farthest from their prior are named, with bands of two standard
    errors over the data; on the right, how much the data say of each latent (0: nothing), with
    two standard errors.

    Args:
        mismatch: What `prior_posterior_mismatch` found.
        axes: Two axes; None: a new figure.

    Returns:
        The two axes.

    Raises:
        ValueError: If there are fewer than two axes.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_10")
        >>> axes = plot_mismatch(lv.checks.prior_posterior_mismatch(problem.model, problem.x))
        >>> axes[1].get_xlabel()
        'contraction (1 − posterior / prior variance)'
    """
    left, right = pair = panels(2, axes, num_columns=2, size=(3.7, 2.9))
    levels, functions = as_array(mismatch.levels), as_array(mismatch.ecdf)
    errors = as_array(mismatch.ecdf_error)
    order = np.argsort(-as_array(mismatch.distance))
    for index in order[_MAX_NAMED:]:
        left.plot(levels, functions[index] - levels, color=QUIET, linewidth=0.7)
    for rank, index in enumerate(order[:_MAX_NAMED]):
        difference, colour = functions[index] - levels, PALETTE[rank]
        band = difference - 2 * errors[index], difference + 2 * errors[index]
        left.fill_between(levels, *band, color=colour, alpha=0.15, linewidth=0)
        left.plot(levels, difference, color=colour, linewidth=1.4, label=mismatch.names[index])
    left.axhline(0, color="black", linewidth=0.6)
    left.set(xlim=(0, 1), xlabel="distribution function of the prior")
    left.set(ylabel="aggregate posterior \N{MINUS SIGN} prior", title="distribution functions")
    low, high = left.get_ylim()
    left.set_ylim(low, high + 0.25 * (high - low))
    left.legend(loc="upper right", ncols=2)
    _draw_contractions(right, mismatch)
    return pair


def _draw_contractions(axes: Axes, mismatch: HasMismatch) -> None:
    values, errors = as_array(mismatch.contraction), as_array(mismatch.contraction_error)
    order = np.argsort(-values)
    shown = np.concatenate([order[: _MAX_BARS // 2], order[_MAX_BARS // 2 :][-_MAX_BARS // 2 :]])
    heights = np.arange(len(shown))
    axes.errorbar(
        values[shown], heights, xerr=2 * errors[shown], fmt="o", color=MODEL, markersize=4
    )
    axes.set_yticks(heights, [mismatch.names[index] for index in shown])
    axes.set(xlabel="contraction (1 \N{MINUS SIGN} posterior / prior variance)")
    axes.set(ylim=(len(shown) - 0.4, -0.6), title="how much the data say")
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_xlim(min(0.0, float((values - 2 * errors)[shown].min())) - 0.05, 1.05)
