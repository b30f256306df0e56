"""The bound program: the one object that knows a user's program, and what may be done with it."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from lvkam_pyro.tracing.arguments import Arguments, Program
from lvkam_pyro.tracing.parameters import own_parameters
from lvkam_pyro.tracing.particles import Particles
from lvkam_pyro.tracing.prior_guide import LibraryGuide, PriorGuide
from lvkam_pyro.tracing.proposal import check_same_sites, check_sites
from lvkam_pyro.tracing.recorder import SiteRecorder
from lvkam_pyro.tracing.runs import ProgramRuns
from lvkam_pyro.tracing.session import exclusive, preserved_rng, seeded_rng
from lvkam_pyro.tracing.structure import Unit

_MAX_VALUES = 2**23
"""Values of one array of a run (32 MB in single precision); more data run in blocks."""


@dataclass(frozen=True, eq=False, repr=False)
class BoundProgram(ProgramRuns):
    r"""A Pyro program bound to its arguments, of which it was seen what may be done with it.

    Shapes: `S` particles, `U` units of evidence: the data, or the data set as a whole.

    Attributes:
        model: The program.
        arguments: Its arguments.
        structure: Its plates and latent sites.
        num_units: U.
        data_scale: The data plate's full size divided by U; it multiplies totals.
        stacks: Whether stacked particles give what single ones give; else they run one by one.
        maps: Where particles cannot be stacked: whether a run on one can be mapped over them.
        access: How some of the data can be taken; None: only all of them together.
        refusal: Why they cannot be taken apart; empty if they can.
        subsample_size: The size of the plate, where the program subsamples its data by itself.
        runs: The numbers of runs so far.
        values_per_particle: The size of the largest array of a particle that was seen: a log
            density over all values of discrete latents; of a data set anything that it makes.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> program = bind(model, torch.zeros(5))
        >>> program
        BoundProgram(model on 5 data; latents: z; rows: by arguments)
        >>> program.unit.value, program.num_units, program.stacks
        ('datum', 5, True)
        >>> log_prior, log_likelihood = program.at({"z": torch.zeros(3, 5)})
        >>> log_likelihood.shape, program.rows(torch.tensor([0, 3])).num_units
        (torch.Size([3, 5]), 2)
    """

    def __repr__(self) -> str:
        name = getattr(self.model, "__name__", type(self.model).__name__)
        latents = ", ".join(site.name for site in self.structure.latents)
        units = "one data set" if self.unit is Unit.DATA_SET else f"{self.num_units} data"
        rows = f"by {self.access.value}" if self.access else f"none, since {self.refusal}"
        return f"BoundProgram({name} on {units}; latents: {latents}; rows: {rows})"

    @property
    def data_hash(self) -> str:
        """A short name of the data."""
        return self.arguments.hash

    @property
    def is_exact(self) -> bool:
        """Whether its density is its evidence: it has no latents but discrete ones, summed."""
        return not self.structure.latents

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

    def on(self, *args: Any, **kwargs: Any) -> "BoundProgram":
        """The program on other data of the same kind, which is not looked at again."""
        given = Arguments(args, kwargs, with_rows=self.arguments.with_rows)
        arguments = given.outside_inference_mode()
        if self.unit is Unit.DATA_SET:
            growth = arguments.num_values / max(1, self.arguments.num_values)
            size = math.ceil(max(1.0, growth) * self.values_per_particle)
            return replace(self, arguments=arguments, values_per_particle=size)
        num_units = arguments.num_rows_beside(self.arguments, self.num_units)
        return replace(self, arguments=arguments, num_units=num_units)

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
        values = max(self.arguments.num_values, self.values_per_particle)
        return math.ceil(values / self.num_units) + self.structure.num_coordinates

    def particles_per_run(self) -> int:
        """The number of particles of one run whose arrays fit the memory.

        Those of a data set as a whole share its arguments: what counts is what a run was seen to
        make for each of them, at least a value for each row.
        """
        values = self.values_per_unit * self.num_units
        if self.unit is Unit.DATA_SET:
            made = max(self.values_per_particle, self.arguments.longest)
            values = made + self.structure.num_coordinates
        return max(1, _MAX_VALUES // values)

    def join(self, parts: Sequence[Tensor], dim: int = -1) -> Tensor:
        """The results of the blocks together, along the axis of the units."""
        return torch.cat(list(parts), dim).narrow(dim, 0, self.num_units)

    def subsample(self) -> "BoundProgram":
        """The program on a random subsample, where it takes one by itself; else on all data."""
        if self.subsample_size in (None, self.num_units):
            return self
        return self.rows(torch.randperm(self.num_units)[: self.subsample_size])

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
        guide = guide.on(self) if isinstance(guide, LibraryGuide) else guide
        shared = self.shares_particles and isinstance(guide, PriorGuide)
        first = self.first if shared else self
        proposals = first._propose(guide, num_particles)
        runs = self._runs_of(guide, proposals, shared=shared)
        return self._weigh(guide, proposals, runs, num_particles, shared=shared)

    def propose(self, guide: Program, num_particles: int) -> dict[str, Tensor]:
        """Latents drawn from a guide as in `draw`, `(S, U, ...)` each, without their weights."""
        return self.latents_of(self._propose(guide, num_particles))

    def _propose(self, guide: Program, num_particles: int) -> list[SiteRecorder]:
        """The guide's run, or a run a particle."""
        # The library's own guides take all particles at once; the prior is a run of the model.
        is_ours = isinstance(guide, LibraryGuide) and not isinstance(guide, PriorGuide)
        if not (self.stacks or is_ours):
            return [self.record_guide_alone(guide) for _ in range(num_particles)]
        proposal = self.record_guide(guide, num_particles)
        check_sites(proposal, self.structure, num_particles)
        return [proposal]

    def _runs_of(
        self, guide: Program, proposals: Sequence[SiteRecorder], *, shared: bool
    ) -> list[SiteRecorder]:
        """The model's runs at what a guide has drawn."""
        if self.maps or (len(proposals) < 2 and not self.stacks):
            drawn = self._proposed(guide, proposals[0])
            sites = [site for site in self.structure.sites if site.name in drawn]
            return self.runs_at(self.structure.all_to_pyro(self.values_of(proposals, sites)))
        values = [
            self._proposed(guide, one) | ({} if shared else one.subsamples) for one in proposals
        ]
        record = self.record_summed if self.stacks else self.record_alone_summed
        return [record(SiteRecorder(each)) for each in values]

    def _proposed(self, guide: Program, proposal: SiteRecorder) -> dict[str, Tensor]:
        """The values that the model takes from a guide's run.

        Discrete values that the prior drew on the way are summed over; those of another guide
        count among its draws.
        """
        passed = self.structure.discrete_names if isinstance(guide, PriorGuide) else ()
        return {n: site["value"] for n, site in proposal.latents.items() if n not in passed}

    def _weigh(
        self,
        guide: Program,
        proposals: Sequence[SiteRecorder],
        runs: Sequence[SiteRecorder],
        num_particles: int,
        *,
        shared: bool,
    ) -> Particles:
        """The particles from the sites of the guide and of the model."""
        check_same_sites(runs[0], self.structure)
        structure = self.structure
        log_prior, log_likelihood = self.log_densities(runs, num_particles)
        from_prior = isinstance(guide, PriorGuide)
        if isinstance(guide, PriorGuide) and guide.proposes_from(self.model, structure):
            # The density of the draws is the model's own, of the first datum where all share them.
            log_guide = (log_prior[:, :1] if shared else log_prior).detach().expand_as(log_prior)
        else:
            size = num_particles // len(proposals)
            with torch.set_grad_enabled(torch.is_grad_enabled() and not from_prior):
                log_guide = torch.cat([self.sum(one.sites, size) for one in proposals])
        return Particles(
            latents=self.latents_of(proposals),
            log_prior=log_prior,
            log_likelihood=log_likelihood,
            log_guide=log_guide,
            data_scale=structure.data_scale(next(iter(runs[0].sites.values()))),
        )
