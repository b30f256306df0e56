"""fit(): trains a model and its guide by a recipe, and can go on where it was stopped."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pyro
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from tqdm.auto import tqdm

from lvkam_pyro.guides.seeding import seeded_rng
from lvkam_pyro.guides.structure import find_data_plate, record_once
from lvkam_pyro.training.epoch import held_out_metrics, train_epoch
from lvkam_pyro.training.journal import Journal, training_identity
from lvkam_pyro.training.recipe import Model, Recipe
from lvkam_pyro.training.state import TrainingState
from lvkam_pyro.training.validation import (
    as_data,
    check_model_matches,
    check_no_constant_columns,
    check_same_kind,
)


@dataclass(frozen=True)
class Fit:
    """What `fit` returns.

    Attributes:
        model: The trained model, the same object that was passed.
        guide: The trained guide.
        recipe: The recipe.
        metrics: A row an epoch: `epoch`, `loss_per_datum` (nats, the mean over the epoch's
            updates), `held_out_loss_per_datum` (with `x_test`), `learning_rate` (at the epoch's
            first update), `gradient_norm` (mean, before clipping) and `seconds`.
        seed: The seed.
    """

    model: Model
    guide: Model
    recipe: Recipe
    metrics: list[dict[str, float]]
    seed: int


def fit(
    model: Model,
    x: ArrayLike | Tensor,
    recipe: Recipe,
    *,
    x_test: ArrayLike | Tensor | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> Fit:
    """Trains the model IN PLACE, with the guide that the recipe builds for it.

    The parameters are those of the modules, `objective(model, guide).parameters()`; Pyro's global
    parameter store is neither read nor changed, nor is torch's global random state.

    With a folder, `metrics.csv` and `checkpoint.pt` there hold the state after a whole epoch. They
    are written when an epoch ends and two seconds have passed since the last time, and whenever
    training ends: by its last epoch, by Ctrl-C (which raises KeyboardInterrupt after writing) or by
    an error. A process that is killed loses two seconds and the epoch that it was in. A training
    that was resumed ends with exactly the weights of one that never stopped.

    Args:
        model: A Pyro program of one tensor whose first dimension is its data plate; usually a
            module such as `LVKAM`.
        x: Data (N, ...), floating point, of the dtype and on the device of the model.
        recipe: Guide, objective, epochs, learning rates.
        x_test: Held-out data; their loss is reported every epoch and changes nothing else.
        folder: A run folder, made if need be.
        resume: Go on from the folder's checkpoint, if it has one.
        seed: Of the guide's first parameters, the order of the data and the draws.
        progress: Show a bar.

    Returns:
        The trained model and guide, in evaluation mode, and the metrics.

    Raises:
        TypeError, ValueError: If the data or the model cannot be used; see the message.
        FileExistsError: If the folder holds a run and `resume` is False.
        CheckpointError: If the checkpoint to resume is damaged, or of another model or data.
        DivergenceError: If a loss or a gradient is not finite. The parameters are those before that
            update, and the folder's checkpoint is that of the last whole epoch.
        OSError: If the folder cannot be written; what it held is intact.

    Example:
        >>> from pyro.infer import Trace_ELBO
        >>> from pyro.infer.autoguide import AutoNormal
        >>> import pyro.distributions as dist
        >>> class Mean(pyro.nn.PyroModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.loc = torch.nn.Parameter(torch.zeros(2))
        ...     def forward(self, x):
        ...         with pyro.plate("data", len(x)):
        ...             z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...             return pyro.sample("x", dist.Normal(self.loc + z, 1.0).to_event(1), obs=x)
        >>> recipe = Recipe(
        ...     name="mean field", build_guide=lambda model, x: AutoNormal(model),
        ...     objective=Trace_ELBO(), num_epochs=200, learning_rate=0.1,
        ... )
        >>> x = torch.randn(100, 2) + 3.0
        >>> result = fit(Mean(), x, recipe, progress=False)
        >>> bool((result.model.loc - x.mean(0)).abs().max() < 0.3)
        True
    """
    data, held_out = _check(model, x, x_test)
    journal = Journal(folder, training_identity(recipe, data, seed=seed)) if folder else None
    with _isolated(seed, data):
        check_no_constant_columns(model, data, batch_size=recipe.batch_size)
        saved = None if journal is None else journal.open(resume=resume)
        training = _start(model, data, recipe, saved, seed)
        with _flushing(journal), _bar(training, recipe, progress) as bar:
            while training.epoch < recipe.num_epochs:
                loss = _epoch(training, recipe, data, held_out)
                if journal is not None:
                    journal.record(training)
                bar.set_postfix_str(f"{loss:.3f} nats per datum", refresh=False)
                bar.update()
    training.module.eval()
    return Fit(model, training.guide, recipe, training.metrics, seed)


def _check(
    model: Model, x: ArrayLike | Tensor, x_test: ArrayLike | Tensor | None
) -> tuple[Tensor, Tensor | None]:
    data = as_data(x)
    check_model_matches(model, data)
    if x_test is None:
        return data, None
    held_out = as_data(x_test, name="x_test")
    check_same_kind(data, held_out)
    return data, held_out


@contextmanager
def _isolated(seed: int, x: Tensor) -> Iterator[None]:
    """A seeded random state and an empty parameter store of one's own."""
    with seeded_rng(seed, x), pyro.get_param_store().scope():
        yield


def _start(
    model: Model, x: Tensor, recipe: Recipe, saved: dict[str, Any] | None, seed: int
) -> TrainingState:
    if saved is None and recipe.start is not None:
        recipe.start(model, x)
    guide = recipe.build_guide(model, x)
    batch = x[: recipe.batch_size]
    _make_parameters(recipe.objective(model, guide), batch)
    size = _plate_size(model, batch)
    training = TrainingState(model, guide, recipe, num_data=len(x), plate_size=size, seed=seed)
    if saved is not None:
        training.load_state_dict(saved)
    return training


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


def _epoch(training: TrainingState, recipe: Recipe, x: Tensor, held_out: Tensor | None) -> float:
    row = train_epoch(training, recipe, x)
    if held_out is not None:
        row |= held_out_metrics(training, recipe, held_out)
    training.metrics.append(row)
    return row["loss_per_datum"]


@contextmanager
def _flushing(journal: Journal | None) -> Iterator[None]:
    """Whatever ends the training, the state after its last whole epoch reaches the disk."""
    try:
        yield
    finally:
        if journal is not None:
            journal.flush()


def _bar(training: TrainingState, recipe: Recipe, progress: bool) -> "tqdm[NoReturn]":
    return tqdm(
        desc=recipe.name,
        initial=training.epoch,
        total=recipe.num_epochs,
        unit="epoch",
        disable=not progress,
    )
