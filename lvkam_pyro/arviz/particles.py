"""Particles as a source: of a model with a guide, of a fit, of a ladder, or by themselves."""

from dataclasses import replace

import torch
import xarray as xr

from lvkam_pyro.arviz.datasets import Groups
from lvkam_pyro.arviz.draws import PosteriorDraws
from lvkam_pyro.arviz.groups import groups_by_moments, groups_with_model, groups_without_model
from lvkam_pyro.arviz.marginal import estimates_of
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
"""The posterior's attribute `sampler` of resampled draws."""

_POWER_POSTERIOR = "power posterior"
"""The same of those of a ladder."""

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
    seed: int = 0,
    **kwargs: object,
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
        seed: Seed of all draws. The caller's random state stays as it was.
        **kwargs: The program's keyword arguments.

    Returns:
        The groups that `to_arviz` lists.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If a count is below 1, the data are not finite, the ladder or evidence is of
            other data, or a unit has no particle of positive weight.
    """
    counts = {"num_draws": num_draws, "num_chains": num_chains, "num_particles": num_particles}
    check_counts(**counts)
    program = bind(model, *args, **kwargs)
    estimates = estimates_of(evidence, program, ladder)
    proposal = PriorGuide(program.model) if guide is None else guide
    program = bind_guide(program, proposal)
    with program.session(guide, seed=seed):
        if ladder is not None:
            chains = 0 if guide is None else ladder.num_chains
            particles = [program.draw(proposal, num_particles) for _ in range(chains)]
            draws = PosteriorDraws.of_ladder(
                ladder, _POWER_POSTERIOR, particles=particles, estimates=estimates
            )
            return groups_with_model(program, draws)
        if draws_posterior(program, proposal):
            return population_groups(program, proposal, estimates, **counts)
        particles = [program.draw(proposal, num_particles) for _ in range(num_chains)]
        draws = PosteriorDraws.of_particles(
            particles, num_draws, source=_RESAMPLING, estimates=estimates
        )
        groups = groups_with_model(program, draws)
    note_weights(groups, "posterior", num_particles=num_particles)
    return groups


def check_counts(**counts: int) -> None:
    """Every count is an integer above 0.

    Raises:
        TypeError, ValueError: If one is not.

    Example:
        >>> check_counts(num_draws=3)
    """
    for name, count in counts.items():
        check_count(name, count)


def draws_posterior(program: BoundProgram, guide: Program) -> bool:
    """Whether a guide's draws are the posterior's already: a population of equal weights.

    Such draws may be a Markov chain's, and their weights say nothing of how good they are.

    Args:
        program: The program, in its session.
        guide: The guide.
    """
    if not isinstance(guide, PopulationGuide):
        return False
    one, other = program.draw(guide, 2).log_weights
    return torch.allclose(one, other, rtol=_ROUNDING, atol=_ROUNDING)


def population_groups(
    program: BoundProgram,
    guide: Program,
    estimates: list[Evidence],
    *,
    num_draws: int,
    num_chains: int,
    num_particles: int,
) -> Groups:
    """All groups of a guide that draws the posterior, in the order in which it draws.

    Args:
        program: The program, in its session.
        guide: The guide.
        estimates: Estimates of the log evidence of the same data.
        num_draws: Draws a chain, which is one population.
        num_chains: Chains.
        num_particles: Particles a chain for the evidence, if there is no estimate.
    """
    chains = [program.draw(guide, num_draws) for _ in range(num_chains)]
    draws = PosteriorDraws.of_particles(chains, source=type(guide).__name__, estimates=estimates)
    return groups_by_moments(program, replace(draws, particles=()), num_particles)


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


def ladder_groups(
    ladder: LadderSamples,
    *args: object,
    model: Program | None = None,
    evidence: SomeEvidence = None,
    seed: int = 0,
    **kwargs: object,
) -> Groups:
    """The chains at temperature 1 as posterior, and the whole ladder.

    Args:
        ladder: The draws.
        *args: The arguments of the model.
        model: The model, for predictions and for the names of its plates; None: the axes are
            called `data` and `latent`, and there are no predictions.
        evidence: Estimates of the log evidence of the same data.
        seed: Of the predictions.
        **kwargs: The keyword arguments of the model.

    Returns:
        The groups that `to_arviz` lists.

    Raises:
        ValueError: If there is a model without data or the other way round, or what belongs to
            other data.
    """
    program = _bound(model, args, kwargs)
    if program is not None:
        return model_groups(program, ladder=ladder, evidence=evidence, seed=seed)
    draws = PosteriorDraws.of_ladder(ladder, _POWER_POSTERIOR, estimates=estimates_of(evidence))
    likelihood = ladder.log_likelihood[:, :, -1].transpose(0, 1).flatten(0, 1)
    with torch.no_grad(), seeded_rng(seed, ladder.log_likelihood):
        return groups_without_model(draws, None, likelihood)


def particle_groups(
    particles: Particles,
    *args: object,
    model: Program | None = None,
    num_draws: int = 500,
    num_chains: int = 4,
    evidence: SomeEvidence = None,
    seed: int = 0,
    **kwargs: object,
) -> Groups:
    """Draws that are resampled from weighted particles, each chain from its share of them.

    Args:
        particles: Independent draws of a guide with their log densities.
        *args: The arguments of the model.
        model: The model, for predictions and for the names of its plates; None: the axes are
            called `data` and `latent`, and there are no predictions.
        num_draws: Draws a chain.
        num_chains: Chains. The particles are dealt out to them, so that chains are independent.
        evidence: Estimates of the log evidence of the same data.
        seed: Of resampling and predictions.
        **kwargs: The keyword arguments of the model.

    Returns:
        The groups that `to_arviz` lists.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a count is below 1, there are fewer particles than chains, a model without
            data or the other way round, or a datum without a particle of positive weight.
    """
    program = _bound(model, args, kwargs)
    check_count("num_draws", num_draws)
    chains = _deal(particles, num_chains)
    estimates = estimates_of(evidence, program)
    if program is not None:
        _check_particles(program, particles)
        with program.session(seed=seed):
            draws = PosteriorDraws.of_particles(
                chains, num_draws, source=_RESAMPLING, estimates=estimates
            )
            groups = groups_with_model(program, draws)
    else:
        with torch.no_grad(), seeded_rng(seed, particles.log_prior):
            groups = _alone(chains, num_draws, estimates)
    note_weights(groups, "posterior", num_particles=chains[0].num_particles)
    return groups


def _alone(
    chains: list[Particles], num_draws: int, estimates: list[Evidence]
) -> dict[str, xr.Dataset]:
    """The groups of particles without their program: densities are resampled with the latents."""
    carried = [
        replace(p, latents={**p.latents, **{name: getattr(p, name) for name in _DENSITIES}})
        for p in chains
    ]
    draws = PosteriorDraws.of_particles(carried, num_draws, source=_RESAMPLING)
    log_prior, log_likelihood = (draws.latents.pop(name) for name in _DENSITIES)
    draws = replace(draws, particles=chains, estimates=estimates)
    return groups_without_model(draws, log_prior, log_likelihood)


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


def _check_particles(program: BoundProgram, particles: Particles) -> None:
    names = {site.name for site in program.structure.latents}
    if program.num_units != particles.num_units or names != set(particles.latents):
        raise ValueError(
            f"Expected the model and the data of these particles of {sorted(particles.latents)} "
            f"for {particles.num_units} data, got a model of {sorted(names)} and "
            f"{program.num_units}."
        )


def _bound(
    model: Program | None, args: tuple[object, ...], kwargs: dict[str, object]
) -> BoundProgram | None:
    """The program, if there is one; model and data come together or not at all."""
    if isinstance(model, BoundProgram):
        return bind(model, *args, **kwargs)
    has_data = bool(args or kwargs)
    if (model is not None) != has_data:
        raise ValueError(
            f"Expected a model with its data, or neither, but there is no "
            f"{'data' if model is not None else 'model'}. Call to_arviz(source, x, model=model)."
        )
    return None if model is None else bind(model, *args, **kwargs)
