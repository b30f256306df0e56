"""A check that could not be made, and why."""

from dataclasses import dataclass

from lvkam_pyro.checks.check import CheckResult, Table
from lvkam_pyro.checks.finding import Finding


@dataclass(frozen=True)
class SkippedCheck(CheckResult):
    """A check that the model, the data or the sampler do not allow.

    Attributes:
        title: Of the check.
        reason: Why it could not be made.

    Example:
        >>> print(SkippedCheck("LOO-PIT", "The model observes nothing."))
        LOO-PIT: not made
          The model observes nothing.
    """

    title: str  # type: ignore[misc]
    reason: str

    @property
    def question(self) -> str:  # type: ignore[override]
        """Why it could not be made."""
        return self.reason

    @property
    def headline(self) -> str:
        """None."""
        return ""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """None."""
        return ()

    @property
    def caveats(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def verdict(self) -> str:
        """`not made`."""
        return "not made"

    def table(self) -> Table:
        """No rows."""
        return []

    def __str__(self) -> str:
        return f"{self.title}: {self.verdict}\n  {self.reason}"
