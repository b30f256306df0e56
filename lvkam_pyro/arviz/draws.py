"""Equally weighted draws from posterior and prior, and what the model says of them."""

from dataclasses import dataclass

import pyro
from torch import Tensor

from lvkam_pyro.arviz.layout import DataLayout, arrange
from lvkam_pyro.tracing.densities import sum_log_probs
from lvkam_pyro.tracing.recorder import SiteRecorder, Unconditioned
from lvkam_pyro.tracing.structure import Model


@dataclass(frozen=True)
class Draws:
    """Draws of latents and observations, and their log densities per datum.

    Attributes:
        latents: Site name to draws `(D, N, *inner plates, *event)`.
        observations: The same of new observations given these latents.
        log_prior: Log density of the latents, `(D, N)`.
        log_likelihood: Log density of the ACTUAL observations given the latents, `(D, N)`.
    """

    latents: dict[str, Tensor]
    observations: dict[str, Tensor]
    log_prior: Tensor
    log_likelihood: Tensor


def draw_prior(model: Model, x: Tensor, num_draws: int, layout: DataLayout) -> Draws:
    """Latents from the prior and observations given them.

    Args:
        model: A Pyro model.
        x: The data `(N, ...)`; only their number matters where the prior has no covariates.
        num_draws: Number of draws D.
        layout: `DataLayout.of(model, x)`.

    Returns:
        The draws.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(5)
        >>> draw_prior(model, x, 7, DataLayout.of(model, x)).observations["x"].shape
        torch.Size([7, 5])
    """
    return _complete(model, x, num_draws, layout, {})


def complete_draws(
    model: Model, x: Tensor, latents: dict[str, Tensor], layout: DataLayout
) -> Draws:
    """New observations given latents, and the log densities there.

    Args:
        model: A Pyro model.
        x: The data `(N, ...)`.
        latents: Site name to draws `(D, N, *inner plates, *event)`.
        layout: `DataLayout.of(model, x)`.
    """
    sites = {site.name: site for site in layout.structure.latents}
    values = {name: layout.structure.to_pyro(value, sites[name]) for name, value in latents.items()}
    return _complete(model, x, len(next(iter(latents.values()))), layout, values)


def _complete(
    model: Model, x: Tensor, num_draws: int, layout: DataLayout, values: dict[str, Tensor]
) -> Draws:
    structure = layout.structure
    with Unconditioned():
        new = _run(model, x, num_draws, layout, values)
    latents = {site.name: new.sites[site.name]["value"] for site in structure.latents}
    actual = _run(model, x, num_draws, layout, latents)
    shape = (num_draws, len(x))
    return Draws(
        {site.name: structure.to_particles(latents[site.name], site) for site in structure.latents},
        {
            name: arrange(new.sites[name]["value"], site, structure)
            for name, site in layout.observed.items()
        },
        sum_log_probs(actual.latents, structure, shape),
        sum_log_probs(actual.observations, structure, shape),
    )


def _run(
    model: Model, x: Tensor, num_draws: int, layout: DataLayout, values: dict[str, Tensor]
) -> SiteRecorder:
    plate = pyro.plate("_particles", num_draws, dim=layout.structure.particle_dim)
    with plate, SiteRecorder(values) as run:
        model(x)
    return run
