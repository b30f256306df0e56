"""fit(): trains a model and its guide by a recipe, and can go on where it was stopped."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tqdm.auto import tqdm

from lvkam_pyro.tracing.arguments import Arguments, Program
from lvkam_pyro.training.admission import (
    Data,
    admit,
    admit_held_out,
    bind_to_fit,
    bind_with_density,
    check_held_out,
)
from lvkam_pyro.training.epoch import grid_metrics, held_out_loss, train_epoch
from lvkam_pyro.training.preparation import isolated, prepare_training
from lvkam_pyro.training.processes import running_processes
from lvkam_pyro.training.recipe import Recipe
from lvkam_pyro.training.runs.journal import Journal, training_identity
from lvkam_pyro.training.state import TrainingState
from lvkam_pyro.training.stored import names_of_no_module
from lvkam_pyro.training.validation import check_validation

_WORDS = {
    "loss_per_datum": (1, "loss {:.3f}"),
    "validation_loss_per_datum": (-1, "validation evidence {:.3f}"),
    "held_out_loss_per_datum": (-1, "held-out evidence {:.3f}"),
    "effective_size": (1, "ESS {:.1f}"),
    "learning_rate": (1, "rate {:.2g}"),
}
"""How the progress bar says an epoch's metrics: a factor, and the text."""


_OUT_OF_STEP = (
    "They should be equal: an update changes parameters by their gradients, and no buffer. "
    "Train in one process."
)


@dataclass(frozen=True)
class Fit:
    """The result of `fit`.

    Attributes:
        model: The trained model, the same object that was passed.
        guide: The trained guide.
        recipe: The recipe.
        metrics: A row an epoch: `epoch`, `loss_per_datum` (nats, the mean over the epoch's
            updates), `validation_loss_per_datum` (with `x_validation`), `held_out_loss_per_datum`
            (with `x_test`), `learning_rate` (at the epoch's first update), `gradient_norm` (mean,
            before clipping), `effective_size` (of a datum's particles, the
            mean), `grid_error` (where the recipe moves grids: the largest relative change of
            functions by it) and `seconds`.
        seed: The seed.
    """

    model: Program
    guide: Program
    recipe: Recipe
    metrics: list[dict[str, float]]
    seed: int

    @property
    def epoch(self) -> int:
        """The epoch, from 1, whose weights these are: the last, or the best on validation data."""
        stopping = self.recipe.early_stopping
        return len(self.metrics) if stopping is None else stopping.best_epoch(self.metrics)


