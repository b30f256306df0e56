"""The runs of a program bound to its arguments: at latents, from the prior, without its data."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro.infer import infer_discrete
from pyro.poutine import infer_config
from torch import Tensor

from lvkam_pyro.tracing.arguments import Arguments, Program, RowAccess, RunCount
from lvkam_pyro.tracing.densities import site_log_prob, sum_log_probs
from lvkam_pyro.tracing.enumeration import AllValues, Factors, summed_log_densities
from lvkam_pyro.tracing.mapping import record_mapped
from lvkam_pyro.tracing.prior_guide import PriorRecorder
from lvkam_pyro.tracing.recorder import LastLatentDrawnError, Site, SiteRecorder, Unconditioned
from lvkam_pyro.tracing.structure import LatentSite, ProgramStructure, Unit

Recording = Callable[[Mapping[str, Tensor]], SiteRecorder]
"""A maker of the recorder of a run from the values that its sites take."""


@dataclass(frozen=True, eq=False)
class ProgramRuns:
    """A program that is bound to its arguments, and all ways to run it; see `BoundProgram`.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> program = bind(model, torch.zeros(5))
        >>> program.log_joint({"z": torch.zeros(3, 5)}).shape
        torch.Size([3, 5])
        >>> [run.latents["z"]["value"].shape for run in program.draw_prior(3)]
        [torch.Size([3, 5])]
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
    values_per_particle: int = 1
    maps: bool = False

    @property
    def unit(self) -> Unit:
        """The unit of evidence: each datum, or the data set."""
        return self.structure.unit

    @property
    def like(self) -> Tensor:
        """A tensor on the device of the data."""
        return self.arguments.like

    def __call__(self) -> Any:  # noqa: ANN401
        """Run the program as it is: for samplers that run programs by themselves."""
        self.runs.add_model()
        return self.arguments.on(self.model, self.structure)

    def record(
        self,
        values: Mapping[str, Tensor] | None = None,
        *,
        recorder: SiteRecorder | None = None,
        num_particles: int | None = None,
    ) -> SiteRecorder:
        """One run, with its sites, of stacked particles.

        Args:
            values: Site name to the value that the site takes, in Pyro's layout.
            recorder: What records; None: a `SiteRecorder` of the values.
            num_particles: S, where latents are drawn; None: the values' own.
        """
        self.runs.add_model()
        with nullcontext() if num_particles is None else self._particles(num_particles):
            return self._run(self.model, recorder or SiteRecorder(values), alone=False)

    def record_alone(self, recorder: SiteRecorder | None = None) -> SiteRecorder:
        """One run without particles, and without the data set's plate around it."""
        self.runs.add_model()
        return self._run(self.model, recorder or SiteRecorder(), alone=True)

    def record_summed(self, recorder: SiteRecorder) -> SiteRecorder:
        """One run whose discrete latents, if it has any, hold all of their values."""
        with self._all_values():
            return self.record(recorder=recorder)

    def record_alone_summed(self, recorder: SiteRecorder) -> SiteRecorder:
        """The same without particles."""
        with self._all_values():
            return self.record_alone(recorder)

    def _all_values(self) -> AbstractContextManager[object]:
        return AllValues(self.structure) if self.structure.discrete else nullcontext()

    def record_guide(
        self, guide: Program, num_particles: int, values: Mapping[str, Tensor] | None = None
    ) -> SiteRecorder:
        """One run of a guide inside a plate of particles, at given values if there are any."""
        self.runs.add_guide()
        with self._particles(num_particles):
            return self._run(guide, SiteRecorder(values), alone=False)

    def record_guide_alone(
        self, guide: Program, values: Mapping[str, Tensor] | None = None
    ) -> SiteRecorder:
        """One run of a guide without particles, at given values if there are any."""
        self.runs.add_guide()
        return self._run(guide, SiteRecorder(values), alone=True)

    def _run(self, program: Program, recorder: SiteRecorder, *, alone: bool) -> SiteRecorder:
        with suppress(LastLatentDrawnError), recorder:
            self.arguments.on(program, self.structure, alone=alone)
        return recorder

    def at(self, latents: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Log p(z) and log p(x | z) at given latents.

        Args:
            latents: Site name to values, `(S, U or 1, *inner plates, *event)` each.

        Returns:
            `(S, U)` each, with gradients if they are on.
        """
        runs = self.runs_at(self.structure.all_to_pyro(latents))
        return self.log_densities(runs, len(next(iter(latents.values()), (0,))))

    def log_densities(
        self, runs: Sequence[SiteRecorder], num_particles: int
    ) -> tuple[Tensor, Tensor]:
        """Log p(z) and log p(x | z) of the run at stacked particles, or of a run a particle.

        Args:
            runs: The runs, in which discrete latents hold all of their values.
            num_particles: S.

        Returns:
            `(S, U)` each.
        """
        if len(runs) == 1:
            return self._split(runs[0], num_particles)
        size = num_particles // len(runs)
        priors, likelihoods = zip(*(self._split(run, size) for run in runs), strict=True)
        return torch.cat(priors), torch.cat(likelihoods)

    def _split(self, run: SiteRecorder, num_particles: int) -> tuple[Tensor, Tensor]:
        if self.structure.discrete:
            return summed_log_densities(run, self.structure, (num_particles, self.num_units))
        return self.sum(run.latents, num_particles), self.sum(run.observations, num_particles)

    def log_joint(self, latents: Mapping[str, Tensor]) -> Tensor:
        """Log p(x, z) at given latents, `(S, U)`; see `at`."""
        log_prior, log_likelihood = self.at(latents)
        return log_prior + log_likelihood

    def runs_at(
        self, values: Mapping[str, Tensor], recording: Recording = SiteRecorder
    ) -> list[SiteRecorder]:
        """The run at stacked values, mapped over if need be, else a run a particle.

        Args:
            values: Site name to values in Pyro's layout, `(S, *plates, *event)`.
            recording: Makes the recorder of a run.
        """
        if self.stacks:
            return [self.record_summed(recording(values))]
        if self.maps:
            return [self._record_mapped(recording({}), values)]
        count = len(next(iter(values.values()), (0,)))
        particles = (self._particle(values, s) for s in range(count))
        return [self.record_alone_summed(recording(particle)) for particle in particles]

    def _record_mapped(self, recorder: SiteRecorder, values: Mapping[str, Tensor]) -> SiteRecorder:
        """One run on a single particle, mapped over all."""
        self.runs.add_model()

        def run(single: SiteRecorder) -> None:
            with self._all_values():
                self._run(self.model, single, alone=True)

        own = self._particle(values, slice(None))
        return record_mapped(run, recorder, own, self.structure.num_plates)

    def _particle(self, values: Mapping[str, Tensor], index: int | slice) -> dict[str, Tensor]:
        """The values of particles, without the axes of plates outside of a site; of one, of it."""
        outer = {s.name: self.structure.num_outer_axes(s) for s in self.structure.sites}
        places = {name: (index, *(0,) * outer[name]) for name in values}
        return {name: value[places[name]] for name, value in values.items()}

    def log_densities_of_sites(self, run: SiteRecorder, num_particles: int) -> dict[str, Tensor]:
        """The log density of each site at each element of its plates, in Pyro's layout.

        Sites that share discrete latents have none of their own, unless one observation alone hangs
        on latents of its own plates: then it is that of the observation, summed over them.
        """
        if self.structure.discrete:
            return Factors.of(run, self.structure, (num_particles, self.num_units)).by_site()
        return {name: site_log_prob(site, self.structure) for name, site in run.sites.items()}

    def sum(self, sites: Mapping[str, Site], num_particles: int) -> Tensor:
        """The log density of the sites of one run of some particles, `(S, U)`."""
        return sum_log_probs(sites, self.structure, (num_particles, self.num_units))

    def runs_at_prior(self, num_particles: int) -> list[SiteRecorder]:
        """The run, or a run a particle, at latents that the program draws itself."""
        if not self.stacks:
            return [self.record_alone() for _ in range(num_particles)]
        return [self.record(num_particles=num_particles)]

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
            return [self.record(recorder=PriorRecorder(last=last), num_particles=num_particles)]

    def latents_of(self, runs: Sequence[SiteRecorder]) -> dict[str, Tensor]:
        """The values of the continuous latents, `(S, U, *inner plates, *event)` each."""
        return self.values_of(runs, self.structure.latents)

    def values_of(
        self, runs: Sequence[SiteRecorder], sites: Sequence[LatentSite]
    ) -> dict[str, Tensor]:
        """The values of some latents, discrete ones too, in the same layout."""
        spread, to_particles = self.structure.spread, self.structure.to_particles
        return {
            site.name: torch.cat(
                [to_particles(spread(run.sites[site.name]["value"], site), site) for run in runs]
            )
            for site in sites
        }

    def predict(
        self, num_draws: int, latents: Mapping[str, Tensor] | None = None
    ) -> list[SiteRecorder]:
        """The run, or a run a draw, without the data: observations are drawn.

        Args:
            num_draws: D.
            latents: Site name to values, `(D, U or 1, *inner plates, *event)`; those left out are
                drawn from the prior. Where none is, discrete latents are drawn from their
                posterior given these.
        """
        given = {} if latents is None else dict(latents)
        if latents is not None and given.keys() == {site.name for site in self.structure.latents}:
            given |= self.draw_discrete(num_draws, given)
        known = [site for site in self.structure.sites if site.name in given]
        values = {site.name: self.structure.to_pyro(given[site.name], site) for site in known}
        with Unconditioned():
            if not self.stacks:
                particles = (self._particle(values, draw) for draw in range(num_draws))
                return [self.record_alone(SiteRecorder(particle)) for particle in particles]
            return [self.record(values, num_particles=num_draws)]

    def draw_discrete(self, num_draws: int, latents: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Draws of the discrete latents, if there are any, from their posterior given all others.

        Args:
            num_draws: D.
            latents: Name of each continuous latent site to values,
                `(D, U or 1, *inner plates, *event)`.

        Returns:
            Site name to values in the same layout.
        """
        if not self.structure.discrete:
            return {}
        values = self.structure.all_to_pyro(latents)
        if not self.stacks:
            alone = [
                self._infer_discrete(self._particle(values, d), None) for d in range(num_draws)
            ]
            return self.values_of(alone, self.structure.discrete)
        return self.values_of([self._infer_discrete(values, num_draws)], self.structure.discrete)

    def _infer_discrete(self, values: Mapping[str, Tensor], num_draws: int | None) -> SiteRecorder:
        """One run at draws of the discrete latents given others, of stacked particles or alone."""

        def stacked() -> None:
            with nullcontext() if num_draws is None else self._particles(num_draws):
                self.arguments.on(self.model, self.structure, alone=num_draws is None)

        self.runs.add_model()
        given = pyro.poutine.condition(stacked, data=dict(values))
        marked = infer_config(given, lambda site: _marked(site, self.structure.discrete_names))
        axis = self.structure.particle_dim - 1
        with SiteRecorder() as run:
            infer_discrete(marked, first_available_dim=axis, temperature=1)()
        return run

    def simulate(self) -> SiteRecorder:
        """One run without its data, of one particle: latents and observations are drawn."""
        with Unconditioned():
            return self.record(num_particles=1)


def _marked(site: Site, names: Collection[str]) -> dict[str, str]:
    """The word to Pyro's own inference about a site: to run all of its values, or nothing."""
    return {"enumerate": "parallel"} if site["name"] in names else {}
