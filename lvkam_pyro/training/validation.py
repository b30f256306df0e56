"""The checks of a training's data, made once at its edge."""

import warnings

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.training.batches import row_chunks
from lvkam_pyro.training.recipe import Recipe


def as_data(x: ArrayLike | Tensor, *, name: str = "x") -> Tensor:
    """Takes an array as a tensor of data, and refuses what no model can be fitted to.

    Args:
        x: Data of shape (N, ...), of at least two dimensions, floating point.
        name: Its name in the errors.

    Returns:
        The tensor itself, cut from its graph if it was drawn from a model with gradients on; a
        tensor on the memory of a `numpy.memmap`, which is read where it is used; or a copy of any
        other array.

    Raises:
        TypeError: If it is not an array of floating-point values.
        ValueError: If it has fewer than two dimensions, is empty, holds NaN or infinity, or entries
            are masked.

    Example:
        >>> as_data([[0.5, 1.0], [2.0, 3.0]]).shape
        torch.Size([2, 2])
    """
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise ValueError(
            f"{name} masks {np.ma.getmaskarray(x).sum()} of its {x.size} entries, and what lies "
            "under a mask is no datum. Drop these rows, or impute them and pass the result."
        )
    try:
        data = _as_tensor(x)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be a tensor or an array; got {type(x).__name__}.") from error
    if not data.is_floating_point():
        raise TypeError(f"{name} must be floating point; got {data.dtype}: pass {name}.float().")
    if data.dim() < 2:
        raise ValueError(f"{name} must have shape (N, ...) with data first; got {_shape(data)}.")
    if data.numel() == 0:
        raise ValueError(f"{name} is empty: its shape is {_shape(data)}.")
    _check_finite(data, name)
    return data.detach() if data.requires_grad else data


def _as_tensor(x: ArrayLike | Tensor) -> Tensor:
    if isinstance(x, np.memmap):
        with warnings.catch_warnings():
            # It may be read-only, and nothing here writes to data.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(x)
    # A copy of an array: torch cannot share one that is read-only, as those of pandas are.
    return torch.as_tensor(np.array(x) if isinstance(x, np.ndarray) else x)


def check_same_kind(x: Tensor, x_test: Tensor, *, name: str = "x_test") -> None:
    """Raises ValueError unless the held-out data, called `name`, look like the data."""
    if x.shape[1:] != x_test.shape[1:] or x.dtype != x_test.dtype or x.device != x_test.device:
        raise ValueError(
            f"x and {name} must agree in shape but for the number of data, in dtype and in device; "
            f"got {_shape(x)} {x.dtype} on {x.device} and {_shape(x_test)} {x_test.dtype} on "
            f"{x_test.device}."
        )


def check_validation(recipe: Recipe, x_validation: object) -> None:
    """Raises ValueError if early stopping has no data to look at, or data have no use."""
    if (recipe.early_stopping is None) == (x_validation is None):
        return
    if x_validation is None:
        raise ValueError(
            f"The recipe {recipe.name} stops early, and needs x_validation: hold some of the data "
            "out of x, and out of x_test."
        )
    raise ValueError(
        f"x_validation is for early stopping, and the recipe {recipe.name} does not: give it "
        "early_stopping=EarlyStopping(), or pass the data as x_test."
    )


def check_model_matches(model: Program, x: Tensor) -> None:
    """Raises ValueError if none of the model's parameters has the data's dtype and device."""
    if not isinstance(model, nn.Module):
        return
    kinds = {(p.dtype, p.device) for p in model.parameters() if p.is_floating_point()}
    if kinds and (x.dtype, x.device) not in kinds:
        dtype, device = kinds.pop()
        raise ValueError(
            f"The data are {x.dtype} on {x.device} and the model is {dtype} on {device}: pass "
            f"x.to({str(device)!r}, {dtype}), or move the model by model.to(...)."
        )


def check_likelihood(program: BoundProgram, x: Tensor) -> None:
    """Checks that the likelihood of a program can be fitted to the data.

    The likelihood of a constant column has no maximum where its scale is learned: the scale shrinks
    to zero and the density grows without limit. A fixed scale or discrete data are not concerned.

    Args:
        program: The program on some of the data.
        x: All data.

    Raises:
        ValueError: If columns are constant.
    """
    with torch.enable_grad():
        observed = program.record_alone().observations.values()
    if len(x) > 1 and any(_scale_requires_grad(site["fn"]) for site in observed):
        _check_no_constant_columns(x)


def _check_no_constant_columns(x: Tensor) -> None:
    unchanged = torch.ones_like(x[0], dtype=torch.bool)
    for _, part in row_chunks(x):
        unchanged &= (part == x[:1]).all(0)
    constant = unchanged.flatten().nonzero().flatten().tolist()
    if constant:
        raise ValueError(
            f"x has constant columns, for which the learned scale would shrink to zero: "
            f"{_short(constant)}. Drop them, or dequantise (add noise of the measurement's step)."
        )


def _scale_requires_grad(distribution: object) -> bool:
    while hasattr(distribution, "base_dist"):
        distribution = distribution.base_dist
    scales = [getattr(distribution, name, None) for name in ("scale", "scale_tril")]
    return any(isinstance(scale, Tensor) and scale.requires_grad for scale in scales)


def _check_finite(data: Tensor, name: str) -> None:
    count, where = 0, ()
    for first, part in row_chunks(data):
        bad = (~part.isfinite()).nonzero()
        if len(bad) and not count:
            row, *rest = bad[0].tolist()
            where = (first + row, *rest)
        count += len(bad)
    if count:
        raise ValueError(
            f"{name} holds NaN or infinity in {count} of its {data.numel()} entries, first "
            f"{data[where].item()} at {where}. Remove or impute them."
        )


def _shape(data: Tensor) -> tuple[int, ...]:
    return tuple(data.shape)


def _short(values: list[int]) -> str:
    shown = ", ".join(map(str, values[:10]))
    return shown if len(values) <= 10 else f"{shown}, ... ({len(values)} in all)"
