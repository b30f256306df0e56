"""The inner constants of many formulas at once, by Gauss-Newton on the projected residual."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

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


_FIRST_DAMPING, _MAX_DAMPING = 1e-2, 1e10
_MIN_RELATIVE_DECLINE = 1e-9


@dataclass(frozen=True)
class Candidates:
    """Inner constants of several families of formulas for `E` functions.

    Args:
        families: The family of each row, those of one form side by side.
        a: Scales of shape `(C, E)`.
        b: Shifts of shape `(C, E)`.
    """

    families: Sequence[Family]
    a: Tensor
    b: Tensor

    def forms(self) -> Iterator[tuple[SymbolicForm, int]]:
        """Each form and the number of rows that it has."""
        for form, rows in groupby(self.families, key=lambda family: family.form):
            yield form, len(list(rows))

    def evaluate(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The forms and their derivatives at `a z + b`, for points `(M,)`: both `(C, E, M)`."""
        with torch.enable_grad():
            x = (self.a.unsqueeze(-1) * z + self.b.unsqueeze(-1)).requires_grad_()
            forms, counts = zip(*self.forms(), strict=True)
            parts = zip(forms, x.split(counts), strict=True)
            values = torch.cat([evaluate(form, part) for form, part in parts])
            (slopes,) = torch.autograd.grad(values.sum(), x)
        return values.detach(), slopes


class Projection(NamedTuple):
    """A least-squares fit of `y` by `c g(a z + b) + d`, and how its residual changes with `a, b`.

    All have the shape `(C, E)`, the gradient and the Hessian in front `(2,)` and `(3,)`.
    """

    loss: Tensor
    c: Tensor
    d: Tensor
    gradient: Tensor
    hessian: Tensor


def project(candidates: Candidates, z: Tensor, y: Tensor) -> Projection:
    r"""Fits the outer constants and linearises what is left in the inner ones.

    With :math:`P` the projection orthogonal to :math:`1` and :math:`g`, the residual is
    :math:`P y`, and its derivative in :math:`(a, b)` is :math:`-c \, P \, (g' z, g')` up to a term
    that vanishes with the residual.

    Args:
        candidates: The inner constants.
        z: Points `(M,)`.
        y: Values `(E, M)`, centred.

    Returns:
        The loss, a sum of squares, is infinite where the formula cannot be evaluated.

    References:
        Golub, G. and Pereyra, V. (2003). Separable nonlinear least squares: the variable
        projection method and its applications, section 3 (Kaufman's variant).
        https://doi.org/10.1088/0266-5611/19/2/201
    """
    values, slopes = candidates.evaluate(z)
    least = [family.min_variance for family in candidates.families]
    centred, variance = centre(values, values.new_tensor(least).unsqueeze(-1))
    c = (centred * y).sum(-1) / variance
    residual = y - c.unsqueeze(-1) * centred
    loss = residual.square().sum(-1).nan_to_num(nan=torch.inf)
    in_a, in_b = (_remove(centred, variance, part) for part in (slopes * z, slopes))
    gradient = torch.stack([(in_a * residual).sum(-1), (in_b * residual).sum(-1)])
    squares = in_a.square(), in_a * in_b, in_b.square()
    hessian = torch.stack([square.sum(-1) for square in squares])
    return Projection(loss, c, -c * values.mean(-1), gradient, hessian)


def _remove(centred: Tensor, variance: Tensor, part: Tensor) -> Tensor:
    """The rest of a function, without its mean and its part along another, centred one."""
    part = part - part.mean(-1, keepdim=True)
    along = (part * centred).sum(-1) / variance
    return part - along.unsqueeze(-1) * centred


def refine(candidates: Candidates, z: Tensor, y: Tensor, num_steps: int) -> Candidates:
    """Improves the inner constants by damped Gauss-Newton steps that never raise the loss.

    Args:
        candidates: Where to start.
        z: Points `(M,)`.
        y: Values `(E, M)`, centred.
        num_steps: Most steps taken; fewer where none of them helps any more.
    """
    free = _free(candidates)
    state = project(candidates, z, y)
    damping = torch.full_like(state.loss, _FIRST_DAMPING)
    for _ in range(num_steps):
        step = _step(state, damping, free)
        trial = replace(candidates, a=candidates.a + step[0], b=candidates.b + step[1])
        trial_state = project(trial, z, y)
        better = trial_state.loss < state.loss
        declined = better & (trial_state.loss < (1 - _MIN_RELATIVE_DECLINE) * state.loss)
        candidates = _choose(better, trial, candidates)
        state = Projection(*map(torch.where, [better] * 5, trial_state, state))
        damping = torch.where(better, damping / 5, damping * 4)
        if not (declined | (~better & (damping < _MAX_DAMPING))).any():
            break
    return candidates


def _free(candidates: Candidates) -> Tensor:
    """Which of `a, b` may move: `(2, C, 1)`."""
    rows = [(family.has_scale, family.has_shift) for family in candidates.families]
    return torch.tensor(rows, device=candidates.a.device).T.unsqueeze(-1)


def _choose(first_is_better: Tensor, first: Candidates, second: Candidates) -> Candidates:
    a = torch.where(first_is_better, first.a, second.a)
    return replace(first, a=a, b=torch.where(first_is_better, first.b, second.b))


def _step(state: Projection, damping: Tensor, free: Tensor) -> Tensor:
    """The step of Levenberg and Marquardt in `(a, b)`: `(2, C, E)`; 0 where there is none."""
    gradient = torch.where(free, state.gradient, 0.0)
    in_a = torch.where(free[0], state.hessian[0] * (1 + damping), 1.0)
    in_b = torch.where(free[1], state.hessian[2] * (1 + damping), 1.0)
    mixed = torch.where(free[0] & free[1], state.hessian[1], 0.0)
    determinant = in_a * in_b - mixed.square()
    solution = torch.stack(
        [in_b * gradient[0] - mixed * gradient[1], in_a * gradient[1] - mixed * gradient[0]]
    )
    return (solution / (determinant * state.c)).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
