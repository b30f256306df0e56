"""Whether the estimates of the evidence can be trusted, and agree."""

from dataclasses import dataclass
from typing import ClassVar

from lvkam_pyro.checks.check import CheckResult, Table
from lvkam_pyro.checks.finding import Finding, Severity
from lvkam_pyro.comparison.comparison import EvidenceComparison


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
                f"{row.evidence.mean:.3f} ± {row.evidence.mean_standard_error:.2g} nats per datum"
                for row in self.comparison
                if not row.is_lower_bound
            ),
            "lower bounds alone",
        )

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Estimates that are not reliable, and pairs that differ by more than their errors."""
        unreliable = [
            Finding(
                Severity.ERROR,
                self.title,
                f"{row.method} is unreliable: " + " ".join(row.evidence.verdict.reasons),
                row.evidence.verdict.remedy,
            )
            for row in self.comparison
            if not row.is_lower_bound and not row.is_reliable
        ]
        apart = [
            Finding(Severity.ERROR, self.title, str(pair), "Trust neither until one is explained.")
            for pair in self.comparison.disagreements
        ]
        return (*unreliable, *apart)

    @property
    def caveats(self) -> tuple[str, ...]:
        """The meaning of agreement."""
        return ("estimates that all miss a mode agree with each other.",)

    def table(self) -> Table:
        """A row for each model and estimator."""
        header = ["estimator", "nats/datum", "s.e.", "ESS", "k", "R-hat", "evals", "verdict"]
        names = [row.method for row in self.comparison]
        if len({row.model for row in self.comparison}) > 1:
            names = [f"{row.model}, {row.method}" for row in self.comparison]
        cells = [row.cells() for row in self.comparison]
        rows = [
            [name, *(row[column] for column in header[1:])]
            for name, row in zip(names, cells, strict=True)
        ]
        return [header, *rows]
