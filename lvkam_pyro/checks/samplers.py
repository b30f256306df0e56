"""The sources of a check's posterior draws: a guide, its weighted particles, or a ladder."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lvkam_pyro.arviz.draws import PosteriorDraws
from lvkam_pyro.arviz.marginal import check_same_data
from lvkam_pyro.ladder.ladder import Ladder, LadderSamples
from lvkam_pyro.options import check_count
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind, bind_guide
from lvkam_pyro.tracing.prior_guide import PriorGuide
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.session import draw_seed


class PosteriorSampler(ABC):
    """Draws from (what it takes for) the posterior of any data of a model.

    Implementing one: define `name` and `draw`, and `guide` and `particles` where it has them.

    Attributes:
        name: For people to read.
        guide: The proposal that it runs; None if it runs none.
        particles: The number that it holds for each datum while it draws, beside the draws.

    Example:
        >>> isinstance(ImportanceSampler(), PosteriorSampler)
        True
    """

    name: str
    guide: Program | None = None
    particles: int = 0

    @abstractmethod
    def draw(self, program: BoundProgram, num_draws: int) -> tuple[dict[str, Tensor], Tensor]:
        """Equally weighted draws, from torch's global generator.

        Args:
            program: The program on the data, seen with the proposal, in its session.
            num_draws: D.

        Returns:
            Site name to draws `(D, U, ...)`, and their effective number, `(U,)`.
        """


@dataclass(frozen=True)
class GuideSampler(PosteriorSampler):
    """A guide's own draws, unweighted: what is checked is the guide.

    Args:
        guide: A guide of the model, for any data.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> GuideSampler(lv.PriorGuide(problem.model)).name
        'PriorGuide'
    """

    guide: Program

    @property
    def name(self) -> str:  # type: ignore[override]
        """The guide's class or function."""
        return name_of(self.guide)

    def draw(self, program: BoundProgram, num_draws: int) -> tuple[dict[str, Tensor], Tensor]:
        """Draws of the guide; see `PosteriorSampler.draw`."""
        # Under another name: a `PriorGuide` itself would give all data the same draws.
        guide = partial(self.guide) if isinstance(self.guide, PriorGuide) else self.guide
        latents = program.draw(guide, num_draws).latents
        return latents, torch.full((program.num_units,), float(num_draws))


@dataclass(frozen=True)
class ImportanceSampler(PosteriorSampler):
    """Particles of a guide, resampled by their weights: what is checked is both together.

    Args:
        guide: The proposal; None: the model's prior.
        particles: Particles for each datum.

    Raises:
        TypeError: If the count is no integer.
        ValueError: If there is no particle.

    Example:
        >>> ImportanceSampler(particles=64).name
        'importance-weighted prior'
    """

    guide: Program | None = None
    particles: int = 4096

    def __post_init__(self) -> None:
        check_count("particles", self.particles)

    @property
    def name(self) -> str:  # type: ignore[override]
        """The guide's class or function."""
        return f"importance-weighted {'prior' if self.guide is None else name_of(self.guide)}"

    def draw(self, program: BoundProgram, num_draws: int) -> tuple[dict[str, Tensor], Tensor]:
        """Resampled draws; see `PosteriorSampler.draw`."""
        guide = PriorGuide(program.model) if self.guide is None else self.guide
        particles = program.draw(guide, self.particles)
        weights = particles.log_weights.log_softmax(0)
        # D draws of which two are copies of one particle with the chance of `share`.
        share = weights.exp().square().sum(0)
        return particles.resample(num_draws), 1 / (share + (1 - share) / num_draws)


@dataclass(frozen=True)
class LadderSampler(PosteriorSampler):
    """The draws at temperature 1 of a ladder, run anew for every data.

    Args:
        ladder: The ladder to run.

    Example:
        >>> import lvkam_pyro as lv
        >>> LadderSampler(lv.ladder.Ladder(num_temperatures=8)).name
        'ladder of 8 temperatures'
    """

    ladder: Ladder

    @property
    def name(self) -> str:  # type: ignore[override]
        """The number of its temperatures."""
        return f"ladder of {self.ladder.num_temperatures} temperatures"

    def draw(self, program: BoundProgram, num_draws: int) -> tuple[dict[str, Tensor], Tensor]:
        """Draws of all chains, evenly thinned; see `PosteriorSampler.draw`."""
        return thin(self.ladder.sample(program, seed=draw_seed()), num_draws)


Posterior: TypeAlias = PosteriorDraws | PosteriorSampler | Ladder | LadderSamples | Program | None
"""A source of posterior draws; see `draw_posterior`."""


