"""The estimator of the evidence: a Pyro ELBO that can also say how well it is known."""

from abc import abstractmethod
from dataclasses import replace
from typing import Any

import torch
from pyro.infer.elbo import ELBO
from pyro.infer.enum import get_importance_trace
from torch import Tensor

from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import Binder, bind, bind_guide
from lvkam_pyro.tracing.parameters import check_parameters
from lvkam_pyro.tracing.program import BoundProgram


class Estimator(ELBO):
    """An estimator of the log evidence of each unit of a Pyro program.

    A unit is a datum, log p(x_n), where the data are independent; else the data set, log p(x).

    It stands wherever `Trace_ELBO` does: `SVI(model, guide, optim, loss=estimator)`,
    `estimator(model, guide)(x)` with a torch optimiser, `estimator.loss(model, guide, x)`. The loss
    is minus the total, scaled to the data plate's full size; its gradient in the model's parameters
    is Fisher's, E[grad log p(x, z) | x] under the estimator's posterior draws. Losses train what
    Pyro's parameter store holds, and refuse modules of whose names it holds other tensors;
    `estimate` computes with the modules' own parameters and leaves the store as it was.

    Implementing an estimator:

    - Inherit from `Estimator` and set `name`, the display name, and `is_lower_bound` if what it
      estimates is a bound: its results say so.
    - Define `estimate_bound(program, guide, seed) -> Evidence`.
    - Define `log_evidence(program, guide) -> (total, data scale)`: the total of one estimate as a
      tensor with Fisher's gradient, from torch's global generator.

    Example:
        >>> import lvkam_pyro as lv
        >>> isinstance(lv.evidence.SteppingStone(), Estimator)
        True
    """

    name: str
    is_lower_bound: bool = False

    def __init__(self, num_particles: int = 1) -> None:
        super().__init__(num_particles=num_particles)
        self._binder = Binder()

    def estimate(
        self,
        model: Program,
        *args: Any,  # noqa: ANN401
        guide: Program | None = None,
        seed: int = 0,
        **kwargs: Any,  # noqa: ANN401
    ) -> Evidence:
        """Estimate the log evidence with standard errors and a verdict.

        Args:
            model: A Pyro program, or a bound program, which stands for its arguments too.
            *args: The program's arguments.
            guide: The proposal; None is the model's prior. Ladders need none.
            seed: Equal seeds give equal results; the caller's generators are left alone.
            **kwargs: The program's keyword arguments.

        Returns:
            The evidence.

        Raises:
            TypeError: If data are no tensors.
            ValueError: If `bind` refuses the model, or `bind_guide` the guide, or the estimator
                does not apply to the model.
        """
        program = bind(model, *args, **kwargs)
        if guide is not None:
            program = bind_guide(program, guide)
        evidence = self.estimate_bound(program, guide, seed)
        return replace(evidence, unit=program.unit.value)

    @abstractmethod
    def estimate_bound(self, program: BoundProgram, guide: Program | None, seed: int) -> Evidence:
        """Estimate the log evidence of a program that was bound, and seen with the guide."""

    @abstractmethod
    def log_evidence(self, program: BoundProgram, guide: Program | None) -> tuple[Tensor, float]:
        """The total log evidence of one estimate, and the data plate's scale.

        Args:
            program: The bound program.
            guide: The proposal; None is the prior.

        Returns:
            A scalar whose gradient is Fisher's, and full size / size of the data plate.
        """

    def differentiable_loss(
        self,
        model: Program,
        guide: Program | None,
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> Tensor:
        """Minus the total log evidence, scaled to the plate's full size, with its gradient."""
        check_parameters(model, guide)
        program = self._binder(model, guide, *args, **kwargs)
        total, scale = self.log_evidence(program.subsample(), guide)
        return -total * scale

    def loss(
        self,
        model: Program,
        guide: Program | None,
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> float:
        """Minus the total log evidence, scaled to the plate's full size."""
        with torch.no_grad():
            return float(self.differentiable_loss(model, guide, *args, **kwargs))

    def loss_and_grads(
        self,
        model: Program,
        guide: Program | None,
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> float:
        """The loss; its gradient is added to the parameters' `.grad`, where `SVI` finds it."""
        check_parameters(model, guide, by_name=True)
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return float(loss.detach())

    def _get_trace(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        traces: tuple[Any, Any] = get_importance_trace(
            "flat", self.max_plate_nesting, model, guide, args, kwargs
        )
        return traces
