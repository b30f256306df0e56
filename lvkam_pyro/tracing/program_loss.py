"""The base of the library's objectives: Pyro ELBOs whose loss is that of a bound program."""

from abc import abstractmethod
from typing import Any

import torch
from pyro.infer.elbo import ELBO
from pyro.infer.enum import get_importance_trace
from torch import Tensor

from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import Binder
from lvkam_pyro.tracing.parameters import check_parameters
from lvkam_pyro.tracing.program import BoundProgram


class ProgramLoss(ELBO):
    """A Pyro ELBO that binds the model to its arguments, once, and has a loss of bound programs.

    It stands wherever `Trace_ELBO` does: `SVI(model, guide, optim, loss=objective)`,
    `objective(model, guide)(x)` with a torch optimiser, `objective.loss(model, guide, x)`; and a
    bound program may stand in the place of the arguments.

    Implementing one: inherit from `ProgramLoss` and define `loss_of(program, guide)`.

    Arguments:
        num_particles: As of Pyro's ELBOs.
        vectorize_particles: As of Pyro's ELBOs.

    Example:
        >>> import lvkam_pyro as lv
        >>> [isinstance(one, ProgramLoss) for one in (lv.EmpiricalBayes(), lv.evidence.ELBO())]
        [True, True]
    """

    def __init__(self, num_particles: int = 1, *, vectorize_particles: bool = False) -> None:
        super().__init__(num_particles=num_particles, vectorize_particles=vectorize_particles)
        self._binder = Binder()

    @abstractmethod
    def loss_of(self, program: BoundProgram, guide: Any) -> Tensor:  # noqa: ANN401
        """The loss, a scalar in nats, scaled from the batch to the whole plate.

        Args:
            program: The model on a batch.
            guide: A Pyro program; None where the objective needs none.
        """

    def differentiable_loss(
        self, model: Program, guide: Program | None, *args: Any, **kwargs: Any
    ) -> Tensor:
        """The loss on the arguments, or on the bound program in their place, with its gradient."""
        program = self._binder(model, guide, *args, **kwargs)
        return self.loss_of(program.subsample(), guide)

    def loss(self, model: Program, guide: Program | None, *args: Any, **kwargs: Any) -> float:
        """The value of the loss, without gradients."""
        with torch.no_grad():
            return float(self.differentiable_loss(model, guide, *args, **kwargs))

    def loss_and_grads(
        self, model: Program, guide: Program | None, *args: Any, **kwargs: Any
    ) -> float:
        """The value of the loss; its gradients are added to the parameters', as SVI expects."""
        if not self._binder.knows(model, guide):
            check_parameters(model, guide, by_name=True)
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return float(loss.detach())

    def _get_trace(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        """One trace of guide and model, for those of Pyro's tools that ask an ELBO for it."""
        traces: tuple[Any, Any] = get_importance_trace(
            "flat", self.max_plate_nesting, model, guide, args, kwargs
        )
        return traces
