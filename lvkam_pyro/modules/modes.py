"""Where one-dimensional densities are highest."""

import math

import torch
from scipy.signal import find_peaks
from torch import Size, Tensor

from lvkam_pyro.distributions.reference import support_bounds
from lvkam_pyro.distributions.univariate import UnivariateDensity

PROMINENCE = 0.01
"""How far a log density must fall, in nats, before it rises to something higher."""

_NEGLIGIBLE = 1e-3
_NUM_POINTS = 513
_OUTER_MASS = 1e-6
_NUM_REFINED, _NUM_REFINEMENTS = 33, 6


@torch.no_grad()
def find_modes(densities: UnivariateDensity) -> list[list[float]]:
    """The local maxima of each density, from a fine grid and finer ones around each.

    The grid has as many equally spaced points as quantiles, so that a narrow peak is seen if it
    holds a thousandth of the mass or is as wide as a thousandth of the range. A wiggle is no mode:
    the log density falls by at least 0.01 nats on both sides, and a flat density has none. Nor is
    a rise where the density is below a thousandth of its largest. An end of the support may be
    one. The places are exact to about the root of the precision of the densities' dtype.

    Args:
        densities: Densities of batch shape `(*batch)`.

    Returns:
        The modes of each density in increasing order, for the batch in one row.

    Example:
        >>> from lvkam_pyro.distributions.energy import EnergyDistribution
        >>> wave = EnergyDistribution(lambda z: torch.sin(12 * z))
        >>> [round(mode, 2) for mode in find_modes(wave)[0]]
        [0.13, 0.65, 1.0]
    """
    grid = _grid(densities)
    rows = densities.log_prob(grid).reshape(len(grid), -1).T
    indices = [_find_peaks(row) for row in rows]
    count = max(map(len, indices))
    if count == 0:
        return [[] for _ in indices]
    padded = torch.tensor([row + [0] * (count - len(row)) for row in indices], device=grid.device)
    peaks = _refine(densities, grid, padded).tolist()
    return [found[: len(row)] for found, row in zip(peaks, indices, strict=True)]


def _grid(densities: UnivariateDensity) -> Tensor:
    """Increasing points of shape `(points, *batch)`: equally spaced ones among quantiles."""
    column = (-1, *[1] * len(densities.batch_shape))
    steps = torch.linspace(0, 1, _NUM_POINTS).to(densities.breakpoints).view(column)
    # To a finite end itself, which may be the highest place: quantiles stay just inside.
    first, last = (
        mass if math.isfinite(end) else abs(mass - _OUTER_MASS)
        for mass, end in zip((0, 1), support_bounds(densities.reference), strict=True)
    )
    quantiles = densities.icdf(steps.clamp(first, last).expand(-1, *densities.batch_shape))
    low, high = quantiles[[0]], quantiles[[-1]]
    equal = torch.minimum(low + (high - low) * steps, high)
    return torch.cat([equal, quantiles]).sort(0).values


def _find_peaks(log_density: Tensor) -> list[int]:
    """Indices of the maxima of one row, where beyond its ends is as low as its lowest."""
    values = log_density.double().cpu()
    floor = values.min() - PROMINENCE / 2
    padded = torch.cat([floor[None], values, floor[None]])
    lowest = float(values.max()) + math.log(_NEGLIGIBLE)
    peaks, _ = find_peaks(padded.numpy(), height=lowest, prominence=PROMINENCE)
    return [int(peak) - 1 for peak in peaks]


def _refine(densities: UnivariateDensity, grid: Tensor, indices: Tensor) -> Tensor:
    """The peaks `(rows, count)` on ever finer grids between their neighbours: their places."""
    rows, batch = grid.reshape(len(grid), -1).T, Size([-1, *densities.batch_shape])
    low = rows.gather(1, (indices - 1).clamp(min=0)).unsqueeze(-1)
    high = rows.gather(1, (indices + 1).clamp(max=len(grid) - 1)).unsqueeze(-1)
    steps = torch.linspace(0, 1, _NUM_REFINED).to(grid)
    for _ in range(_NUM_REFINEMENTS):
        z = torch.lerp(low, high, steps)
        values = densities.log_prob(z.flatten(1).T.reshape(batch)).reshape(-1, len(z)).T
        best = values.view_as(z).argmax(-1, keepdim=True)
        low, high = (z.gather(-1, (best + s).clamp(0, _NUM_REFINED - 1)) for s in (-1, 1))
    return z.gather(-1, best).squeeze(-1)
