"""A program's latents as one real vector per unit, with log densities and gradients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.distributions.constraints import independent
from torch.distributions.transforms import Transform

from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.densities import per_unit
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import LatentRecorder, Site, SiteRecorder
from lvkam_pyro.tracing.replaying.replays import Evaluation, Replays
from lvkam_pyro.tracing.sites import without_mask
from lvkam_pyro.tracing.structure import LatentSite, ProgramStructure, bijection

_TOLERANCE = 1e-4
"""Of a value that is mapped to the real space and back; its square, near zero."""

_MANY_SITES = 50
"""Sample statements of a program that cost more than its arithmetic."""

_MANY_VALUES = 2**17
"""Values of an array that cost more than a call of torch."""


@dataclass(frozen=True)
class Location:
    """Where a stack of unconstrained vectors lies among the latents.

    Attributes:
        latents: The sites' values, `(S, U, *inner plates, *event)` each.
        log_prior: log p(z), `(S, U)`.
        log_jacobian: log |dz/du|, `(S, U)`.
    """

    latents: dict[str, Tensor]
    log_prior: Tensor
    log_jacobian: Tensor


class _ConstrainedRecorder(LatentRecorder):
    """Runs a model on unconstrained latents; further, log |dz/du| over each site's batch."""

    def _pyro_sample(self, msg: Site) -> None:
        value = None if msg["is_observed"] else self.values.get(msg["name"])
        if value is not None:
            transform = bijection(msg)
            msg["value"] = _inside(transform(value), msg)
            msg["done"] = True
            self.further[msg["name"]] = _log_jacobian(transform, value, msg)

    def _pyro_post_sample(self, msg: Site) -> None:
        # Chains move over what a mask hides, too, as the prior's draws do: it counts at its own
        # density, which integrates to one.
        is_latent = msg["name"] in self.further
        super()._pyro_post_sample(without_mask(msg) if is_latent else msg)


def _inside(value: Tensor, site: Site) -> Tensor:
    """A value above 0 where the support is: far out, torch's exponential is rounded to 0."""
    support = site["fn"].support
    while isinstance(support, independent):
        support = support.base_constraint
    bound = getattr(support, "lower_bound", None)
    is_positive = isinstance(bound, float) and bound == 0.0 and not hasattr(support, "upper_bound")
    return value.clamp(min=torch.finfo(value.dtype).tiny) if is_positive else value


def _log_jacobian(transform: Transform, value: Tensor, site: Site) -> Tensor:
    """Log |dz/du| over a site's batch shape."""
    log_jacobian: Tensor = transform.log_abs_det_jacobian(value, site["value"])
    num_batch_axes = site["value"].ndim - len(site["fn"].event_shape)
    return log_jacobian.reshape(*log_jacobian.shape[:num_batch_axes], -1).sum(-1)


class _SupportRecorder(LatentRecorder):
    """Runs a model on given latents, each of which has to lie inside of its site's support."""

    def _pyro_sample(self, msg: Site) -> None:
        super()._pyro_sample(msg)
        if msg["done"] and msg["name"] in self.values:
            _check_inside(msg)


def _check_inside(site: Site) -> None:
    transform, value = bijection(site), site["value"]
    free = transform.inv(value)
    # torch's maps clip what lies outside, or have no number for it.
    is_near = torch.isclose(transform(free), value, rtol=_TOLERANCE, atol=_TOLERANCE**2)
    if not (free.isfinite().all() and is_near.all()):
        raise ValueError(
            f"Expected values of '{site['name']}' inside of its support {site['fn'].support}, got "
            f"some outside of it or on its edge among those from {float(value.min()):.6g} to "
            f"{float(value.max()):.6g}. Pass draws of this model's own posterior, not transformed."
        )


