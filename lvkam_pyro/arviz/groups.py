"""The groups of any draws from a posterior, with their program or without it."""

from collections.abc import Mapping
from dataclasses import replace

import xarray as xr
from torch import Tensor

from lvkam_pyro.arviz.datasets import SAMPLE
from lvkam_pyro.arviz.draws import Evaluation, PosteriorDraws, evaluate, predict
from lvkam_pyro.arviz.evidence import ladder_groups_of, thermodynamic_group
from lvkam_pyro.arviz.layout import Layout, UnitLayout
from lvkam_pyro.arviz.marginal import draw_marginal
from lvkam_pyro.arviz.moments import guide_of_moments
from lvkam_pyro.arviz.weights import note_weights, weight_groups
from lvkam_pyro.tracing.program import BoundProgram

Shape = tuple[int, int]
"""The numbers of chains and draws."""


def groups_with_model(program: BoundProgram, draws: PosteriorDraws) -> dict[str, xr.Dataset]:
    """All groups, those that need the program among them; inside of its session.

    Args:
        program: The program.
        draws: The posterior.
    """
    layout = Layout.of(program)
    at = evaluate(program, layout, draws.latents)
    latents = {**draws.latents, **at.discrete}
    new = predict(program, layout, draws.num_draws, latents).observations
    return {
        "posterior": _posterior(replace(draws, latents=latents), layout, at.computed),
        "posterior_predictive": _sites(layout, new, draws.shape),
        **_densities(at, layout, draws.shape),
        **prior_groups(program, layout, draws.shape),
        **groups_of_source(draws, layout),
    }


def groups_without_model(
    draws: PosteriorDraws, log_prior: Tensor | None, log_likelihood: Tensor
) -> dict[str, xr.Dataset]:
    """The groups that draws and their log densities make by themselves.

    Args:
        draws: The posterior.
        log_prior: Log p(z) of the draws `(D, U)`; None where it is not known.
        log_likelihood: Log p(x | z) of the same.
    """
    layout = UnitLayout.of_latents(draws.latents)
    return {
        "posterior": _posterior(draws, layout, {}),
        **_density_groups(log_prior, log_likelihood, layout, draws.shape),
        **groups_of_source(draws, layout),
    }


def groups_by_moments(
    program: BoundProgram, draws: PosteriorDraws, num_particles: int
) -> dict[str, xr.Dataset]:
    """All groups of draws that come without anything that tells the evidence.

    Where the unit is a datum it comes from importance sampling with a guide that has the draws'
    moments.

    Args:
        program: The program.
        draws: The posterior.
        num_particles: Particles a chain for the evidence.
    """
    if draws.estimates or not Layout.of(program).unit_dims:
        return groups_with_model(program, draws)
    guide = guide_of_moments(program, draws.latents)
    particles = [program.draw(guide, num_particles) for _ in range(draws.num_chains)]
    groups = groups_with_model(program, replace(draws, particles=particles))
    note_weights(groups, "log_likelihood")
    return groups


def prior_groups(program: BoundProgram, layout: Layout, shape: Shape) -> dict[str, xr.Dataset]:
    """Draws from the prior, new observations given these, and the actual observations."""
    num_draws = shape[0] * shape[1]
    new = predict(program, layout, num_draws)
    draws = PosteriorDraws.of_draws(new.latents, shape[0])
    computed = evaluate(program, layout, new.latents).computed if layout.computed else {}
    return {
        "prior": _posterior(draws, layout, computed),
        "prior_predictive": _sites(layout, new.observations, shape),
        "observed_data": layout.group(
            {name: layout.site(name, value) for name, value in layout.observations.items()}
        ),
    }


def groups_of_source(draws: PosteriorDraws, layout: UnitLayout) -> dict[str, xr.Dataset]:
    """The marginal log likelihood, and how particles, ladder and estimators fared.

    Args:
        draws: The posterior.
        layout: Names of the axes.
    """
    groups = {}
    if layout.unit_dims and (draws.particles or draws.ladder or draws.estimates):
        marginal, estimator = draw_marginal(draws)
        variables = {layout.observed_name: layout.unit(marginal, *SAMPLE)}
        groups["log_likelihood"] = layout.group(variables, attrs={"estimator": estimator})
    if draws.particles:
        groups |= weight_groups(draws.particles, layout)
    if draws.ladder is not None:
        groups |= ladder_groups_of(draws.ladder, layout)
    if draws.ladder is not None or draws.estimates:
        groups["thermodynamic"] = thermodynamic_group(draws.ladder, draws.estimates, layout)
    return groups


def log_joint(groups: Mapping[str, xr.Dataset]) -> xr.DataArray:
    """The log joint density of each draw, over (chain, draw), where the unit is a datum.

    Args:
        groups: With `log_prior` and `conditional_log_likelihood`.
    """
    (log_prior,) = groups["log_prior"].data_vars.values()
    (log_likelihood,) = groups["conditional_log_likelihood"].data_vars.values()
    return (log_prior + log_likelihood).sum(set(log_prior.dims) - set(SAMPLE))


def _posterior(
    draws: PosteriorDraws, layout: UnitLayout, computed: Mapping[str, Tensor]
) -> xr.Dataset:
    """Draws of the latents and what is computed of them."""
    variables = {
        name: layout.latent(name, values.unflatten(0, draws.shape), *SAMPLE)
        for name, values in draws.latents.items()
    }
    if isinstance(layout, Layout):
        variables |= {
            name: layout.site(name, values.unflatten(0, draws.shape), *SAMPLE)
            for name, values in computed.items()
        }
    return layout.group(variables, attrs={"sampler": draws.source} if draws.source else {})


def _sites(layout: Layout, values: Mapping[str, Tensor], shape: Shape) -> xr.Dataset:
    """A group with a variable for each site, from `(D, *shape)` or `(D, *batch shape)`."""
    return layout.group(
        {name: layout.site(name, v.unflatten(0, shape), *SAMPLE) for name, v in values.items()}
    )


def _density_groups(
    log_prior: Tensor | None, log_likelihood: Tensor, layout: UnitLayout, shape: Shape
) -> dict[str, xr.Dataset]:
    """Log densities of each unit's latents and observations, from `(D, U)`."""
    named = {"conditional_log_likelihood": (layout.observed_name, log_likelihood)}
    if log_prior is not None:
        named["log_prior"] = (layout.latent_name, log_prior)
    return {
        group: layout.group({name: layout.unit(values.unflatten(0, shape), *SAMPLE)})
        for group, (name, values) in named.items()
    }


def _densities(at: Evaluation, layout: Layout, shape: Shape) -> dict[str, xr.Dataset]:
    """Log densities of each unit; where it is the data set, of each site, and of all together."""
    if layout.unit_dims:
        return _density_groups(at.log_prior, at.log_likelihood, layout, shape)
    lp = (at.log_prior + at.log_likelihood).unflatten(0, shape)
    # Sites that share a discrete latent have no density each.
    observed = {name: at.pointwise[name] for name in layout.observations if name in at.pointwise}
    latent = {name: at.pointwise[name] for name in layout.latent_dims if name in at.pointwise}
    return {
        **({"log_likelihood": _sites(layout, observed, shape)} if observed else {}),
        "log_prior": _sites(layout, latent, shape),
        "sample_stats": layout.group({"lp": layout.unit(lp, *SAMPLE)}),
    }
