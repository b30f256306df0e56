"""Particles as a source: of a model with a guide, of a fit, of a ladder, or by themselves."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from pyro.infer import SVI
from pyro.infer.autoguide import AutoGuide

from lvkam_pyro.arviz.datasets import Groups
from lvkam_pyro.arviz.draws import PosteriorDraws
from lvkam_pyro.arviz.groups import groups_by_moments, groups_with_model, groups_without_model
from lvkam_pyro.arviz.marginal import estimates_of
from lvkam_pyro.arviz.samples import draw_alone, has_weights, own_model
from lvkam_pyro.arviz.weights import note_weights
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.guides.population import PopulationGuide
from lvkam_pyro.ladder.ladder import LadderSamples
from lvkam_pyro.options import check_count
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind, bind_guide
from lvkam_pyro.tracing.particles import Particles
from lvkam_pyro.tracing.prior_guide import PriorGuide
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.session import seeded_rng
from lvkam_pyro.training.loop import Fit

_RESAMPLING = "importance resampling"
_GUIDE = "variational guide"
_POWER_POSTERIOR = "power posterior"
"""The posterior's attribute `sampler`, by the origin of its draws."""

_ROUNDING = 1e-5
"""Of the logarithms of weights that are equal."""

_DENSITIES = ("log_prior", "log_likelihood")

SomeEvidence = Evidence | EvidenceComparison | None


def model_groups(
    model: Program,
    *args: object,
    guide: Program | None = None,
    num_draws: int = 500,
    num_chains: int = 4,
    num_particles: int = 1000,
    ladder: LadderSamples | None = None,
    evidence: SomeEvidence = None,
    resampled: bool = True,
    seed: int = 0,
    **kwargs: Any,
) -> Groups:
    """The posterior of each unit's latents by importance resampling, or from a ladder.

    Args:
        model: A Pyro program such as `LVKAM`, or a bound program.
        *args: The program's arguments.
        guide: The proposal of the particles; None: the model's prior, unless there is a ladder. Of
            one that draws the posterior itself, such as `NUTSGuide`, the draws are kept as they
            are, and the evidence comes from particles with their moments.
        num_draws: Draws a chain; with a ladder it has its own number.
        num_chains: Chains; with a ladder it has its own number.
        num_particles: Particles a chain from which the draws are resampled.
        ladder: `Ladder(...).sample(model, x)` of the same data.
        evidence: An estimate of the log evidence of the same data, or a comparison of several.
        resampled: Whether a guide's draws are resampled by their weights. If not, they are the
            posterior as they are, weights or none, and `importance` says how far they are from it:
            a value a datum where the guide has weights for each; else one value for all data
            together; none for a guide of one point, whose evidence comes from its moments.
        seed: Seed of all draws. The caller's random state stays as it was.
        **kwargs: The program's keyword arguments.

    Returns:
        The groups that `to_arviz` lists.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If a count is below 1, the data are not finite, the ladder or evidence is of
            other data, a unit has no particle of positive weight, or the guide does not draw the
            model's latents.
    """
    counts = Counts(num_draws, num_chains, num_particles)
    program = bind(model, *args, **kwargs)
    estimates = estimates_of(evidence, program, ladder)
    proposal = PriorGuide(program.model) if guide is None else guide
    with program.session(guide, seed=seed):
        if not resampled and not has_weights(program, proposal):
            latents = draw_alone(program, proposal, num_draws * num_chains)
            draws = PosteriorDraws.of_draws(latents, num_chains, estimates=estimates)
            return groups_by_moments(program, draws, num_particles)
        program = bind_guide(program, proposal)
        if ladder is not None:
            chains = 0 if guide is None else ladder.num_chains
            particles = [program.draw(proposal, num_particles) for _ in range(chains)]
            draws = PosteriorDraws.of_ladder(
                ladder, _POWER_POSTERIOR, particles=particles, estimates=estimates
            )
            return groups_with_model(program, draws)
        return _guide_groups(program, proposal, estimates, counts, resampled=resampled)


@dataclass(frozen=True)
class Counts:
    """The numbers of draws and particles, all above 0.

    Attributes:
        num_draws: Draws a chain.
        num_chains: Chains.
        num_particles: Particles a chain.

    Raises:
        TypeError, ValueError: If one is no integer above 0.

    Example:
        >>> Counts(num_draws=3).num_chains
        4
    """

    num_draws: int = 500
    num_chains: int = 4
    num_particles: int = 1000

    def __post_init__(self) -> None:
        for name, count in vars(self).items():
            check_count(name, count)


