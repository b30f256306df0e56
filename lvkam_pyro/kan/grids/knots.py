"""Breakpoints that lie nearer to each other where the samples are."""

import torch
from torch import Tensor

MIN_RATIO = 1e-3
"""No cell is narrower than this part of a uniform one, so float32 still distinguishes its ends."""


def adapt_breakpoints(
    samples: Tensor, domain: tuple[float, float], num_cells: int, *, ratio: float = 0.05
) -> Tensor:
    r"""Breakpoints between a uniform grid and the quantiles of samples.

    .. math:: t_{ig} = r \, \Big( a + \tfrac{g}{G} (b - a) \Big)
              + (1 - r) \, Q_i\big( \tfrac{g}{G} \big), \qquad 0 < g < G,

    with :math:`t_{i0} = a` and :math:`t_{iG} = b`, the ends of the domain, whatever the samples.
    Every quantile lies between two samples by linear interpolation. A cell is at least `r` times
    as wide as one of the uniform grid, also where all samples are equal.

    Args:
        samples: Of shape ``(S, I)``, none of them NaN; those outside the domain count as its ends.
        domain: The ends :math:`a < b`.
        num_cells: The number of cells :math:`G`.
        ratio: The share :math:`r` of the uniform grid, from 0.001 to 1.

    Returns:
        The breakpoints :math:`t`, ``(I, G+1)`` in float64, strictly increasing.

    Raises:
        ValueError: If the ratio is out of range.

    References:
        Liu, Z. et al. (2024). KAN: Kolmogorov-Arnold Networks, section 2.2, "Update of spline
        grids". https://arxiv.org/abs/2404.19756

    Example:
        >>> adapt_breakpoints(torch.tensor([[0.5], [0.5], [0.5]]), (0.0, 1.0), 4, ratio=0.1)
        tensor([[0.0000, 0.4750, 0.5000, 0.5250, 1.0000]], dtype=torch.float64)
    """
    check_ratio(ratio)
    low, high = domain
    levels = torch.linspace(0, 1, num_cells + 1, dtype=torch.float64, device=samples.device)
    points = quantiles(samples.double().clamp(low, high), levels)
    points.mul_(1 - ratio).add_(low + (high - low) * levels, alpha=ratio)
    points[:, 0], points[:, -1] = low, high
    return points


def quantiles(samples: Tensor, levels: Tensor) -> Tensor:
    """Quantiles of each column by linear interpolation between its order statistics.

    Unlike `torch.quantile` it takes any number of samples.

    Args:
        samples: Of shape ``(S, I)``.
        levels: Of shape ``(L,)``, from 0 to 1, of the samples' dtype.

    Returns:
        The quantiles, ``(I, L)``.

    Example:
        >>> quantiles(torch.tensor([[3.0], [1.0]]), torch.tensor([0.0, 0.25, 1.0]))
        tensor([[1.0000, 1.5000, 3.0000]])
    """
    ordered = samples.sort(0).values.T
    position = levels * (len(samples) - 1)
    below = position.long().clamp(max=max(len(samples) - 2, 0))
    above = (below + 1).clamp(max=len(samples) - 1)
    return torch.lerp(
        ordered[:, below], ordered[:, above], (position - below).expand(len(ordered), -1)
    )


def subdivide(breakpoints: Tensor, num_cells: int) -> Tensor:
    """Cuts cells into equal parts until there are enough; every old breakpoint stays.

    Each cell is cut into as many parts as the numbers divide; of the rest, the widest cells take
    one more part each.

    Args:
        breakpoints: Of shape ``(..., G+1)``.
        num_cells: The number of cells wanted, at least G.

    Returns:
        Breakpoints of shape ``(..., num_cells+1)``.

    Example:
        >>> subdivide(torch.tensor([0.0, 0.2, 1.0]), 4)
        tensor([0.0000, 0.1000, 0.2000, 0.6000, 1.0000])
        >>> subdivide(torch.tensor([0.0, 0.2, 1.0]), 3)
        tensor([0.0000, 0.2000, 0.6000, 1.0000])
    """
    widths = breakpoints.diff(dim=-1)
    whole, rest = divmod(num_cells, widths.shape[-1])
    rank = widths.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    parts = whole + (rank < rest).long()
    cell = torch.repeat_interleave(parts.flatten())
    first = parts.flatten().cumsum(0) - parts.flatten()
    number = torch.arange(len(cell), device=cell.device) - first[cell]
    step = (widths / parts).flatten()[cell]
    starts = breakpoints[..., :-1].flatten()[cell] + number * step
    return torch.cat([starts.view(*breakpoints.shape[:-1], num_cells), breakpoints[..., -1:]], -1)


def check_ratio(ratio: float) -> None:
    """Refuses a share of the uniform grid that is out of range.

    Raises:
        ValueError: If the ratio is not from 0.001 to 1.

    Example:
        >>> check_ratio(0.05)
    """
    if not MIN_RATIO <= ratio <= 1:
        raise ValueError(
            f"Expected a ratio from {MIN_RATIO} (cells that follow the samples) to 1 (a uniform "
            f"grid), got {ratio}."
        )