class UnconstrainedProgram:
    r"""A bound program over unconstrained latent vectors.

    .. math:: u_n \in R^D, \quad z = T(u), \quad
        \log \pi_t(u) = \log p(T(u)) + \log |\det T'(u)| + t \log p(x | T(u))

    with T torch's `biject_to` of each site's support and u the sites' coordinates, one after the
    other.

    Args:
        program: The bound program.

    Attributes:
        num_coordinates: D.
        num_units: U.
        num_evaluations: Likelihood evaluations per unit so far.

    Raises:
        ValueError: If an inner subsample makes the prior no normalised density, or chains cannot
            move on a latent's support.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.LogNormal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> target = UnconstrainedProgram(bind(model, torch.zeros(3)))
        >>> target.evaluate(torch.zeros(2, 3, 1)).log_prior[0, 0]
        tensor(-0.9189, dtype=torch.float64)
    """

    def __init__(self, program: BoundProgram) -> None:
        check_ladder(program.structure)
        self.program = program
        self.structure = program.structure
        self.num_coordinates = program.structure.num_coordinates
        self.num_units = program.num_units
        self.num_evaluations = 0
        self._num_nan, self._num_seen = torch.zeros(1), 0
        self._num_runs, self._num_sites = 0, 0
        self._replays = Replays(self._log_densities, pays=self._is_slow)

    @property
    def nan_share(self) -> Tensor:
        """The share of the log likelihoods so far that were NaN, `(U,)`."""
        return (self._num_nan / max(1, self._num_seen)).expand(self.num_units)

    def draw_prior(self, num_draws: int) -> Tensor:
        """Exact draws from the prior for each unit, of shape `(num_draws, U, D)`."""
        return torch.cat([self.unconstrain(run) for run in self.program.draw_prior(num_draws)])

    def unconstrain(self, run: SiteRecorder) -> Tensor:
        """The positions `(S, U, D)` of a recorded run of S particles (one without their axis)."""
        return torch.cat([self._flatten(site, run) for site in self.structure.latents], -1)

    def positions(self, latents: Mapping[str, Tensor], *, check_support: bool = True) -> Tensor:
        """The positions `(S, U, D)` of given latents.

        Args:
            latents: Site name to values, `(S, U, *inner plates, *event)` each.
            check_support: Whether they may come from anywhere; else what is rounded to the edge of
                a support has an infinite position.

        Raises:
            ValueError: If a value lies outside of its site's support.
        """
        kind = _SupportRecorder if check_support else LatentRecorder
        recording = partial(kind, last=self.structure.latents[-1].name)
        runs = self.program.runs_at(self.structure.all_to_pyro(latents), recording)
        return torch.cat([self.unconstrain(run) for run in runs])

    def _flatten(self, site: LatentSite, run: SiteRecorder) -> Tensor:
        drawn = run.sites[site.name]
        value = self.structure.spread(drawn["value"], site)
        flat = bijection(drawn).inv(value)
        return self.structure.to_particles(flat, site).reshape(len(flat), self.num_units, -1)

    def _unflatten(self, position: Tensor) -> dict[str, Tensor]:
        parts = position.split([site.num_coordinates for site in self.structure.latents], -1)
        return {
            site.name: self.structure.to_pyro(
                part.reshape(*position.shape[:2], *site.inner_shape, *site.unconstrained_shape),
                site,
            )
            for site, part in zip(self.structure.latents, parts, strict=True)
        }

    def evaluate(self, position: Tensor) -> Evaluation:
        """Densities and gradients by one run of the program, or what is equal; see `Replays`.

        Args:
            position: `(S, U, D)`.

        Returns:
            The evaluation; a gradient that does not exist is zero.
        """
        evaluation = self._replays.evaluate(position)
        self._count(evaluation.log_likelihood)
        return evaluation

    @torch.no_grad()
    def log_densities(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Log prior and log likelihood at `(S, U, D)`, `(S, U)` each, by runs that fit."""
        parts = position.split(self.program.particles_per_run())
        pairs = zip(*(self._log_densities(part) for part in parts), strict=True)
        log_prior, log_likelihood = (torch.cat(each).double() for each in pairs)
        self._count(log_likelihood)
        return log_prior, log_likelihood

    def log_joint(self, position: Tensor) -> Tensor:
        """The log density of the data and vectors `(S, U, D)`, `(S, U)`; see `log_densities`."""
        log_prior, log_likelihood = self.log_densities(position)
        return log_prior + log_likelihood

    def _count(self, log_likelihood: Tensor) -> None:
        self._num_nan = self._num_nan.to(log_likelihood.device) + log_likelihood.isnan().sum(0)
        self._num_seen += len(log_likelihood)
        self.num_evaluations += len(log_likelihood)

    def _is_slow(self, position: Tensor) -> bool:
        """Whether a run is by its statements, or its arrays: there a record of it gains most."""
        is_large = len(position) * self.program.values_per_particle >= _MANY_VALUES
        return self._num_runs == 1 and (is_large or self._num_sites >= _MANY_SITES)

    def _log_densities(self, position: Tensor) -> tuple[Tensor, Tensor]:
        runs = self.program.runs_at(self._unflatten(position), _ConstrainedRecorder)
        self._num_runs, self._num_sites = len(runs), len(runs[0].sites)
        log_prior, log_likelihood = self.program.log_densities(runs, len(position))
        return log_prior + self._log_jacobians(runs), log_likelihood

    def _log_jacobians(self, runs: Sequence[SiteRecorder]) -> Tensor:
        """Log |dz/du| of all particles: what broadcasts to `(S, U)`."""
        each = [self._log_jacobian(run) for run in runs]
        return each[0] if len(each) == 1 else torch.cat(each)

    def _log_jacobian(self, run: SiteRecorder) -> Tensor:
        """Log |dz/du| of a run: what broadcasts to `(S, U)`."""
        total = torch.zeros(1, 1, device=self.program.like.device)
        for name, value in run.further.items():
            total = total + per_unit(value, run.sites[name], self.structure)
        return total

    @torch.no_grad()
    def locate(self, position: Tensor) -> Location:
        """The latents at positions `(S, U, D)`, without the likelihood."""
        runs = self._runs_of_latents(position)
        log_prior, _ = self.program.log_densities(runs, len(position))
        log_jacobian = self._log_jacobians(runs).double()
        return Location(
            self.program.latents_of(runs), log_prior.double(), log_jacobian.expand_as(log_prior)
        )

    def guide_log_density(self, guide: Program, position: Tensor) -> Tensor:
        """The log density of a guide at positions `(S, U, D)`, `(S, U)`, by one run of it.

        Args:
            guide: Draws the latents, and nothing else, from densities that it takes at any value.
            position: Where; gradients flow to it if they are on.
        """
        runs, structure = self._runs_of_latents(position), self.structure
        latents = self.program.latents_of(runs)
        run = self.program.record_guide(guide, len(position), structure.all_to_pyro(latents))
        return self.program.sum(run.latents, len(position)) + self._log_jacobians(runs)

    def _runs_of_latents(self, position: Tensor) -> list[SiteRecorder]:
        """The runs at positions `(S, U, D)`, which end at the last latent."""
        recording = partial(_ConstrainedRecorder, last=self.structure.latents[-1].name)
        return self.program.runs_at(self._unflatten(position), recording)

    def constrain(self, position: Tensor) -> dict[str, Tensor]:
        """The latent sites' values, of shape `(S, U, *inner plates, *event)` each."""
        return self.locate(position).latents


def check_ladder(structure: ProgramStructure) -> None:
    """Every latent site has a normalised density and can move: a ladder has a known start.

    Raises:
        ValueError: If an inner subsample changes a latent's density, or a latent's support is not
            the image of the whole real space.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     with pyro.plate("data", len(x)), pyro.plate("parts", 9, subsample_size=3, dim=-2):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> check_ladder(bind(model, torch.zeros(3)).structure)
        Traceback (most recent call last):
        ...
        ValueError: The latent site 'z' lies in an inner plate that is subsampled, ...
    """
    if not structure.latents:
        raise ValueError("The model has no latent site, so there is no ladder. Use its log_prob.")
    for site in structure.latents:
        if not site.has_bijection:
            raise ValueError(
                f"The latent site '{site.name}' has a support onto which torch cannot map the real "
                "space, so no chain can move on it. Give its distribution a support with a "
                "biject_to, or use Importance."
            )
        if site.subsampled:
            raise ValueError(
                f"The latent site '{site.name}' lies in an inner plate that is subsampled, so its "
                "prior is not normalised and a ladder has no known start. Give that plate its full "
                "size, or use Importance."
            )
