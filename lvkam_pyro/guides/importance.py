"""Posterior draws by importance sampling: any guide as the proposal, its draws resampled."""

import warnings
from typing import Any

import torch
from torch import Tensor

from lvkam_pyro.guides.population import Draw, Population, PopulationGuide
from lvkam_pyro.options import check_count
from lvkam_pyro.statistics.resampling import Resampler, resample_systematic
from lvkam_pyro.statistics.weights import (
    MAX_PARETO_K,
    effective_sample_size,
    largest_weight,
    pareto_k,
    smooth_weights,
)
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import bind, bind_guide
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.session import no_handlers

_MIN_FOR_TAIL = 25
"""With fewer particles no Pareto law is fitted, and nothing is known."""


class ImportanceGuide(PopulationGuide):
    r"""A Pyro guide that proposes posterior draws: another guide's, weighted and resampled.

    .. math:: z_s \sim q(z | x_n), \qquad w_{sn} = \frac{p(x_n, z_s)}{q(z_s | x_n)}, \qquad
              P(z = z_s) \propto w_{sn}

    (sampling importance resampling, Rubin 1987). Under `Predictive`, or wherever fewer draws are
    asked for than `num_particles`, every draw is resampled from a population of that size: train
    on 8 draws out of 512, of which 504 cost no gradient. Where all of them are asked for, those
    of a datum are resampled only if their effective number is below `threshold` times their
    number, and keep their weights otherwise. Resampled draws weigh the same, so that weights count
    once; either way the mean weight is that of the proposal's draws, an unbiased estimate of p(x).

    Resampling cannot mend a proposal that misses the posterior. It warns where a datum's weights
    have Pareto k above 0.7, as they do under the prior with more than a few informative data;
    `diagnose` shows the weights before they are resampled.

    Args:
        model: The Pyro model, with its latents directly in the data plate.
        proposal: A guide for it: `PriorGuide`, `AmortizedGuide`, one of Pyro's autoguides within
            the plate, or one's own. It is not trained by training with this guide.
        num_particles: The least size of a population.
        smooth: Whether to resample by Pareto-smoothed weights, with less variance (Vehtari et al.).
        resampler: The scheme of resampling.
        threshold: From 0 (never, with all draws asked for) to 1 (always).

    Raises:
        TypeError: If the count is no integer.
        ValueError: If the count is below 1 or the threshold not from 0 to 1; when called, if a
            latent lies in a further plate, or a datum has no particle of positive weight.

    References:
        Rubin, D. (1987). The calculation of posterior distributions by data augmentation: comment.
        https://doi.org/10.2307/2289460. Vehtari, A., Simpson, D., Gelman, A., Yao, Y. and Gabry, J.
        (2015). Pareto smoothed importance sampling. https://arxiv.org/abs/1507.02646

    Example:
        >>> import lvkam_pyro as lv
        >>> from pyro.infer import Predictive
        >>> likelihood = lv.NormalLikelihood(3, scale=1.0)
        >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), likelihood)
        >>> guide = ImportanceGuide(model, lv.PriorGuide(model), num_particles=256)
        >>> predictive = Predictive(model, guide=guide, num_samples=10, parallel=True)
        >>> predictive(torch.rand(5, 3))["z"].shape
        torch.Size([10, 5, 2])
    """

    def __init__(
        self,
        model: Program,
        proposal: Program,
        *,
        num_particles: int,
        smooth: bool = True,
        resampler: Resampler = resample_systematic,
        threshold: float = 0.5,
    ) -> None:
        super().__init__(model)
        self.proposal = proposal
        self.num_particles = check_count("num_particles", num_particles)
        self.smooth = smooth
        self.resampler = resampler
        self.threshold = threshold
        if not 0 <= threshold <= 1:
            raise ValueError(
                f"Expected a threshold from 0 to 1, but got {threshold}: it is the share of the "
                "particles below which their effective number leads to resampling."
            )

    def prepare(self, program: BoundProgram) -> Draw:
        """Draws from the proposal, weighted by the model; see `PopulationGuide.prepare`."""

        def draw(num_draws: int) -> tuple[Tensor, Tensor]:
            size = max(num_draws, self.num_particles)
            self.num_evaluations += size
            population = self._propose(program, size)
            points, log_density = population.resample(num_draws, self.resampler)
            if num_draws < size:
                return points, log_density
            poor = effective_sample_size(population.log_weights) < self.threshold * size
            return (
                torch.where(poor.unsqueeze(-1), points, population.points),
                torch.where(poor, log_density, population.log_density),
            )

        return draw

    def diagnose(self, *args: Any, seed: int = 0, **kwargs: Any) -> dict[str, Tensor]:  # noqa: ANN401
        """Diagnostics of the proposal's weights, before they are smoothed and resampled.

        Args:
            *args: The arguments of model and proposal.
            seed: Equal seeds give equal results; the caller's generators are left alone.
            **kwargs: The keyword arguments.

        Returns:
            `ess` (out of `num_particles`), `pareto_k` and `largest_weight`, `(N,)` each.

        Raises:
            TypeError: If `x` is no tensor.
            ValueError: If `x` is empty or not finite.

        Example:
            >>> import lvkam_pyro as lv
            >>> import pyro, pyro.distributions as dist
            >>> def model(x):
            ...     with pyro.plate("data", len(x)):
            ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
            ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            >>> guide = ImportanceGuide(model, lv.PriorGuide(model), num_particles=1000)
            >>> guide.diagnose(torch.zeros(3))["ess"] > 500
            tensor([True, True, True])
        """
        program = bind_guide(bind(self.model, *args, **kwargs), self.proposal)
        with program.session(self.proposal, seed=seed), no_handlers():
            log_weights = self._weigh(program, self.num_particles).log_weights
        return {
            "ess": effective_sample_size(log_weights),
            "pareto_k": pareto_k(log_weights),
            "largest_weight": largest_weight(log_weights),
        }

    def _propose(self, program: BoundProgram, size: int) -> Population:
        """The proposal's draws, with smoothed weights if so wished."""
        population = self._weigh(program, size)
        if not self.smooth:
            return population
        log_weights, k = smooth_weights(population.log_weights)
        # A datum without any weight is refused when it comes to be resampled.
        doubtful = (k > MAX_PARETO_K) & (log_weights.amax(0) > -torch.inf)
        if size >= _MIN_FOR_TAIL and doubtful.any():
            # Without numbers: Python then shows it once, not at every update.
            warnings.warn(
                "ImportanceGuide's weights have Pareto k above 0.7 at some data: their draws are "
                "copies of few particles and do not represent the posterior. See diagnose(x), and "
                "propose from a guide closer to it (AmortizedGuide, LookaheadGuide), or use "
                "Ladder.",
                stacklevel=2,
            )
        return Population(population.points, population.log_joint, log_weights)

    def _weigh(self, program: BoundProgram, size: int) -> Population:
        """The proposal's draws with their weights."""
        particles = program.draw(self.proposal, size)
        points = program.structure.join(particles.latents, particles.num_units)
        return Population(points, particles.log_joint, particles.log_weights)
