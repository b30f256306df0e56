"""Log weights of many particles in blocks: islands of particles, blocks of data."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lvkam_pyro.guides.population import PopulationGuide
from lvkam_pyro.tracing.particles import Guide, Particles, draw_particles
from lvkam_pyro.tracing.structure import Model, ModelStructure

_MAX_ELEMENTS = 2**23
"""Values of one array of a model run (32 MB in single precision)."""

_MAX_WEIGHTS = 2**23
"""Weights held at once (32 MB in single precision)."""

Draw = Callable[..., Particles]
"""`draw_particles`, or what stands in its place."""


def island_size(num_particles: int, num_replicates: int) -> int:
    """The number of particles of each island: at least `num_particles` in all.

    Example:
        >>> island_size(100, 32)
        4
    """
    return math.ceil(num_particles / num_replicates)


def data_blocks(x: Tensor, structure: ModelStructure, num_particles: int) -> tuple[Tensor, ...]:
    """Split the data so that all weights of one block are held at once.

    A model whose plate does not follow its data keeps them together.

    Args:
        x: The observations, `(N, ...)`.
        structure: The model's structure.
        num_particles: Particles for each datum.

    Returns:
        The blocks, in order.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(5)
        >>> structure = ModelStructure.of(model, x)
        >>> [len(block) for block in data_blocks(x, structure, 4_000_000)]
        [2, 2, 1]
    """
    if not structure.follows_data:
        return (x,)
    return x.tensor_split(math.ceil(len(x) * num_particles / _MAX_WEIGHTS))


def island_log_weights(
    model: Model,
    guide: Guide,
    x: Tensor,
    *,
    structure: ModelStructure,
    size: int,
    num_replicates: int,
    draw: Draw = draw_particles,
) -> tuple[Tensor, float]:
    """The log weights of all islands, `(R, S / R, N)` in float64, and the data plate's scale.

    The model runs on a few islands at a time, so that no array outgrows the memory; on one at a
    time where a guide's draws depend on each other (`PopulationGuide`).

    Args:
        model: The Pyro model.
        guide: The proposal.
        x: The observations, `(N, ...)`.
        structure: The model's structure.
        size: Particles of an island.
        num_replicates: R.
        draw: What draws, in place of `draw_particles`.

    Returns:
        Log weights and scale.

    Raises:
        ValueError: If the plate draws a subsample of the data by itself.

    Example:
        >>> from lvkam_pyro.tracing.prior_guide import PriorGuide
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(5)
        >>> structure = ModelStructure.of(model, x)
        >>> counts = {"size": 4, "num_replicates": 3}
        >>> guide = PriorGuide(model)
        >>> island_log_weights(model, guide, x, structure=structure, **counts)[0].shape
        torch.Size([3, 4, 5])
    """
    log_weights, scale = [], 1.0
    for count in _run_sizes(guide, x, structure, size=size, num_replicates=num_replicates):
        particles = draw(model, guide, x, count, structure=structure)
        if particles.num_data != len(x):
            raise ValueError(
                f"The data plate '{structure.data_plate}' holds {particles.num_data} of {len(x)} "
                "data, so it is not known which datum an estimate belongs to. Pass the batch "
                "itself and declare pyro.plate(name, full_size, subsample_size=len(x))."
            )
        log_weights.append(particles.log_weights)
        scale = particles.data_scale
    return torch.cat(log_weights).reshape(num_replicates, size, len(x)), scale


def _run_sizes(
    guide: Guide, x: Tensor, structure: ModelStructure, *, size: int, num_replicates: int
) -> Iterator[int]:
    """The number of particles of each run of the model."""
    if isinstance(guide, PopulationGuide):
        # What is drawn together depends on each other: an island is a population of its own.
        yield from [size] * num_replicates
        return
    num_particles = size * num_replicates
    latents = sum(site.num_coordinates for site in structure.latents)
    limit = max(1, _MAX_ELEMENTS // (x.numel() + latents * len(x)))
    for start in range(0, num_particles, limit):
        yield min(limit, num_particles - start)
