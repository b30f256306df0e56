"""The first search for the constants of a formula: a grid of all scales and shifts."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lvkam_pyro.kan.symbolic.forms import SymbolicForm

MAX_POINTS = 128
NUM_STARTS = 4
MAX_VALUE = 1e30
"""The largest value of a form, so that it is finite in float32 too."""

MIN_RANGE = 0.2
MIN_VARIANCE = 1e-4
"""The least range of a scaled argument, and the least variance of a form with free constants as a
share of its mean square: with less, any form is a line or a parabola by the difference of two large
values."""


@dataclass(frozen=True)
class Family:
    """The formulas of one form in which certain inner constants are free.

    Args:
        form: The form.
        has_scale: Whether `a` is free; else it is 1 or -1.
        has_shift: Whether `b` is free; else it is 0.
    """

    form: SymbolicForm
    has_scale: bool
    has_shift: bool

    @property
    def min_variance(self) -> float:
        """The variance, as a share of the mean square, below which a candidate is discarded."""
        return MIN_VARIANCE if self.has_scale or self.form.has_shift else 0.0

    @property
    def complexity(self) -> float:
        """The complexity of the family: more for a formula that is harder to read."""
        return self.form.complexity + self.has_scale + self.has_shift

    def grid(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Scales and shifts `a, b`, both `(R, C)`, for points `z` of shape `(M,)`.

        Each row is one neighbourhood, from which at most one start is taken.
        """
        low, half = z.min(), (z.max() - z.min()) / 2
        scales = _SCALES.to(z) / half if self.has_scale else torch.ones_like(z[:1])
        if not self.form.is_mirrored:
            scales = torch.cat([scales, -scales])
        if not self.has_shift:
            return scales[:, None], torch.zeros_like(scales)[:, None]
        zeros = low + half + half * _ZEROS.to(z)
        a, b = scales[:, None].expand(-1, len(zeros)), -scales[:, None] * zeros
        return (a, b) if self.has_scale else (a.reshape(-1, 1), b.reshape(-1, 1))


def families(form: SymbolicForm) -> Iterator[Family]:
    """The form with all its free constants, and without a shift: simpler where that is enough."""
    yield Family(form, form.has_scale, form.has_shift)
    if form.has_shift:
        yield Family(form, form.has_scale, has_shift=False)


def find_starts(family: Family, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    r"""The most promising constants of a grid, outer constants being least squares.

    For given :math:`a, b` the best :math:`c, d` leave :math:`1 - \rho^2` of the variance, with
    :math:`\rho` the correlation of :math:`g(a z + b)` and :math:`y`. So all functions are compared
    with the whole grid by one matrix product.

    Args:
        family: What is free.
        z: Points of shape `(M,)`, in increasing order.
        y: Values of `E` functions there, centred and of unit length: `(E, M)`.

    Returns:
        Scales and shifts `a, b` of shape `(S, E)`, each from another row of the grid.
    """
    thinned = thin(z, MAX_POINTS)
    z, y = z[thinned], y[:, thinned]
    a, b = family.grid(z)
    values = evaluate(family.form, a.unsqueeze(-1) * z + b.unsqueeze(-1))
    values, variance = centre(values, family.min_variance)
    explained = (values @ y.T).square() / variance.unsqueeze(-1)
    best, column = explained.nan_to_num(nan=-1.0, posinf=-1.0).max(1)
    row = best.topk(min(NUM_STARTS, len(a)), 0).indices
    column = column.gather(0, row)
    return a[row, column], b[row, column]


def evaluate(form: SymbolicForm, x: Tensor) -> Tensor:
    """The form at points `(..., M)`; NaN throughout where it is not what should be fitted.

    That is where a point is outside its domain, or where a scaled argument hardly moves.
    """
    ends = torch.stack(x.detach().aminmax(dim=-1), -1)
    low, high = form.domain
    # At an end of the domain a root is finite, a logarithm is not.
    is_inside = (ends[..., 0] >= low) & (ends[..., 1] <= high)
    is_inside &= (form.function(ends).abs() < MAX_VALUE).all(-1)
    if form.has_scale:
        is_inside &= ends[..., 1] - ends[..., 0] >= MIN_RANGE
    return torch.where(is_inside.unsqueeze(-1), form(x), torch.nan)


def centre(values: Tensor, min_variance: Tensor | float) -> tuple[Tensor, Tensor]:
    """Values `(..., M)` less their mean, and the sum of their squares `(...)`.

    That sum is infinite, as if they explained nothing, for values that vary too little.
    """
    centred = values - values.mean(-1, keepdim=True)
    variance = centred.square().sum(-1)
    varies_too_little = variance <= min_variance * values.square().sum(-1)
    return centred, variance.masked_fill(varies_too_little, torch.inf)


def thin(points: Tensor, count: int) -> Tensor:
    """The indices of at most `count` elements, evenly spaced from the first to the last."""
    where = torch.linspace(0, len(points) - 1, min(count, len(points)), dtype=torch.float64)
    return where.long().to(points.device)


# Units of one over the half interval: from nearly straight to ten periods of a wave.
_SCALES = torch.tensor([2.0 ** (k / 2) for k in range(-6, 5)] + [float(k) for k in range(5, 31)])
# Where the argument is 0, from the middle in half intervals: dense inside and just outside.
_OUTSIDE = [1 + 10.0 ** (k / 2) for k in range(-6, 3)]
_ZEROS = torch.tensor([k / 16 for k in range(-16, 17)] + [s * x for x in _OUTSIDE for s in (1, -1)])
