"""The checks of a training's data, made once at its edge."""

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from lvkam_pyro.tracing.arguments import Arguments, Program
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.training.arrays import as_rows, named_tensors
from lvkam_pyro.training.batches import row_chunks
from lvkam_pyro.training.finite import check_finite
from lvkam_pyro.training.recipe import Recipe


def as_data(x: ArrayLike | Tensor, *, name: str = "x") -> Tensor:
    """Takes an array as a tensor of data, and refuses what no model can be fitted to.

    Args:
        x: Data of shape (N, ...): numbers, whole numbers or truth values.
        name: Its name in the errors.

    Returns:
        The tensor itself, cut from its graph if it was drawn from a model with gradients on; a
        tensor on the memory of a `numpy.memmap`, which is read where it is used; or a copy of any
        other array.

    Raises:
        TypeError: If it is not an array of numbers.
        ValueError: If it is no more than one number, is empty, holds NaN or infinity, or entries
            are masked.

    Example:
        >>> as_data([[0.5, 1.0], [2.0, 3.0]]).shape
        torch.Size([2, 2])
    """
    data = as_rows(x, name)
    check_finite(data, name)
    return data


def check_same_kind(data: Arguments, others: Arguments, *, name: str = "x_test") -> None:
    """Raises ValueError unless the held-out data, called `name`, look like the data."""
    pairs = [*zip(named_tensors(data, "x"), named_tensors(others, name), strict=False)]
    is_same = len(pairs) == len(data.tensors) == len(others.tensors)
    is_same &= len(data.args) == len(others.args) and data.kwargs.keys() == others.kwargs.keys()
    if not is_same:
        raise ValueError(f"x and {name} must be the same arguments; got {data} and {others}.")
    for (of_data, x), (of_others, held_out) in pairs:
        if _kind(x) != _kind(held_out):
            raise ValueError(
                f"{of_data} and {of_others} must agree in shape but for the number of data, in "
                f"dtype and in device; got {_shape(x)} {x.dtype} on {x.device} and "
                f"{_shape(held_out)} {held_out.dtype} on {held_out.device}."
            )


def _kind(x: Tensor) -> tuple[object, ...]:
    return x.ndim, x.shape[1:], x.dtype, x.device


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


def check_model_matches(model: Program, data: Arguments) -> None:
    """Raises ValueError if none of the model's parameters has the data's dtype and device."""
    if not isinstance(model, nn.Module):
        return
    kinds = {(p.dtype, p.device) for p in model.parameters() if p.is_floating_point()}
    for name, x in named_tensors(data, "x"):
        present = {kind if x.is_floating_point() else (x.dtype, kind[1]) for kind in kinds}
        if kinds and (x.dtype, x.device) not in present:
            dtype, device = kinds.pop()
            whose = "The data are" if name == "x" else f"{name} is"
            raise ValueError(
                f"{whose} {x.dtype} on {x.device} and the model is {dtype} on {device}: pass "
                f"{name}.to({str(device)!r}, {dtype}), or move the model by model.to(...)."
            )


def check_likelihood(batch: BoundProgram, data: Arguments) -> None:
    """Checks that the likelihood of a program can be fitted to the data.

    The likelihood of a constant column has no maximum where its scale is learned: the scale shrinks
    to zero and the density grows without limit. A fixed scale, discrete data and covariates are not
    concerned.

    Args:
        batch: The program on some of the data.
        data: All data.

    Raises:
        ValueError: If columns are constant.
    """
    with torch.enable_grad():
        observed = batch.record_alone().observations.values()
    names = [name for name, _ in named_tensors(data, "x")]
    tensors = [*zip(names, data.tensors, batch.arguments.tensors, strict=True)]
    for site in observed:
        if _scale_requires_grad(site["fn"]) and bool(_constant_columns(site["value"]).any()):
            own = [(name, whole) for name, whole, part in tensors if part is site["value"]]
            for name, x in own or [(name, whole) for name, whole, _ in tensors[:1]]:
                _check_no_constant_columns(x, name)


def _check_no_constant_columns(x: Tensor, name: str) -> None:
    constant = _constant_columns(x).flatten().nonzero().flatten().tolist()
    if constant and len(x) > 1:
        raise ValueError(
            f"{name} has constant columns, for which the learned scale would shrink to zero: "
            f"{_short(constant)}. Drop them, or dequantise (add noise of the measurement's step)."
        )


def _constant_columns(x: Tensor) -> Tensor:
    """Which of the columns, of the shape of a row, hold one value."""
    unchanged = torch.ones_like(x[0], dtype=torch.bool)
    for _, part in row_chunks(x):
        unchanged &= (part == x[:1]).all(0)
    return unchanged


def _scale_requires_grad(distribution: object) -> bool:
    while hasattr(distribution, "base_dist"):
        distribution = distribution.base_dist
    scales = [getattr(distribution, name, None) for name in ("scale", "scale_tril")]
    return any(isinstance(scale, Tensor) and scale.requires_grad for scale in scales)


def _shape(data: Tensor) -> tuple[int, ...]:
    return tuple(data.shape)


def _short(values: list[int]) -> str:
    shown = ", ".join(map(str, values[:10]))
    return shown if len(values) <= 10 else f"{shown}, ... ({len(values)} in all)"
