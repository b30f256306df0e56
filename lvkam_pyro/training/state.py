"""The changing part of a training: everything that an update reads and writes."""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from lvkam_pyro.guides.memory import memory_of
from lvkam_pyro.tracing.arguments import Program, hash_data
from lvkam_pyro.tracing.bind import ProgramLoss
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.session import seed_generators
from lvkam_pyro.training.batches import batch_indices, first_batch, num_data
from lvkam_pyro.training.processes import Processes
from lvkam_pyro.training.recipe import Recipe
from lvkam_pyro.training.runs.checkpoint import CheckpointError
from lvkam_pyro.training.stored import StoredParameters


class TrainingState:
    """Model, guide, optimiser, schedule, random states and metrics of a training.

    Restored from its own `state_dict`, it goes on exactly as it would have uninterrupted.

    Args:
        program: The model, bound to the data.
        guide: The guide, with all of its parameters made.
        recipe: Objective, learning rates, epochs and batch size.
        plate_size: The full size of the data plate, if the model scales batches up to it.
        seed: Of the order of the data.
        processes: Those that share the batches; None: this one alone.
        stored: The parameters of `pyro.param` statements, if there are any.

    Attributes:
        module: `objective(model, guide)`, which owns every parameter; those of `pyro.param`
            statements as its `stored`.
        parameters: The trained parameters.
        metrics: A row for every epoch done.
        best: The state of `module` after the best epoch, where the recipe stops early.
        memory: Where the guide's chains stand, if they go on from update to update.
    """

    def __init__(
        self,
        program: BoundProgram,
        guide: Program,
        recipe: Recipe,
        *,
        plate_size: int | None = None,
        seed: int = 0,
        processes: Processes | None = None,
        stored: StoredParameters | None = None,
    ) -> None:
        self.program = program
        self.model = model = program.model
        self.guide = guide
        self.module: nn.Module = recipe.objective(model, guide).train()
        self.stored = stored
        if stored is not None:
            self.module.stored = stored
        self._takes_programs = isinstance(recipe.objective, ProgramLoss)
        self.plate_size = plate_size
        self.processes = Processes() if processes is None else processes
        self.seed = seed
        self.recipe = recipe
        groups = parameter_groups(self.module, self._of_model(), recipe)
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.optimizer = Adam(groups)
        num_updates = recipe.num_epochs * len(self._split(torch.arange(program.num_units)))
        self.scheduler = LambdaLR(self.optimizer, cosine_decay(num_updates))
        self.order = torch.Generator().manual_seed(seed)
        self.metrics: list[dict[str, float]] = []
        self.best: dict[str, Any] | None = None
        self.memory = memory_of(guide)

    def _of_model(self) -> list[nn.Parameter]:
        """The model's own parameters, and those of the statements that it runs."""
        stored = () if self.stored is None else self.stored.run_by(first_batch(self.program, 1))
        own = self.model.parameters() if isinstance(self.model, nn.Module) else ()
        return [*own, *stored]

    @property
    def epoch(self) -> int:
        """The number of epochs done."""
        return len(self.metrics)

    @property
    def learning_rate(self) -> float:
        """The model's learning rate at the next update."""
        return float(self.scheduler.get_last_lr()[0])

    def loss_per_datum(self, batch: BoundProgram) -> Tensor:
        """The loss of a batch, divided by the number of data that it stands for."""
        loss = call_objective(self.module, batch, takes_programs=self._takes_programs)
        return loss / (self.plate_size or num_data(batch))

    def batches(self) -> Sequence[Tensor]:
        """The indices of the data in mini-batches, in a new order at each call."""
        order = torch.randperm(self.program.num_units, generator=self.order)
        return self._split(order.to(self.program.like.device))

    def _split(self, order: Tensor) -> Sequence[Tensor]:
        return batch_indices(self.program, order, self.recipe.batch_size)

    def reseed(self) -> None:
        """Gives an epoch of every process but the first random numbers of its own.

        The first goes on as one process does; those of the others follow from the seed, the epoch
        and the rank, so that a resumed training draws what it would have drawn.
        """
        if self.processes.is_first:
            return
        sequence = np.random.SeedSequence([self.seed % 2**64, self.epoch, self.processes.rank])
        seed_generators(int(sequence.generate_state(1)[0]), self.program.like)

    def end_epoch(self, row: dict[str, float]) -> None:
        """Takes the metrics of an epoch, and keeps its weights if they are the best."""
        self.metrics.append(row)
        stopping = self.recipe.early_stopping
        if stopping is not None and stopping.best_epoch(self.metrics) == self.epoch:
            self.best = deepcopy(self.module.state_dict())

    def finish(self) -> None:
        """Puts the best weights in place, and the modules into evaluation mode."""
        if self.best is not None:
            self.module.load_state_dict(self.best)
        self.module.eval()

    def hand_over(self) -> None:
        """Puts the parameters that no module has into Pyro's store."""
        if self.stored is not None:
            self.stored.hand_over()

    def fingerprint(self) -> dict[str, str]:
        """A hash of the parameters and buffers, which have to be equal in all processes."""
        weights = [value.detach().reshape(-1) for value in self.module.state_dict().values()]
        return {"parameters": hash_data(torch.cat([each.double() for each in weights]))}

    def state_dict(self) -> dict[str, object]:
        """Tensors and plain values that restore this state."""
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "order": self.order.get_state(),
            "metrics": self.metrics,
            "best": self.best,
            "chains": None if self.memory is None else self.memory.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self._device) if self._on_cuda else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a `state_dict`, torch's global random state included.

        Raises:
            CheckpointError: If it is of another model or guide.
        """
        try:
            self._load(state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                "The checkpoint is of another model or guide than what is to be trained: "
                f"{error}. Build both with the options that they had, or choose another folder."
            ) from error

    def _load(self, state: Mapping[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.order.set_state(state["order"])
        self.metrics = list(state["metrics"])
        # Absent from the first format, which knew neither early stopping nor chains that go on.
        self.best = state.get("best")
        chains = state.get("chains")
        if self.memory is not None and chains is not None:
            self.memory.load_state_dict(chains)
        torch.set_rng_state(state["random"])
        if self._on_cuda and state["random_cuda"] is not None:
            torch.cuda.set_rng_state(state["random_cuda"], self._device)

    @property
    def _device(self) -> torch.device:
        return self.parameters[0].device

    @property
    def _on_cuda(self) -> bool:
        return self._device.type == "cuda"


def call_objective(module: nn.Module, batch: BoundProgram, *, takes_programs: bool) -> Tensor:
    """The loss of a batch.

    Args:
        module: `objective(model, guide)`.
        batch: The model, bound to the data of the batch.
        takes_programs: Whether the objective is one of this library, which knows bound programs;
            Pyro's are called with the arguments, inside of what gives plates their indices.
    """
    if takes_programs:
        known: Tensor = module(batch)
        return known
    with batch.arguments.plate_indices(batch.structure):
        loss: Tensor = module(*batch.arguments.args, **batch.arguments.kwargs)
    return loss


def parameter_groups(
    module: nn.Module, of_model: Sequence[nn.Parameter], recipe: Recipe
) -> list[dict[str, Any]]:
    """The trained parameters with their learning rates: the model's, then the guide's own.

    Args:
        module: `objective(model, guide)`.
        of_model: The model's parameters.
        recipe: The learning rates.

    Returns:
        Adam's parameter groups, none of them empty.

    Raises:
        ValueError: If there is nothing to train.
    """
    models = {id(parameter) for parameter in of_model}
    trained = [p for p in module.parameters() if p.requires_grad]
    guide_rate = recipe.guide_learning_rate or recipe.learning_rate
    groups = [
        {"params": [p for p in trained if id(p) in models], "lr": recipe.learning_rate},
        {"params": [p for p in trained if id(p) not in models], "lr": guide_rate},
    ]
    if not trained:
        raise ValueError(
            "Neither the model nor the guide has a parameter that requires a gradient."
        )
    return [group for group in groups if group["params"]]


def cosine_decay(num_updates: int) -> Callable[[int], float]:
    """The factor (1 + cos(pi k / K)) / 2 of the learning rate at update k of K.

    Example:
        >>> [cosine_decay(4)(k) for k in (0, 2, 4)]
        [1.0, 0.5, 0.0]
    """
    return lambda update: round((1 + math.cos(math.pi * update / num_updates)) / 2, 12)
