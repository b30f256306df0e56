"""Before the first update: the start, the guide, and every parameter in its place."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from lvkam_pyro.tracing.arguments import Arguments, Program
from lvkam_pyro.tracing.bind import ProgramLoss
from lvkam_pyro.tracing.prior_guide import LibraryGuide
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.session import exclusive, seeded_rng
from lvkam_pyro.training.batches import (
    bind_guide_of,
    evenly_spaced_arguments,
    first_batch,
    is_small,
    warn_of_whole_data,
)
from lvkam_pyro.training.processes import Processes
from lvkam_pyro.training.recipe import Recipe
from lvkam_pyro.training.state import TrainingState, call_objective
from lvkam_pyro.training.stored import StoredParameters, names_of_no_module


@contextmanager
def isolated(seed: int, x: Tensor) -> Iterator[None]:
    """A seeded random state, an empty parameter store, gradients: restored at the end.

    Other threads that run programs wait.

    Args:
        seed: The seed.
        x: A tensor on the device in use.

    Yields:
        Nothing.
    """
    with exclusive(), torch.enable_grad(), seeded_rng(seed, x), pyro.get_param_store().scope():
        yield


def prepare_training(
    program: BoundProgram,
    recipe: Recipe,
    *,
    saved: Mapping[str, object] | None = None,
    seed: int = 0,
    processes: Processes | None = None,
) -> TrainingState:
    """Starts the model, builds the guide, and restores a saved state if there is one.

    Args:
        program: The model, changed in place, bound to the data.
        recipe: The recipe.
        saved: The state of a checkpoint, which takes the place of the recipe's start.
        seed: Of the order of the data.
        processes: Those that share the batches; None: this one alone.

    Returns:
        The training before its next update.

    Raises:
        TypeError: If the recipe's functions do not take the arguments of the model.
        ValueError: If a parameter would not be trained, since model and guide have one name for
            two; or if it has no grids for the recipe to move; or if the guide is no density that
            the objective could weigh; or if Pyro's objective would stack particles that the program
            does not take; or if several processes cannot share its chains or its data.
        CheckpointError: If `saved` is of another model or guide.
    """
    model = program.model
    if recipe.grid_updates is not None:
        recipe.grid_updates.check(model)
    sample = evenly_spaced_arguments(program)
    if saved is None and recipe.start is not None:
        _call("start", recipe.start, model, sample)
    guide = _call("build_guide", recipe.build_guide, model, sample)
    is_ours = isinstance(recipe.objective, ProgramLoss)
    stored = None
    if saved is None or isinstance(guide, nn.Module) or _holds_stored(saved):
        # Not for a guide without parameters that goes on: it may refuse a model before its start.
        module = recipe.objective(model, guide)
        stored = _make_parameters(module, _first(program, guide, recipe), is_ours=is_ours)
        program = bind_guide_of(program, guide, is_density=is_ours)
        _check_vectorized(program, recipe)
    warn_of_whole_data(program, recipe.batch_size)
    options: dict[str, Any] = {
        "plate_size": _plate_size(first_batch(program, recipe.batch_size)),
        "seed": seed,
        "processes": processes,
        "stored": stored,
    }
    training = TrainingState(program, guide, recipe, **options)
    if saved is not None:
        training.load_state_dict(saved)
    _check_shares(training)
    training.processes.synchronize(training)
    return training


def _call(name: str, function: Callable[..., Any], model: Program, data: Arguments) -> Any:  # noqa: ANN401
    """The result of a function of a recipe for the model and its arguments.

    Raises:
        TypeError: If it does not take so many.
    """
    try:
        inspect.signature(function).bind(model, *data.args, **data.kwargs)
    except TypeError as error:
        raise TypeError(
            f"The recipe's {name} does not take the arguments of this model ({error}). Write it "
            f"for them: {name}=lambda model, *args, **kwargs: ..."
        ) from error
    return function(model, *data.args, **data.kwargs)


def _check_vectorized(program: BoundProgram, recipe: Recipe) -> None:
    """Pyro's objectives stack particles if told to, whether a program takes them or not."""
    objective = recipe.objective
    is_ours = isinstance(objective, ProgramLoss)
    is_stacked = objective.vectorize_particles and objective.num_particles > 1
    if is_stacked and not (is_ours or program.stacks):
        raise ValueError(
            "The model or its guide does not take stacked particles, so the loss of "
            f"{type(objective).__name__} would be wrong. Give it vectorize_particles=False."
        )


def _holds_stored(saved: Mapping[str, Any]) -> bool:
    """Whether a saved state has parameters of `pyro.param` statements."""
    return any(name.startswith("stored.") for name in saved.get("module", ()))


def _first(program: BoundProgram, guide: Program, recipe: Recipe) -> BoundProgram:
    """The data on which parameters are made: all, if a guide makes them when first run.

    It may make some for each datum.
    """
    has_own = isinstance(guide, nn.Module) and next(guide.parameters(), None) is not None
    makes_own = not (has_own or isinstance(guide, LibraryGuide))
    if makes_own and program.subsample_size is None and is_small(program):
        return program
    return first_batch(program, recipe.batch_size)


def _check_shares(training: TrainingState) -> None:
    """Chains that go on belong to a datum, and a datum to another process at each update."""
    if training.memory is not None and training.processes.num_processes > 1:
        raise ValueError(
            f"{type(training.guide).__name__} goes on with its chains from update to update, which "
            f"{training.processes.num_processes} processes cannot share. Train in one process, or "
            "by a recipe without such chains (persistent_chains=False)."
        )
    if training.program.access is None and training.processes.num_processes > 1:
        raise ValueError(
            "The data cannot be taken apart, so several processes cannot share them: "
            f"{training.program.refusal}. Train in one process."
        )


def _make_parameters(
    module: nn.Module, batch: BoundProgram, *, is_ours: bool
) -> StoredParameters | None:
    """Calls the objective once, which makes the parameters of lazy guides, and checks them.

    Returns:
        Those that statements have put into Pyro's store, and that are no module's.
    """
    before = dict(module.named_parameters())
    try:
        with torch.no_grad():
            call_objective(module, batch, takes_programs=is_ours)
    finally:
        after = dict(module.named_parameters())
        _check_names([name for name in before if after.get(name) is not before[name]])
    loose = names_of_no_module(module)
    return StoredParameters(loose) if loose else None


def _plate_size(batch: BoundProgram) -> int | None:
    """The full size of the data plate, where the model takes a batch for a part of it."""
    with torch.no_grad():
        sites = batch.record_alone().sites.values()
    frames = (batch.structure.frame_of(site) for site in sites)
    frame = next((frame for frame in frames if frame is not None), None)
    if frame is None or frame.full_size in {None, frame.size}:
        return None
    return int(frame.full_size)


def _check_names(replaced: list[str]) -> None:
    if replaced:
        raise ValueError(
            "The model and the guide give one Pyro name to two parameters, of which one would not "
            f"be trained: {', '.join(replaced)}. Rename one of each pair."
        )
