"""The reference measure as a density uses it: unchecked, its support, and panels for its tails."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution, LogNormal, Normal, Uniform, constraints

_NUM_PANELS = 32

_NUM_QUANTILE_PANELS = 64

_LOG_NEGLECTED = 32.0
"""Logarithm of what is neglected beyond the last panel: exp(-32) is 1e-14."""

_Interval = type(constraints.interval(0.0, 1.0))


def as_measure(reference: Distribution, device: torch.device) -> Distribution:
    """A copy of the reference on a device, and without its own checks.

    Values are checked once, by the density.

    Example:
        >>> torch.distributions.Beta(2.0, 3.0)._validate_args
        True
        >>> as_measure(torch.distributions.Beta(2.0, 3.0), torch.device("cpu"))._validate_args
        False
    """
    reference = copy.copy(reference)
    reference._validate_args = False
    # A Beta asks its Dirichlet, a lognormal its normal.
    vars(reference).update({name: _placed(part, device) for name, part in vars(reference).items()})
    return reference


def _placed(part: object, device: torch.device) -> object:
    if isinstance(part, Distribution):
        return as_measure(part, device)
    return part.to(device) if isinstance(part, Tensor) else part


def support_of(reference: Distribution) -> constraints.Constraint:
    """The support of a reference measure, an interval's with floats for ends.

    Torch's bijection onto an interval makes tensors on the device of the ends: floats have none.

    Example:
        >>> support_of(torch.distributions.Uniform(0.0, 2.0))
        Interval(lower_bound=0.0, upper_bound=2.0)
    """
    support = reference.support
    assert support is not None
    is_interval = isinstance(support, _Interval)
    return constraints.interval(*support_bounds(reference)) if is_interval else support


def support_bounds(reference: Distribution) -> tuple[float, float]:
    """Ends of the support of a univariate continuous distribution, infinite where unbounded.

    Raises:
        ValueError: If the support is neither an interval, a half-line nor the real line.
    """
    support = reference.support
    low = getattr(support, "lower_bound", -math.inf)
    high = getattr(support, "upper_bound", math.inf)
    known = support is constraints.real or math.isfinite(low) or math.isfinite(high)
    discrete = support is None or support.is_discrete
    if not known or discrete or reference.batch_shape or reference.event_shape:
        raise ValueError(
            "Expected a reference measure that is one univariate continuous distribution "
            f"(batch_shape () and an interval, half-line or real support), got {reference}. "
            "Pass for example torch.distributions.Uniform(0.0, 1.0)."
        )
    return float(low), float(high)


def is_flat(reference: Distribution) -> bool:
    """Whether the reference is constant on its support, so that the normaliser absorbs it."""
    return isinstance(reference, Uniform)


def far_quantile(reference: Distribution, level: float) -> float:
    """A quantile of the reference, for where its breakpoints may end."""
    return float(_asked(reference, reference.icdf, torch.tensor(level, dtype=torch.float64)))


def lower_tail(low: Tensor, reference: Distribution) -> Tensor:
    r"""Edges of the panels below the first breakpoint.

    A normal or lognormal :math:`\pi_0` has panels in its standard score, along each of which it
    changes by one or two nats, down to 1e-14 of the larger of its values at the breakpoint and at
    its mode: however far the breakpoint is on either side. Any other has panels between its
    quantiles, in equal steps of the log odds down to a mass of 1e-14.

    Arguments:
        low: The first breakpoint, a scalar in float64.
        reference: A univariate :math:`\pi_0` that reaches below it.

    Returns:
        The edges in increasing order, the breakpoint excluded, without gradient; none where
        a mass below 1e-14 is left.

    Example:
        >>> zero = torch.tensor(0.0, dtype=torch.float64)
        >>> lower_tail(zero, Normal(0.0, 1.0))[0]
        tensor(-8., dtype=torch.float64)
    """
    normal = _underlying_normal(reference)
    if normal is None:
        return _below(low, reference)
    return _from_scores(-_beyond(-_score(low, normal, reference)).flip(0), normal, reference)


def upper_tail(high: Tensor, reference: Distribution) -> Tensor:
    """Edges of the panels above the last breakpoint, as :func:`lower_tail` has them below.

    Arguments:
        high: The last breakpoint, a scalar in float64.
        reference: A univariate reference measure that reaches above it.

    Returns:
        The edges in increasing order, the breakpoint excluded, without gradient.
    """
    normal = _underlying_normal(reference)
    if normal is None:
        return _above(high, reference)
    return _from_scores(_beyond(_score(high, normal, reference)), normal, reference)


def _underlying_normal(reference: Distribution) -> Normal | None:
    base = reference.base_dist if isinstance(reference, LogNormal) else reference
    return base if isinstance(base, Normal) else None


def _score(z: Tensor, normal: Normal, reference: Distribution) -> Tensor:
    z = z if reference is normal else z.log()
    return (z - normal.loc.detach()) / normal.scale.detach()


def _from_scores(scores: Tensor, normal: Normal, reference: Distribution) -> Tensor:
    z = normal.loc.detach() + scores * normal.scale.detach()
    return z if reference is normal else z.exp()


def _beyond(start: Tensor) -> Tensor:
    """Edges above a standard score, where the normal density falls to 1e-14 of its largest."""
    # Below -8 the standard normal has a mass of 6e-16: one panel holds it.
    first = start.clamp(min=-((2 * _LOG_NEGLECTED) ** 0.5))
    last = (start.clamp(min=0).square() + 2 * _LOG_NEGLECTED).sqrt()
    steps = torch.linspace(0, 1, _NUM_PANELS + 1, dtype=start.dtype, device=start.device)
    if start == first:
        steps = steps[1:]
    return _unstretch(_stretch(first) + (_stretch(last) - _stretch(first)) * steps)


def _stretch(score: Tensor) -> Tensor:
    """A scale on which a unit is half a score, or, beyond a score of 2, a nat of log density."""
    size = score.abs()
    return score.sign() * torch.where(size < 2, 2 * size, 0.5 * size.square() + 2)


def _unstretch(stretched: Tensor) -> Tensor:
    size = stretched.abs()
    outer = (2 * (size - 2)).clamp(min=0).sqrt()
    return stretched.sign() * torch.where(size < 4, 0.5 * size, outer)


def _below(low: Tensor, reference: Distribution) -> Tensor:
    odds = _falling_odds(_asked(reference, reference.cdf, low))
    return _asked(reference, reference.icdf, odds.sigmoid().flip(0))


def _above(high: Tensor, reference: Distribution) -> Tensor:
    # From the upper side, 1 - p, which keeps its digits where p is next to 1.
    odds = _falling_odds(1 - _asked(reference, reference.cdf, high))
    return _asked(reference, reference.icdf, 1 - odds.sigmoid())


def _asked(reference: Distribution, function: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    """The reference's own cdf or icdf at a value, which some distributions do not have."""
    try:
        return function(value).detach()
    except NotImplementedError as error:
        raise ValueError(
            "Expected a reference measure with icdf and cdf, or one that ends with the "
            f"breakpoints, got {reference}, whose tail beyond them is not known. Cut it at the "
            "breakpoints, or pass another such as torch.distributions.LogNormal."
        ) from error


def _falling_odds(mass: Tensor) -> Tensor:
    """Log odds from those of `mass` (excluded) down to those of the neglected mass."""
    first = mass.logit().clamp(max=_LOG_NEGLECTED)
    if first <= 1 - _LOG_NEGLECTED:
        return mass.new_empty(0)
    steps = torch.linspace(0, 1, _NUM_QUANTILE_PANELS + 1, dtype=mass.dtype, device=mass.device)
    return first - (_LOG_NEGLECTED + first) * steps[1:]
