"""The reference measure as a density uses it: unchecked, on the density's device."""

import copy

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from lvkam_pyro.distributions.panels import support_bounds

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
    """The support of a reference measure, an interval's with numbers for ends.

    Torch's bijection onto an interval makes tensors on the device of the ends: numbers have none.

    Example:
        >>> support_of(torch.distributions.Uniform(0.0, 2.0))
        Interval(lower_bound=0.0, upper_bound=2.0)
    """
    support = reference.support
    assert support is not None
    is_interval = isinstance(support, _Interval)
    return constraints.interval(*support_bounds(reference)) if is_interval else support
