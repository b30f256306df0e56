"""The single values of each datum: of its latents, and of its observations with their densities."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from lvkam_pyro.arviz.draws import gather, predict
from lvkam_pyro.arviz.layout import Layout
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import Site, SiteRecorder
from lvkam_pyro.tracing.sites import is_weighted


def flatten_latents(latents: Mapping[str, Tensor]) -> Tensor:
    """All latents side by side.

    Args:
        latents: Site name to draws `(D, N, *)`.

    Returns:
        Draws `(D, N, Q)`.

    Example:
        >>> flatten_latents({"z": torch.zeros(5, 4, 2), "w": torch.zeros(5, 4)}).shape
        torch.Size([5, 4, 3])
    """
    return torch.cat([value.reshape(*value.shape[:2], -1) for value in latents.values()], -1)


def latent_names(latents: Mapping[str, Tensor]) -> tuple[str, ...]:
    """A name for each of them, as ArviZ's tables call them.

    Args:
        latents: Site name to draws `(D, N, *)`.

    Example:
        >>> latent_names({"z": torch.zeros(5, 4, 2), "w": torch.zeros(5, 4)})
        ('z[0]', 'z[1]', 'w')
    """
    return tuple(
        name + (f"[{', '.join(map(str, index))}]" if index else "")
        for name, value in latents.items()
        for index in np.ndindex(*value.shape[2:])
    )


def observed_values(layout: Layout) -> Tensor:
    """All that was observed of each datum, `(N, K)`.

    Args:
        layout: `Layout.of(program)`.

    Raises:
        ValueError: If the model has no observed site, but factors alone.
    """
    if not layout.observations:
        raise ValueError(
            "Expected a model with an observed site, got one of pyro.factor alone, which draws no "
            "data. Declare the likelihood by pyro.sample(..., obs=x)."
        )
    return layout.rows(layout.observations, 0)


def draw_values(
    program: BoundProgram,
    layout: Layout,
    num_draws: int,
    latents: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """New observations `(D, N, K)`, from torch's global generator.

    Args:
        program: The program.
        layout: `Layout.of(program)`.
        num_draws: D.
        latents: Site name to draws `(D, U, *)`; latents left out are drawn from the prior.
    """
    return layout.rows(predict(program, layout, num_draws, latents).observations, 1)


def pointwise_log_likelihood(
    program: BoundProgram, layout: Layout, latents: Mapping[str, Tensor]
) -> Tensor:
    """The log density of each observed value given latents, `(D, N, K)`.

    Args:
        program: The program.
        layout: `Layout.of(program)`.
        latents: Site name to draws `(D, U, *)`.

    Raises:
        ValueError: If the values of a site depend on each other given the latents, or its
            density is masked or scaled.
    """
    runs = program.runs_at(program.structure.all_to_pyro(latents))
    shapes = {name: layout.sites[name].shape for name in layout.observations}

    def value(run: SiteRecorder, name: str) -> Tensor:
        site = run.sites[name]
        _check_unweighted(site, layout)
        return _each(site["fn"], site["value"], name).expand(site["fn"].shape())

    num_draws = len(next(iter(latents.values())))
    return layout.rows(gather(runs, shapes, num_draws, value), 1)


def _check_unweighted(site: Site, layout: Layout) -> None:
    if is_weighted(site, layout.structure.data_scale(site)):
        raise ValueError(
            f"The site '{site['name']}' is masked or scaled, so its values have no densities of "
            "their own. Leave the mask and the scale out for this check."
        )


def _each(distribution: Distribution, value: Tensor, name: str) -> Tensor:
    if isinstance(distribution, Independent):
        return _each(distribution.base_dist, value, name)
    if not distribution.event_shape:
        log_prob: Tensor = distribution.log_prob(value)
        return log_prob
    pointwise = getattr(distribution, "pointwise_log_prob", None)
    if pointwise is None:
        raise ValueError(
            f"The values of the site '{name}' depend on each other given the latents "
            f"({type(distribution).__name__}), so that none can be left out by its density. "
            "Declare it by a distribution of one value and .to_event(...), if they are independent."
        )
    each: Tensor = pointwise(value)
    return each
