"""A model's latents as one real vector per datum, with log densities and gradients."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor
from torch.distributions.transforms import Transform

from lvkam_pyro.tracing.densities import data_scale, per_datum, sum_log_probs
from lvkam_pyro.tracing.prior_guide import PriorRecorder
from lvkam_pyro.tracing.recorder import LastLatentDrawnError, LatentRecorder, Site, SiteRecorder
from lvkam_pyro.tracing.structure import LatentSite, Model, ModelStructure, bijection


@dataclass(frozen=True)
class Evaluation:
    """The densities of a stack of latent vectors, and their gradients.

    Attributes:
        log_prior: `(S, N)`, the prior's density of the vector: log p(z) + log |dz/du|.
        log_likelihood: `(S, N)`.
        prior_gradient: `(S, N, D)`.
        likelihood_gradient: `(S, N, D)`.
    """

    log_prior: Tensor
    log_likelihood: Tensor
    prior_gradient: Tensor
    likelihood_gradient: Tensor


@dataclass(frozen=True)
class Location:
    """Where a stack of unconstrained vectors lies among the latents.

    Attributes:
        latents: The sites' values, `(S, N, *inner plates, *event)` each.
        log_prior: log p(z), `(S, N)`.
        log_jacobian: log |dz/du|, `(S, N)`.
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
            msg["value"] = transform(value)
            msg["done"] = True
            self.log_jacobians[msg["name"]] = _log_jacobian(transform, value, msg)


def _log_jacobian(transform: Transform, value: Tensor, site: Site) -> Tensor:
    """Log |dz/du| over a site's batch shape."""
    log_jacobian: Tensor = transform.log_abs_det_jacobian(value, site["value"])
    num_batch_axes = site["value"].ndim - len(site["fn"].event_shape)
    return log_jacobian.reshape(*log_jacobian.shape[:num_batch_axes], -1).sum(-1)


class UnconstrainedModel:
    r"""A Pyro model, bound to its data, over unconstrained latent vectors.

    .. math:: u_n \in R^D, \quad z = T(u), \quad
        \log \pi_t(u) = \log p(T(u)) + \log |\det T'(u)| + t \log p(x | T(u))

    with T torch's `biject_to` of each site's support and u the sites' coordinates, one after the
    other.

    Args:
        model: The Pyro model.
        x: The observations, of shape `(N, ...)`.
        structure: The model's structure.

    Attributes:
        num_coordinates: D.
        num_data: N.
        num_evaluations: Likelihood evaluations per datum so far.
        data_scale: The data plate's full size divided by its size.

    Raises:
        ValueError: If the plate is not the data's, or a mask or a scale at a latent site makes the
            prior no normalised density.

    Example:
        >>> import pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.LogNormal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(3)
        >>> target = UnconstrainedModel(model, x, ModelStructure.of(model, x))
        >>> target.evaluate(torch.zeros(2, 3, 1)).log_prior[0, 0]
        tensor(-0.9189, dtype=torch.float64)
    """

    def __init__(self, model: Model, x: Tensor, structure: ModelStructure) -> None:
        check_ladder(structure)
        self.model = model
        self.x = x
        self.structure = structure
        self.num_coordinates = sum(site.num_coordinates for site in structure.latents)
        self.num_data = len(x)
        self.num_evaluations = 0
        self.data_scale = 1.0

    def draw_prior(self, num_draws: int) -> Tensor:
        """Exact draws from the prior for each datum, of shape `(num_draws, N, D)`."""
        plate = pyro.plate("_particles", num_draws, dim=self.structure.particle_dim)
        run = PriorRecorder(last=self.structure.latents[-1].name)
        with torch.no_grad(), suppress(LastLatentDrawnError), plate, run:
            self.model(self.x)
        return self.unconstrain(run)

    def unconstrain(self, run: SiteRecorder) -> Tensor:
        """The positions `(S, N, D)` of a recorded run with a leading axis of S particles."""
        return torch.cat([self._flatten(site, run) for site in self.structure.latents], -1)

    def _flatten(self, site: LatentSite, run: SiteRecorder) -> Tensor:
        drawn = run.sites[site.name]
        value = bijection(drawn).inv(drawn["value"])
        self._check_plate(value, site)
        return self.structure.to_particles(value, site).reshape(len(value), self.num_data, -1)

    def _check_plate(self, value: Tensor, site: LatentSite) -> None:
        size = value.shape[1 + self.structure.num_plates + self.structure.data_dim]
        if size != self.num_data:
            raise ValueError(
                f"The data plate '{self.structure.data_plate}' has size {size} at the site "
                f"'{site.name}', but there are {self.num_data} data. Pass the batch itself and "
                "declare pyro.plate(name, full_size, subsample_size=len(x))."
            )

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
        """Densities and gradients by one run of the model.

        Args:
            position: `(S, N, D)`.

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
        run = _ConstrainedRecorder(self._unflatten(position))
        with run:
            self.model(self.x)
        shape = (position.shape[0], position.shape[1])
        log_prior = sum_log_probs(run.latents, self.structure, shape)
        for name, log_jacobian in run.log_jacobians.items():
            log_prior = log_prior + per_datum(log_jacobian, run.sites[name], self.structure)
        self.data_scale = data_scale(next(iter(run.sites.values())), self.structure)
        return log_prior, sum_log_probs(run.observations, self.structure, shape)

    @torch.no_grad()
    def locate(self, position: Tensor) -> Location:
        """The latents at positions `(S, N, D)`, without the likelihood."""
        run = _ConstrainedRecorder(self._unflatten(position), last=self.structure.latents[-1].name)
        with suppress(LastLatentDrawnError), run:
            self.model(self.x)
        shape = (position.shape[0], position.shape[1])
        log_jacobian = torch.zeros(shape, dtype=torch.float64, device=position.device)
        for name, value in run.log_jacobians.items():
            log_jacobian = log_jacobian + per_datum(value, run.sites[name], self.structure)
        latents = {
            site.name: self.structure.to_particles(run.sites[site.name]["value"], site)
            for site in self.structure.latents
        }
        log_prior = sum_log_probs(run.latents, self.structure, shape).double()
        return Location(latents, log_prior, log_jacobian)

    def constrain(self, position: Tensor) -> dict[str, Tensor]:
        """The latent sites' values, of shape `(S, N, *inner plates, *event)` each."""
        return self.locate(position).latents


def _gradient(log_prob: Tensor, position: Tensor, *, retain_graph: bool = False) -> Tensor:
    if not log_prob.requires_grad:
        return torch.zeros_like(position)
    (gradient,) = torch.autograd.grad(
        log_prob.sum(), position, retain_graph=retain_graph, materialize_grads=True
    )
    return gradient.nan_to_num(0.0, 0.0, 0.0)


def check_ladder(structure: ModelStructure) -> None:
    """Every latent site counts at its own density and can move: a ladder has a known start.

    Raises:
        ValueError: If a mask, a user's scale or an inner subsample changes a latent's density, or
            a latent's support is not the image of the whole real space.

    Example:
        >>> import pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)), pyro.poutine.scale(scale=0.5):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> check_ladder(ModelStructure.of(model, torch.zeros(3)))
        Traceback (most recent call last):
        ...
        ValueError: The latent site 'z' has a mask, a scale or a subsampled inner plate ...
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
        if site.weighted:
            raise ValueError(
                f"The latent site '{site.name}' has a mask, a scale or a subsampled inner plate "
                "around it, so its prior is not normalised and a ladder has no known start. "
                "Remove it, or use Importance."
            )
