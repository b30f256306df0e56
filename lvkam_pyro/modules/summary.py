"""What a prior says of its latents, in numbers."""

import math
from dataclasses import asdict, dataclass

import torch
from pandas import DataFrame
from torch import Tensor
from torch.distributions import kl_divergence

from lvkam_pyro.distributions.energy import EnergyDistribution
from lvkam_pyro.distributions.univariate import UnivariateDensity
from lvkam_pyro.modules.modes import find_modes
from lvkam_pyro.statistics.text_table import text_table


@dataclass(frozen=True)
class LatentSummary:
    r"""One latent's density :math:`p`.

    Attributes:
        latent: Number of the latent, from 0, as in the plots.
        component: Number of the inner latent of a `ProductPrior`, from 0; 0 for a mixture.
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
        >>> from lvkam_pyro.modules.mixture_prior import MixturePrior
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
    numbers = zip(*(column.flatten().tolist() for column in columns), strict=True)
    num_inner = densities.batch_shape[1:].numel()
    return PriorSummary(
        tuple(
            LatentSummary(
                index // num_inner, index % num_inner, mean, sd, tuple(modes), entropy, kl
            )
            for index, ((mean, sd, entropy, kl), modes) in enumerate(
                zip(numbers, find_modes(densities), strict=True)
            )
        )
    )


_HEADER = ("latent", "inner", "mean", "sd", "entropy (nats)", "KL from π₀ (nats)", "modes")


def _first_row(breakpoints: Tensor) -> Tensor:
    """Breakpoints of a density without energy: any row does, for all have the same ends."""
    return breakpoints.reshape(-1, breakpoints.shape[-1])[0]


def _cells(row: LatentSummary) -> tuple[str, ...]:
    # Places to a thousandth of the spread, whatever the unit of the latent.
    decimals = max(0, 3 - math.floor(math.log10(row.sd)))
    places = [f"{place:z.{decimals}f}" for place in (row.mean, row.sd, *row.modes)]
    nats = [f"{value:z.4f}" for value in (row.entropy, row.kl)]
    modes = ", ".join(places[2:]) or "flat"
    return (str(row.latent), str(row.component), *places[:2], *nats, modes)
