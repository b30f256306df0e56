"""One pass over the data: the updates, and the loss on held-out data."""

import math
import time

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from lvkam_pyro.guides.memory import remembering
from lvkam_pyro.tracing.arguments import Arguments
from lvkam_pyro.tracing.session import seeded_rng
from lvkam_pyro.training.batches import batch_indices, num_data, some_batches, take
from lvkam_pyro.training.divergence import divergence_error, refusals_named, sites_not_finite
from lvkam_pyro.training.objective import ParticleObjective
from lvkam_pyro.training.recipe import Recipe
from lvkam_pyro.training.state import TrainingState


def train_epoch(training: TrainingState) -> dict[str, float]:
    """Makes an update of every mini-batch, in a new order.

    Args:
        training: The state that is updated; its metrics are left alone.

    Returns:
        The epoch's metrics; see `Fit`.

    Raises:
        DivergenceError: Before the update whose loss or gradient is not finite.
    """
    started, learning_rate = time.perf_counter(), training.learning_rate
    rows, sizes = [], []
    training.reseed()
    for number, index in enumerate(training.batches(), start=1):
        batch = {"epoch": training.epoch + 1, "batch": number}
        with refusals_named(**batch):
            values, norm = _gradient(training, index)
        if not (values[0] + norm).isfinite():
            sites = sites_not_finite(take(training.program, index), training.guide)
            raise divergence_error(values[0], training.module, sites=sites, **batch)
        training.optimizer.step()
        training.scheduler.step()
        rows.append(torch.stack([norm, *values]))
        sizes.append(len(index))
    values = torch.stack(rows)
    norm, loss, *effective = (values.new_tensor(sizes) / sum(sizes) @ values).tolist()
    row = {
        "epoch": training.epoch + 1,
        "loss_per_datum": loss,
        "learning_rate": learning_rate,
        "gradient_norm": norm,
        "seconds": time.perf_counter() - started,
    }
    if effective:
        row["effective_size"] = effective[0]
    return row


def held_out_loss(training: TrainingState, data: Arguments) -> float:
    """The loss per datum of data that are not trained on, in evaluation mode.

    The draws are the same in every epoch, and others in every process; torch's random state is
    left as it was.

    Args:
        training: The model and the guide, as they are.
        data: Held-out data, as the arguments of the model.

    Returns:
        The loss per datum in nats.
    """
    training.module.eval()
    losses, held_out = [], training.program.on(*data.args, **data.kwargs)
    order = torch.arange(held_out.num_units)
    batches = batch_indices(held_out, order, training.recipe.batch_size)
    with seeded_rng(training.processes.rank, data.like), torch.no_grad():
        for index in batches:
            rows, weight = training.processes.share(index)
            loss = training.loss_per_datum(take(held_out, rows))
            losses.append(len(index) * weight * float(loss))
    training.module.train()
    return training.processes.add_up(math.fsum(losses)) / sum(map(len, batches))


def grid_metrics(training: TrainingState) -> dict[str, float]:
    """Moves the grids if they are due after this epoch, in evaluation mode.

    Args:
        training: The model and the guide; its metrics do not hold this epoch yet.

    Returns:
        `{"grid_error": ...}`: the largest relative change of an input's functions, 0 where no grid
        was moved; nothing if the recipe moves none.
    """
    updates = training.recipe.grid_updates
    if updates is None:
        return {}
    if not updates.schedule(training.epoch + 1):
        return {"grid_error": 0.0}
    training.module.eval()
    programs = some_batches(training.program, training.recipe.batch_size)
    options = {"optimizer": training.optimizer}
    error = training.processes.from_first(
        lambda: max(update.worst for update in updates.move(programs, training.guide, **options))
    )
    training.processes.synchronize(training)
    training.module.train()
    return {"grid_error": error}


def _effective_size(recipe: Recipe) -> list[Tensor]:
    """That of the last update's particles, if the objective weighs any."""
    objective = recipe.objective
    size = objective.effective_size if isinstance(objective, ParticleObjective) else None
    return [] if size is None else [size]


def _gradient(training: TrainingState, index: Tensor) -> tuple[Tensor, Tensor]:
    """Loss per datum and effective size, and the norm of the gradient, left in the parameters."""
    recipe, program = training.recipe, training.program
    training.optimizer.zero_grad()
    rows, weight = training.processes.share(index)
    with remembering(training.guide, rows, program.num_units):
        loss = training.loss_per_datum(take(program, rows))
    penalty = 0.0 if recipe.regularizer is None else recipe.regularizer(training.model)
    (weight * (loss + penalty / num_data(program))).backward()
    values = weight * torch.stack([loss.detach(), *_effective_size(recipe)])
    values = training.processes.add_gradients(training.parameters, values)
    limit = math.inf if recipe.max_gradient_norm is None else recipe.max_gradient_norm
    return values, clip_grad_norm_(training.parameters, limit).detach()
