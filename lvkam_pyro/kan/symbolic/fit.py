"""A learned function as a formula: every form fitted to it, the readable and accurate first."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from math import isfinite, log
from operator import attrgetter

import torch
from torch import Tensor

from lvkam_pyro.kan.symbolic.forms import FORMS, Formula, SymbolicForm
from lvkam_pyro.kan.symbolic.refinement import (
    Candidates,
    Family,
    families,
    find_starts,
    project,
    refine,
)

RESOLUTION = 1e-10
"""The fraction of a function's variance below which nobody sees what is left unexplained."""

_NUM_FIRST_STEPS, _NUM_STEPS = 6, 60
_NUM_TOGETHER = 32
_MIN_POINTS = 4


@dataclass(frozen=True)
class SymbolicFit(Formula):
    r"""A formula :math:`y = c \, g(a z + b) + d` that was fitted to a function.

    Args:
        r_squared: The fraction of the function's variance over the points that the formula
            explains, 0 to 1.
        complexity: The form's complexity, and 1 for each free constant inside.
        score: What formulas are ranked by, see ``fit_symbolic``; lower is better.

    Example:
        >>> z = torch.linspace(0, 1, 50)
        >>> best = fit_symbolic(lambda z: 3 * torch.exp(-2 * z) + 1, z)[0]
        >>> print(best, round(best.r_squared, 6))
        1 + 3*exp(-2*z) 1.0
    """

    r_squared: float = field(kw_only=True)
    complexity: float = field(kw_only=True)
    score: float = field(kw_only=True)


def fit_symbolic(
    function: Callable[[Tensor], Tensor] | Tensor,
    z: Tensor,
    *,
    forms: Iterable[SymbolicForm] = tuple(FORMS.values()),
    penalty: float = 0.1,
) -> tuple[SymbolicFit, ...]:
    r"""Fits every form to a univariate function and ranks the formulas.

    The outer constants of :math:`c \, g(a z + b) + d` are linear least squares for any inner ones
    (variable projection): these are searched on a grid and refined by Gauss-Newton in float64.
    Formulas are ranked by

    .. math:: \log(1 - R^2 + 10^{-10}) + \lambda \cdot \text{complexity},

    so that one more unit of complexity must leave :math:`e^{-\lambda}` of the unexplained variance
    or less. With :math:`\lambda = \log(M) / M` this is BIC for `M` independent samples; for the
    points of a smooth function, which are not independent, ask for more.

    Args:
        function: The function, elementwise, or its values at `z`.
        z: Points of shape `(M,)`, at least 4 different ones.
        forms: The forms to try, by default those of the library.
        penalty: :math:`\lambda`, not negative.

    Returns:
        One fit a form, best first; a form that is singular on the points for all constants that
        were tried is left out. A constant function has `R^2 = 1` with the form `0`.

    Raises:
        ValueError: If the points are too few, a value is not finite, the shapes differ, or there is
            no form or a negative penalty.

    References:
        Golub, G. and Pereyra, V. (2003). Separable nonlinear least squares: the variable
        projection method and its applications. https://doi.org/10.1088/0266-5611/19/2/201
        Schwarz, G. (1978). Estimating the dimension of a model.

    Example:
        >>> z = torch.linspace(0, 2, 100)
        >>> fits = fit_symbolic(torch.sin(3 * z + 0.5), z)
        >>> print(fits[0])
        sin(3*z + 0.5)
    """
    with torch.no_grad():
        y = function(z) if callable(function) else function
    if y.shape != z.shape:
        raise ValueError(
            f"Expected one value for each of the points of shape {tuple(z.shape)}, got values of "
            f"shape {tuple(y.shape)}."
        )
    return fit_column(z, y.unsqueeze(-1), tuple(forms), penalty)[0]


def fit_column(
    z: Tensor, y: Tensor, forms: Sequence[SymbolicForm], penalty: float
) -> list[tuple[SymbolicFit, ...]]:
    """Ranks the formulas of several functions, `y` of shape `(M, E)`, at the same points `(M,)`."""
    _check(z, y, forms, penalty)
    order = z.argsort()
    rounding = torch.finfo(y.dtype).eps
    # On the processor: not every accelerator has float64, and these are many small steps.
    z, y = (part.detach()[order].cpu().double() for part in (z, y))
    return [
        ranked
        for chunk in y.T.split(_NUM_TOGETHER)
        for ranked in _rank(*_fit(z, chunk, forms, rounding), penalty)
    ]


