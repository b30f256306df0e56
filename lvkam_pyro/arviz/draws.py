"""Draws from posterior and prior, and the program's densities and predictions at them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from lvkam_pyro.arviz.layout import Layout
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.ladder.ladder import LadderSamples
from lvkam_pyro.tracing.particles import Particles
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import SiteRecorder

Run = TypeVar("Run")

_TOLERANCE = 1e-3
"""Between a computed value among others and alone: a wrong axis is far off."""


@dataclass(frozen=True, eq=False)
class PosteriorDraws:
    """Equally weighted draws of each unit's latents, and their origin.

    Attributes:
        latents: Site name to draws `(D, U, *inner plates, *event)`, chain after chain.
        ess: The number of independent draws that they are worth at most, `(U,)`.
        source: The name of the sampler, for people to read.
        data_hash: A short name of the observations.
        num_chains: The number of chains among the draws.
        particles: The weighted particles that tell the evidence, a chain each, if there are any.
        ladder: The power posteriors, if there are any.
        estimates: Estimates of the log evidence.

    Example:
        >>> draws = PosteriorDraws({"z": torch.zeros(9, 4, 2)}, torch.full((4,), 9.0), "mine", "")
        >>> draws.num_draws
        9
    """

    latents: dict[str, Tensor]
    ess: Tensor
    source: str
    data_hash: str
    num_chains: int = 1
    particles: Sequence[Particles] = ()
    ladder: LadderSamples | None = None
    estimates: Sequence[Evidence] = field(default=())

    @classmethod
    def of_draws(
        cls,
        latents: Mapping[str, Tensor],
        num_chains: int,
        source: str = "",
        **origin: Any,
    ) -> Self:
        """Draws that are taken as they are; `origin` are `particles`, `ladder`, `estimates`."""
        some = next(iter(latents.values()))
        ess = torch.full((some.shape[1],), float(len(some)))
        return cls(dict(latents), ess, source, "", num_chains, **origin)

    @classmethod
    def of_particles(
        cls,
        chains: Sequence[Particles],
        num_draws: int | None = None,
        *,
        source: str,
        estimates: Sequence[Evidence] = (),
    ) -> Self:
        """Draws of particles, a chain each: resampled by their weights, or as they are.

        Args:
            chains: The particles.
            num_draws: Draws to resample of each chain; None: the particles themselves.
            source: The name of the sampler, for people to read.
            estimates: Estimates of the log evidence.

        Raises:
            ValueError: If a datum has no particle with a positive, finite weight.
        """
        drawn = [p.latents if num_draws is None else p.resample(num_draws) for p in chains]
        latents = {name: torch.cat([chain[name] for chain in drawn]) for name in drawn[0]}
        return cls.of_draws(latents, len(chains), source, particles=chains, estimates=estimates)

    @classmethod
    def of_ladder(cls, ladder: LadderSamples, source: str, **origin: Any) -> Self:
        """The draws of a ladder at temperature 1, chain by chain."""
        latents = {k: v.transpose(0, 1).flatten(0, 1) for k, v in ladder.latents.items()}
        return cls.of_draws(latents, ladder.num_chains, source, ladder=ladder, **origin)

    @property
    def num_draws(self) -> int:
        """The number of draws D."""
        return len(next(iter(self.latents.values())))

    @property
    def shape(self) -> tuple[int, int]:
        """The number of chains, and of the draws of each."""
        return self.num_chains, self.num_draws // self.num_chains


@dataclass(frozen=True)
class Evaluation:
    """A program's densities and computed values at draws of its latents.

    Attributes:
        log_prior: Log p(z), `(D, U)`.
        log_likelihood: Log p(x | z), `(D, U)`.
        pointwise: Where the unit is the data set: site name to its log density at each element of
            its plates, `(D, *batch shape)`.
        discrete: Draws of the discrete latents given the others, `(D, U, *inner plates, *event)`.
        computed: The values of deterministic sites, `(D, *shape)`.
    """

    log_prior: Tensor
    log_likelihood: Tensor
    pointwise: dict[str, Tensor]
    discrete: dict[str, Tensor]
    computed: dict[str, Tensor]


def evaluate(program: BoundProgram, layout: Layout, latents: Mapping[str, Tensor]) -> Evaluation:
    """Run a program at draws of its latents.

    Args:
        program: The program.
        layout: `Layout.of(program)`.
        latents: Site name to draws `(D, U, *inner plates, *event)`; discrete latents among them
            are taken, others are drawn.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> program = bind(model, torch.zeros(5))
        >>> evaluate(program, Layout.of(program), {"z": torch.zeros(7, 5)}).log_likelihood.shape
        torch.Size([7, 5])
    """
    count, structure = len(next(iter(latents.values()))), program.structure
    continuous = {site.name: latents[site.name] for site in structure.latents}
    given = {name: latents[name] for name in structure.discrete_names if name in latents}
    discrete = given or program.draw_discrete(count, continuous)
    runs = at = program.runs_at(structure.all_to_pyro(continuous))
    if discrete and layout.computed:
        at = program.runs_at(structure.all_to_pyro(continuous | discrete))
    values = structure.all_to_pyro(continuous | discrete)
    return Evaluation(
        *program.log_densities(runs, count),
        {} if layout.unit_dims else _pointwise(program, layout, runs, count),
        discrete,
        _compute(program, layout, values, at) if layout.computed else {},
    )


def _pointwise(
    program: BoundProgram, layout: Layout, runs: Sequence[SiteRecorder], num_draws: int
) -> dict[str, Tensor]:
    """The log densities of sites at each element of their plates, those that have one each."""
    each = [program.log_densities_of_sites(run, num_draws) for run in runs]
    names = (*layout.latent_dims, *layout.observations)
    shapes = {name: layout.sites[name].batch_shape for name in names if name in each[0]}
    return gather(each, shapes, num_draws, lambda densities, name: densities[name])


def _compute(
    program: BoundProgram,
    layout: Layout,
    values: Mapping[str, Tensor],
    runs: Sequence[SiteRecorder],
) -> dict[str, Tensor]:
    """The values of deterministic sites, compared with those of single draws."""
    alone, count = replace(program, stacks=False), len(next(iter(values.values())))
    if len(runs) == 1:
        ends = _computed(alone.runs_at({k: v[[0, -1]] for k, v in values.items()}), layout, 2)
        try:
            stacked = _computed(runs, layout, count)
        except RuntimeError:  # Its axes are not those of draws and plates.
            stacked = {}
        if all(_is_close(stacked.get(name), value) for name, value in ends.items()):
            return stacked
        runs = alone.runs_at(values)
    return _computed(runs, layout, count)


def _computed(runs: Sequence[SiteRecorder], layout: Layout, num_draws: int) -> dict[str, Tensor]:
    shapes = {name: layout.sites[name].shape for name in layout.computed}
    return gather(runs, shapes, num_draws, lambda run, name: run.computed[name]["value"])


def _is_close(stacked: Tensor | None, ends: Tensor) -> bool:
    return stacked is not None and torch.allclose(
        stacked[[0, -1]], ends, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True
    )


def gather(
    runs: Sequence[Run],
    shapes: Mapping[str, torch.Size],
    num_draws: int,
    value: Callable[[Run, str], Tensor],
) -> dict[str, Tensor]:
    """The values of sites in a run of all draws, or in a run a draw, in the sites' own shapes.

    Args:
        runs: The runs.
        shapes: Site name to the value's shape in a run of the program alone.
        num_draws: D, of all runs.
        value: The value of a site in a run, `(*draws, *plates, *event)`, without an axis of draws
            where all draws share it.

    Returns:
        Site name to `(D, *shape)`.
    """
    size = num_draws // len(runs)
    return {
        name: torch.cat([_unpad(value(run, name), shape, size) for run in runs])
        for name, shape in shapes.items()
    }


def _unpad(value: Tensor, shape: torch.Size, num_draws: int) -> Tensor:
    """The value without the axes of plates that its site is not in."""
    if value.ndim > len(shape):
        value = value.reshape(-1, *value.shape[value.ndim - len(shape) :])
    return value.expand(num_draws, *shape)


@dataclass(frozen=True)
class Prediction:
    """New data of a program, and the latents that they are of.

    Attributes:
        latents: Site name to draws `(D, U, *inner plates, *event)`.
        observations: Site name to new values of the observed sites, `(D, *shape)`.
    """

    latents: dict[str, Tensor]
    observations: dict[str, Tensor]


def predict(
    program: BoundProgram,
    layout: Layout,
    num_draws: int,
    latents: Mapping[str, Tensor] | None = None,
) -> Prediction:
    """Draw new data.

    Args:
        program: The program.
        layout: `Layout.of(program)`.
        num_draws: D.
        latents: Site name to draws `(D, U, *inner plates, *event)`; those left out are drawn from
            the prior.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("x", dist.Normal(mean, 1.0), obs=x)
        >>> program = bind(model, torch.zeros(5))
        >>> drawn = predict(program, Layout.of(program), 7)
        >>> drawn.latents["mean"].shape, drawn.observations["x"].shape
        (torch.Size([7, 1]), torch.Size([7, 5]))
    """
    runs = program.predict(num_draws, latents)
    shapes = {name: layout.sites[name].shape for name in layout.observations}
    drawn = gather(runs, shapes, num_draws, lambda run, name: run.sites[name]["value"])
    return Prediction(program.values_of(runs, program.structure.sites), drawn)
