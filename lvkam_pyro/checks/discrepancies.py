"""The statistics of whole data sets that a predictive check compares."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_CHUNK = 2**24
"""Distances held at once."""


@dataclass(frozen=True)
class Discrepancy:
    """A statistic of a data set.

    Attributes:
        name: Its name.
        compute: From data sets `(D, N, K)` to their statistics `(D,)`.
        remedy: The steps to take where the model's data sets have another one.

    Example:
        >>> spread = Discrepancy("range", lambda x: x.amax((1, 2)) - x.amin((1, 2)), "Rescale.")
        >>> spread.compute(torch.tensor([[[0.0], [3.0]]]))
        tensor([3.])
    """

    name: str
    compute: Callable[[Tensor], Tensor]
    remedy: str


def _correlation(x: Tensor) -> Tensor:
    """The root mean square correlation of two values of a datum."""
    centred = x - x.mean(1, keepdim=True)
    scaled = centred / centred.norm(dim=1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
    square = (scaled.mT @ scaled).square().sum((1, 2)) - scaled.square().sum(1).square().sum(-1)
    return (square.clamp(min=0) / max(1, x.shape[2] * (x.shape[2] - 1))).sqrt()


def _nearest(x: Tensor) -> Tensor:
    """The mean distance of a datum to the one that is nearest to it."""
    chunk = max(1, _CHUNK // x.shape[1] ** 2)
    return torch.cat([_nearest_of(part) for part in x.split(chunk)])


def _nearest_of(x: Tensor) -> Tensor:
    distance = torch.cdist(x, x)
    distance.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    return distance.amin(-1).mean(-1)


_RANGE = "Give the likelihood the data's range and tails, or look at outliers."

MEAN = Discrepancy("mean", lambda x: x.mean((1, 2)), "Train longer; the model's level is off.")
DEVIATION = Discrepancy(
    "standard deviation",
    lambda x: x.var(1).mean(-1).sqrt(),
    "Train the prior and the likelihood's scale, or standardise the data.",
)
MINIMUM = Discrepancy("minimum", lambda x: x.amin((1, 2)), _RANGE)
MAXIMUM = Discrepancy("maximum", lambda x: x.amax((1, 2)), _RANGE)
CORRELATION = Discrepancy(
    "correlation (r.m.s.)", _correlation, "Add latents: the model misses what varies together."
)
NEAREST = Discrepancy(
    "nearest neighbour",
    _nearest,
    "If the model's data are closer: more latents or components. If farther: less noise.",
)

DISCREPANCIES = (MEAN, DEVIATION, MINIMUM, MAXIMUM, CORRELATION, NEAREST)
"""Those of a check, unless others are asked for."""
