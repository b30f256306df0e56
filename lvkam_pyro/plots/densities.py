"""Each latent's learned density against the reference measure it started from."""

from typing import Protocol

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lvkam_pyro.distributions.univariate import UnivariateDensity
from lvkam_pyro.plots.samples import Values, as_array
from lvkam_pyro.plots.style import (
    MODEL,
    PALETTE,
    QUIET,
    label_edges,
    legend_above,
    panels,
    styled,
)

NUM_POINTS = 400
NUM_BINS = 30
TAIL = 1e-3
MAX_CONTRAST = 5.0


class HasDensities(Protocol):
    """A prior with one-dimensional densities, such as `MixturePrior` or `ProductPrior`."""

    def densities(self) -> UnivariateDensity:
        """The densities, of batch shape `(Q,)` or `(Q, P)`, with their `reference`."""


@styled
def plot_prior_densities(
    prior: HasDensities,
    *,
    posterior: Tensor | ArrayLike | None = None,
    axes: object = None,
) -> NDArray[np.object_]:
    r"""The density of each latent, one a panel, against the reference measure :math:`\pi_0`.

    With posterior draws, their histogram over all data stands behind: where the prior has been
    learned by maximum likelihood, it follows that histogram (the aggregate posterior). All panels
    have one scale, unless the highest density is five times as high as the lowest.

    Args:
        prior: A `MixturePrior`, a `ProductPrior` (whose `P` inner densities share a panel), or
            anything whose `densities()` are such a batch.
        posterior: Draws of the latents from the posterior of many data, of shape `(..., Q)` or
            `(..., Q, P)`.
        axes: One axes a latent; None: a new figure.

    Returns:
        The axes, of shape `(Q,)`.

    Raises:
        ValueError: If the draws are not of the prior's latents, or the axes are too few.

    Example:
        >>> from lvkam_pyro.modules.priors import MixturePrior
        >>> axes = plot_prior_densities(MixturePrior(num_latents=3))
        >>> axes[0].get_title(), axes[0].get_ylabel()
        ('latent 0', 'density')
    """
    with torch.no_grad():
        densities = prior.densities()
        z = _grid(densities)
        curves = _evaluate(densities, z)
        reference = densities.reference.log_prob(z).exp()
    draws = _check_draws(posterior, densities.batch_shape)
    all_axes = panels(len(curves), axes, share=_have_one_scale(curves))
    for latent, one in enumerate(all_axes):
        if draws is not None:
            _draw_histograms(one, draws[:, latent])
        one.plot(as_array(z), as_array(reference), "--", color=QUIET, label="reference π₀")
        one.plot(as_array(z), curves[latent][0], color=MODEL, label="prior")
        for colour, curve in zip(_colours(len(curves[latent])), curves[latent][1:], strict=False):
            one.plot(as_array(z), curve, color=colour)
        one.set_title(f"latent {latent}")
    tops = [one.dataLim.y1 for one in all_axes]
    for one, top in zip(all_axes, tops, strict=True):
        one.set_ylim(0, 1.05 * (max(tops) if _have_one_scale(curves) else top))
    label_edges(all_axes, own_figure=axes is None, xlabel="z", ylabel="density")
    legend_above(all_axes, own_figure=axes is None)
    return all_axes


def _have_one_scale(curves: Values) -> bool:
    """Whether the densities are readable on one scale, on which they are compared at sight."""
    tops = curves.max((1, 2))
    return bool(tops.max() < MAX_CONTRAST * tops.min())


def _grid(densities: UnivariateDensity) -> Tensor:
    """Points over the support; on an unbounded one, over all but a thousandth of the reference."""
    reference = densities.reference
    ends = torch.tensor([TAIL, 1 - TAIL], dtype=reference.mean.dtype)
    low, high = (float(end) for end in reference.icdf(ends.to(reference.mean.device)))
    breakpoints = densities.breakpoints
    low, high = min(low, float(breakpoints.min())), max(high, float(breakpoints.max()))
    # Midpoints: at the very end of an interval torch's densities are zero.
    steps = (torch.arange(NUM_POINTS) + 0.5) / NUM_POINTS
    return (low + (high - low) * steps).to(breakpoints)


def _evaluate(densities: UnivariateDensity, z: Tensor) -> Values:
    """The densities on the grid, of shape `(Q, P, points)`."""
    batch_shape = densities.batch_shape
    values = densities.log_prob(z.view(-1, *[1] * len(batch_shape))).exp()
    return as_array(
        values.expand(-1, *batch_shape).movedim(0, -1).reshape(batch_shape[0], -1, len(z))
    )


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
        axes.hist(column, NUM_BINS, density=True, color=colour, alpha=0.25, label=label or None)


def _colours(count: int) -> list[str]:
    return [PALETTE[1:][index % (len(PALETTE) - 1)] for index in range(count - 1)]
