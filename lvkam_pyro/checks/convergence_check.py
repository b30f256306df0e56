"""Whether the chains of a ladder have converged and moved, temperature by temperature."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lvkam_pyro.checks.check import CheckResult, Finding, Severity, Table
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.comparison.rows import evidence_cells
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
        samples: The draws of the ladder, with their diagnostics.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> ladder = lv.ladder.Ladder(num_temperatures=6, num_warmup=40, num_samples=60)
        >>> check = check_convergence(ladder.sample(problem.model, problem.x))
        >>> len(check.table())
        7
    """

    title: ClassVar[str] = "Convergence of the ladder"
    question: ClassVar[str] = "Have the chains of every temperature forgotten where they started?"

    samples: LadderSamples

    @property
    def headline(self) -> str:
        """The worst R-hat and the least rate of exchange."""
        return (
            f"worst R-hat {float(self.samples.rhat.max()):.3f}, least exchange "
            f"{float(self.samples.swap_rate.min()):.0%}"
        )

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Chains that disagree, barely move, hardly exchange, or converge elsewhere."""
        rhat, ess, swap_rate = self.samples.rhat, self.samples.ess, self.samples.swap_rate
        tests = (
            (
                ~(rhat <= MAX_RHAT),
                Severity.ERROR,
                f"R-hat above {MAX_RHAT} (worst {float(rhat.max()):.2f})",
                "Lengthen the chains (num_warmup, num_samples), or add temperatures.",
            ),
            (
                ess < MIN_ESS,
                Severity.WARNING,
                f"fewer than {MIN_ESS:.0f} effective draws (least {float(ess.min()):.0f})",
                "Keep more draws (num_samples, num_chains), or thin them more.",
            ),
            (
                swap_rate < MIN_SWAP_RATE,
                Severity.WARNING,
                f"exchange with the next temperature below {MIN_SWAP_RATE:.0%} (least "
                f"{float(swap_rate.min()):.1%})",
                "Add temperatures, or place them by a pilot run (EqualLengthSchedule, Adaptive).",
            ),
        )
        found = [
            Finding(severity, self.title, f"{_where(failed)} have {text}.", remedy)
            for failed, severity, text, remedy in tests
            if bool(failed.any())
        ]
        if self.samples.biased:
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
            f"the worst of {self.samples.rhat.numel()} values of R-hat is above 1 by chance alone.",
        )

    def table(self) -> Table:
        """The values at some of the temperatures, over the data."""
        header = ["temperature", "R-hat", "worst", "ESS", "least", "swaps up", "least", "accepted"]
        count = len(self.samples.temperatures)
        rows = torch.linspace(0, count - 1, min(count, _NUM_ROWS)).round().long().tolist()
        return [header, *(self._row(index) for index in rows)]

    def _row(self, index: int) -> list[str]:
        samples = self.samples
        rhat, ess, swaps = samples.rhat[index], samples.ess[index], samples.swap_rate[index:]
        return [
            f"{float(samples.temperatures[index]):.3g}",
            f"{float(rhat.median()):.3f}",
            f"{float(rhat.max()):.3f}",
            f"{float(ess.median()):.0f}",
            f"{float(ess.min()):.0f}",
            f"{float(swaps[0].median()):.0%}" if len(swaps) else "",
            f"{float(swaps[0].min()):.0%}" if len(swaps) else "",
            f"{float(samples.acceptance[index].mean()):.0%}",
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
    return ConvergenceCheck(samples)


def _where(failed: Tensor) -> str:
    """How many data, and at how many temperatures."""
    return (
        f"{int(failed.any(0).sum())} of {failed.shape[1]} data (at {int(failed.any(1).sum())} of "
        f"{failed.shape[0]} temperatures)"
    )


@dataclass(frozen=True, eq=False)
class EvidenceCheck(CheckResult):
    """The estimates side by side, with their own verdicts and those of each on the others.

    Attributes:
        comparison: The estimates, of the same data.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> estimators = [lv.evidence.Lookahead(512), lv.evidence.Importance(2048)]
        >>> found = lv.compare_evidence(problem.model, problem.x, estimators, progress=False)
        >>> EvidenceCheck(found).verdict
        'nothing found'
    """

    title: ClassVar[str] = "Evidence"
    question: ClassVar[str] = "How likely are the data under the model, and do the estimates agree?"

    comparison: EvidenceComparison

    @property
    def headline(self) -> str:
        """The first estimate that is no bound."""
        return next(
            (
                f"{one.mean:.3f} ± {one.mean_standard_error:.2g} {one.nats}"
                for one in (row.evidence for row in self.comparison)
                if not one.is_lower_bound
            ),
            "lower bounds alone",
        )

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Estimates that are not reliable, and pairs that differ by more than their errors."""
        found = [
            (f"{row.method} is unreliable: " + " ".join(verdict.reasons), verdict.remedy)
            for row, verdict in ((row, row.evidence.verdict) for row in self.comparison)
            if not row.is_lower_bound and not row.is_reliable
        ]
        apart = self.comparison.disagreements
        found += [(str(pair), "Trust neither until one is explained.") for pair in apart]
        return tuple(Finding(Severity.ERROR, self.title, *one) for one in found)

    @property
    def caveats(self) -> tuple[str, ...]:
        """The meaning of agreement."""
        return ("estimates that all miss a mode agree with each other.",)

    def table(self) -> Table:
        """A row for each model and estimator."""
        rows = list(self.comparison)
        several = len({row.model for row in rows}) > 1
        names = [f"{row.model}, {row.method}" if several else row.method for row in rows]
        frame = evidence_cells(rows).assign(estimator=names)
        frame = frame.drop(columns=["model", "recipe"], errors="ignore")
        return [list(frame), *frame.to_numpy().tolist()]
