"""The base of the objectives that are made of weighted particles."""

from abc import abstractmethod
from typing import Any

import pyro
import torch
from pyro.infer import ELBO
from pyro.infer.enum import get_importance_trace
from torch import Tensor

from lvkam_pyro.statistics.weights import effective_sample_size
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import Binder
from lvkam_pyro.tracing.parameters import check_parameters
from lvkam_pyro.tracing.particles import Particles
from lvkam_pyro.tracing.program import BoundProgram


class ParticleObjective(ELBO):
    """A Pyro ELBO whose loss is made of particles drawn by the guide for each datum.

    Implementing one:

    - Inherit from `ParticleObjective` and define `loss_of(program, guide)`.
    - There, `self._remember(particles)` keeps their effective size.

    Attributes:
        effective_size: The effective number of a datum's particles (mean over data, at most S) at
            the last call; None before. `fit` reports it.

    Arguments:
        num_particles: Particles per datum `S`.

    Raises:
        ValueError: If `num_particles` is below 2, when there are no weights to learn from.
    """

    def __init__(self, num_particles: int) -> None:
        if num_particles < 2:
            raise ValueError(
                f"Expected at least 2 particles, got num_particles = {num_particles}: the weights "
                "of one particle are 1 whatever it is."
            )
        super().__init__(num_particles=num_particles, vectorize_particles=True)
        self.effective_size: Tensor | None = None
        self._binder = Binder()

    @abstractmethod
    def loss_of(self, program: BoundProgram, guide: Program) -> Tensor:
        """The loss, a scalar in nats, scaled from the batch to the whole plate."""

    def differentiable_loss(
        self,
        model: Program,
        guide: Program,
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> Tensor:
        """The loss on the arguments, or on the bound program in their place.

        Model and guide are looked at in the first call; see `bind`.
        """
        program = self._binder(model, guide, *args, **kwargs)
        return self.loss_of(program.subsample(), guide)

    def loss(
        self,
        model: Program,
        guide: Program,
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> float:
        """The value of the loss, without gradients."""
        with torch.no_grad():
            return float(self.differentiable_loss(model, guide, *args, **kwargs))

    def loss_and_grads(
        self,
        model: Program,
        guide: Program,
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> float:
        """The value of the loss; its gradients are added to the parameters', as SVI expects."""
        if not self._binder.knows(model, guide):
            check_parameters(model, guide, by_name=True)
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        return float(loss.detach())

    def _get_trace(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[pyro.poutine.Trace, pyro.poutine.Trace]:
        """One trace of guide and model, for those of Pyro's tools that ask an ELBO for it."""
        return get_importance_trace("flat", self.max_plate_nesting, model, guide, args, kwargs)

    def _remember(self, particles: Particles) -> None:
        self.effective_size = effective_sample_size(particles.log_weights.detach()).mean()
