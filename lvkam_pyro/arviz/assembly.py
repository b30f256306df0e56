"""The groups of a model whose latents belong to a datum each, from draws of its posterior."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import xarray as xr
from torch import Tensor

from lvkam_pyro.arviz.computed import add_computed
from lvkam_pyro.arviz.datasets import (
    SAMPLE,
    data_group,
    dataset,
    latent_groups,
    posterior_groups,
    prior_groups,
)
from lvkam_pyro.arviz.draws import complete_draws, draw_prior
from lvkam_pyro.arviz.estimates import best_estimate
from lvkam_pyro.arviz.layout import AxisNames, DataLayout
from lvkam_pyro.arviz.marginal import bootstrap_importance, draw_estimate
from lvkam_pyro.arviz.proposal import proposal_groups
from lvkam_pyro.arviz.thermodynamic import ladder_groups_of, thermodynamic_group
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.steppingstone import SteppingStone
from lvkam_pyro.ladder.ladder import LadderSamples
from lvkam_pyro.tracing.particles import Particles
from lvkam_pyro.tracing.structure import Model


@dataclass(frozen=True)
class PosteriorDraws:
    """Equally weighted draws from the posteriors of data, and where they are from.

    Attributes:
        latents: A chain each: site name to draws `(D, N, *inner plates, *event)`.
        particles: The weighted particles, a chain each, if there were any.
        ladder: The power posteriors, if there were any.
        estimates: Estimates of the log evidence.
    """

    latents: Sequence[Mapping[str, Tensor]]
    particles: Sequence[Particles] = ()
    ladder: LadderSamples | None = None
    estimates: Sequence[Evidence] = field(default=())

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of chains and of draws."""
        return len(self.latents), len(next(iter(self.latents[0].values())))

    def evidence(self) -> Evidence | None:
        """The best estimate, else the ladder's; None where only particles can tell."""
        if self.estimates:
            return best_estimate(self.estimates)
        return None if self.ladder is None else SteppingStone().estimate_from(self.ladder)


def groups_with_model(
    model: Model, x: Tensor, layout: DataLayout, draws: PosteriorDraws
) -> dict[str, xr.Dataset]:
    """All groups, those that need the model among them.

    Args:
        model: The model.
        x: The data.
        layout: `DataLayout.of(model, x)`.
        draws: The posterior.
    """
    chains = [complete_draws(model, x, dict(chain), layout) for chain in draws.latents]
    prior = [draw_prior(model, x, draws.shape[1], layout) for _ in draws.latents]
    groups = {
        **posterior_groups(chains, layout),
        **prior_groups(prior, layout),
        "observed_data": data_group(layout),
        **groups_of_source(draws, layout),
    }
    latents = {
        "posterior": [chain.latents for chain in chains],
        "prior": [chain.latents for chain in prior],
    }
    return add_computed(groups, model, x, layout, latents)


def groups_without_model(
    draws: PosteriorDraws,
    log_prior: Sequence[Tensor],
    log_likelihood: Sequence[Tensor],
    layout: AxisNames,
) -> dict[str, xr.Dataset]:
    """What draws and their log densities say by themselves.

    Args:
        draws: The posterior.
        log_prior: Log p(z) of the draws `(D, N)`, a chain each; none where it is not known.
        log_likelihood: Log p(x|z) of the same.
        layout: What the axes are called.
    """
    return {
        **latent_groups(draws.latents, log_prior, log_likelihood, layout),
        **groups_of_source(draws, layout),
    }


def groups_of_source(draws: PosteriorDraws, layout: AxisNames) -> dict[str, xr.Dataset]:
    """The marginal log likelihood, and how particles, ladder and estimators fared.

    Args:
        draws: The posterior.
        layout: What the axes are called.
    """
    data_dim, ladder = layout.data_dim, draws.ladder
    marginal, attrs = _marginal(draws)
    variable = ((*SAMPLE, data_dim), marginal)
    groups = {"log_likelihood": dataset({layout.observed_name: variable}, attrs=attrs)}
    if draws.particles:
        groups |= proposal_groups(draws.particles, layout)
    if ladder is not None:
        groups |= ladder_groups_of(ladder, layout)
    if ladder is not None or draws.estimates:
        groups["thermodynamic"] = thermodynamic_group(ladder, draws.estimates, data_dim)
    return groups


def _marginal(draws: PosteriorDraws) -> tuple[Tensor, dict[str, str]]:
    """Draws of the marginal log likelihood, as many as of the posterior: `(C, D, N)`."""
    evidence, num_draws = draws.evidence(), math.prod(draws.shape)
    if evidence is not None:
        drawn, estimator = draw_estimate(evidence, num_draws), evidence.estimator
    else:
        log_weights = torch.cat([chain.log_weights for chain in draws.particles])
        drawn, estimator = bootstrap_importance(log_weights, num_draws), "Importance"
    return drawn.unflatten(0, draws.shape), {"estimator": estimator}
