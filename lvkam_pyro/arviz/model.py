"""ArviZ's groups of a model with a data plate, or of what `fit` returned."""

from collections.abc import Sequence

import torch
import xarray as xr
from torch import Tensor

from lvkam_pyro.arviz.assembly import PosteriorDraws
from lvkam_pyro.arviz.estimates import check_same_data, estimates_of
from lvkam_pyro.arviz.layout import DataLayout
from lvkam_pyro.arviz.local import LocalModel, population_groups
from lvkam_pyro.arviz.resampled import POWER_POSTERIOR, RESAMPLING, note_weights
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.ladder.ladder import LadderSamples
from lvkam_pyro.tracing.arguments import check_data
from lvkam_pyro.tracing.options import check_count
from lvkam_pyro.tracing.parameters import own_parameters
from lvkam_pyro.tracing.particles import Guide
from lvkam_pyro.tracing.prior_guide import PriorGuide
from lvkam_pyro.tracing.session import seeded_rng
from lvkam_pyro.tracing.structure import Model
from lvkam_pyro.training.loop import Fit


def model_groups(
    model: Model,
    x: Tensor,
    *,
    guide: Guide | None = None,
    num_draws: int = 500,
    num_chains: int = 4,
    num_particles: int = 1000,
    ladder: LadderSamples | None = None,
    evidence: Evidence | EvidenceComparison | None = None,
    seed: int = 0,
) -> dict[str, xr.Dataset]:
    """The posterior of each datum's latents by importance resampling, or from a ladder.

    Args:
        model: A Pyro model of one positional tensor with one data plate, such as `LVKAM`.
        x: The data `(N, ...)`.
        guide: What proposes the particles; None: the model's prior, unless there is a ladder. Of
            one that draws the posterior itself, such as `NUTSGuide`, the draws are kept as they
            are, and the evidence comes from particles with their moments.
        num_draws: Draws a chain; with a ladder it has its own number.
        num_chains: Chains; with a ladder it has its own number.
        num_particles: Particles a chain from which the draws are resampled.
        ladder: `Ladder(...).sample(model, x)` of the same data.
        evidence: An estimate of the log evidence of the same data, or a comparison of several.
        seed: Seed of all draws. The caller's random state stays as it was.

    Returns:
        The groups that `to_arviz` lists.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If a count is below 1, the data are not finite, the ladder or evidence is of
            other data, a datum has no particle of positive weight, or the model has no log density
            for each datum.
    """
    check_data(x)
    counts = {"num_draws": num_draws, "num_chains": num_chains, "num_particles": num_particles}
    for name, count in counts.items():
        check_count(name, count)
    estimates = estimates_of(evidence)
    check_same_data(x, ladder, estimates)
    with torch.no_grad(), own_parameters(model, guide), seeded_rng(seed, x):
        local = LocalModel(model, x, DataLayout.of(model, x))
        if ladder is not None:
            return _ladder_groups(local, guide, ladder, estimates, num_particles)
        proposal = PriorGuide(model) if guide is None else guide
        if local.draws_posterior(proposal):
            return population_groups(local, proposal, evidence=evidence, **counts)
        particles = local.draw_particles(proposal, num_particles, num_chains)
        latents = [chain.resample(num_draws) for chain in particles]
        groups = local.groups(PosteriorDraws(latents, particles, None, estimates))
    note_weights(groups, sampler=RESAMPLING, num_particles=num_particles)
    return groups


def _ladder_groups(
    local: LocalModel,
    guide: Guide | None,
    ladder: LadderSamples,
    estimates: Sequence[Evidence],
    num_particles: int,
) -> dict[str, xr.Dataset]:
    """The ladder's posterior; a guide's particles beside it, as many chains of them."""
    particles = (
        [] if guide is None else local.draw_particles(guide, num_particles, ladder.num_chains)
    )
    draws = PosteriorDraws(ladder_latents(ladder), particles, ladder, estimates)
    groups = local.groups(draws)
    groups["posterior"].attrs["sampler"] = POWER_POSTERIOR
    return groups


def fit_groups(fit: Fit, x: Tensor, **options: object) -> dict[str, xr.Dataset]:
    """The posterior of each datum's latents under a trained model, from its trained guide.

    Args:
        fit: What `lvkam_pyro.fit` returned.
        x: The data `(N, ...)`, those of the training or others.
        **options: Those of `model_groups`; with a ladder the guide is not used, unless it is
            passed.

    Returns:
        The groups that `to_arviz` lists.
    """
    guide = {} if options.get("ladder") is not None else {"guide": fit.guide}
    return model_groups(fit.model, x, **{**guide, **options})  # type: ignore[arg-type]


def ladder_latents(ladder: LadderSamples) -> list[dict[str, Tensor]]:
    """The draws at temperature 1, chain by chain.

    Args:
        ladder: The power posteriors.
    """
    return [
        {name: values[:, chain] for name, values in ladder.latents.items()}
        for chain in range(ladder.num_chains)
    ]
