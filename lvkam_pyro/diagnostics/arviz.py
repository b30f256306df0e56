"""To ArviZ: posterior, predictions, weights and evidence as one labelled, saveable object.

The only file that knows which ArviZ is installed: before 1.0 its object is `InferenceData`, since
then it is xarray's `DataTree`. The groups are the same.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import arviz as az
import torch
import xarray as xr
from torch import Tensor

from lvkam_pyro.diagnostics.datasets import (
    SAMPLE,
    data_group,
    dataset,
    posterior_groups,
    prior_groups,
)
from lvkam_pyro.diagnostics.draws import Draws, complete_draws, draw_prior
from lvkam_pyro.diagnostics.layout import DataLayout
from lvkam_pyro.diagnostics.marginal import bootstrap_importance, draw_estimate
from lvkam_pyro.diagnostics.proposal import proposal_groups
from lvkam_pyro.diagnostics.thermodynamic import ladder_group, thermodynamic_group
from lvkam_pyro.evidence.comparison import EvidenceComparison
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.steppingstone import SteppingStone
from lvkam_pyro.guides.parameters import own_parameters
from lvkam_pyro.guides.particles import Guide, Particles, draw_particles
from lvkam_pyro.guides.power_posterior import PowerSamples
from lvkam_pyro.guides.prior import PriorGuide
from lvkam_pyro.guides.seeding import seeded_rng
from lvkam_pyro.guides.structure import Model
from lvkam_pyro.guides.validation import check_count, check_data, hash_data

Groups = dict[str, xr.Dataset]

_from_datatree: Callable[[xr.DataTree], Any] = getattr(az, "from_datatree", lambda tree: tree)


def to_arviz(
    model: Model,
    x: Tensor,
    *,
    guide: Guide | None = None,
    num_draws: int = 500,
    num_chains: int = 4,
    num_particles: int = 1000,
    ladder: PowerSamples | None = None,
    evidence: Evidence | EvidenceComparison | None = None,
    seed: int = 0,
) -> Any:  # noqa: ANN401 - InferenceData or DataTree, by the version of ArviZ
    """The posterior of each datum's latents and all that belongs to it, for ArviZ.

    The posterior is made of equally weighted draws, as all of ArviZ's statistics expect. Without a
    ladder they are resampled from a guide's weighted particles, for each datum by itself and in
    random order; each chain has particles of its own, so that `az.rhat` and `az.ess` show a guide
    that missed the posterior. With a ladder they are its draws at temperature 1, chain for chain.

    Axes are called as the model's plates are; a datum's latents have the axis `latent`, its outputs
    `output`. `az.summary` takes some 20 ms a scalar and predictions take memory: pass a few dozen
    data, not all.

    Args:
        model: A Pyro model of one positional tensor with one data plate, such as `LVKAM`.
        x: The data `(N, ...)`.
        guide: What proposes the particles; None: the model's prior, unless there is a ladder.
        num_draws: Draws a chain; with a ladder it has its own number.
        num_chains: Chains; with a ladder it has its own number.
        num_particles: Particles a chain from which the draws are resampled.
        ladder: `PowerPosterior(...).sample(model, x)` of the same data.
        evidence: An estimate of the log evidence of the same data, or a comparison of several.
        seed: Seed of all draws. The caller's random state stays as it was.

    Returns:
        `arviz.InferenceData` before ArviZ 1.0, `xarray.DataTree` since, with the groups

        - `posterior`, `posterior_predictive`, `prior`, `prior_predictive` and `observed_data`;
        - `log_likelihood`: the MARGINAL log p(x), with the latents integrated out, where `az.loo`
          and `az.compare` look. Its draws are the sampling law of its estimate: of `evidence` if
          that is one estimate, else of steppingstone on the ladder, else of importance sampling
          with the guide. `conditional_log_likelihood` holds log p(x|z) for each draw;
        - `log_prior`: log p(z) for each draw;
        - `proposal` and `importance`, with a guide: particles, log weights, plain and Pareto
          smoothed; ESS, Pareto k and log evidence a datum;
        - `power_sample_stats`, with a ladder: log-likelihoods at all temperatures, swap rates;
        - `thermodynamic`, with a ladder or evidence: the curve, and each estimator's log evidence.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If a count is below 1, the data are not finite, the ladder or evidence is of
            other data, a datum has no particle of positive weight, or the model has no log density
            for each datum.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...         pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)
        >>> idata = to_arviz(model, torch.zeros(3, 2), num_draws=50)
        >>> dict(idata["posterior"]["z"].sizes)
        {'chain': 4, 'draw': 50, 'data': 3, 'latent': 2}
    """
    check_data(x)
    counts = {"num_draws": num_draws, "num_chains": num_chains, "num_particles": num_particles}
    for name, count in counts.items():
        check_count(name, count)
    estimates = _estimates(evidence)
    _check_same_data(x, ladder, estimates)
    with torch.no_grad(), own_parameters(model, guide), seeded_rng(seed, x):
        layout = DataLayout.of(model, x)
        particles = _draw_chains(model, guide, x, ladder, layout, num_chains, num_particles)
        posterior = _posterior(model, x, layout, particles, ladder, num_draws)
        prior = [draw_prior(model, x, len(chain.log_prior), layout) for chain in posterior]
        marginal = _marginal(_best_estimate(estimates, ladder), particles, posterior)
    dims = (*SAMPLE, layout.data_dim)
    groups = posterior_groups(posterior, layout) | prior_groups(prior, layout)
    groups["log_likelihood"] = dataset({layout.observed_name: (dims, marginal)})
    groups["observed_data"] = data_group(layout)
    if particles:
        groups |= proposal_groups(particles, layout)
    if ladder is not None:
        groups["power_sample_stats"] = ladder_group(ladder, layout)
    if ladder is not None or estimates:
        groups["thermodynamic"] = thermodynamic_group(ladder, estimates, layout)
    filled = {name: group for name, group in groups.items() if group.data_vars}
    return _from_datatree(xr.DataTree.from_dict(filled))


def _estimates(evidence: Evidence | EvidenceComparison | None) -> list[Evidence]:
    """All estimates, which must be of one model."""
    if evidence is None:
        return []
    if isinstance(evidence, Evidence):
        return [evidence]
    models = sorted({row.model for row in evidence})
    if len(models) > 1:
        raise ValueError(
            f"Expected evidence of one model, got a comparison of {models}. Compare the estimators "
            "of this model alone, or pass one Evidence."
        )
    return [row.evidence for row in evidence]


def _check_same_data(x: Tensor, ladder: PowerSamples | None, estimates: Sequence[Evidence]) -> None:
    hashes = {one.estimator: one.data_hash for one in estimates}
    if ladder is not None:
        hashes["ladder"] = ladder.data_hash
    other = [name for name, data_hash in hashes.items() if data_hash != hash_data(x)]
    if other:
        raise ValueError(
            f"Expected the ladder and the evidence of these data of shape {tuple(x.shape)}, but "
            f"{', '.join(other)} was computed for others. Pass the same x to all."
        )


def _draw_chains(
    model: Model,
    guide: Guide | None,
    x: Tensor,
    ladder: PowerSamples | None,
    layout: DataLayout,
    num_chains: int,
    num_particles: int,
) -> list[Particles]:
    """Independent particles for each chain; none if a ladder does their work."""
    if guide is None and ladder is not None:
        return []
    proposal = PriorGuide(model) if guide is None else guide
    return [
        draw_particles(model, proposal, x, num_particles, structure=layout.structure)
        for _ in range(num_chains)
    ]


def _posterior(
    model: Model,
    x: Tensor,
    layout: DataLayout,
    particles: list[Particles],
    ladder: PowerSamples | None,
    num_draws: int,
) -> list[Draws]:
    """Draws from the posterior, chain by chain."""
    if ladder is None:
        latents = [chain.resample(num_draws) for chain in particles]
    else:
        latents = [
            {name: values[:, chain] for name, values in ladder.latents.items()}
            for chain in range(ladder.num_chains)
        ]
    return [complete_draws(model, x, chain, layout) for chain in latents]


def _best_estimate(estimates: Sequence[Evidence], ladder: PowerSamples | None) -> Evidence | None:
    """The one estimate given, or the ladder's; None where only particles can tell."""
    if len(estimates) == 1:
        return estimates[0]
    return None if ladder is None else SteppingStone().estimate_from(ladder)


def _marginal(
    estimate: Evidence | None, particles: list[Particles], posterior: list[Draws]
) -> Tensor:
    """Draws of the marginal log-likelihood, as many as of the posterior: `(C, D, N)`."""
    shape = len(posterior), len(posterior[0].log_prior)
    if estimate is not None:
        return draw_estimate(estimate, math.prod(shape)).unflatten(0, shape)
    pooled = torch.cat([chain.log_weights for chain in particles])
    return bootstrap_importance(pooled, math.prod(shape)).unflatten(0, shape)
