"""Hamiltonian Monte Carlo as a ladder's kernel."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lvkam_pyro.ladder.chains import LadderState, Metric
from lvkam_pyro.ladder.leapfrog import Evaluate, leapfrog
from lvkam_pyro.ladder.run import GradientKernel
from lvkam_pyro.tracing.options import check_count, check_share

_JITTER = 0.2


@dataclass(frozen=True)
class HMC(GradientKernel):
    r"""Hamiltonian Monte Carlo: a trajectory of several leapfrog steps, accepted as a whole.

    Preconditioned and adapted per temperature as `MALA` is, which is one step of it. Each move
    evaluates the model `num_steps` times and goes as much further: worth it where many latents
    depend on each other and MALA diffuses. Each trajectory's step size is jittered by up to a
    fifth, so that none returns to where it started (Neal 2011, section 3.2).

    Args:
        num_steps: Leapfrog steps of a trajectory. In the metric's coordinates the posterior is
            nearly round, and three or four steps already cross it.
        target_acceptance: The mean acceptance towards which the step sizes are adapted: 0.65 is
            the best for many latents, more is safer.

    Raises:
        TypeError: If the number is no integer.
        ValueError: If it is below 1, or the acceptance is not between 0 and 1.

    References:
        Neal, R. (2011). MCMC using Hamiltonian dynamics. https://arxiv.org/abs/1206.1901. Beskos,
        A. et al. (2013). Optimal tuning of the hybrid Monte Carlo algorithm.
        https://arxiv.org/abs/1001.4460

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
        >>> ladder = lv.ladder.Ladder(
        ...     num_temperatures=4, num_chains=8, num_warmup=8, num_samples=8, kernel=HMC())
        >>> ladder.sample(model, torch.rand(5, 3)).latents["z"].shape
        torch.Size([8, 8, 5, 2])
    """

    num_steps: int = 4
    target_acceptance: float = 0.75

    def __post_init__(self) -> None:
        check_count("num_steps", self.num_steps)
        check_share("target_acceptance", self.target_acceptance)

    def propose(
        self,
        state: LadderState,
        temperatures: Tensor,
        metric: Metric,
        step: Tensor,
        evaluate: Evaluate,
    ) -> tuple[LadderState, Tensor]:
        """One trajectory; see `GradientKernel.propose`."""
        jitter = 1 + _JITTER * (2 * torch.rand_like(state.log_prior) - 1)
        steps = step[:, None] * jitter
        return leapfrog(state, temperatures, metric, steps, evaluate, num_steps=self.num_steps)
