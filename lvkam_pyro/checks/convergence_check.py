"""Whether the chains of a ladder have converged and moved, temperature by temperature."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lvkam_pyro.checks.check import CheckResult, Table
from lvkam_pyro.checks.finding import Finding, Severity
from lvkam_pyro.evidence.evidence import to_double
from lvkam_pyro.evidence.verdict import MAX_RHAT
from lvkam_pyro.ladder.ladder import LadderSamples

MIN_SWAP_RATE = 0.1
"""Below it, states hardly pass between two temperatures."""

MIN_ESS = 100.0
_NUM_ROWS = 8


@dataclass(frozen=True, eq=False)
class ConvergenceCheck(CheckResult):
    """The convergence of the chains at T temperatures, for each of N data.

    Attributes:
        temperatures: `(T,)`.
        rhat: R-hat of the log likelihood between whole chains, `(T, N)`.
        ess: Effective number of draws of the mean log likelihood, `(T, N)`.
        swap_rate: Mean probability of exchange with the next temperature, `(T - 1, N)`.
        acceptance: Mean acceptance of moves, `(T, N)`.
        num_chains: C.
        num_draws: Kept draws of each chain.
        biased: Whether the chains converge to another distribution than the power posteriors.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> ladder = lv.ladder.Ladder(num_temperatures=6, num_warmup=40, num_samples=60)
        >>> check = check_convergence(ladder.sample(problem.model, problem.x))
        >>> check.rhat.shape
        torch.Size([6, 4])
    """

    title: ClassVar[str] = "Convergence of the ladder"
    question: ClassVar[str] = "Have the chains of every temperature forgotten where they started?"

    temperatures: Tensor
    rhat: Tensor
    ess: Tensor
    swap_rate: Tensor
    acceptance: Tensor
    num_chains: int
    num_draws: int
    biased: bool

    @property
    def headline(self) -> str:
        """The worst R-hat and the least rate of exchange."""
        return (
            f"worst R-hat {float(self.rhat.max()):.3f}, least exchange "
            f"{float(self.swap_rate.min()):.0%}"
        )

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Chains that disagree, barely move, hardly exchange, or converge elsewhere."""
        tests = (
            (
                ~(self.rhat <= MAX_RHAT),
                Severity.ERROR,
                f"R-hat above {MAX_RHAT} (worst {float(self.rhat.max()):.2f})",
                "Lengthen the chains (num_warmup, num_samples), or add temperatures.",
            ),
            (
                self.ess < MIN_ESS,
                Severity.WARNING,
                f"fewer than {MIN_ESS:.0f} effective draws (least {float(self.ess.min()):.0f})",
                "Keep more draws (num_samples, num_chains), or thin them more.",
            ),
            (
                self.swap_rate < MIN_SWAP_RATE,
                Severity.WARNING,
                f"exchange with the next temperature below {MIN_SWAP_RATE:.0%} (least "
                f"{float(self.swap_rate.min()):.1%})",
                "Add temperatures, or place them by a pilot run (EqualLengthSchedule, Adaptive).",
            ),
        )
        found = [
            Finding(severity, self.title, f"{_where(failed)} have {text}.", remedy)
            for failed, severity, text, remedy in tests
            if bool(failed.any())
        ]
        if self.biased:
            text = (
                "the kernel makes no Metropolis correction: its chains converge to another "
                "distribution."
            )
            found.append(Finding(Severity.WARNING, self.title, text, "Use MALA or HMC."))
        return tuple(found)

    @property
    def caveats(self) -> tuple[str, ...]:
        """The limits of chains."""
        return (
            "chains that all miss a mode agree with each other.",
            f"the worst of {self.rhat.numel()} values of R-hat is above 1 by chance alone.",
        )

    def table(self) -> Table:
        """The values at some of the temperatures, over the data."""
        header = ["temperature", "R-hat", "worst", "ESS", "least", "swaps up", "least", "accepted"]
        count = len(self.temperatures)
        rows = torch.linspace(0, count - 1, min(count, _NUM_ROWS)).round().long().tolist()
        return [header, *(self._row(index) for index in rows)]

    def _row(self, index: int) -> list[str]:
        rhat, ess = self.rhat[index], self.ess[index]
        is_last = index == len(self.temperatures) - 1
        swaps = [] if is_last else [self.swap_rate[index].median(), self.swap_rate[index].min()]
        return [
            f"{float(self.temperatures[index]):.3g}",
            f"{float(rhat.median()):.3f}",
            f"{float(rhat.max()):.3f}",
            f"{float(ess.median()):.0f}",
            f"{float(ess.min()):.0f}",
            *([f"{float(rate):.0%}" for rate in swaps] or ["", ""]),
            f"{float(self.acceptance[index].mean()):.0%}",
        ]


def check_convergence(samples: LadderSamples) -> ConvergenceCheck:
    """Judge the chains of a ladder.

    Args:
        samples: The draws of `Ladder.sample`.

    References:
        Vehtari, A. et al. (2021). Rank-normalization, folding, and localization: an improved R-hat.
        https://arxiv.org/abs/1903.08008

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> short = lv.ladder.Ladder(num_temperatures=4, num_warmup=0, num_samples=4)
        >>> check_convergence(short.sample(problem.model, problem.x)).verdict
        'error'
    """
    return ConvergenceCheck(
        temperatures=to_double(samples.temperatures),
        rhat=to_double(samples.rhat),
        ess=to_double(samples.ess),
        swap_rate=to_double(samples.swap_rate),
        acceptance=to_double(samples.acceptance),
        num_chains=samples.num_chains,
        num_draws=len(samples.log_likelihood),
        biased=samples.biased,
    )


def _where(failed: Tensor) -> str:
    """How many data, and at how many temperatures."""
    return (
        f"{int(failed.any(0).sum())} of {failed.shape[1]} data (at {int(failed.any(1).sum())} of "
        f"{failed.shape[0]} temperatures)"
    )
