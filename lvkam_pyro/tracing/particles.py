"""Particles: latents drawn by a guide, with the model's and the guide's log densities per datum."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor

from lvkam_pyro.statistics.resampling import resample_systematic
from lvkam_pyro.tracing.arguments import check_count
from lvkam_pyro.tracing.densities import data_scale, sum_log_probs
from lvkam_pyro.tracing.parameters import check_parameters
from lvkam_pyro.tracing.prior_guide import PriorGuide
from lvkam_pyro.tracing.recorder import Site, SiteRecorder
from lvkam_pyro.tracing.structure import LatentSite, Model, ModelStructure

Guide = Callable[..., Any]
"""A Pyro program that draws the model's latent sites, given the same arguments."""


@dataclass(frozen=True)
class Particles:
    r"""Draws of the latents and what every estimator needs to know about them.

    .. math:: \log w_{sn} = \log p(z_{sn}) + \log p(x_n | z_{sn}) - \log q(z_{sn} | x_n)

    Attributes:
        latents: Site name to draws, of shape `(S, N, *inner plates, *event)`, or
            `(S, 1, *event)` when all data share the draws.
        log_prior: `(S, N)`, the latent sites of the model.
        log_likelihood: `(S, N)`, the observed and factor sites of the model.
        log_guide: `(S, N)`, the sites of the guide.
        data_scale: The data plate's full size divided by its size; it multiplies totals.

    Example:
        >>> zeros = torch.zeros(4, 2)
        >>> particles = Particles({"z": zeros}, zeros, zeros - 1.0, zeros)
        >>> particles.log_evidence
        tensor([-1., -1.])
    """

    latents: dict[str, Tensor]
    log_prior: Tensor
    log_likelihood: Tensor
    log_guide: Tensor
    data_scale: float = 1.0

    def __repr__(self) -> str:
        shapes = {name: tuple(value.shape) for name, value in self.latents.items()}
        return f"Particles({self.num_particles} of {self.num_data} data, latents {shapes})"

    @property
    def num_particles(self) -> int:
        """The number of particles S."""
        return self.log_prior.shape[0]

    @property
    def num_data(self) -> int:
        """The number of data N."""
        return self.log_prior.shape[1]

    @property
    def log_joint(self) -> Tensor:
        """Log p(x, z), of shape `(S, N)`."""
        return self.log_prior + self.log_likelihood

    @property
    def log_weights(self) -> Tensor:
        """Log p(x, z) - log q(z|x), of shape `(S, N)`."""
        # The difference first: under the prior it is exactly zero, whatever its size.
        return (self.log_prior - self.log_guide) + self.log_likelihood

    @property
    def log_evidence(self) -> Tensor:
        """The importance-sampling estimate of log p(x), of shape `(N,)`."""
        return self.log_weights.logsumexp(0) - math.log(self.num_particles)

    def resample(self, num_draws: int) -> dict[str, Tensor]:
        """Equally weighted latents, resampled for each datum by itself and in random order.

        Args:
            num_draws: Number of draws D.

        Returns:
            Site name to draws `(D, N, *inner plates, *event)`.

        Raises:
            ValueError: If a datum has no particle with a positive, finite weight.

        Example:
            >>> zeros = torch.zeros(4, 2)
            >>> draws = Particles({"z": torch.randn(4, 2, 3)}, zeros, zeros, zeros).resample(8)
            >>> draws["z"].shape
            torch.Size([8, 2, 3])
        """
        index = resample_systematic(self.log_weights, num_draws)
        data = torch.arange(self.num_data, device=index.device)
        return {
            name: value[index, data if value.shape[1] > 1 else 0]
            for name, value in self.latents.items()
        }


