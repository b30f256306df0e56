"""Whether the estimates of the evidence can be trusted, and agree."""

from dataclasses import dataclass
from typing import ClassVar

from lvkam_pyro.checks.check import CheckResult, Table
from lvkam_pyro.checks.finding import Finding, Severity
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.comparison.rows import evidence_cells


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
