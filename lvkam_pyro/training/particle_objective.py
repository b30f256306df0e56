"""The base of the objectives that are made of weighted particles."""

from torch import Tensor

from lvkam_pyro.statistics.weights import effective_sample_size
from lvkam_pyro.tracing.particles import Particles
from lvkam_pyro.tracing.program_loss import ProgramLoss


class ParticleObjective(ProgramLoss):
    """A loss that is made of particles drawn by the guide for each datum.

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
        super().__init__(num_particles, vectorize_particles=True)
        self.effective_size: Tensor | None = None

    def _remember(self, particles: Particles) -> None:
        self.effective_size = effective_sample_size(particles.log_weights.detach()).mean()