def draw_particles(
    model: Model,
    guide: Guide,
    x: Tensor,
    num_particles: int,
    *,
    structure: ModelStructure | None = None,
) -> Particles:
    """Draw latents from a guide and weigh them under a model: one run of each, all at once.

    The guide runs inside a plate of particles left of all its own plates; the model runs on these
    latents. A `PriorGuide` is run on one datum where the model allows it, so that the model
    computes S points and not S times N. Gradients flow to model and guide unless the caller
    turns them off.

    Args:
        model: A Pyro model of one positional tensor, with a data plate along its first axis.
        guide: A Pyro guide of the same argument, with the model's latent sites.
        x: The observations, of shape `(N, ...)`.
        num_particles: S, the number of draws for each datum.
        structure: `ModelStructure.of(model, x)`, if the caller has it: it saves two runs.

    Returns:
        The particles.

    Raises:
        TypeError: If `num_particles` is no integer.
        ValueError: If it is below 1, or the model has no log density per datum, or the guide's
            sites are not the model's, or have another shape, or Pyro's store has parameters of
            other modules under the names of theirs (see `own_parameters`).

    Example:
        >>> import pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
        >>> particles = draw_particles(model, guide, torch.tensor([0.0, 1.0]), 3)
        >>> particles.log_evidence  # The guide is the posterior, so every draw says the same.
        tensor([-1.2655, -1.5155])
    """
    check_count("num_particles", num_particles)
    if structure is None:
        check_parameters(model, guide)
        structure = ModelStructure.of(model, x)
    from_prior = isinstance(guide, PriorGuide)
    shared = structure.shares_particles and from_prior
    proposal = _run_guide(guide, x[:1] if shared else x, num_particles, structure)
    run = _replay_model(model, x, proposal, shared=shared)
    _check_sites(proposal, run, structure, num_particles)
    shape = (num_particles, _count_data(run, structure, x))
    log_prior = sum_log_probs(run.latents, structure, shape)
    if isinstance(guide, PriorGuide) and guide.proposes_from(model, structure):
        # The law of the draws is the model's own, of the first datum where all share them.
        log_guide = (log_prior[:, :1] if shared else log_prior).detach().expand(shape)
    else:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not from_prior):
            log_guide = sum_log_probs(proposal.sites, structure, shape)
    return Particles(
        latents={
            site.name: structure.to_particles(proposal.sites[site.name]["value"], site)
            for site in structure.latents
        },
        log_prior=log_prior,
        log_likelihood=sum_log_probs(run.observations, structure, shape),
        log_guide=log_guide,
        data_scale=data_scale(next(iter(run.sites.values())), structure),
    )


def _run_guide(
    guide: Guide, x: Tensor, num_particles: int, structure: ModelStructure
) -> SiteRecorder:
    """The guide's sites, drawn inside the plate of particles."""
    plate = pyro.plate("_particles", num_particles, dim=structure.particle_dim)
    proposal = SiteRecorder()
    with plate, proposal:
        guide(x)
    return proposal


def _replay_model(
    model: Model, x: Tensor, proposal: SiteRecorder, *, shared: bool = False
) -> SiteRecorder:
    """The model's sites at the guide's draws, on the guide's subsample of the data."""
    values = {name: site["value"] for name, site in proposal.latents.items()}
    subsamples = {} if shared else proposal.subsamples
    run = SiteRecorder({**subsamples, **values})
    with run:
        model(x)
    return run


def _count_data(run: SiteRecorder, structure: ModelStructure, x: Tensor) -> int:
    """The number of data in the plate: its subsample's, where it draws one."""
    for frame in next(iter(run.sites.values()))["cond_indep_stack"]:
        if frame.dim == structure.data_dim and frame.size > 0:
            return int(frame.size)
    return len(x)


def _check_sites(
    proposal: SiteRecorder, run: SiteRecorder, structure: ModelStructure, num_particles: int
) -> None:
    """The guide drew the model's latents, each in its shape."""
    expected = {site.name for site in structure.latents}
    drawn, needed = set(proposal.latents), set(run.latents)
    if needed != expected:
        raise ValueError(
            f"The model drew the latent sites {sorted(needed)}, but {sorted(expected)} when it was "
            "first run. Only a model with the same sites in every run has particles."
        )
    if expected - drawn:
        raise ValueError(
            f"The guide does not draw the model's latent sites {sorted(expected - drawn)}; it "
            f"draws {sorted(drawn)}. Add a pyro.sample statement of the same name for each."
        )
    for name in drawn - expected:
        if not proposal.sites[name]["infer"].get("is_auxiliary"):
            raise ValueError(
                f"The guide draws the site '{name}', which is no latent site of the model "
                f"({sorted(expected)}). Remove it, or mark it infer={{'is_auxiliary': True}}."
            )
        _check_auxiliary(proposal.sites[name], structure)
    for site in structure.latents:
        _check_shape(proposal.sites[site.name], site, structure, num_particles)


def _check_auxiliary(drawn: Site, structure: ModelStructure) -> None:
    """A guide's further site has a density for each datum, not one for all of them together."""
    if not any(frame.dim == structure.data_dim for frame in drawn["cond_indep_stack"]):
        raise ValueError(
            f"The guide's site '{drawn['name']}' is outside the data plate: its density is of all "
            "data jointly, so there are no weights per datum. Use AutoNormal, AmortizedGuide, or a "
            "guide that draws inside the data plate."
        )


def _check_shape(
    drawn: Site, site: LatentSite, structure: ModelStructure, num_particles: int
) -> None:
    """A draw has a particle axis, the axes of the plates, and the model's event shape."""
    shape = drawn["value"].shape
    event = shape[1 + structure.num_plates :]
    if len(shape) <= structure.num_plates or shape[0] != num_particles or event != site.event_shape:
        raise ValueError(
            f"The guide's draw of '{site.name}' has shape {tuple(shape)}, but the model's site "
            f"needs ({num_particles} particles, {structure.num_plates} plate axes, *event "
            f"{tuple(site.event_shape)}). Use the model's plate and .to_event(...) in the guide."
        )
