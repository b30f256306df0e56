"""In which way values are not uniform: too low, too high, too narrow, too wide."""

from torch import Tensor

_MEAN_VARIANCE = 1 / 12
_SQUARE_VARIANCE = 1 / 180
"""Variances of u and of (u - 1/2)^2, for a uniform u."""


def shape_scores(values: Tensor) -> tuple[Tensor, Tensor]:
    r"""How far mean and spread are from those of uniform values, in standard errors.

    .. math:: \frac{\bar u - 1/2}{\sqrt{1/12 N}}, \qquad
              \frac{\overline{(u - 1/2)^2} - 1/12}{\sqrt{1/180 N}}

    Args:
        values: Independent values between 0 and 1, `(N, *)`.

    Returns:
        Both scores, `(*)` each: standard normal for many uniform values.

    Example:
        >>> import torch
        >>> location, spread = shape_scores(torch.full((100,), 0.5))
        >>> float(location), round(float(spread), 1)
        (0.0, -11.2)
    """
    num_values = len(values)
    location = (values.mean(0) - 0.5) / (_MEAN_VARIANCE / num_values) ** 0.5
    square = (values - 0.5).square().mean(0)
    spread = (square - _MEAN_VARIANCE) / (_SQUARE_VARIANCE / num_values) ** 0.5
    return location, spread


def describe_shape(values: Tensor) -> str:
    """The fault of a distribution among whose draws the truth has these PIT values.

    Args:
        values: PIT values of the truth, between 0 (below all draws) and 1 (above all), `(N,)`.

    Returns:
        A part of a sentence.

    Example:
        >>> import torch
        >>> describe_shape(torch.full((100,), 0.5))
        'it is too wide (the truth is too often in its middle)'
    """
    location, spread = (float(score) for score in shape_scores(values))
    if abs(spread) >= abs(location):
        narrow = "it is too narrow (the truth is too often outside of it)"
        return narrow if spread > 0 else "it is too wide (the truth is too often in its middle)"
    side = ("low", "above") if location > 0 else ("high", "below")
    return f"it lies too {side[0]} (the truth is too often {side[1]} it)"
