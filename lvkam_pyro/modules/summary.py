"""A table of the densities of a prior: moments, modes, entropy and divergence."""

import math
from dataclasses import asdict, dataclass

import torch
from pandas import DataFrame
from scipy.signal import find_peaks
from torch import Size, Tensor
from torch.distributions import kl_divergence

from lvkam_pyro.distributions.energy import EnergyDistribution
from lvkam_pyro.distributions.reference import support_bounds
from lvkam_pyro.distributions.univariate import UnivariateDensity
from lvkam_pyro.statistics.text_table import text_table

PROMINENCE = 0.01
"""The least fall of a log density on both sides of a mode, in nats."""

_NEGLIGIBLE = 1e-3

_NUM_POINTS = 513

_OUTER_MASS = 1e-6

_NUM_REFINED, _NUM_REFINEMENTS = 33, 6


@dataclass(frozen=True)
class LatentSummary:
    r"""One latent's density :math:`p`.

    Attributes:
        latent: Index of the latent, from 0, as in the plots.
        component: Index of the inner latent of a `ProductPrior`, from 0; 0 for a mixture.
        mean: Expectation.
        sd: Standard deviation.
        modes: Where the density is highest, see `find_modes`; none if it is flat.
        entropy: Differential entropy :math:`-\int p \log p`, in nats.
        kl: :math:`\mathrm{KL}(p \,\|\, \pi_0)`, in nats: how much the prior has learned.
    """

    latent: int
    component: int
    mean: float
    sd: float
    modes: tuple[float, ...]
    entropy: float
    kl: float


@dataclass(frozen=True)
class PriorSummary:
    r"""A table of the latents' densities, one a row.

    Its text is a table to read; `summary.to_frame()` one to reckon with.

    Attributes:
        rows: The latents in order; the inner latents of each in order for a `ProductPrior`.

    Example:
        >>> from lvkam_pyro.modules.priors import MixturePrior
        >>> prior = MixturePrior(2)
        >>> _ = torch.nn.init.zeros_(prior.functions.coefficients)
        >>> print(prior.summary())
        latent    mean      sd  entropy (nats)  KL from π₀ (nats)  modes
             0  0.5000  0.2887          0.0000             0.0000  flat
             1  0.5000  0.2887          0.0000             0.0000  flat
        >>> sorted(prior.summary().to_frame())
        ['component', 'entropy', 'kl', 'latent', 'mean', 'modes', 'sd']
    """

    rows: tuple[LatentSummary, ...]

    def to_frame(self) -> DataFrame:
        """The rows as a data frame."""
        return DataFrame([asdict(row) for row in self.rows])

    def __str__(self) -> str:
        cells = DataFrame([_cells(row) for row in self.rows], columns=list(_HEADER))
        if all(row.component == 0 for row in self.rows):
            cells = cells.drop(columns="inner")
        return text_table(cells, left=["modes"])

    def __repr__(self) -> str:
        return str(self)


@torch.no_grad()
def summarize(densities: UnivariateDensity) -> PriorSummary:
    """The summary of densities of batch shape `(Q,)` or `(Q, P)`.

    Args:
        densities: A prior's densities, in float64 for modes to seven digits.

    Example:
        >>> densities = EnergyDistribution(lambda z: torch.tensor([0.0, 9.0]) * z)
        >>> [len(row.modes) for row in summarize(densities).rows]
        [0, 1]
    """
    start = EnergyDistribution(
        torch.zeros_like, densities.reference, breakpoints=_first_row(densities.breakpoints)
    )
    columns = (
        densities.mean,
        densities.stddev,
        densities.entropy(),
        kl_divergence(densities, start.expand(densities.batch_shape)),
    )
    values = zip(*(column.flatten().tolist() for column in columns), strict=True)
    num_inner = densities.batch_shape[1:].numel()
    return PriorSummary(
        tuple(
            LatentSummary(
                index // num_inner, index % num_inner, mean, sd, tuple(modes), entropy, kl
            )
            for index, ((mean, sd, entropy, kl), modes) in enumerate(
                zip(values, find_modes(densities), strict=True)
            )
        )
    )


_HEADER = ("latent", "inner", "mean", "sd", "entropy (nats)", "KL from π₀ (nats)", "modes")


def _first_row(breakpoints: Tensor) -> Tensor:
    """Breakpoints of a density without energy: any row does, for all have the same ends."""
    return breakpoints.reshape(-1, breakpoints.shape[-1])[0]


def _cells(row: LatentSummary) -> tuple[str, ...]:
    # Digits to a thousandth of the spread, whatever the unit of the latent.
    decimals = max(0, 3 - math.floor(math.log10(row.sd)))
    values = [f"{value:z.{decimals}f}" for value in (row.mean, row.sd, *row.modes)]
    nats = [f"{value:z.4f}" for value in (row.entropy, row.kl)]
    modes = ", ".join(values[2:]) or "flat"
    return (str(row.latent), str(row.component), *values[:2], *nats, modes)


@torch.no_grad()
def find_modes(densities: UnivariateDensity) -> list[list[float]]:
    """The local maxima of each density, from a fine grid and finer ones around each.

    The grid has as many equally spaced points as quantiles, so that a narrow peak is seen if it
    holds a thousandth of the mass or is as wide as a thousandth of the range. A wiggle is no mode:
    the log density falls by at least 0.01 nats on both sides, and a flat density has none. Nor is
    a rise where the density is below a thousandth of its largest. An end of the support may be
    one. The modes are exact to about the root of the precision of the densities' dtype.

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
    # To a finite end itself, which may be the highest point: quantiles stay just inside.
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
    """The peaks `(rows, count)` on ever finer grids between their neighbours."""
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
