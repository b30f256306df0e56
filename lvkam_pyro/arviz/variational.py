"""ArviZ's groups of a variational posterior: the draws of a guide."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
import xarray as xr
from pyro.infer import SVI
from pyro.infer.autoguide import AutoGuide
from pyro.infer.autoguide.initialization import InitMessenger
from torch import Tensor

from lvkam_pyro.arviz.assembly import PosteriorDraws
from lvkam_pyro.arviz.datasets import SAMPLE, dataset
from lvkam_pyro.arviz.joint import JointModel, posterior_groups_of, prior_groups_of
from lvkam_pyro.arviz.local import (
    LocalModel,
    local_groups,
    population_groups,
    to_chains,
)
from lvkam_pyro.arviz.proposal import importance_group
from lvkam_pyro.arviz.resampled import note_weights
from lvkam_pyro.arviz.runs import Runs, is_point, record, run_many
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.tracing.options import check_count
from lvkam_pyro.tracing.parameters import own_parameters
from lvkam_pyro.tracing.particles import Guide, Particles
from lvkam_pyro.tracing.session import seeded_rng
from lvkam_pyro.tracing.structure import Model

_SAMPLER = "variational guide"


def svi_groups(svi: SVI, *args: object, **options: object) -> dict[str, xr.Dataset]:
    """The guide's draws of a `pyro.infer.SVI`.

    Args:
        svi: Its model and guide are used, its optimiser is not.
        *args: The model's arguments.
        **options: Those of `guide_groups`.
    """
    return guide_groups(svi.model, svi.guide, *args, **options)  # type: ignore[arg-type]


def autoguide_groups(guide: AutoGuide, *args: object, **options: object) -> dict[str, xr.Dataset]:
    """The draws of an automatic guide.

    Args:
        guide: The guide, which knows its model.
        *args: The model's arguments.
        **options: Those of `guide_groups`.
    """
    return guide_groups(_own_model(guide), guide, *args, **options)  # type: ignore[arg-type]


def _own_model(guide: AutoGuide) -> Model:
    """The model without the messenger in which guides wrap it, which puts in their first values."""
    model = guide.model
    wrapper = getattr(model, "func", None)
    handler, *wrapped = getattr(wrapper, "args", (None,))
    return wrapped[0] if isinstance(handler, InitMessenger) else model


def guide_groups(
    model: Model,
    guide: Guide,
    *args: object,
    num_draws: int = 500,
    num_chains: int = 4,
    num_particles: int = 1000,
    evidence: Evidence | EvidenceComparison | None = None,
    seed: int = 0,
) -> dict[str, xr.Dataset]:
    """A guide's own draws as posterior, and how far its weights say that it is from it.

    Args:
        model: The model.
        guide: The guide.
        *args: Their arguments.
        num_draws: Draws a chain.
        num_chains: Chains; the draws are independent, in each and between them.
        num_particles: Where latents belong to a datum each, but the guide draws those of all data
            jointly: particles a chain for the evidence, if there is no estimate.
        evidence: Where latents belong to a datum each: estimates of the log evidence.
        seed: Of all draws.

    Returns:
        The groups that `to_arviz` lists. `importance` has a value a datum where the guide has
        weights for each; else one value for all data together; none for a guide of one point.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a count is below 1, or the evidence is of other data.
    """
    counts = {"num_draws": num_draws, "num_chains": num_chains, "num_particles": num_particles}
    for name, count in counts.items():
        check_count(name, count)
    some = next((value for value in args if isinstance(value, Tensor)), torch.empty(0))
    with torch.no_grad(), own_parameters(model, guide), seeded_rng(seed, some):
        local = LocalModel.find(model, args, {})
        if local is not None and local.draws_posterior(guide):
            return population_groups(local, guide, evidence=evidence, **counts)
        if local is not None and _has_weights(local, guide):
            particles = local.draw_particles(guide, num_draws, num_chains)
            return _weighted_groups(local, particles, local.check(evidence))
        shape = torch.Size((num_chains, num_draws))
        runs = run_many(partial(guide, *args), shape.numel())
        if local is None:
            return _joint_groups(JointModel.of(model, *args), guide, args, runs, shape)
        drawn = _latents(runs, list(local.layout.latents), shape)
        chains = to_chains(drawn, local.layout)
        return local_groups(local, chains, evidence=evidence, num_particles=num_particles)


def _has_weights(local: LocalModel, guide: Guide) -> bool:
    """Whether the guide has a density for each datum."""
    if _is_point(guide, (local.x,)):
        return False
    try:
        local.draw_particles(guide, 1, 1)
    except ValueError:
        return False
    return True


def _is_point(guide: Guide, args: Sequence[object]) -> bool:
    """Whether all that a guide draws is one point, without a density."""
    return all(is_point(site) for site in record(partial(guide, *args)).sites.values())


def _weighted_groups(
    local: LocalModel, chains: Sequence[Particles], estimates: Sequence[Evidence]
) -> dict[str, xr.Dataset]:
    latents = [chain.latents for chain in chains]
    groups = local.groups(PosteriorDraws(latents, chains, None, estimates))
    note_weights(groups, sampler=_SAMPLER)
    return groups


def _joint_groups(
    joint: JointModel, guide: Guide, args: Sequence[object], runs: Runs, shape: torch.Size
) -> dict[str, xr.Dataset]:
    groups, lp = posterior_groups_of(joint, _latents(runs, joint.latents, shape))
    groups |= prior_groups_of(joint, shape)
    groups["sample_stats"] = dataset({"lp": (SAMPLE, lp)})
    if not _is_point(guide, args):
        log_weights = lp - runs.total().unflatten(0, shape)
        groups["proposal"] = dataset({"log_weights": (SAMPLE, log_weights)})
        groups["importance"] = importance_group(log_weights.flatten()[:, None], None)
        note_weights(groups, sampler=_SAMPLER)
    return groups


def _latents(runs: Runs, names: Sequence[str], shape: torch.Size) -> Mapping[str, Tensor]:
    missing = sorted(set(names) - set(runs.values))
    if missing:
        raise ValueError(
            f"Expected a guide of all latent sites {sorted(names)}, but it does not draw {missing}."
        )
    return {name: runs.values[name].unflatten(0, shape) for name in names}