def thin(samples: LadderSamples, num_draws: int) -> tuple[dict[str, Tensor], Tensor]:
    """Draws of a ladder at temperature 1, evenly thinned, and their effective number.

    Args:
        samples: The draws of the ladder.
        num_draws: D.

    Returns:
        Site name to draws `(D, N, ...)`, and their effective number, `(N,)`.

    Raises:
        ValueError: If the ladder has fewer draws.
    """
    total = samples.log_likelihood.shape[:2].numel()
    if num_draws > total:
        raise ValueError(
            f"Expected a ladder of at least {num_draws} draws, got {total} ({samples.num_chains} "
            "chains). Lengthen it (num_samples), or ask for fewer draws."
        )
    index = torch.linspace(0, total - 1, num_draws).round().long()
    latents = {name: value.flatten(0, 1)[index] for name, value in samples.latents.items()}
    return latents, samples.ess[-1].clamp(max=num_draws).float()


def as_sampler(posterior: Posterior) -> PosteriorSampler:
    """The sampler that a source of posterior draws is for any data.

    Args:
        posterior: See `draw_posterior`; draws of given data are none.

    Raises:
        TypeError: If it is no sampler, guide or ladder.

    Example:
        >>> as_sampler(None).name
        'importance-weighted prior'
    """
    if posterior is None:
        return ImportanceSampler()
    if isinstance(posterior, PosteriorSampler):
        return posterior
    if isinstance(posterior, Ladder):
        return LadderSampler(posterior)
    if callable(posterior):
        return GuideSampler(posterior)
    raise TypeError(
        "Expected what can draw from the posterior of new data (a guide, a PosteriorSampler, a "
        f"Ladder or None), but got {type(posterior).__name__}, which is of given data."
    )


def draw_posterior(
    model: Program,
    *args: Any,
    posterior: Posterior = None,
    num_draws: int = 1000,
    seed: int = 0,
    **kwargs: Any,
) -> PosteriorDraws:
    """Equally weighted posterior draws of each unit's latents, from whatever can make them.

    Args:
        model: A Pyro program, or a bound program, which stands for its arguments too.
        *args: The program's arguments.
        posterior: A guide (its own draws), an `ImportanceSampler` (a guide's weighted draws), a
            `Ladder` to run or the `LadderSamples` of one, or such draws already; None is
            importance sampling from the prior.
        num_draws: D, where it is not decided already.
        seed: Equal seeds give equal draws; the caller's generators are left alone.
        **kwargs: The program's keyword arguments.

    Raises:
        TypeError: If the data are no tensors, or `posterior` nothing of the above.
        ValueError: If the draws are of other data, or a unit has no particle of positive weight.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> draws = draw_posterior(problem.model, problem.x, num_draws=50)
        >>> draws.latents["z"].shape
        torch.Size([50, 4, 1])
    """
    check_count("num_draws", num_draws, minimum=2)
    program = bind(model, *args, **kwargs)
    if isinstance(posterior, PosteriorDraws | LadderSamples):
        check_same_data(program, {"posterior": posterior.data_hash})
    if isinstance(posterior, PosteriorDraws):
        return posterior
    if isinstance(posterior, LadderSamples):
        latents, ess = thin(posterior, min(num_draws, posterior.log_likelihood[..., 0, 0].numel()))
        name = f"ladder of {len(posterior.temperatures)} temperatures"
        return PosteriorDraws(latents, ess, name, posterior.data_hash)
    sampler = as_sampler(posterior)
    program = bind_sampler(program, sampler)
    with program.session(sampler.guide, seed=seed):
        latents, ess = draw_blocks(sampler, program, num_draws)
    return PosteriorDraws(latents, ess, sampler.name, program.data_hash)


def bind_sampler(program: BoundProgram, sampler: PosteriorSampler) -> BoundProgram:
    """The program, seen with the sampler's proposal.

    Raises:
        ValueError: If that is no density on the support of the program's latents.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> program = lv.bind(problem.model, problem.x)
        >>> bind_sampler(program, ImportanceSampler()) is program
        True
    """
    return program if sampler.guide is None else bind_guide(program, sampler.guide)


def draw_blocks(
    sampler: PosteriorSampler, program: BoundProgram, num_draws: int
) -> tuple[dict[str, Tensor], Tensor]:
    """Draws of all data, some data at a time, so that memory stays bounded."""
    width = max(num_draws, sampler.particles) * program.values_per_unit
    parts = [sampler.draw(block, num_draws) for block in program.blocks(width)]
    names = parts[0][0]
    joined = {name: program.join([latents[name] for latents, _ in parts], 1) for name in names}
    return joined, program.join([ess for _, ess in parts])


def name_of(guide: Program) -> str:
    """The name of a guide: its function's, or its class's.

    Example:
        >>> name_of(lambda x: None)
        '<lambda>'
    """
    return str(getattr(guide, "__name__", type(guide).__name__))
