"""Weighted particles between prior and posterior: reweighted, resampled or not, moved."""

import torch
from torch import Tensor

from lvkam_pyro.ladder.adaptation import Tuning
from lvkam_pyro.ladder.leapfrog import metropolis_step
from lvkam_pyro.ladder.state import GradientState, tempered
from lvkam_pyro.ladder.target import GradientTarget
from lvkam_pyro.statistics.jackknife import log_mean_exp
from lvkam_pyro.statistics.resampling import resample_systematic
from lvkam_pyro.statistics.weights import effective_sample_size


class Population:
    r"""Weighted particles of each datum on their way from one temperature to the next.

    .. math:: \log \frac{\hat Z_T}{Z_0} = \sum_k \log \sum_i W_i e^{(t_{k+1} - t_k) l_i}

    with the weights W carried from step to step and equal only after a resampling (Del Moral,
    Doucet and Jasra 2006, https://doi.org/10.1111/j.1467-9868.2006.00553.x, section 3.2); without
    any it is annealed importance sampling (Neal 2001, https://doi.org/10.1023/A:1008923215028).

    Args:
        target: The program.
        position: Exact draws of the density at the first temperature, `(S, N, D)`.
        temperature: The first temperature of each datum, `(N,)`; None is 0.
        num_islands: R, which divides S; islands are resampled by themselves.

    Attributes:
        state: Where the particles stand, with axes `(1, S, N)`.
        temperature: Where each datum's population stands, `(N,)`.
        log_weights: Since the last resampling, `(R, S / R, N)`.
        log_gains: The log mean weights that resamplings have cashed in, `(R, N)`.

    Example:
        >>> import pyro, pyro.distributions as dist, lvkam_pyro as lv
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(2)
        >>> target = GradientTarget(lv.bind(model, x))
        >>> population = Population(target, torch.randn(64, 2, 1), num_islands=4)
        >>> population.reweight(torch.tensor([0.5, 1.0]).double())
        >>> population.log_ratio.shape, population.pooled_log_weights.shape
        (torch.Size([4, 2]), torch.Size([64, 2]))
    """

    def __init__(
        self,
        target: GradientTarget,
        position: Tensor,
        *,
        temperature: Tensor | None = None,
        num_islands: int = 1,
    ) -> None:
        self.target = target
        self.state: GradientState = target.state_at(position[None])
        zeros = torch.zeros_like(self.state.log_likelihood[0])
        self.temperature = zeros[0] if temperature is None else temperature
        self.log_weights = zeros.unflatten(0, (num_islands, -1))
        self.log_gains = zeros[:num_islands]

    @property
    def log_ratio(self) -> Tensor:
        """Each island's estimate of the log ratio of normalisers, `(R, N)`."""
        return self.log_gains + log_mean_exp(self.log_weights, 1)

    @property
    def pooled_log_weights(self) -> Tensor:
        """The log weights of all particles beside each other, `(S, N)`."""
        return (self.log_weights + self.log_gains[:, None]).flatten(0, 1)

    def reweight(self, temperature: Tensor) -> None:
        """Weigh the particles as draws at the next temperature of each datum, `(N,)`."""
        increment = tempered(temperature - self.temperature, self.state.log_likelihood[0])
        self.log_weights = self.log_weights + increment.view_as(self.log_weights)
        self.temperature = temperature

    def resample(self, threshold: float) -> None:
        """Resample the islands whose share of effective particles is below a threshold."""
        size = self.log_weights.shape[1]
        by_particle = self.log_weights.transpose(0, 1)
        effective = effective_sample_size(by_particle.flatten(1)).view_as(by_particle[0])
        # An island without any weight has nothing to resample from: it stays, and counts nothing.
        chosen = (effective < threshold * size) & (effective > 0)
        if not bool(chosen.any()):
            return
        index = _draw_ancestors(self.log_weights, chosen)
        gained = torch.where(chosen, log_mean_exp(self.log_weights, 1), 0.0)
        self.state = self.state.select(index)
        self.log_weights = torch.where(chosen[:, None], 0.0, self.log_weights)
        self.log_gains = self.log_gains + gained

    def move(self, tuning: Tuning) -> Tensor:
        """One move at the present temperatures; the acceptance probabilities, `(1, S, N)`.

        Args:
            tuning: The metric and the step sizes, of one temperature.
        """
        temperature = self.temperature[None, None]
        self.state, probability = metropolis_step(
            self.state, temperature, tuning, self.target.state_at
        )
        return probability


def _draw_ancestors(log_weights: Tensor, chosen: Tensor) -> Tensor:
    """The particles `(1, S, N)` to go on with: drawn in the chosen islands `(R, N)`, else all."""
    size = log_weights.shape[1]
    safe = torch.where(chosen[:, None], log_weights, 0.0).transpose(0, 1)
    drawn = resample_systematic(safe.flatten(1), size).view_as(safe).transpose(0, 1)
    stay = torch.arange(size, device=drawn.device)[None, :, None]
    first = size * torch.arange(len(log_weights), device=drawn.device)[:, None, None]
    return (first + torch.where(chosen[:, None], drawn, stay)).flatten(0, 1)[None]
