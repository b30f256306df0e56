"""Where a check's posterior draws come from: a guide, its weighted particles, or a ladder."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from lvkam_pyro.evidence.islands import data_blocks
from lvkam_pyro.ladder.ladder import Ladder, LadderSamples
from lvkam_pyro.tracing.arguments import check_data, hash_data
from lvkam_pyro.tracing.options import check_count
from lvkam_pyro.tracing.parameters import own_parameters
from lvkam_pyro.tracing.particles import Guide, draw_particles
from lvkam_pyro.tracing.prior_guide import PriorGuide
from lvkam_pyro.tracing.session import draw_seed, seeded_rng
from lvkam_pyro.tracing.structure import Model, ModelStructure


@dataclass(frozen=True, eq=False)
class PosteriorDraws:
    """Equally weighted draws of each datum's latents.

    Attributes:
        latents: Site name to draws `(D, N, *inner plates, *event)`.
        ess: How many independent draws they are worth, `(N,)`.
        source: What drew them, for people to read.
        data_hash: A short name of the observations.

    Example:
        >>> draws = PosteriorDraws({"z": torch.zeros(9, 4, 2)}, torch.full((4,), 9.0), "mine", "")
        >>> draws.num_draws
        9
    """

    latents: dict[str, Tensor]
    ess: Tensor
    source: str
    data_hash: str

    @property
    def num_draws(self) -> int:
        """The number of draws D."""
        return len(next(iter(self.latents.values())))


class PosteriorSampler(ABC):
    """Draws from (what it takes for) the posterior of any data of a model.

    Implementing one: define `name` and `draw`.

    Attributes:
        name: For people to read.

    Example:
        >>> isinstance(ImportanceSampler(), PosteriorSampler)
        True
    """

    name: str

    @abstractmethod
    def draw(
        self, model: Model, x: Tensor, num_draws: int, structure: ModelStructure
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Equally weighted draws, from torch's global generator.

        Args:
            model: The Pyro model.
            x: The observations, `(N, ...)`.
            num_draws: D.
            structure: The model's structure.

        Returns:
            Site name to draws `(D, N, ...)`, and their effective number, `(N,)`.
        """

    def num_particles(self, num_draws: int) -> int:
        """What it holds for each datum while it draws."""
        return num_draws


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

    guide: Guide

    @property
    def name(self) -> str:  # type: ignore[override]
        """The guide's class or function."""
        return name_of(self.guide)

    def draw(
        self, model: Model, x: Tensor, num_draws: int, structure: ModelStructure
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Draws of the guide; see `PosteriorSampler.draw`."""
        # Called by another name: a PriorGuide itself would give all data the same draws.
        particles = draw_particles(
            model, lambda data: self.guide(data), x, num_draws, structure=structure
        )
        return particles.latents, torch.full((particles.num_data,), float(num_draws))


@dataclass(frozen=True)
class ImportanceSampler(PosteriorSampler):
    """Particles of a guide, resampled by their weights: what is checked is both together.

    Args:
        guide: What proposes; None: the model's prior.
        particles: Particles for each datum.

    Raises:
        TypeError: If the number is no integer.
        ValueError: If there is no particle.

    Example:
        >>> ImportanceSampler(particles=64).name
        'importance-weighted prior'
    """

    guide: Guide | None = None
    particles: int = 4096

    def __post_init__(self) -> None:
        check_count("particles", self.particles)

    @property
    def name(self) -> str:  # type: ignore[override]
        """The guide's class or function."""
        return f"importance-weighted {'prior' if self.guide is None else name_of(self.guide)}"

    def num_particles(self, num_draws: int) -> int:
        """Its particles."""
        return max(num_draws, self.particles)

    def draw(
        self, model: Model, x: Tensor, num_draws: int, structure: ModelStructure
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Resampled draws; see `PosteriorSampler.draw`."""
        guide = PriorGuide(model) if self.guide is None else self.guide
        particles = draw_particles(model, guide, x, self.particles, structure=structure)
        weights = particles.log_weights.log_softmax(0)
        # D draws of which two are copies of one particle with the chance of `share`.
        share = weights.exp().square().sum(0)
        return particles.resample(num_draws), 1 / (share + (1 - share) / num_draws)


@dataclass(frozen=True)
class LadderSampler(PosteriorSampler):
    """The draws at temperature 1 of a ladder, run anew for every data.

    Args:
        ladder: What to run.

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

    def draw(
        self, model: Model, x: Tensor, num_draws: int, structure: ModelStructure
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Draws of all chains, evenly thinned; see `PosteriorSampler.draw`."""
        return thin(self.ladder.sample(model, x, seed=draw_seed()), num_draws)


Posterior = PosteriorDraws | PosteriorSampler | Ladder | LadderSamples | Guide | None
"""What a check takes for a posterior; see `draw_posterior`."""


def thin(samples: LadderSamples, num_draws: int) -> tuple[dict[str, Tensor], Tensor]:
    """Draws of a ladder at temperature 1, evenly thinned, and their effective number.

    Args:
        samples: What the ladder drew.
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
    """What draws from the posterior of any data.

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
    model: Model, x: Tensor, posterior: Posterior = None, *, num_draws: int = 1000, seed: int = 0
) -> PosteriorDraws:
    """Equally weighted posterior draws of each datum's latents, from whatever can make them.

    Args:
        model: A Pyro model of one positional tensor, with a data plate along its first axis.
        x: The observations, of shape `(N, ...)`.
        posterior: A guide (its own draws), an `ImportanceSampler` (a guide's weighted draws), a
            `Ladder` to run or the `LadderSamples` of one, or such draws already; None is
            importance sampling from the prior.
        num_draws: D, where it is not decided already.
        seed: Equal seeds give equal draws; the caller's generators are left alone.

    Raises:
        TypeError: If `x` is no tensor, or `posterior` nothing of the above.
        ValueError: If the draws are of other data, or a datum has no particle of positive weight.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> draws = draw_posterior(problem.model, problem.x, num_draws=50)
        >>> draws.latents["z"].shape
        torch.Size([50, 4, 1])
    """
    check_data(x)
    check_count("num_draws", num_draws, minimum=2)
    if isinstance(posterior, PosteriorDraws | LadderSamples):
        _check_same_data(x, posterior.data_hash)
    if isinstance(posterior, PosteriorDraws):
        return posterior
    if isinstance(posterior, LadderSamples):
        latents, ess = thin(posterior, min(num_draws, posterior.log_likelihood[..., 0, 0].numel()))
        name = f"ladder of {len(posterior.temperatures)} temperatures"
        return PosteriorDraws(latents, ess, name, posterior.data_hash)
    sampler, structure = as_sampler(posterior), ModelStructure.of(model, x)
    with torch.no_grad(), own_parameters(model), seeded_rng(seed, x):
        latents, ess = draw_blocks(sampler, model, x, num_draws, structure)
    return PosteriorDraws(latents, ess, sampler.name, hash_data(x))


def draw_blocks(
    sampler: PosteriorSampler, model: Model, x: Tensor, num_draws: int, structure: ModelStructure
) -> tuple[dict[str, Tensor], Tensor]:
    """Draws of all data, some data at a time, so that memory stays bounded."""
    width = max(1, x[0].numel() + sum(site.num_coordinates for site in structure.latents))
    count = sampler.num_particles(num_draws) * width
    parts = [
        sampler.draw(model, block, num_draws, structure)
        for block in data_blocks(x, structure, count)
    ]
    names = parts[0][0]
    joined = {name: torch.cat([latents[name] for latents, _ in parts], 1) for name in names}
    return joined, torch.cat([ess for _, ess in parts])


def name_of(guide: Guide) -> str:
    """What a guide is called: its function's name, or its class's.

    Example:
        >>> name_of(lambda x: None)
        '<lambda>'
    """
    return str(getattr(guide, "__name__", type(guide).__name__))


def _check_same_data(x: Tensor, data_hash: str) -> None:
    if data_hash != hash_data(x):
        raise ValueError(
            f"Expected posterior draws of these data of shape {tuple(x.shape)}, got draws of "
            "others. Pass the same x."
        )
