"""What a model observes of each datum, number by number: densities, values, replicates."""

from collections.abc import Mapping
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from lvkam_pyro.arviz.layout import DataLayout, SiteLayout, arrange
from lvkam_pyro.tracing.recorder import SiteRecorder, Unconditioned
from lvkam_pyro.tracing.structure import Model, is_weighted


def observed_numbers(layout: DataLayout) -> Tensor:
    """All that was observed of each datum, `(N, U)`.

    Args:
        layout: `DataLayout.of(model, x)`.

    Raises:
        ValueError: If the model has no observed site, but factors alone.
    """
    if not layout.observations:
        raise ValueError(
            "Expected a model with an observed site, got one of pyro.factor alone, which draws no "
            "data. Declare the likelihood by pyro.sample(..., obs=x)."
        )
    return torch.cat([value.unsqueeze(-1).flatten(1) for value in layout.observations.values()], -1)


def draw_numbers(
    model: Model, x: Tensor, latents: Mapping[str, Tensor], layout: DataLayout
) -> Tensor:
    """New observations given latents, `(D, N, U)`; from torch's global generator.

    Args:
        model: The Pyro model.
        x: The observations, `(N, ...)`.
        latents: Site name to draws `(D, N, *)`; latents left out are drawn from the prior.
        layout: `DataLayout.of(model, x)`.
    """
    with Unconditioned():
        run = _run(model, x, latents, layout)
    return _join({name: run.sites[name]["value"] for name in layout.observed}, layout)


def draw_new_numbers(model: Model, x: Tensor, num_draws: int, layout: DataLayout) -> Tensor:
    """New data, whose latents are new as well, `(D, N, U)`; from torch's global generator."""
    with Unconditioned(), _particles(num_draws, layout), SiteRecorder() as run:
        model(x)
    return _join({name: run.sites[name]["value"] for name in layout.observed}, layout)


def pointwise_log_likelihood(
    model: Model, x: Tensor, latents: Mapping[str, Tensor], layout: DataLayout
) -> Tensor:
    """The log density of each observed number given latents, `(D, N, U)`.

    Args:
        model: The Pyro model.
        x: The observations, `(N, ...)`.
        latents: Site name to draws `(D, N, *)`.
        layout: `DataLayout.of(model, x)`.

    Raises:
        ValueError: If the numbers of a site depend on each other given the latents, or its
            density is masked or scaled.
    """
    run = _run(model, x, latents, layout)
    for name in layout.observed:
        site = run.sites[name]
        if is_weighted(site, layout.structure.plate_of(site)):
            raise ValueError(
                f"The site '{name}' is masked or scaled, so its numbers have no densities of their "
                "own. Leave the mask and the scale out for this check."
            )
    each = {name: _log_prob_of_each(run.sites[name]) for name in layout.observed}
    return _join(each, layout)


def _run(
    model: Model, x: Tensor, latents: Mapping[str, Tensor], layout: DataLayout
) -> SiteRecorder:
    sites = {site.name: site for site in layout.structure.latents}
    values = {name: layout.structure.to_pyro(value, sites[name]) for name, value in latents.items()}
    num_draws = len(next(iter(latents.values())))
    with _particles(num_draws, layout), SiteRecorder(values) as run:
        model(x)
    return run


def _particles(num_draws: int, layout: DataLayout) -> Any:  # noqa: ANN401 - Pyro is untyped
    return pyro.plate("_particles", num_draws, dim=layout.structure.particle_dim)


def _join(values: Mapping[str, Tensor], layout: DataLayout) -> Tensor:
    def flat(value: Tensor, site: SiteLayout) -> Tensor:
        return arrange(value, site, layout.structure).unsqueeze(-1).flatten(2)

    return torch.cat([flat(values[name], site) for name, site in layout.observed.items()], -1)


def _log_prob_of_each(site: dict[str, Any]) -> Tensor:
    law = site["fn"]
    return _each(law, site["value"], site["name"]).expand(law.shape())


def _each(law: Distribution, value: Tensor, name: str) -> Tensor:
    if isinstance(law, Independent):
        return _each(law.base_dist, value, name)
    if not law.event_shape:
        log_prob: Tensor = law.log_prob(value)
        return log_prob
    pointwise = getattr(law, "pointwise_log_prob", None)
    if pointwise is None:
        raise ValueError(
            f"The numbers of the site '{name}' depend on each other given the latents "
            f"({type(law).__name__}), so that none can be left out by its density. Declare it by "
            "a law of one number and .to_event(...), if they are independent."
        )
    each: Tensor = pointwise(value)
    return each
