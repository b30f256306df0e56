"""Hamiltonian and Langevin kernels: trajectories of several gradient steps, or of one."""

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from lvkam_pyro.ladder.adaptation import Tuning
from lvkam_pyro.ladder.kernel import GradientKernel
from lvkam_pyro.ladder.leapfrog import LANGEVIN_ACCEPTANCE, leapfrog
from lvkam_pyro.ladder.state import GradientState
from lvkam_pyro.ladder.target import Evaluate
from lvkam_pyro.options import check_count, check_share


@dataclass(frozen=True)
class HMC(GradientKernel):
    r"""Hamiltonian Monte Carlo: a trajectory of several leapfrog steps, accepted as a whole.

    Preconditioned and adapted per temperature; `MALA` is one step of it. Each move evaluates the
    model `num_steps` times and goes as much further: worth it where many latents depend on each
    other and MALA diffuses. Each trajectory's step size is jittered, so that none returns to where
    it started (Neal 2011, section 3.2). See `leapfrog` for the move.

    Args:
        num_steps: Leapfrog steps of a trajectory. In the metric's coordinates the posterior is
            nearly round, and three or four steps already cross it.
        target_acceptance: The mean acceptance towards which the step sizes are adapted: 0.65 is
            the best for many latents, more is safer.
        jitter: The share by which a trajectory's step size varies, from 0 to below 1.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If it is below 1, the acceptance is not between 0 and 1, or the jitter is not
            in [0, 1).

    References:
        Neal, R. (2011). MCMC using Hamiltonian dynamics. https://arxiv.org/abs/1206.1901. Beskos,
        A. et al. (2013). Optimal tuning of the hybrid Monte Carlo algorithm.
        https://arxiv.org/abs/1001.4460

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
        >>> ladder = lv.ladder.Ladder(
        ...     num_temperatures=4, num_chains=8, num_warmup=8, num_samples=8, kernel=HMC())
        >>> ladder.sample(model, torch.rand(5, 3)).latents["z"].shape
        torch.Size([8, 8, 5, 2])
    """

    num_steps: int = 4
    target_acceptance: float = 0.75
    jitter: float = 0.2

    def __post_init__(self) -> None:
        check_count("num_steps", self.num_steps)
        check_share("target_acceptance", self.target_acceptance)
        if not 0 <= self.jitter < 1:
            raise ValueError(f"Expected a jitter in [0, 1), but got {self.jitter}. Use e.g. 0.2.")

    def propose(
        self, state: GradientState, temperatures: Tensor, tuning: Tuning, evaluate: Evaluate
    ) -> tuple[GradientState, Tensor]:
        """One trajectory; see `GradientKernel.propose`."""
        return leapfrog(
            state,
            temperatures,
            tuning,
            evaluate,
            num_steps=self.num_steps,
            jitter=self.jitter,
        )


@dataclass(frozen=True)
class MALA(HMC):
    r"""The Metropolis-adjusted Langevin algorithm: HMC of one step, bit for bit, without jitter.

    .. math:: u' = u + \epsilon L \Big( \xi + \frac{\epsilon}{2} L' \nabla \log \pi_t(u) \Big)

    The kernel for any Pyro model with continuous latents, preconditioned and adapted per
    temperature.

    Args:
        target_acceptance: The mean acceptance towards which the step sizes are adapted.

    Raises:
        ValueError: If it is not between 0 and 1.

    References:
        Roberts, G. and Tweedie, R. (1996). Exponential convergence of Langevin distributions and
        their discrete approximations. https://doi.org/10.2307/3318418

    Example:
        >>> import lvkam_pyro as lv
        >>> lv.ladder.Ladder().kernel
        MALA(target_acceptance=0.574)
    """

    num_steps: int = field(default=1, init=False, repr=False)
    target_acceptance: float = LANGEVIN_ACCEPTANCE
    jitter: float = field(default=0.0, init=False, repr=False)


@dataclass(frozen=True)
class ULA(MALA):
    r"""The unadjusted Langevin algorithm: MALA's move, always made. Its draws are biased.

    Its chains converge not to the ladder's densities but to others next to them, at a distance that
    shrinks with the step and that no diagnostic shows: every estimate from its draws has the
    verdict unreliable. It is here to compare with what uses it; take `MALA` for answers.

    The steps are adapted until Metropolis' test, were it made, would accept the given share: that
    is also what is reported as the acceptance. Only moves out of the support are refused.

    Args:
        target_acceptance: That share; nearer to 1, the bias is smaller and the chains slower.

    Raises:
        ValueError: If it is not between 0 and 1.

    References:
        Roberts, G. and Tweedie, R. (1996). Exponential convergence of Langevin distributions and
        their discrete approximations, section 3. https://doi.org/10.2307/3318418

    Example:
        >>> import lvkam_pyro as lv
        >>> lv.ladder.ULA().biased, lv.ladder.MALA().biased
        (True, False)
    """

    biased: ClassVar[bool] = True

    target_acceptance: float = 0.95

    def accept(self, probability: Tensor) -> Tensor:
        """Every move that leads anywhere."""
        return probability > 0
