"""The bound program: the one object that knows a user's program, and the one way to run it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Self

import pyro
import torch
from torch import Tensor

from lvkam_pyro.tracing.arguments import Arguments, Program, RowAccess, RunCount
from lvkam_pyro.tracing.densities import sum_log_probs
from lvkam_pyro.tracing.parameters import own_parameters
from lvkam_pyro.tracing.particles import Particles
from lvkam_pyro.tracing.prior_guide import LibraryGuide, PriorGuide, PriorRecorder
from lvkam_pyro.tracing.proposal import check_same_sites, check_sites
from lvkam_pyro.tracing.recorder import LastLatentDrawnError, Site, SiteRecorder, Unconditioned
from lvkam_pyro.tracing.session import exclusive, preserved_rng, seeded_rng
from lvkam_pyro.tracing.structure import ProgramStructure, Unit

_MAX_VALUES = 2**23
"""Values of one array of a run (32 MB in single precision); more data run in blocks."""

Recording = Callable[[Mapping[str, Tensor]], SiteRecorder]
"""What makes the recorder of a run from the values that its sites take."""


@dataclass(frozen=True, eq=False)
class BoundProgram:
    r"""A Pyro program bound to its arguments, of which it was seen what may be done with it.

    Shapes: `S` particles, `U` units of evidence: the data, or the data set as a whole.

    Attributes:
        model: The program.
        arguments: Its arguments.
        structure: Its plates and latent sites.
        num_units: U.
        data_scale: The data plate's full size divided by U; it multiplies totals.
        stacks: Whether stacked particles give what single ones give; else they run one by one.
        access: How some of the data can be taken; None: only all of them together.
        refusal: Why they cannot be taken apart; empty if they can.
        subsample_size: The size of the plate, where the program subsamples its data by itself.
        runs: The numbers of runs so far.

    Example:
        >>> import pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> program = bind(model, torch.zeros(5))
        >>> program.unit.value, program.num_units, program.stacks, program.access.value
        ('datum', 5, True, 'arguments')
        >>> log_prior, log_likelihood = program.at({"z": torch.zeros(3, 5)})
        >>> log_likelihood.shape, program.rows(torch.tensor([0, 3])).num_units
        (torch.Size([3, 5]), 2)
    """

    model: Program
    arguments: Arguments
    structure: ProgramStructure
    num_units: int
    data_scale: float
    stacks: bool
    access: RowAccess | None
    refusal: str
    subsample_size: int | None
    runs: RunCount

    @property
    def unit(self) -> Unit:
        """What has an evidence of its own."""
        return self.structure.unit

    @property
    def like(self) -> Tensor:
        """A tensor on the device of the data."""
        return self.arguments.like

    @property
    def data_hash(self) -> str:
        """A short name of the data."""
        return self.arguments.hash

    @property
    def takes_any(self) -> bool:
        """Whether any number of the data can be taken: they can be, and no size is fixed."""
        return self.access is not None and self.subsample_size is None

    @property
    def shares_particles(self) -> bool:
        """Whether draws from the prior made for one datum can serve all."""
        is_plain = not any(site.masked for site in self.structure.latents)
        return self.stacks and self.takes_any and is_plain

    @contextmanager
    def session(self, *guides: Program | None, seed: int | None = None) -> Iterator[Self]:
        """The surroundings of an estimate: one thread, no gradients, the program's own parameters.

        Args:
            *guides: The guides that run beside the program.
            seed: Of the draws inside; None: they follow the caller's generators. These are left
                alone in both cases.

        Yields:
            The program.
        """
        rng = preserved_rng(self.like) if seed is None else seeded_rng(seed, self.like)
        with exclusive(), torch.no_grad(), own_parameters(self.model, *guides), rng:
            yield self

    def on(self, *args: Any, **kwargs: Any) -> "BoundProgram":  # noqa: ANN401
        """The program on other data of the same kind, which is not looked at again."""
        arguments = Arguments(args, kwargs).outside_inference_mode()
        num_units = self.num_units if self.unit is Unit.DATA_SET else arguments.num_rows
        return replace(self, arguments=arguments, num_units=num_units or self.num_units)

    def on_data(self, x: Tensor) -> "BoundProgram":
        """The program with other data in the place of its first argument."""
        args = (x, *self.arguments.args[1:])
        return replace(self, arguments=replace(self.arguments, args=args))

    def rows(self, index: Tensor) -> "BoundProgram":
        """The program on some of its data.

        Args:
            index: The indices of the data, `(B,)`.

        Raises:
            ValueError: If that changes the densities of these data.
        """
        if self.access is None:
            raise ValueError(f"The data cannot be taken apart: {self.refusal}.")
        arguments = self.arguments.rows(index, self.num_units, self.access)
        scale = self.data_scale * self.num_units / len(index)
        return replace(self, arguments=arguments, num_units=len(index), data_scale=scale)

    @property
    def first(self) -> "BoundProgram":
        """The program on the first of its data.

        Raises:
            ValueError: If no datum can be taken by itself.
        """
        if self.subsample_size is not None:
            raise ValueError(
                f"The plate '{self.structure.data_plate}' always holds {self.subsample_size} data, "
                "so none can be taken by itself. Give the plate the size of the data that are "
                "passed, or use another estimator."
            )
        return self.rows(torch.zeros(1, dtype=torch.long))

    def blocks(self, values_per_unit: int) -> Iterator["BoundProgram"]:
        """The program on all of its data, in blocks whose arrays fit the memory.

        What is computed of the blocks is put together by `join`. A program whose data cannot be
        taken apart is one block.

        Args:
            values_per_unit: The values of the largest array that one datum needs.
        """
        count = max(1, _MAX_VALUES // max(1, values_per_unit))
        if self.subsample_size is not None:
            every = torch.arange(-(-self.num_units // self.subsample_size) * self.subsample_size)
            yield from map(self.rows, (every % self.num_units).split(self.subsample_size))
        elif self.access is None or count >= self.num_units:
            yield self
        else:
            num_blocks = -(-self.num_units // count)
            yield from map(self.rows, torch.arange(self.num_units).tensor_split(num_blocks))

    @property
    def values_per_unit(self) -> int:
        """The number of values that one particle of one unit holds in a run: data and latents."""
        values = sum(tensor.numel() for tensor in self.arguments.tensors)
        return math.ceil(values / self.num_units) + self.structure.num_coordinates

    def particles_per_run(self) -> int:
        """The number of particles of one run whose arrays fit the memory."""
        return max(1, _MAX_VALUES // (self.values_per_unit * self.num_units))

    def join(self, parts: Sequence[Tensor], dim: int = -1) -> Tensor:
        """What was computed of the blocks, along the axis of the units."""
        return torch.cat(list(parts), dim).narrow(dim, 0, self.num_units)

    def subsample(self) -> "BoundProgram":
        """The program on a random subsample, where it takes one by itself; else on all data."""
        if self.subsample_size in (None, self.num_units):
            return self
        return self.rows(torch.randperm(self.num_units)[: self.subsample_size])

    def record(
        self, values: Mapping[str, Tensor] | None = None, *, recorder: SiteRecorder | None = None
    ) -> SiteRecorder:
        """One run, with its sites; particles are stacked, or there are none.

        Args:
            values: Site name to the value that the site takes, in Pyro's layout.
            recorder: What records; None: a `SiteRecorder` of the values.
        """
        run = SiteRecorder(values) if recorder is None else recorder
        self.runs.add_model()
        with suppress(LastLatentDrawnError), run:
            self.arguments.on(self.model, self.structure)
        return run

    def record_alone(self, recorder: SiteRecorder | None = None) -> SiteRecorder:
        """One run without particles, and without the data set's plate around it."""
        run = SiteRecorder() if recorder is None else recorder
        self.runs.add_model()
        with suppress(LastLatentDrawnError), run:
            self.arguments.on(self.model, self.structure, alone=True)
        return run

    def __call__(self) -> Any:  # noqa: ANN401
        """Run the program as it is: for samplers that run programs by themselves."""
        self.runs.add_model()
        return self.arguments.on(self.model, self.structure)

    def at(self, latents: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Log p(z) and log p(x | z) at given latents.

        Args:
            latents: Site name to values, `(S, U or 1, *inner plates, *event)` each.

        Returns:
            `(S, U)` each, with gradients if they are on.
        """
        runs = self.runs_at(self.structure.all_to_pyro(latents))
        count = len(next(iter(latents.values())))
        return (
            torch.cat([self.sum(run.latents, count) for run in runs]),
            torch.cat([self.sum(run.observations, count) for run in runs]),
        )

    def log_joint(self, latents: Mapping[str, Tensor]) -> Tensor:
        """Log p(x, z) at given latents, `(S, U)`; see `at`."""
        log_prior, log_likelihood = self.at(latents)
        return log_prior + log_likelihood

    def runs_at(
        self, values: Mapping[str, Tensor], recording: Recording = SiteRecorder
    ) -> list[SiteRecorder]:
        """The run at stacked values; a run a particle where the program needs that.

        Args:
            values: Site name to values in Pyro's layout, `(S, *plates, *event)`.
            recording: Makes the recorder of a run.
        """
        if self.stacks:
            return [self.record(recorder=recording(values))]
        count = len(next(iter(values.values())))
        return [self.record_alone(recording(self._particle(values, s))) for s in range(count)]

    def _particle(self, values: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
        """One particle's values, without the axes of particles and of plates outside of a site."""
        outer = {site.name: self.structure.num_outer_axes(site) for site in self.structure.latents}
        return {name: value[(index, *(0,) * outer[name])] for name, value in values.items()}

    def sum(self, sites: Mapping[str, Site], num_particles: int) -> Tensor:
        """The log density of the sites of one run, `(S, U)`; `(1, U)` of a run a particle."""
        size = num_particles if self.stacks else 1
        return sum_log_probs(sites, self.structure, (size, self.num_units))

    def runs_at_prior(self, num_particles: int) -> list[SiteRecorder]:
        """The run, or a run a particle, at latents that the program draws itself."""
        if not self.stacks:
            return [self.record_alone() for _ in range(num_particles)]
        with self._particles(num_particles):
            return [self.record()]

    def _particles(self, num_particles: int) -> AbstractContextManager[Any]:
        plate: AbstractContextManager[Any] = pyro.plate(
            "_particles", num_particles, dim=self.structure.particle_dim
        )
        return plate

    def draw_prior(self, num_particles: int) -> list[SiteRecorder]:
        """The run, or a run a particle, at draws from the prior, without the likelihood."""
        last = self.structure.latents[-1].name
        with torch.no_grad():
            if not self.stacks:
                recorders = (PriorRecorder(last=last) for _ in range(num_particles))
                return [self.record_alone(recorder) for recorder in recorders]
            with self._particles(num_particles):
                return [self.record(recorder=PriorRecorder(last=last))]

    def latents_of(self, runs: Sequence[SiteRecorder]) -> dict[str, Tensor]:
        """The values of the latent sites, `(S, U, *inner plates, *event)` each."""
        spread, to_particles = self.structure.spread, self.structure.to_particles
        return {
            site.name: torch.cat(
                [to_particles(spread(run.sites[site.name]["value"], site), site) for run in runs]
            )
            for site in self.structure.latents
        }

    def predict(
        self, num_draws: int, latents: Mapping[str, Tensor] | None = None
    ) -> list[SiteRecorder]:
        """The run, or a run a draw, without the data: observations are drawn.

        Args:
            num_draws: D.
            latents: Site name to values, `(D, U or 1, *inner plates, *event)`; those left out are
                drawn from the prior.
        """
        given = [site for site in self.structure.latents if site.name in (latents or {})]
        values = {s.name: self.structure.to_pyro((latents or {})[s.name], s) for s in given}
        with Unconditioned():
            if not self.stacks:
                particles = (self._particle(values, draw) for draw in range(num_draws))
                return [self.record_alone(SiteRecorder(particle)) for particle in particles]
            with self._particles(num_draws):
                return [self.record(values)]

    def simulate(self) -> SiteRecorder:
        """One run without its data, of one particle: latents and observations are drawn."""
        with Unconditioned(), self._particles(1):
            return self.record()

    def draw(self, guide: Program, num_particles: int) -> Particles:
        """Draw latents from a guide and weigh them: one run of each, all particles at once.

        Args:
            guide: The guide, seen to fit by `bind_guide`.
            num_particles: S.

        Returns:
            The particles; gradients flow to model and guide if they are on.

        Raises:
            ValueError: If the guide's sites are not the model's, or have another shape.
        """
        program = self.subsample()
        if program is not self:
            return program.draw(guide, num_particles)
        if not self.stacks:
            return Particles.stack([self._draw_alone(guide) for _ in range(num_particles)])
        guide = guide.on(self) if isinstance(guide, LibraryGuide) else guide
        shared = self.shares_particles and isinstance(guide, PriorGuide)
        first = self.first if shared else self
        proposal = first.record_guide(guide, num_particles)
        check_sites(proposal, self.structure, num_particles)
        values = {name: site["value"] for name, site in proposal.latents.items()}
        run = self.record({**({} if shared else proposal.subsamples), **values})
        return self._weigh(guide, proposal, run, num_particles, shared=shared)

    def record_guide(
        self, guide: Program, num_particles: int, values: Mapping[str, Tensor] | None = None
    ) -> SiteRecorder:
        """One run of a guide inside a plate of particles, at given values if there are any."""
        proposal = SiteRecorder(values)
        self.runs.add_guide()
        with self._particles(num_particles), proposal:
            self.arguments.on(guide, self.structure)
        return proposal

    def record_guide_alone(
        self, guide: Program, values: Mapping[str, Tensor] | None = None
    ) -> SiteRecorder:
        """One run of a guide without particles, at given values if there are any."""
        proposal = SiteRecorder(values)
        self.runs.add_guide()
        with proposal:
            self.arguments.on(guide, self.structure, alone=True)
        return proposal

    def _draw_alone(self, guide: Program) -> Particles:
        proposal = self.record_guide_alone(guide)
        values = {name: site["value"] for name, site in proposal.latents.items()}
        run = self.record_alone(SiteRecorder({**proposal.subsamples, **values}))
        return self._weigh(guide, proposal, run, 1, shared=False)

    def _weigh(
        self,
        guide: Program,
        proposal: SiteRecorder,
        run: SiteRecorder,
        num_particles: int,
        *,
        shared: bool,
    ) -> Particles:
        """The particles from the sites of the guide and of the model."""
        check_same_sites(run, self.structure)
        structure = self.structure
        log_prior = self.sum(run.latents, num_particles)
        from_prior = isinstance(guide, PriorGuide)
        if isinstance(guide, PriorGuide) and guide.proposes_from(self.model, structure):
            # The density of the draws is the model's own, of the first datum where all share them.
            log_guide = (log_prior[:, :1] if shared else log_prior).detach().expand_as(log_prior)
        else:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not from_prior):
                log_guide = self.sum(proposal.sites, num_particles)
        return Particles(
            latents=self.latents_of([proposal]),
            log_prior=log_prior,
            log_likelihood=self.sum(run.observations, num_particles),
            log_guide=log_guide,
            data_scale=structure.data_scale(next(iter(run.sites.values()))),
        )
