"""The aggregate posterior beside the prior, latent by latent."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lvkam_pyro.checks.mismatch import PriorPosteriorMismatch
from lvkam_pyro.plots._arrays import as_array
from lvkam_pyro.plots._uniformity import draw_differences
from lvkam_pyro.plots.style import MODEL, panels, styled

_MAX_BARS = 24


@styled
def mismatch(result: PriorPosteriorMismatch, *, axes: object = None) -> NDArray[np.object_]:
    """Distribution functions of the aggregate posterior less the prior's, and contractions.

    On the left the latents that are farthest from their prior are named, with bands of two standard
    errors over the data; on the right, how much the data say of each latent (0: nothing), with
    two standard errors.

    Args:
        result: The result of `prior_posterior_mismatch`.
        axes: Two axes; None: a new figure.

    Returns:
        The two axes.

    Raises:
        ValueError: If there are fewer than two axes.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_10")
        >>> result = lv.checks.prior_posterior_mismatch(problem.model, problem.x)
        >>> lv.plots.mismatch(result)[1].get_xlabel()
        'contraction (1 − posterior / prior variance)'
    """
    left, right = pair = panels(2, axes, size=(3.7, 2.9))
    _draw_functions(left, result)
    _draw_contractions(right, result)
    return pair


def _draw_functions(axes: Axes, result: PriorPosteriorMismatch) -> None:
    levels = as_array(result.levels)
    differences, errors = as_array(result.ecdf.value) - levels, as_array(result.ecdf.error)
    order = np.argsort(-as_array(result.distance))
    names = [result.names[index] for index in order]
    draw_differences(axes, levels, differences[order], names, errors[order])
    axes.set(xlabel="distribution function of the prior", title="distribution functions")
    axes.set_ylabel("aggregate posterior \N{MINUS SIGN} prior")


def _draw_contractions(axes: Axes, result: PriorPosteriorMismatch) -> None:
    values, errors = map(as_array, result.contraction)
    order = np.argsort(-values)
    shown = np.concatenate([order[: _MAX_BARS // 2], order[_MAX_BARS // 2 :][-_MAX_BARS // 2 :]])
    heights = np.arange(len(shown))
    axes.errorbar(
        values[shown], heights, xerr=2 * errors[shown], fmt="o", color=MODEL, markersize=4
    )
    axes.set_yticks(heights, [result.names[index] for index in shown])
    axes.set(xlabel="contraction (1 \N{MINUS SIGN} posterior / prior variance)")
    axes.set(ylim=(len(shown) - 0.4, -0.6), title="how much the data say")
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_xlim(min(0.0, float((values - 2 * errors)[shown].min())) - 0.05, 1.05)
