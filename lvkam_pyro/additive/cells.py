"""Cells of a latent's range to begin an integral with: as its prior's mass and knots have it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.special import ndtr

from lvkam_pyro.additive.coordinates import LatentCoordinates

_LARGEST_SCORE = 7.0
"""The normal scores of an unbounded prior's outermost quantiles: 1e-12 of the mass is beyond."""

_OUTER_LENGTH = 2.0
"""The length of the cells beyond those, as a multiple of the whole range."""


@dataclass(frozen=True)
class PriorCells:
    """Cells that cover the range of each coordinate.

    Attributes:
        edges: Increasing edges of each coordinate, in float64.
        low_end: Where the range of a prior without lower bound is cut off, `(Q,)`; -inf for others.
        high_end: The same above.
    """

    edges: list[Tensor]
    low_end: Tensor
    high_end: Tensor


def prior_cells(
    coordinates: LatentCoordinates, num_cells: int, *, with_tails: bool = True
) -> PriorCells:
    """Edges of cells that cover the range of each coordinate.

    Between knots that the prior says it has (`breakpoints`) the cells are joined or cut to about
    as many as are wanted. An unbounded prior has cells between quantiles of equally distant normal
    scores and, on request, one long cell beyond them on each open side, for a posterior far in the
    tail.

    Args:
        coordinates: The coordinates and their priors.
        num_cells: About how many cells of each coordinate.
        with_tails: Whether to add the long cells.

    Returns:
        The cells.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> import lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Uniform(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(5)
        >>> prior_cells(LatentCoordinates.of(lv.bind(model, x)), 2).edges
        [tensor([0.0000, 0.5000, 1.0000], dtype=torch.float64)]
    """
    sizes = [prior.batch_shape.numel() for prior in coordinates.priors]
    is_open = coordinates.is_open
    edges: list[Tensor] = []
    for prior, low, high, sides in zip(
        coordinates.priors,
        coordinates.low.split(sizes),
        coordinates.high.split(sizes),
        is_open.split(sizes, -1),
        strict=True,
    ):
        coarse = _range_edges(prior, low, high, sides, num_cells, with_tails=with_tails)
        edges += map(_merge, coarse, _knots(prior), repeat(num_cells))
    low_end, high_end = (torch.stack([e[place] for e in edges]) for place in (0, -1))
    return PriorCells(
        edges,
        torch.where(is_open[0], low_end, -torch.inf),
        torch.where(is_open[1], high_end, torch.inf),
    )


def _quantiles(prior: Distribution, num_cells: int) -> Tensor | None:
    """Quantiles at equally distant normal scores, `(Q, cells + 1)`, if the prior has any."""
    scores = torch.linspace(-_LARGEST_SCORE, _LARGEST_SCORE, num_cells + 1, dtype=torch.float64)
    try:
        values = [prior.icdf(probability).double() for probability in ndtr(scores)]
    except NotImplementedError:
        return None
    return torch.stack([value.expand(prior.batch_shape).flatten() for value in values], -1)


def _knots(prior: Distribution) -> Iterable[Tensor | None]:
    """The breakpoints of each of a site's coordinates, if the prior has any."""
    breakpoints: Tensor | None = getattr(prior, "breakpoints", None)
    if breakpoints is None:
        return repeat(None)
    return breakpoints.double().expand(*prior.batch_shape, -1).flatten(0, -2)


def _range_edges(
    prior: Distribution,
    low: Tensor,
    high: Tensor,
    is_open: Tensor,
    num_cells: int,
    *,
    with_tails: bool,
) -> Iterator[Tensor]:
    """Edges over the whole range of each of a site's coordinates, without knots."""
    low, high = low[:, None], high[:, None]
    edges = torch.lerp(low, high, torch.linspace(0, 1, num_cells + 1).to(low))
    quantiles = _quantiles(prior, num_cells)
    if quantiles is not None:
        edges = torch.where(is_open.any(0)[:, None], quantiles.clamp(low, high), edges)
    outer = _OUTER_LENGTH * (edges[:, -1:] - edges[:, :1])
    edges = torch.cat([edges[:, :1] - outer, edges, edges[:, -1:] + outer], -1)
    for own, (below, above) in zip(edges, is_open.T.tolist(), strict=True):
        yield own[0 if with_tails and below else 1 : None if with_tails and above else -1]


def _merge(edges: Tensor, knots: Tensor | None, num_cells: int) -> Tensor:
    """The edges, with knots in place of those within the knots' range."""
    if knots is None:
        return edges
    stride = max(1, round((len(knots) - 1) / num_cells))
    kept = torch.cat([knots[:-1:stride], knots[-1:]])
    parts = max(1, round(num_cells / (len(kept) - 1)))
    steps = torch.arange(parts, dtype=kept.dtype, device=kept.device) / parts
    inner = (kept[:-1, None] + kept.diff()[:, None] * steps).flatten()
    below, above = edges[edges < kept[0]], edges[edges > kept[-1]]
    return torch.cat([below, inner, kept[-1:], above])
