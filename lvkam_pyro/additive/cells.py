"""Cells of a latent's range to begin an integral with: as its prior's mass and knots have it."""

from collections.abc import Iterator
from dataclasses import dataclass

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
    ranges = zip(coordinates.low, coordinates.high, strict=True)
    laws = list(_univariate_laws(coordinates, num_cells))
    edges = [
        _merge(_range_edges(low, high, quantiles, is_open, num_cells, with_tails), knots, num_cells)
        for (low, high), (quantiles, is_open, knots) in zip(ranges, laws, strict=True)
    ]
    sides = torch.tensor([is_open for _, is_open, _ in laws], device=coordinates.low.device).T
    low_end, high_end = (torch.stack([e[place] for e in edges]) for place in (0, -1))
    return PriorCells(
        edges,
        torch.where(sides[0], low_end, -torch.inf),
        torch.where(sides[1], high_end, torch.inf),
    )


def _univariate_laws(
    coordinates: LatentCoordinates, num_cells: int
) -> Iterator[tuple[Tensor | None, tuple[bool, bool], Tensor | None]]:
    """Of each coordinate: quantiles, which sides are open, and the prior's knots."""
    for prior in coordinates.priors:
        quantiles, knots = _quantiles(prior, num_cells), _knots(prior)
        is_open = _is_open(prior)
        for q in range(prior.batch_shape.numel()):
            sides = bool(is_open[0][q]), bool(is_open[1][q])
            own = None if quantiles is None else quantiles[q]
            yield own, sides, None if knots is None else knots[q]


def _is_open(prior: Distribution) -> tuple[Tensor, Tensor]:
    """Whether a prior has no lower, no upper bound, `(Q,)` each."""
    bounds = (
        torch.as_tensor(getattr(prior.support, name, torch.inf)).expand(prior.batch_shape)
        for name in ("lower_bound", "upper_bound")
    )
    low, high = (~bound.isfinite().flatten() for bound in bounds)
    return low, high


def _quantiles(prior: Distribution, num_cells: int) -> Tensor | None:
    """Quantiles at equally distant normal scores, `(Q, cells + 1)`, if the prior has any."""
    scores = torch.linspace(-_LARGEST_SCORE, _LARGEST_SCORE, num_cells + 1, dtype=torch.float64)
    try:
        values = [prior.icdf(probability).double() for probability in ndtr(scores)]
    except NotImplementedError:
        return None
    return torch.stack([value.expand(prior.batch_shape).flatten() for value in values], -1)


def _knots(prior: Distribution) -> Tensor | None:
    """The prior's breakpoints, `(Q, G + 1)`, if it has any."""
    breakpoints: Tensor | None = getattr(prior, "breakpoints", None)
    if breakpoints is None:
        return None
    return breakpoints.double().expand(*prior.batch_shape, -1).flatten(0, -2)


def _range_edges(
    low: Tensor,
    high: Tensor,
    quantiles: Tensor | None,
    is_open: tuple[bool, bool],
    num_cells: int,
    with_tails: bool,
) -> Tensor:
    """Edges over the whole range, without knots."""
    steps = torch.linspace(0, 1, num_cells + 1, dtype=low.dtype, device=low.device)
    edges = torch.lerp(low, high, steps)
    if any(is_open) and quantiles is not None:
        edges = quantiles.clamp(low, high)
    outer = _OUTER_LENGTH * (edges[-1] - edges[0])
    below = [edges[:1] - outer] if with_tails and is_open[0] else []
    above = [edges[-1:] + outer] if with_tails and is_open[1] else []
    return torch.cat([*below, edges, *above])


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
