"""ArviZ's groups of weighted particles."""

from dataclasses import replace

import torch
import xarray as xr
from torch import Tensor

from lvkam_pyro.arviz.assembly import (
    PosteriorDraws,
    groups_with_model,
    groups_without_model,
)
from lvkam_pyro.arviz.estimates import check_same_data, estimates_of
from lvkam_pyro.arviz.ladder import check_together
from lvkam_pyro.arviz.layout import DataLayout, PlainLayout
from lvkam_pyro.arviz.resampled import RESAMPLING, note_weights
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.tracing.options import check_count
from lvkam_pyro.tracing.parameters import own_parameters
from lvkam_pyro.tracing.particles import Particles
from lvkam_pyro.tracing.session import seeded_rng
from lvkam_pyro.tracing.structure import Model

_DENSITIES = ("log_prior", "log_likelihood")


def particle_groups(
    particles: Particles,
    x: Tensor | None = None,
    *,
    model: Model | None = None,
    num_draws: int = 500,
    num_chains: int = 4,
    evidence: Evidence | EvidenceComparison | None = None,
    seed: int = 0,
) -> dict[str, xr.Dataset]:
    """Draws that are resampled from weighted particles, each chain from its share of them.

    Args:
        particles: Independent draws of a guide with their log densities.
        x: The data, with the model.
        model: The model, for predictions and for the names of its plates; None: the axes are
            called `data` and `latent`, and there are no predictions.
        num_draws: Draws a chain.
        num_chains: Chains. The particles are dealt out to them, so that chains are independent.
        evidence: Estimates of the log evidence of the same data.
        seed: Of resampling and predictions.

    Returns:
        The groups that `to_arviz` lists.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a count is below 1, there are fewer particles than chains, a model without
            data or the other way round, or a datum without a particle of positive weight.
    """
    check_together(model, x)
    check_count("num_draws", num_draws)
    chains = _deal(particles, num_chains)
    with torch.no_grad(), own_parameters(model), seeded_rng(seed, particles.log_prior):
        drawn = [_resample(chain, num_draws) for chain in chains]
        latents = [{name: chain[name] for name in particles.latents} for chain in drawn]
        draws = PosteriorDraws(latents, chains, None, estimates_of(evidence))
        if model is not None and x is not None:
            check_same_data(x, None, draws.estimates)
            groups = groups_with_model(model, x, _layout(model, x, particles), draws)
        else:
            log_prior, log_likelihood = ([c[name] for c in drawn] for name in _DENSITIES)
            layout = PlainLayout.of(particles.latents)
            groups = groups_without_model(draws, log_prior, log_likelihood, layout)
    size = chains[0].num_particles
    note_weights(groups, sampler=RESAMPLING, num_particles=size)
    return groups


def _deal(particles: Particles, num_chains: int) -> list[Particles]:
    """The particles dealt out to chains, as many to each; what is left over is dropped."""
    check_count("num_chains", num_chains)
    size = particles.num_particles // num_chains
    if size == 0:
        raise ValueError(
            f"Expected at least as many particles as chains, got {particles.num_particles} and "
            f"{num_chains}. Draw more, or pass a smaller num_chains."
        )
    hands = [slice(chain * size, (chain + 1) * size) for chain in range(num_chains)]
    return [
        replace(
            particles,
            latents={name: values[hand] for name, values in particles.latents.items()},
            log_prior=particles.log_prior[hand],
            log_likelihood=particles.log_likelihood[hand],
            log_guide=particles.log_guide[hand],
        )
        for hand in hands
    ]


def _resample(particles: Particles, num_draws: int) -> dict[str, Tensor]:
    """Latents and log densities of the same resampled particles."""
    densities = {name: getattr(particles, name) for name in _DENSITIES}
    return replace(particles, latents={**particles.latents, **densities}).resample(num_draws)


def _layout(model: Model, x: Tensor, particles: Particles) -> DataLayout:
    layout = DataLayout.of(model, x)
    if len(x) != particles.num_data or set(layout.latents) != set(particles.latents):
        raise ValueError(
            f"Expected the model and the data of these particles of {sorted(particles.latents)} "
            f"for {particles.num_data} data, got a model of {sorted(layout.latents)} and {len(x)}."
        )
    return layout
