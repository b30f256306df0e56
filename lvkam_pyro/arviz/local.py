"""Models whose latents belong to a datum each: the groups of any draws of their posteriors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
import xarray as xr
from torch import Tensor

from lvkam_pyro.arviz.assembly import PosteriorDraws, groups_with_model
from lvkam_pyro.arviz.estimates import check_same_data, estimates_of
from lvkam_pyro.arviz.layout import DataLayout
from lvkam_pyro.arviz.moments import guide_of_moments
from lvkam_pyro.arviz.resampled import note_weights
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.guides.population import PopulationGuide
from lvkam_pyro.tracing.particles import Guide, Particles, draw_particles
from lvkam_pyro.tracing.structure import LatentSite, Model, ModelStructure

_ROUNDING = 1e-5
"""Of the logarithms of weights that are equal."""


@dataclass(frozen=True)
class LocalModel:
    """A model of one tensor whose latents belong to a datum each, with its data.

    Attributes:
        model: The model.
        x: The data.
        layout: What its axes are called.
    """

    model: Model
    x: Tensor
    layout: DataLayout

    @classmethod
    def find(
        cls, model: Model, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> Self | None:
        """None, if the model is not of this kind.

        Args:
            model: The model.
            args: Its arguments.
            kwargs: Its arguments by keyword.

        Example:
            >>> LocalModel.find(lambda: None, (), {}) is None
            True
        """
        x = args[0] if len(args) == 1 and not kwargs else None
        if not isinstance(x, Tensor) or x.ndim == 0:
            return None
        try:
            ModelStructure.of(model, x)
        except ValueError:
            return None
        return cls(model, x, DataLayout.of(model, x))

    def draw_particles(self, guide: Guide, num_particles: int, num_chains: int) -> list[Particles]:
        """Independent particles of a guide, a chain each."""
        structure = self.layout.structure
        return [
            draw_particles(self.model, guide, self.x, num_particles, structure=structure)
            for _ in range(num_chains)
        ]

    def draws_posterior(self, guide: Guide) -> bool:
        """Whether a guide's draws are the posterior's already: a population of equal weights.

        Such draws may be a Markov chain's, and their weights say nothing of how good they are.
        """
        if not isinstance(guide, PopulationGuide):
            return False
        one, other = self.draw_particles(guide, 2, 1)[0].log_weights
        return torch.allclose(one, other, rtol=_ROUNDING, atol=_ROUNDING)

    def check(self, evidence: Evidence | EvidenceComparison | None) -> list[Evidence]:
        """The estimates, which must be of these data and of one model."""
        estimates = estimates_of(evidence)
        check_same_data(self.x, None, estimates)
        return estimates

    def groups(self, draws: PosteriorDraws) -> dict[str, xr.Dataset]:
        """All groups of some draws."""
        return groups_with_model(self.model, self.x, self.layout, draws)


def to_chains(samples: Mapping[str, Tensor], layout: DataLayout) -> list[dict[str, Tensor]]:
    """Draws in Pyro's layout `(C, D, *the site's shape)`, chain by chain in ours.

    Args:
        samples: Site name to draws.
        layout: The model's plates.

    Returns:
        A chain each: site name to draws `(D, N, *inner plates, *event)`.
    """
    structure = layout.structure
    chains = zip(*(_padded(samples[s.name], s, structure) for s in structure.latents), strict=True)
    return [
        {
            site.name: structure.to_particles(values, site)
            for site, values in zip(structure.latents, chain, strict=True)
        }
        for chain in chains
    ]


def _padded(values: Tensor, site: LatentSite, structure: ModelStructure) -> Tensor:
    """With an axis for every plate of the model."""
    num_batch = values.ndim - 2 - len(site.event_shape)
    missing = (1,) * (structure.num_plates - num_batch)
    return values.reshape(*values.shape[:2], *missing, *values.shape[2:])


def local_groups(
    local: LocalModel,
    chains: Sequence[Mapping[str, Tensor]],
    *,
    evidence: Evidence | EvidenceComparison | None = None,
    num_particles: int = 1000,
) -> dict[str, xr.Dataset]:
    """All groups of equally weighted draws.

    Without an estimate of the evidence it comes from importance sampling with a guide that has the
    draws' moments.

    Args:
        local: The model and the data.
        chains: A chain each: site name to draws `(D, N, *inner plates, *event)`.
        evidence: Estimates of the log evidence of the same data.
        num_particles: Particles a chain for the evidence.

    Raises:
        ValueError: If the evidence is of other data or of several models.
    """
    estimates = local.check(evidence)
    if estimates:
        return local.groups(PosteriorDraws(chains, (), None, estimates))
    guide = guide_of_moments(local.model, local.x, local.layout, chains)
    particles = local.draw_particles(guide, num_particles, len(chains))
    groups = local.groups(PosteriorDraws(chains, particles))
    note_weights(groups, group="log_likelihood")
    return groups


def population_groups(
    local: LocalModel,
    guide: Guide,
    *,
    num_draws: int,
    num_chains: int,
    evidence: Evidence | EvidenceComparison | None,
    num_particles: int,
) -> dict[str, xr.Dataset]:
    """All groups of a guide that draws the posterior, in the order in which it draws.

    Args:
        local: The model and the data.
        guide: The guide.
        num_draws: Draws a chain, which is one population.
        num_chains: Chains.
        evidence: Estimates of the log evidence of the same data.
        num_particles: Particles a chain for the evidence, if there is no estimate.

    Raises:
        ValueError: If the evidence is of other data or of several models.
    """
    drawn = [chain.latents for chain in local.draw_particles(guide, num_draws, num_chains)]
    groups = local_groups(local, drawn, evidence=evidence, num_particles=num_particles)
    groups["posterior"].attrs["sampler"] = type(guide).__name__
    return groups


def log_joint(groups: Mapping[str, xr.Dataset], layout: DataLayout) -> xr.DataArray:
    """The log joint density of each draw, over (chain, draw).

    Args:
        groups: With `log_prior` and `conditional_log_likelihood`.
        layout: The names of their variables.
    """
    log_prior = groups["log_prior"][layout.latent_name]
    log_likelihood = groups["conditional_log_likelihood"][layout.observed_name]
    return (log_prior + log_likelihood).sum(layout.data_dim)