def fit(
    model: Program,
    x: Data,
    recipe: Recipe,
    *,
    x_validation: Data | None = None,
    x_test: Data | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> Fit:
    """Trains the model IN PLACE, with the guide that the recipe builds for it.

    The parameters are those of the modules, `objective(model, guide).parameters()`, and those of
    `pyro.param` and `pyro.module` statements. These begin at the values that the statements give,
    whatever Pyro's global parameter store holds under their names; when the training ends, however
    it ends, the trained ones are put into that store, where Pyro's tools and our estimators find
    them, as after `SVI`. For programs made of modules alone the store is neither read nor changed.
    Torch's global random state is left alone.

    With a folder, `metrics.csv` and `checkpoint.pt` there hold the state after a whole epoch. They
    are written when an epoch ends and two seconds have passed since the last time, and whenever
    training ends: by its last epoch, by Ctrl-C (which raises KeyboardInterrupt after writing) or by
    an error. A process that is killed loses two seconds and the epoch that it was in. A training
    that was resumed ends with exactly the weights of one that never stopped.

    Args:
        model: A Pyro program; usually a module such as `LVKAM`.
        x: Its argument, data (N, ...) of numbers, whole numbers or truth values; or a tuple of its
            arguments, such as ``(x, covariates)``; or a dictionary of them by name. What has a row
            for each datum of the data plate is taken apart together; other tensors, and what is no
            array, are handed on as they are. Floating-point data have the dtype, and all have the
            device, of the model. They may be larger than memory, as a `numpy.memmap`
            (``np.load(path, mmap_mode="r")``) or a tensor of ``torch.from_file``: batches are read
            where they lie. NaN is refused unless the model has a density there, as one has that
            masks what is missing; so the data are looked at once before, in parts.
        recipe: Guide, objective, epochs, learning rates.
        x_validation: Further data, of the form of x, on which `recipe.early_stopping` chooses the
            epoch.
        x_test: Held-out data; their loss is reported every epoch and changes nothing else.
        folder: A run folder, made if need be.
        resume: Go on from the folder's checkpoint, if it has one.
        seed: Of the guide's first parameters, the order of the data and the draws.
        progress: Show a bar, where stderr is a terminal.

    Returns:
        The trained model and guide, in evaluation mode, and the metrics.

    Raises:
        TypeError, ValueError: If the data or the model cannot be used, or there are validation data
            without early stopping or the other way round; see the message.
        FileExistsError: If the folder holds a run and `resume` is False, or another process trains
            into it.
        CheckpointError: If the checkpoint to resume is damaged, or of another model or data.
        DivergenceError: If a loss or a gradient is not finite. The parameters are those before that
            update, and the folder's checkpoint is that of the last whole epoch.
        OSError: If the folder cannot be written; what it held is intact.
        LostProcessError: If another process of the training has ended.

    Example:
        >>> import pyro, torch
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
    data = admit(model, x, recipe)
    held_out = admit_held_out(data, validation=x_validation, held_out=x_test)
    check_validation(recipe, x_validation)
    identity = training_identity(recipe, data, seed=seed, validation=held_out.get("validation"))
    processes = running_processes()
    processes.check_same(lambda: identity, "Give all of them the same data, recipe and seed.")
    journal = Journal(folder, identity) if folder and processes.is_first else None
    with ExitStack() as after, isolated(seed, data.like), ExitStack() as owner:
        program = bind_to_fit(model, data, recipe, held_out)
        saved = processes.from_first(
            lambda: journal.open(owner, resume=resume) if journal else None
        )
        training = prepare_training(program, recipe, saved=saved, seed=seed, processes=processes)
        after.callback(training.hand_over)
        check_held_out(training, held_out)
        bar = _bar(training, recipe, progress and processes.is_first)
        with processes.deferring_signals(), _flushing(journal), bar:
            while not recipe.is_over(training.metrics):
                _epoch(training, held_out)
                if journal is not None:
                    journal.record(training)
                bar.set_postfix_str(describe_epoch(training.metrics[-1]), refresh=False)
                bar.update()
    training.finish()
    return Fit(model, training.guide, recipe, training.metrics, seed)


def load_fit(model: Program, x: Data, recipe: Recipe, folder: str | Path, *, seed: int = 0) -> Fit:
    """Reads from its run folder what `fit` had reached, without training on.

    Args:
        model: A model built as for `fit`; its parameters are replaced IN PLACE, those of
            `pyro.param` statements in Pyro's global parameter store.
        x: The data of that training.
        recipe: The recipe of that training.
        folder: Its run folder.
        seed: Its seed.

    Returns:
        As `fit`, after the last epoch that the checkpoint holds, or the best of those.

    Raises:
        FileNotFoundError: If the folder holds no checkpoint.
        CheckpointError: If the checkpoint is damaged, or of another model, data or recipe.
    """
    data = admit(model, x, recipe)
    journal = Journal(folder, training_identity(recipe, data, seed=seed))
    with isolated(seed, data.like):
        program = bind_with_density(model, data)
        training = prepare_training(program, recipe, saved=journal.read(), seed=seed)
    training.hand_over()
    training.finish()
    return Fit(model, training.guide, recipe, training.metrics, seed)


def check_training(
    model: Program,
    x: Data,
    recipe: Recipe,
    *,
    x_test: Data | None = None,
    seed: int = 0,
) -> None:
    """Refuses what `fit` would refuse before its first update, and changes nothing.

    Args:
        model: As for `fit`.
        x: As for `fit`.
        recipe: As for `fit`; its start and its guide are not run.
        x_test: As for `fit`.
        seed: As for `fit`.

    Raises:
        TypeError, ValueError: As `fit`.
    """
    data = admit(model, x, recipe)
    held_out = admit_held_out(data, held_out=x_test)
    with isolated(seed, data.like):
        bind_to_fit(model, data, recipe, held_out)
    if recipe.grid_updates is not None:
        recipe.grid_updates.check(model)


def _epoch(training: TrainingState, held_out: dict[str, Arguments]) -> None:
    row = train_epoch(training) | grid_metrics(training)
    for name, data in held_out.items():
        row[f"{name}_loss_per_datum"] = held_out_loss(training, data)
    _check_all_trained(training)
    training.end_epoch(row)
    training.processes.check_same(training.fingerprint, _OUT_OF_STEP)


def _check_all_trained(training: TrainingState) -> None:
    """Refuses parameters that were made after the optimiser was."""
    late = names_of_no_module(training.module)
    if late:
        raise ValueError(
            f"These pyro.param statements did not run before the first update, so nothing trains "
            f"them: {', '.join(late)}. Make all parameters in every run of model and guide."
        )


@contextmanager
def _flushing(journal: Journal | None) -> Iterator[None]:
    """Whatever ends the training, the state after its last whole epoch reaches the disk."""
    try:
        yield
    finally:
        if journal is not None:
            journal.flush()


def describe_epoch(row: Mapping[str, float]) -> str:
    """An epoch in a few words, for the progress bar: nats per datum, particles, step size.

    The evidence here is minus the objective's loss: its estimate, or of an ELBO the bound.

    Args:
        row: The epoch's metrics.

    Example:
        >>> describe_epoch({"loss_per_datum": -63.25, "held_out_loss_per_datum": -62.5})
        'loss -63.250, held-out evidence 62.500'
    """
    known = ((sign * row[name], text) for name, (sign, text) in _WORDS.items() if name in row)
    return ", ".join(text.format(value) for value, text in known)


def _bar(training: TrainingState, recipe: Recipe, progress: bool) -> "tqdm[NoReturn]":
    return tqdm(
        desc=recipe.name,
        initial=training.epoch,
        total=recipe.num_epochs,
        unit="epoch",
        # None: tqdm shows a bar on a terminal or in a notebook, and leaves log files alone.
        disable=None if progress else True,
    )