def _guide_groups(
    program: BoundProgram,
    guide: Program,
    estimates: list[Evidence],
    counts: Counts,
    *,
    resampled: bool,
) -> Groups:
    """All groups of a guide with weights.

    A guide that draws the posterior itself keeps its draws as they are, in their order, and the
    evidence comes from particles with their moments.
    """
    chains = range(counts.num_chains)
    if _draws_posterior(program, guide):
        drawn = [program.draw(guide, counts.num_draws) for _ in chains]
        name = type(guide).__name__
        draws = PosteriorDraws.of_particles(drawn, source=name, estimates=estimates)
        return groups_by_moments(program, replace(draws, particles=()), counts.num_particles)
    size = counts.num_particles if resampled else counts.num_draws
    particles = [program.draw(guide, size) for _ in chains]
    source, num_draws = (_RESAMPLING, counts.num_draws) if resampled else (_GUIDE, None)
    draws = PosteriorDraws.of_particles(particles, num_draws, source=source, estimates=estimates)
    groups = groups_with_model(program, draws)
    note_weights(groups, "posterior", num_particles=size)
    return groups


def _draws_posterior(program: BoundProgram, guide: Program) -> bool:
    """Whether a guide's draws are the posterior's already: a population of equal weights.

    Such draws may be a Markov chain's, and their weights say nothing of how good they are.
    """
    if not isinstance(guide, PopulationGuide):
        return False
    one, other = program.draw(guide, 2).log_weights
    return torch.allclose(one, other, rtol=_ROUNDING, atol=_ROUNDING)


def fit_groups(fit: Fit, *args: object, **options: object) -> Groups:
    """The posterior of each datum's latents under a trained model, from its trained guide.

    Args:
        fit: The result of `lvkam_pyro.fit`.
        *args: The data, those of the training or others.
        **options: Those of `model_groups`; with a ladder the guide is not used, unless it is
            passed.

    Returns:
        The groups that `to_arviz` lists.
    """
    guide = {} if options.get("ladder") is not None else {"guide": fit.guide}
    return model_groups(fit.model, *args, **{**guide, **options})  # type: ignore[arg-type]


def svi_groups(svi: SVI, *args: object, **options: object) -> Groups:
    """The guide's draws of a `pyro.infer.SVI`.

    Args:
        svi: Its model and guide are used, its optimiser is not.
        *args: The model's arguments.
        **options: Those of `model_groups`.
    """
    options = {"guide": svi.guide, "resampled": False, **options}
    return model_groups(svi.model, *args, **options)  # type: ignore[arg-type]


def autoguide_groups(guide: AutoGuide, *args: object, **options: object) -> Groups:
    """The draws of an automatic guide.

    Args:
        guide: The guide, which knows its model.
        *args: The model's arguments.
        **options: Those of `model_groups`.
    """
    options = {"guide": guide, "resampled": False, **options}
    return model_groups(own_model(guide), *args, **options)  # type: ignore[arg-type]


def ladder_groups(ladder: LadderSamples, *, evidence: SomeEvidence = None, seed: int = 0) -> Groups:
    """The chains at temperature 1 as posterior, and the whole ladder; see `model_groups` for more.

    Args:
        ladder: The draws.
        evidence: Estimates of the log evidence of the same data.
        seed: Of the draws of the evidence.

    Returns:
        The groups that `to_arviz` lists; axes are called `data` and `latent`.

    Raises:
        ValueError: If the ladder began at a guide: then its draws do not say their likelihoods.
    """
    if ladder.from_guide:
        raise ValueError(
            "Expected a ladder that began at the prior, but this one began at a guide, so that "
            "only the model knows the log likelihood of its draws. Pass the model and its "
            "arguments, too: to_arviz(model, x, ladder=samples)."
        )
    draws = PosteriorDraws.of_ladder(ladder, _POWER_POSTERIOR, estimates=estimates_of(evidence))
    likelihood = ladder.log_likelihood[:, :, -1].transpose(0, 1).flatten(0, 1)
    with torch.no_grad(), seeded_rng(seed, ladder.log_likelihood):
        return groups_without_model(draws, None, likelihood)


def particle_groups(
    particles: Particles,
    *,
    num_draws: int = 500,
    num_chains: int = 4,
    evidence: SomeEvidence = None,
    seed: int = 0,
) -> Groups:
    """Draws that are resampled from weighted particles, each chain from its share of them.

    Args:
        particles: Independent draws of a guide with their log densities.
        num_draws: Draws a chain.
        num_chains: Chains. The particles are dealt out to them, so that chains are independent.
        evidence: Estimates of the log evidence of the same data.
        seed: Of resampling.

    Returns:
        The groups that `to_arviz` lists; axes are called `data` and `latent`.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a count is below 1, there are fewer particles than chains, or a datum has no
            particle of positive weight.
    """
    check_count("num_draws", num_draws)
    chains = _deal(particles, num_chains)
    # The densities are resampled with the latents.
    carried = [
        replace(p, latents={**p.latents, **{name: getattr(p, name) for name in _DENSITIES}})
        for p in chains
    ]
    with torch.no_grad(), seeded_rng(seed, particles.log_prior):
        draws = PosteriorDraws.of_particles(carried, num_draws, source=_RESAMPLING)
        densities = [draws.latents.pop(name) for name in _DENSITIES]
        draws = replace(draws, particles=chains, estimates=estimates_of(evidence))
        groups = groups_without_model(draws, *densities)
    note_weights(groups, "posterior", num_particles=chains[0].num_particles)
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
