"""Langevin kernels: one gradient step and noise, with and without Metropolis' correction."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lvkam_pyro.ladder.chains import LadderState, Metric
from lvkam_pyro.ladder.leapfrog import LANGEVIN_ACCEPTANCE, Evaluate, leapfrog
from lvkam_pyro.ladder.run import GradientKernel
from lvkam_pyro.tracing.options import check_share


@dataclass(frozen=True)
class MALA(GradientKernel):
    r"""The Metropolis-adjusted Langevin algorithm, preconditioned and adapted per temperature.

    .. math:: u' = u + \epsilon L \Big( \xi + \frac{\epsilon}{2} L' \nabla \log \pi_t(u) \Big)

    The kernel for any Pyro model with continuous latents: see `LadderRun`, and `leapfrog` for the
    move.

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

    target_acceptance: float = LANGEVIN_ACCEPTANCE

    def __post_init__(self) -> None:
        check_share("target_acceptance", self.target_acceptance)

    def propose(
        self,
        state: LadderState,
        temperatures: Tensor,
        metric: Metric,
        step: Tensor,
        evaluate: Evaluate,
    ) -> tuple[LadderState, Tensor]:
        """One Langevin step; see `GradientKernel.propose`."""
        return leapfrog(state, temperatures, metric, step[:, None], evaluate)


@dataclass(frozen=True)
class ULA(MALA):
    r"""The unadjusted Langevin algorithm: MALA's move, always made. Its draws are biased.

    What its chains converge to is not the power posterior but a law next to it, at a distance that
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
