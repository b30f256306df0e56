"""Pictures of checks: of any, of the aggregate posterior beside the prior, and of weights."""

from functools import singledispatch

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lvkam_pyro.checks.calibration import SBC
from lvkam_pyro.checks.check import CheckResult
from lvkam_pyro.checks.convergence_check import ConvergenceCheck, EvidenceCheck
from lvkam_pyro.checks.leave_one_out import LOOPIT
from lvkam_pyro.checks.mismatch import PriorPosteriorMismatch
from lvkam_pyro.checks.predictive import PredictiveCheck
from lvkam_pyro.checks.weights_check import WeightsCheck
from lvkam_pyro.evidence.verdict import MIN_EFFECTIVE_SAMPLE_SIZE
from lvkam_pyro.plots._arrays import Values, as_array
from lvkam_pyro.plots._evidence import evidence
from lvkam_pyro.plots._ladder import convergence
from lvkam_pyro.plots._samples import predictive_check
from lvkam_pyro.plots._uniformity import draw_differences, loo_pit, ranks
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


@singledispatch
def check(result: CheckResult, *, axes: object = None) -> NDArray[np.object_]:
    """The picture of a check's result, by the plot for its class.

    `ranks` for an `SBC`, `loo_pit` for a `LOOPIT`, `predictive_check` for a `PredictiveCheck`,
    `mismatch` for a `PriorPosteriorMismatch`, `importance_weights` for a `WeightsCheck`,
    `convergence` for a `ConvergenceCheck`, `evidence` for an `EvidenceCheck`. The picture of
    another class is added by `plots.check.register(MyCheck, draw_mine)`.

    Args:
        result: The result of a check.
        axes: As many axes as the plot has panels; None: a new figure.

    Returns:
        The axes.

    Raises:
        TypeError: If there is no picture of such a check.
        ValueError: If the axes are too few.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> axes = lv.plots.check(lv.checks.check_weights(torch.randn(1000, 30)))
        >>> axes[0].get_ylabel()
        'Pareto k'
    """
    raise TypeError(
        f"Expected the result of a check that has a picture, got {type(result).__name__}. Add one "
        "by plots.check.register, or print the result."
    )


check.register(SBC, ranks)
check.register(LOOPIT, loo_pit)
check.register(PredictiveCheck, predictive_check)
check.register(PriorPosteriorMismatch, mismatch)
check.register(WeightsCheck, importance_weights)
check.register(ConvergenceCheck, convergence)


@check.register
def _(result: EvidenceCheck, *, axes: object = None) -> NDArray[np.object_]:
    return np.array([evidence(result.comparison, axes=axes)], dtype=object)
