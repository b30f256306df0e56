"""Each latent's learned density against the reference measure it started from."""

from collections.abc import Callable

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lvkam_pyro.distributions.univariate import UnivariateDensity
from lvkam_pyro.modules.prior import EnergyPrior
from lvkam_pyro.plots._arrays import Values, as_array
from lvkam_pyro.plots.style import (
    MODEL,
    PALETTE,
    QUIET,
    label_edges,
    legend_above,
    panels,
    styled,
)

_NUM_POINTS = 400
_NUM_BINS = 30
_TAIL = 1e-3
_MAX_CONTRAST = 5.0


@styled
def prior_densities(
    prior: EnergyPrior,
    *,
    posterior: Tensor | ArrayLike | None = None,
    axes: object = None,
) -> NDArray[np.object_]:
    r"""The density of each latent, one a panel, against the reference measure :math:`\pi_0`.

    With posterior draws, their histogram over all data stands behind: where the prior has been
    learned by maximum likelihood, it follows that histogram (the aggregate posterior). All panels
    have one scale, unless the highest density is five times as high as the lowest.

    Args:
        prior: A `MixturePrior`, or a `ProductPrior`, whose `P` inner densities share a panel.
        posterior: Draws of the latents from the posterior of many data, of shape `(..., Q)` or
            `(..., Q, P)`.
        axes: One axes a latent; None: a new figure.

    Returns:
        The axes, of shape `(Q,)`.

    Raises:
        ValueError: If the draws are not of the prior's latents, or the axes are too few.

    Example:
        >>> import lvkam_pyro as lv
        >>> axes = lv.plots.prior_densities(lv.MixturePrior(num_latents=3))
        >>> axes[0].get_title(), axes[0].get_ylabel()
        ('latent 0', 'density')
    """
    with torch.no_grad():
        densities = prior.densities()
        z = _grid(densities)
        curves = _evaluate(densities, z)
        reference = densities.reference.log_prob(z).exp()
    draws = _check_draws(posterior, densities.batch_shape)
    # On one scale densities are compared at sight, where all of them are readable on it.
    tops = curves.max((1, 2))
    share = bool(tops.max() < _MAX_CONTRAST * tops.min())
    all_axes = panels(len(curves), axes, share=share)
    for latent, one in enumerate(all_axes):
        if draws is not None:
            _draw_histograms(one, draws[:, latent])
        one.plot(as_array(z), as_array(reference), "--", color=QUIET, label="reference π₀")
        one.plot(as_array(z), curves[latent][0], color=MODEL, label="prior")
        for colour, curve in zip(_colours(len(curves[latent])), curves[latent][1:], strict=False):
            one.plot(as_array(z), curve, color=colour)
        one.set_title(f"latent {latent}")
    for one in all_axes:  # When all is drawn: a limit stops the scale that they share.
        one.set_ylim(bottom=0)
    label_edges(all_axes, own_figure=axes is None, xlabel="z", ylabel="density")
    legend_above(all_axes, own_figure=axes is None)
    return all_axes


def _grid(densities: UnivariateDensity) -> Tensor:
    """Points over the support; on an unbounded one, over all but a thousandth of the reference."""
    reference = densities.reference
    ends = torch.tensor([_TAIL, 1 - _TAIL], dtype=reference.mean.dtype)
    low, high = (float(end) for end in reference.icdf(ends.to(reference.mean.device)))
    breakpoints = densities.breakpoints
    low, high = min(low, float(breakpoints.min())), max(high, float(breakpoints.max()))
    # Midpoints: at the very end of an interval torch's densities are zero.
    steps = (torch.arange(_NUM_POINTS) + 0.5) / _NUM_POINTS
    return (low + (high - low) * steps).to(breakpoints)


def _evaluate(densities: UnivariateDensity, z: Tensor) -> Values:
    """The densities on the grid, of shape `(Q, P, points)`."""
    values = over_batch(densities.log_prob, z, densities.batch_shape).exp()
    return as_array(values.movedim(0, -1).reshape(values.shape[1], -1, len(z)))


def over_batch(
    function: Callable[[Tensor], Tensor], points: Tensor, batch_shape: torch.Size
) -> Tensor:
    """A function of a batch of densities at the same points `(M,)` for all, `(M, *batch)`."""
    values = function(points.view(-1, *[1] * len(batch_shape)))
    return values.expand(-1, *batch_shape)


def _check_draws(posterior: Tensor | ArrayLike | None, batch_shape: torch.Size) -> Values | None:
    """The draws as `(M, Q, P)`."""
    if posterior is None:
        return None
    draws = as_array(posterior)
    if draws.shape[-len(batch_shape) :] != tuple(batch_shape):
        raise ValueError(
            f"Expected posterior draws of shape (..., {', '.join(map(str, batch_shape))}), got "
            f"{draws.shape}. Pass the latents that this prior draws."
        )
    return draws.reshape(-1, batch_shape[0], batch_shape[1:].numel())


def _draw_histograms(axes: Axes, draws: Values) -> None:
    """The draws `(M, P)` of one latent."""
    labels = ["posterior of the data"] + [""] * (draws.shape[1] - 1)
    colours = [MODEL, *_colours(draws.shape[1])]
    for column, colour, label in zip(draws.T, colours, labels, strict=True):
        axes.hist(column, _NUM_BINS, density=True, color=colour, alpha=0.25, label=label or None)


def _colours(count: int) -> list[str]:
    return [PALETTE[1:][index % (len(PALETTE) - 1)] for index in range(count - 1)]
