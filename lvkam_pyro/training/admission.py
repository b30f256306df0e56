"""The data of a fit: checked, and bound to the model, before its first update."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike
from torch import Tensor

from lvkam_pyro.tracing.arguments import Arguments, Program, RowAccess
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.training.arrays import as_data_arguments
from lvkam_pyro.training.batches import bind_data, first_batch
from lvkam_pyro.training.epoch import held_out_loss
from lvkam_pyro.training.finite import check_densities, not_finite_named
from lvkam_pyro.training.recipe import Recipe
from lvkam_pyro.training.state import TrainingState
from lvkam_pyro.training.validation import (
    check_likelihood,
    check_model_matches,
    check_same_kind,
)

Data = ArrayLike | Tensor | tuple[Any, ...] | dict[str, Any]
"""The data that `fit` takes: one array, a tuple of arguments, or a dictionary of them by name."""

_ARGUMENTS = {"validation": "x_validation", "held_out": "x_test"}
"""The arguments of `fit` that hold data out, by the name that their loss has."""


def admit(model: Program, x: Data, recipe: Recipe) -> Arguments:
    """The data as the arguments of the model, which have its precision and device.

    Raises:
        TypeError, ValueError: As `fit`.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> admit(model, torch.rand(10, 5), lv.load_recipe("amortized")).longest
        10
    """
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe must be a Recipe(name=..., ...); got {recipe!r}.")
    data = as_data_arguments(x)
    check_model_matches(model, data)
    return data


def admit_held_out(data: Arguments, **held_out: Data | None) -> dict[str, Arguments]:
    """The held-out data that there are, by the name that their loss has.

    Raises:
        TypeError, ValueError: As `fit`.

    Example:
        >>> import numpy as np
        >>> admit_held_out(as_data_arguments(np.zeros(5)), held_out=np.ones(2), validation=None)
        {'held_out': Arguments(args=(tensor([1., 1.], dtype=torch.float64),), kwargs={}, ...)}
    """
    checked = {
        name: as_data_arguments(x, name=_ARGUMENTS[name])
        for name, x in held_out.items()
        if x is not None
    }
    for name, others in checked.items():
        check_same_kind(data, others, name=_ARGUMENTS[name])
    return checked


def bind_with_density(model: Program, data: Arguments) -> BoundProgram:
    """The model, bound to data at which it has a density.

    Raises:
        ValueError: As `bind`, and with the place of data that are not finite.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> bind_with_density(model, Arguments((torch.full((10, 5), torch.nan),), {}))
        Traceback (most recent call last):
        ValueError: x holds NaN or infinity in 50 of its 50 entries, first nan at (0, 0). ...
    """
    with not_finite_named(data, "x"):
        program = bind_data(model, data)
    check_densities(program, "x")
    return program


def bind_to_fit(
    model: Program, data: Arguments, recipe: Recipe, held_out: Mapping[str, Arguments]
) -> BoundProgram:
    """The model, bound to data that it can be fitted to.

    Raises:
        ValueError: As `bind_with_density`, also of held-out data, and as `check_likelihood`.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> recipe = lv.load_recipe("amortized")
        >>> bind_to_fit(model, Arguments((torch.rand(10, 5),), {}), recipe, {}).num_units
        10
    """
    program = bind_with_density(model, data)
    check_likelihood(first_batch(program, recipe.batch_size), data)
    for name, others in held_out.items():
        check_densities(program.on(*others.args, **others.kwargs), _ARGUMENTS[name])
    return program


def check_held_out(training: TrainingState, held_out: Mapping[str, Arguments]) -> None:
    """Refuses held-out data where what belongs to the data of the training is needed.

    Args:
        training: The training before its first update.
        held_out: The held-out data.

    Raises:
        ValueError: If the model reads covariates of its own by the indices of its plate, or does
            not run, or its guide does not, on data that cannot be taken apart.
    """
    names, program = ", ".join(_ARGUMENTS[name] for name in held_out), training.program
    if held_out and program.access is RowAccess.ARGUMENTS_AND_INDICES:
        raise ValueError(
            f"The model reads something of its own by the indices of the plate "
            f"'{program.structure.data_plate}', which belongs to the data x, so other data have no "
            f"loss: leave out {names}."
        )
    if program.access is not None:
        return
    try:
        for data in held_out.values():
            held_out_loss(training, data)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"The data cannot be taken apart ({program.refusal}), and other data have no loss: "
            f"leave out {names}."
        ) from error