def _check(z: Tensor, y: Tensor, forms: Sequence[SymbolicForm], penalty: float) -> None:
    if z.dim() != 1 or len(z.unique()) < _MIN_POINTS:
        raise ValueError(
            f"Expected points of shape (M,), at least {_MIN_POINTS} different ones, got shape "
            f"{tuple(z.shape)} with {len(z.unique())} different values."
        )
    if not (z.isfinite().all() and y.isfinite().all()):
        raise ValueError(
            "Expected finite points and values, got "
            f"{int((~z.isfinite()).sum())} and {int((~y.isfinite()).sum())} that are not."
        )
    if not forms or not penalty >= 0:
        raise ValueError(
            f"Expected at least one form and a penalty of at least 0, got {len(forms)} forms and "
            f"penalty={penalty}."
        )


def _fit(
    z: Tensor, y: Tensor, forms: Sequence[SymbolicForm], rounding: float
) -> tuple[list[Family], Tensor]:
    """The best formula of each family for functions `(E, M)`.

    Returns:
        The families, and their `a, b, c, d, R^2` of shape `(5, F, E)`.
    """
    mean = y.mean(-1)
    centred = y - mean.unsqueeze(-1)
    length = centred.norm(dim=-1)
    is_constant = length <= 8 * rounding * y.norm(dim=-1)
    unit = centred / length.masked_fill(is_constant, torch.inf).unsqueeze(-1)
    candidates = refine(_search(z, unit, forms), z, unit, _NUM_FIRST_STEPS)
    candidates = refine(_best_of_each_family(candidates, z, unit), z, unit, _NUM_STEPS)
    candidates = _canonical(candidates)
    fit = project(candidates, z, unit)
    c, d = length * fit.c, mean + length * fit.d
    # A shift that is nothing but the rounding of what it is the difference of.
    d = d.masked_fill(d.abs() <= 8 * rounding * (mean.abs() + length * fit.d.abs()), 0.0)
    table = torch.stack([candidates.a, candidates.b, c, d, (1 - fit.loss).clamp(0, 1)])
    return list(candidates.families), table


def _search(z: Tensor, y: Tensor, forms: Sequence[SymbolicForm]) -> Candidates:
    """The starts of every family of every form."""
    all_families = [family for form in forms for family in families(form)]
    starts = [find_starts(family, z, y) for family in all_families]
    rows = zip(all_families, starts, strict=True)
    repeated = [family for family, (a, _) in rows for _ in range(len(a))]
    return Candidates(repeated, *(torch.cat(parts) for parts in zip(*starts, strict=True)))


def _best_of_each_family(candidates: Candidates, z: Tensor, y: Tensor) -> Candidates:
    counts = [(family, len(list(rows))) for family, rows in groupby(candidates.families)]
    sizes = [count for _, count in counts]
    losses = project(candidates, z, y).loss.split(sizes)
    best = [loss.argmin(0, keepdim=True) for loss in losses]

    def choose(values: Tensor) -> Tensor:
        parts = zip(values.split(sizes), best, strict=True)
        return torch.cat([part.gather(0, row) for part, row in parts])

    return Candidates([f for f, _ in counts], choose(candidates.a), choose(candidates.b))


def _canonical(candidates: Candidates) -> Candidates:
    """The same formulas with the plainest constants: `a > 0`, a small `b`, where one may choose."""
    rows = [
        _canonical_row(family.form, a, b)
        for family, a, b in zip(candidates.families, candidates.a, candidates.b, strict=True)
    ]
    a, b = (torch.stack(parts) for parts in zip(*rows, strict=True))
    return replace(candidates, a=a, b=b)


def _canonical_row(form: SymbolicForm, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if form.is_mirrored:
        a, b = a.abs(), torch.where(a < 0, -b, b)
    if form.period is not None:
        b = b - form.period * (b / form.period).round()
    return a, b


def _rank(
    all_families: Sequence[Family], table: Tensor, penalty: float
) -> Iterator[tuple[SymbolicFit, ...]]:
    """The best family of each form, best form first, for each function."""
    for columns in table.permute(2, 1, 0).tolist():
        fits = [
            _make_fit(family, constants, penalty)
            for family, constants in zip(all_families, columns, strict=True)
            if all(map(isfinite, constants))
        ]
        best: dict[SymbolicForm, SymbolicFit] = {}
        for fit in sorted(fits, key=attrgetter("score")):
            best.setdefault(fit.form, fit)
        yield tuple(best.values())


def _make_fit(family: Family, constants: Sequence[float], penalty: float) -> SymbolicFit:
    *inner_and_outer, r_squared = constants
    return SymbolicFit(
        family.form,
        *inner_and_outer,
        r_squared=r_squared,
        complexity=family.complexity,
        score=log(1 - r_squared + RESOLUTION) + penalty * family.complexity,
    )
