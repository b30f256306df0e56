"""Arrays as the arguments of a program: tensors, each with its name in errors."""

import warnings
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lvkam_pyro.tracing.arguments import Arguments, as_arguments


def as_data_arguments(x: object, *, name: str = "x") -> Arguments:
    """Takes data as the arguments of a program; NaN among them is the program's own affair.

    Args:
        x: One array, a tuple of arguments, or a dictionary of them by name. Arrays become tensors,
            also inside of lists; numbers, text and None stay what they are.
        name: Its name in the errors.

    Returns:
        The arguments.

    Raises:
        TypeError, ValueError: As `as_data`, but for NaN and infinity.

    Example:
        >>> as_data_arguments(([0.5, 1.0], np.arange(2), 3.0)).args
        ([0.5, 1.0], tensor([0, 1]), 3.0)
    """
    if isinstance(x, tuple | dict):
        return as_arguments(_with_tensors(x, name))
    return Arguments((as_rows(cast("ArrayLike | Tensor", x), name),), {})


def _with_tensors(value: Any, name: str) -> Any:  # noqa: ANN401
    """The same value with tensors in the place of its arrays."""
    if type(value) in (tuple, list):
        return type(value)(_with_tensors(v, f"{name}[{i}]") for i, v in enumerate(value))
    if type(value) is dict:
        return {key: _with_tensors(v, f"{name}[{key!r}]") for key, v in value.items()}
    is_array = hasattr(value, "__array__") and not isinstance(value, np.generic)
    return _as_argument(value, name) if is_array else value


def named_tensors(value: object, name: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors among arguments, each with its name in errors.

    Args:
        value: What `fit` was given, with tensors for arrays: arguments, or a part of them.
        name: What the errors call it.

    Example:
        >>> [name for name, _ in named_tensors(({"t": torch.zeros(2)}, torch.zeros(2)), "x")]
        ["x[0]['t']", 'x[1]']
    """
    if isinstance(value, Arguments):
        is_one = len(value.args) == 1 and not value.kwargs and isinstance(value.args[0], Tensor)
        value = value.args[0] if is_one else dict(value.kwargs) or value.args
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, tuple | list):
        for place, part in enumerate(value):
            yield from named_tensors(part, f"{name}[{place}]")
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from named_tensors(part, f"{name}[{key!r}]")


def as_rows(x: ArrayLike | Tensor, name: str) -> Tensor:
    """Takes an array as a tensor of data, NaN and infinity included; see `as_data`.

    Example:
        >>> as_rows([True, False], "x")
        tensor([ True, False])
    """
    data = _as_argument(x, name)
    if data.dim() < 1:
        raise ValueError(f"{name} must have shape (N, ...) with data first; got one number.")
    return data


def _as_argument(x: ArrayLike | Tensor, name: str) -> Tensor:
    """An array as a tensor."""
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise ValueError(
            f"{name} masks {np.ma.getmaskarray(x).sum()} of its {x.size} entries, and what lies "
            "under a mask is no datum. Drop these rows, or impute them and pass the result."
        )
    try:
        data = _as_tensor(x)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be a tensor or an array; got {type(x).__name__}.") from error
    if data.is_complex():
        raise TypeError(
            f"{name} must be floating point, integer or boolean; got {data.dtype}: pass its parts."
        )
    if data.numel() == 0:
        raise ValueError(f"{name} is empty: its shape is {tuple(data.shape)}.")
    return data.detach() if data.requires_grad else data


def _as_tensor(x: ArrayLike | Tensor) -> Tensor:
    if isinstance(x, np.memmap):
        with warnings.catch_warnings():
            # It may be read-only, and nothing here writes to data.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(x)
    # A copy of an array: torch cannot share one that is read-only, as those of pandas are.
    return torch.as_tensor(np.array(x) if isinstance(x, np.ndarray) else x)
