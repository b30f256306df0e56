"""The draws of a guide as a source: of Pyro's SVI and automatic guides."""

from typing import Any

import torch
from pyro.infer import SVI
from pyro.infer.autoguide import AutoGuide
from pyro.infer.autoguide.initialization import InitMessenger
from torch import Tensor

from lvkam_pyro.arviz.datasets import Groups
from lvkam_pyro.arviz.draws import PosteriorDraws, to_draws
from lvkam_pyro.arviz.groups import groups_by_moments
from lvkam_pyro.arviz.marginal import estimates_of
from lvkam_pyro.arviz.particles import Counts, guide_groups
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind, bind_guide
from lvkam_pyro.tracing.looks import is_delta
from lvkam_pyro.tracing.prior_guide import LibraryGuide
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.structure import Unit


def svi_groups(svi: SVI, *args: object, **options: Any) -> Groups:  # noqa: ANN401
    """The guide's draws of a `pyro.infer.SVI`.

    Args:
        svi: Its model and guide are used, its optimiser is not.
        *args: The model's arguments.
        **options: Those of `_pair_groups`.
    """
    return _pair_groups(svi.model, svi.guide, *args, **options)


def autoguide_groups(guide: AutoGuide, *args: object, **options: Any) -> Groups:  # noqa: ANN401
    """The draws of an automatic guide.

    Args:
        guide: The guide, which knows its model.
        *args: The model's arguments.
        **options: Those of `_pair_groups`.
    """
    return _pair_groups(_own_model(guide), guide, *args, **options)


def _own_model(guide: AutoGuide) -> Program:
    """The user's model, out of the wrapper in which guides put in its latents' first values."""
    model: Program = guide.model
    wrapper = getattr(model, "func", None)
    handler, *wrapped = getattr(wrapper, "args", (None,))
    return wrapped[0] if isinstance(handler, InitMessenger) else model


def _pair_groups(
    model: Program,
    guide: Program,
    *args: object,
    num_draws: int = 500,
    num_chains: int = 4,
    num_particles: int = 1000,
    evidence: Evidence | EvidenceComparison | None = None,
    seed: int = 0,
    **kwargs: object,
) -> Groups:
    """A guide's own draws as posterior, and how far its weights say that it is from it.

    Args:
        model: The model.
        guide: The guide.
        *args: Their arguments.
        num_draws: Draws a chain.
        num_chains: Chains; the draws are independent, in each and between them.
        num_particles: Where latents belong to a datum each, but the guide draws those of all data
            jointly: particles a chain for the evidence, if there is no estimate.
        evidence: Estimates of the log evidence.
        seed: Of all draws.
        **kwargs: Their keyword arguments.

    Returns:
        The groups that `to_arviz` lists. `importance` has a value a datum where the guide has
        weights for each; else one value for all data together; none for a guide of one point.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a count is below 1, the evidence is of other data, or the guide does not draw
            the model's latents.
    """
    counts = Counts(num_draws, num_chains, num_particles)
    program = bind(model, *args, **kwargs)
    estimates = estimates_of(evidence, program)
    with program.session(guide, seed=seed):
        if not _has_weights(program, guide):
            latents = _draw_alone(program, guide, num_draws * num_chains)
            draws = PosteriorDraws.of_draws(latents, num_chains, estimates=estimates)
            return groups_by_moments(program, draws, num_particles)
        program = bind_guide(program, guide)
        return guide_groups(program, guide, estimates, counts, resampled=False)


def _has_weights(program: BoundProgram, guide: Program) -> bool:
    """Whether a guide has a density for each unit: no latent is one point, none drawn jointly."""
    if isinstance(guide, LibraryGuide):
        return True
    one, other = (program.record_guide_alone(guide).latents for _ in range(2))
    joint = any(program.structure.frame_of(site) is None for site in one.values())
    points = (name for name, site in one.items() if is_delta(site))
    fixed = any(torch.equal(one[name]["value"], other[name]["value"]) for name in points)
    return not fixed and not (joint and program.unit is Unit.DATUM)


def _draw_alone(program: BoundProgram, guide: Program, num_draws: int) -> dict[str, Tensor]:
    """Draws of a guide without weights, one by one."""
    runs = [program.record_guide_alone(guide) for _ in range(num_draws)]
    missing = {site.name for site in program.structure.latents} - runs[0].latents.keys()
    if missing:
        raise ValueError(
            f"The guide does not draw the model's latent sites {sorted(missing)}; it draws "
            f"{sorted(runs[0].latents)}. Add a pyro.sample statement of the same name for each."
        )
    samples = {
        site.name: torch.stack([run.sites[site.name]["value"] for run in runs])
        for site in program.structure.latents
    }
    return to_draws(samples, program.structure)
