"""Posterior draws by importance sampling: any guide as the proposal, its draws resampled."""

import warnings

import torch
from torch import Tensor

from lvkam_pyro.guides.population import Draw, Population, PopulationGuide
from lvkam_pyro.options import check_count
from lvkam_pyro.statistics.resampling import Resampler, resample_systematic
from lvkam_pyro.statistics.weights import (
    MAX_PARETO_K,
    effective_sample_size,
    smooth_weights,
)
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram

_MIN_FOR_TAIL = 25
"""With fewer particles no Pareto distribution is fitted, and nothing is known."""


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
    `lv.evidence.Importance` with the same guide shows the weights before they are resampled.

    Args:
        model: The Pyro model.
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

    def _propose(self, program: BoundProgram, size: int) -> Population:
        """The proposal's draws with their weights."""
        particles = program.draw(self.proposal, size)
        points = program.structure.join(particles.latents, particles.num_units)
        log_weights = particles.log_weights
        if self.smooth:
            log_weights = _smoothed(log_weights)
        return Population(points, particles.log_joint, log_weights)


def _smoothed(weights: Tensor) -> Tensor:
    """Pareto-smoothed log weights `(S, U)`; it warns where their tail is too heavy to count on."""
    log_weights, k = smooth_weights(weights)
    # A datum without any weight is refused when it comes to be resampled.
    doubtful = (k > MAX_PARETO_K) & (log_weights.amax(0) > -torch.inf)
    if len(weights) >= _MIN_FOR_TAIL and doubtful.any():
        # Without numbers: Python then shows it once, not at every update.
        warnings.warn(
            "ImportanceGuide's weights have Pareto k above 0.7 at some data: their draws are "
            "copies of few particles and do not represent the posterior. See the diagnostics of "
            "lv.evidence.Importance with the same guide, and propose from one closer to the "
            "posterior (AmortizedGuide, LookaheadGuide), or use Ladder.",
            stacklevel=2,
        )
    return log_weights
