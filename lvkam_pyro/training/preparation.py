"""Before the first update: the start, the guide, and every parameter in its place."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from lvkam_pyro.tracing.session import seeded_rng
from lvkam_pyro.tracing.structure import find_data_plate, record_once
from lvkam_pyro.training.large_data import evenly_spaced
from lvkam_pyro.training.processes import Processes
from lvkam_pyro.training.recipe import Model, Recipe
from lvkam_pyro.training.state import TrainingState


@contextmanager
def isolated(seed: int, x: Tensor) -> Iterator[None]:
    """A seeded random state and an empty parameter store; the caller's come back at the end.

    Args:
        seed: The seed.
        x: A tensor on the device in use.

    Yields:
        Nothing.
    """
    with seeded_rng(seed, x), pyro.get_param_store().scope():
        yield


def prepare_training(
    model: Model,
    x: Tensor,
    recipe: Recipe,
    *,
    saved: Mapping[str, object] | None = None,
    seed: int = 0,
    processes: Processes | None = None,
) -> TrainingState:
    """Starts the model, builds the guide, and restores a saved state if there is one.

    Args:
        model: The model, changed in place.
        x: Data (N, ...).
        recipe: The recipe.
        saved: The state of a checkpoint, which takes the place of the recipe's start.
        seed: Of the order of the data.
        processes: Those that share the batches; None: this one alone.

    Returns:
        The training before its next update.

    Raises:
        ValueError: If a parameter would not be trained: of one name in model and guide, or a
            `pyro.param` outside of any module; or if it has no grids for the recipe to move; or if
            several processes cannot share its chains.
        CheckpointError: If `saved` is of another model or guide.
    """
    if recipe.grid_updates is not None:
        recipe.grid_updates.check(model)
    sample = evenly_spaced(x)
    processes = Processes() if processes is None else processes
    if saved is None and recipe.start is not None:
        _start(model, sample, recipe.start, processes)
    guide = recipe.build_guide(model, sample)
    batch = x[: recipe.batch_size]
    if saved is None or isinstance(guide, nn.Module):
        # Not for a guide without parameters that goes on: it may refuse a model before its start.
        _make_parameters(recipe.objective(model, guide), batch)
    size = _plate_size(model, batch)
    options: dict[str, Any] = {"plate_size": size, "seed": seed, "processes": processes}
    training = TrainingState(model, guide, recipe, num_data=len(x), **options)
    if saved is not None:
        training.load_state_dict(saved)
    _check_shares(training)
    training.processes.synchronize(training)
    return training


def _start(
    model: Model, x: Tensor, start: Callable[[Model, Tensor], object], processes: Processes
) -> None:
    """Starts the model, a module in the first process alone, whose parameters the others get."""
    if not isinstance(model, nn.Module):
        start(model, x)
        return
    processes.from_first(lambda: _call(start, model, x))
    processes.synchronize(model)


def _call(start: Callable[[Model, Tensor], object], model: Model, x: Tensor) -> None:
    """Throws away what a start returns, which is not to be sent."""
    start(model, x)


def _check_shares(training: TrainingState) -> None:
    """Chains that go on belong to a datum, and a datum to another process at each update."""
    if training.memory is not None and training.processes.num_processes > 1:
        raise ValueError(
            f"{type(training.guide).__name__} goes on with its chains from update to update, which "
            f"{training.processes.num_processes} processes cannot share. Train in one process, or "
            "by a recipe without such chains (persistent_chains=False)."
        )


def _make_parameters(module: nn.Module, batch: Tensor) -> None:
    """Calls the objective once, which makes the parameters of lazy guides, and checks them."""
    before = dict(module.named_parameters())
    try:
        with torch.no_grad():
            module(batch)
    finally:
        after = dict(module.named_parameters())
        _check_names([name for name in before if after.get(name) is not before[name]])
    owned = {id(parameter) for parameter in after.values()}
    store = pyro.get_param_store().named_parameters()
    _check_owners([name for name, parameter in store if id(parameter) not in owned])


def _plate_size(model: Model, batch: Tensor) -> int | None:
    """The full size of the data plate, where the model takes a batch for a part of it."""
    plate = find_data_plate(record_once(model, batch).observations, len(batch))
    return None if plate.full_size in {None, plate.size} else int(plate.full_size)


def _check_names(replaced: list[str]) -> None:
    if replaced:
        raise ValueError(
            "The model and the guide give one Pyro name to two parameters, of which one would not "
            f"be trained: {', '.join(replaced)}. Rename one of each pair."
        )


def _check_owners(loose: list[str]) -> None:
    if loose:
        raise ValueError(
            f"These pyro.param statements belong to no module, so nothing would train them: "
            f"{', '.join(loose)}. Make them parameters of a PyroModule."
        )
