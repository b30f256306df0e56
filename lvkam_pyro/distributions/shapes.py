"""Shapes of distributions: which batch fits into which, and what `to_event` wraps."""

from collections.abc import Sequence
from typing import TypeVar

from torch import Size
from torch.distributions import Distribution, Independent

Expanding = TypeVar("Expanding", bound=Distribution)


def broadcasts_to(shape: Sequence[int], target: Sequence[int]) -> bool:
    """Whether a shape broadcasts to a target without enlarging it.

    Example:
        >>> broadcasts_to((3, 1), (2, 3, 4)), broadcasts_to((2, 3, 1), (3, 4))
        (True, False)
    """
    pairs = zip(shape[::-1], target[::-1], strict=False)
    return len(shape) <= len(target) and all(own in (1, size) for own, size in pairs)


def expanded(distribution: Expanding, batch_shape: Sequence[int], new: Expanding) -> Expanding:
    """The same distribution over a larger batch: parameters stay as they are, and are shared.

    Arguments:
        distribution: The distribution to expand.
        batch_shape: The batch shape wanted.
        new: An instance without content, as `_get_checked_instance` makes it.

    Raises:
        ValueError: If the distribution's own batch shape does not broadcast to the one wanted.
    """
    own, wanted = distribution.batch_shape, Size(batch_shape)
    if not broadcasts_to(own, wanted):
        raise ValueError(
            f"Expected a batch shape that {tuple(own)} broadcasts to, got {tuple(wanted)}. Only "
            "dimensions of size 1 can be expanded, and new ones added in front."
        )
    vars(new).update(vars(distribution))
    new._batch_shape = wanted
    return new


def without_events(distribution: Distribution) -> Distribution:
    """The distribution inside of `to_event`, however often it was called.

    Example:
        >>> import pyro.distributions as dist
        >>> without_events(dist.Normal(0.0, 1.0).expand([2, 3]).to_event(1).to_event(1)).batch_shape
        torch.Size([2, 3])
    """
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return distribution
