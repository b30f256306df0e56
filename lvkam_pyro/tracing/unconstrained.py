"""A program's latents as one real vector per unit, with log densities and gradients."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.distributions.constraints import independent
from torch.distributions.transforms import Transform

from lvkam_pyro.tracing.densities import per_unit
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import LatentRecorder, Site, SiteRecorder
from lvkam_pyro.tracing.structure import LatentSite, ProgramStructure, bijection


@dataclass(frozen=True)
class Evaluation:
    """The densities of a stack of latent vectors, and their gradients.

    Attributes:
        log_prior: `(S, U)`, the prior's density of the vector: log p(z) + log |dz/du|.
        log_likelihood: `(S, U)`.
        prior_gradient: `(S, U, D)`.
        likelihood_gradient: `(S, U, D)`.
    """

    log_prior: Tensor
    log_likelihood: Tensor
    prior_gradient: Tensor
    likelihood_gradient: Tensor


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
    """Runs a model on unconstrained latents, each mapped onto its site's support."""

    def __init__(self, values: Mapping[str, Tensor], *, last: str | None = None) -> None:
        super().__init__(values, last=last)
        self.log_jacobians: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Site) -> None:
        value = None if msg["is_observed"] else self.values.get(msg["name"])
        if value is not None:
            transform = bijection(msg)
            msg["value"] = _inside(transform(value), msg)
            msg["done"] = True
            self.log_jacobians[msg["name"]] = _log_jacobian(transform, value, msg)


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
        ValueError: If a mask at a latent site makes the prior no normalised density, or chains
            cannot move on a latent's support.

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

    def draw_prior(self, num_draws: int) -> Tensor:
        """Exact draws from the prior for each unit, of shape `(num_draws, U, D)`."""
        return torch.cat([self.unconstrain(run) for run in self.program.draw_prior(num_draws)])

    def unconstrain(self, run: SiteRecorder) -> Tensor:
        """The positions `(S, U, D)` of a recorded run of S particles (one without their axis)."""
        return torch.cat([self._flatten(site, run) for site in self.structure.latents], -1)

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
        """Densities and gradients by one run of the program.

        Args:
            position: `(S, U, D)`.

        Returns:
            The evaluation; a gradient that does not exist is zero.
        """
        with torch.enable_grad():
            position = position.detach().requires_grad_()
            log_prior, log_likelihood = self._log_densities(position)
            prior_gradient = _gradient(log_prior, position, retain_graph=True)
            likelihood_gradient = _gradient(log_likelihood, position)
        self.num_evaluations += len(position)
        return Evaluation(
            log_prior.detach().double(),
            log_likelihood.detach().double(),
            prior_gradient,
            likelihood_gradient,
        )

    def _log_densities(self, position: Tensor) -> tuple[Tensor, Tensor]:
        runs = self.program.runs_at(self._unflatten(position), _ConstrainedRecorder)
        count, program = len(position), self.program
        log_prior = [program.sum(run.latents, count) + self._log_jacobian(run) for run in runs]
        log_likelihood = [program.sum(run.observations, count) for run in runs]
        return torch.cat(log_prior), torch.cat(log_likelihood)

    def _log_jacobian(self, run: SiteRecorder) -> Tensor:
        """Log |dz/du| of a run: what broadcasts to `(S, U)`."""
        terms = run.log_jacobians.items() if isinstance(run, _ConstrainedRecorder) else ()
        total = torch.zeros(1, 1, device=self.program.like.device)
        for name, value in terms:
            total = total + per_unit(value, run.sites[name], self.structure)
        return total

    @torch.no_grad()
    def locate(self, position: Tensor) -> Location:
        """The latents at positions `(S, U, D)`, without the likelihood."""
        recording = partial(_ConstrainedRecorder, last=self.structure.latents[-1].name)
        runs = self.program.runs_at(self._unflatten(position), recording)
        shape = (len(position) if self.program.stacks else 1, self.num_units)
        log_prior = [self.program.sum(run.latents, len(position)) for run in runs]
        return Location(
            self.program.latents_of(runs),
            torch.cat(log_prior).double(),
            torch.cat([self._log_jacobian(run).double().expand(shape) for run in runs]),
        )

    def constrain(self, position: Tensor) -> dict[str, Tensor]:
        """The latent sites' values, of shape `(S, U, *inner plates, *event)` each."""
        return self.locate(position).latents


def _gradient(log_prob: Tensor, position: Tensor, *, retain_graph: bool = False) -> Tensor:
    if not log_prob.requires_grad:
        return torch.zeros_like(position)
    (gradient,) = torch.autograd.grad(
        log_prob.sum(), position, retain_graph=retain_graph, materialize_grads=True
    )
    return gradient.nan_to_num(0.0, 0.0, 0.0)


def check_ladder(structure: ProgramStructure) -> None:
    """Every latent site counts at its own density and can move: a ladder has a known start.

    Raises:
        ValueError: If a mask or an inner subsample changes a latent's density, or a latent's
            support is not the image of the whole real space.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     with pyro.plate("data", len(x)), pyro.poutine.mask(mask=x > 0):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> check_ladder(bind(model, torch.zeros(3)).structure)
        Traceback (most recent call last):
        ...
        ValueError: The latent site 'z' has a mask or a subsampled inner plate around it, ...
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
        if site.masked:
            raise ValueError(
                f"The latent site '{site.name}' has a mask or a subsampled inner plate around "
                "it, so its prior is not normalised and a ladder has no known start. "
                "Remove it, or use Importance."
            )
