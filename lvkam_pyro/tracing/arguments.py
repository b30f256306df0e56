"""The checks of what a caller hands to the public functions of guides and estimators."""

import hashlib

import torch
from torch import Tensor

_HASHED_NUMBERS = 2**22


def check_data(x: object) -> Tensor:
    """Observations that a model with a data plate can take: a finite, non-empty tensor.

    Args:
        x: The observations, of shape `(N, ...)`; the first axis is the data plate.

    Returns:
        The same tensor.

    Raises:
        TypeError: If `x` is no tensor.
        ValueError: If `x` has no first axis, no rows, or a value that is not finite.

    Example:
        >>> check_data(torch.zeros(3, 2)).shape
        torch.Size([3, 2])
    """
    if not isinstance(x, Tensor):
        raise TypeError(
            f"Expected the data as a torch.Tensor of shape (N, ...), but got {type(x).__name__}. "
            "Convert it first, e.g. by torch.as_tensor(x, dtype=torch.get_default_dtype())."
        )
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(
            f"Expected at least one datum along the first axis, but got shape {tuple(x.shape)}. "
            "Pass a tensor of shape (N, ...) with N >= 1."
        )
    if not bool(torch.isfinite(x).all()):
        count = int((~torch.isfinite(x)).sum())
        raise ValueError(
            f"Expected finite data, but {count} of {x.numel()} values of shape {tuple(x.shape)} "
            "are NaN or infinite. Drop these rows, or fill them in and mask their site by obs_mask."
        )
    return x


def check_count(name: str, value: object, *, minimum: int = 1) -> int:
    """An integer option that counts something.

    Args:
        name: The option's name, for the message.
        value: What the caller gave.
        minimum: The least value that makes sense.

    Returns:
        The same integer.

    Raises:
        TypeError: If `value` is no integer.
        ValueError: If it is below `minimum`.

    Example:
        >>> check_count("num_particles", 8)
        8
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"Expected {name} to be an integer, but got {value!r}.")
    if value < minimum:
        raise ValueError(f"Expected {name} >= {minimum}, but got {value}. Pass a larger {name}.")
    return value


def check_share(name: str, value: object) -> float:
    """An option that is a share of something: above 0 and below 1.

    Args:
        name: The option's name, for the message.
        value: What the caller gave.

    Returns:
        The same number.

    Raises:
        TypeError: If `value` is no number.
        ValueError: If it is not strictly between 0 and 1.

    Example:
        >>> check_share("target_acceptance", 0.8)
        0.8
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"Expected {name} to be a number, but got {value!r}.")
    if not 0 < value < 1:
        raise ValueError(f"Expected {name} between 0 and 1, but got {value}.")
    return value


def hash_data(x: Tensor) -> str:
    """A short name for the observations: equal for equal values, shape and precision.

    Args:
        x: The observations, of any shape.

    Returns:
        The first 16 hexadecimal digits of the SHA-256 of shape, dtype and values.

    Example:
        >>> hash_data(torch.zeros(2)) == hash_data(torch.zeros(2))
        True
        >>> hash_data(torch.zeros(2)) == hash_data(torch.ones(2))
        False
    """
    digest = hashlib.sha256(f"{tuple(x.shape)} {x.dtype}".encode())
    # Row by row if need be: the data may be a mapped file larger than memory.
    rows = x.detach().reshape(1) if x.ndim == 0 else x.detach()
    for part in rows.split(max(1, _HASHED_NUMBERS // max(1, rows[:1].numel()))):
        digest.update(part.cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]
