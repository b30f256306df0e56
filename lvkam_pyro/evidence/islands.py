"""Log weights of many particles in islands, the replicates of a standard error."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lvkam_pyro.guides.population import Populations
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.particles import Particles
from lvkam_pyro.tracing.program import BoundProgram

Draw = Callable[[int], Particles]
"""From a number of particles to that many, the next ones in order."""


def island_size(num_particles: int, num_replicates: int) -> int:
    """The number of particles of each island: at least `num_particles` in all.

    Example:
        >>> island_size(100, 32)
        4
    """
    return math.ceil(num_particles / num_replicates)


def island_log_weights(
    program: BoundProgram, guide: Program, draw: Draw, *, size: int, num_replicates: int
) -> Tensor:
    """The log weights of all islands, `(R, S / R, U)`.

    The program runs on a few islands at a time, so that no array outgrows the memory; on one at a
    time where a guide's draws depend on each other (`Populations`).

    Args:
        program: The program, on data whose weights fit the memory.
        guide: The proposal.
        draw: Draws its particles.
        size: Particles of an island.
        num_replicates: R.

    Example:
        >>> import pyro, pyro.distributions as dist, lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> program, guide = lv.bind(model, torch.zeros(5)), lv.PriorGuide(model)
        >>> draw = lambda count: program.draw(guide, count)
        >>> island_log_weights(program, guide, draw, size=4, num_replicates=3).shape
        torch.Size([3, 4, 5])
    """
    sizes = _run_sizes(program, guide, size, num_replicates)
    log_weights = torch.cat([draw(count).log_weights for count in sizes])
    return log_weights.reshape(num_replicates, size, program.num_units)


def _run_sizes(
    program: BoundProgram, guide: Program, size: int, num_replicates: int
) -> Iterator[int]:
    """The number of particles of each run of the program."""
    if isinstance(guide, Populations):
        # What is drawn together depends on each other: an island is a population of its own.
        yield from [size] * num_replicates
        return
    num_particles, limit = size * num_replicates, program.particles_per_run()
    for start in range(0, num_particles, limit):
        yield min(limit, num_particles - start)
