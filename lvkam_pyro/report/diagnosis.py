"""All checks of a model on one page, the most urgent findings first."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lvkam_pyro.checks.check import CheckResult, Table, table_lines, wrapped
from lvkam_pyro.checks.finding import Finding, Severity
from lvkam_pyro.report.html import fragment, page
from lvkam_pyro.training.runs.files import write_atomically

Check = TypeVar("Check", bound=CheckResult)


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """The result of `diagnose`: a page for the terminal, for a notebook, and for a browser.

    Attributes:
        checks: The checks, those first on which the others rest.
        num_data: N.
        posterior: The sampler of the data's posterior.
        seed: Of all draws.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> diagnosis = lv.diagnose(problem.model, problem.x, num_simulations=50)
        >>> diagnosis[lv.checks.WeightsCheck].verdict, diagnosis.is_clean
        ('nothing found', True)
    """

    checks: tuple[CheckResult, ...]
    num_data: int
    posterior: str
    seed: int

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of all checks, most urgent first."""
        found = [finding for check in self.checks for finding in check.findings]
        return tuple(sorted(found, key=lambda finding: -finding.severity))

    @property
    def is_clean(self) -> bool:
        """Whether there is no finding but notes."""
        return all(finding.severity == Severity.NOTE for finding in self.findings)

    @property
    def title(self) -> str:
        """The name of the diagnosis."""
        return f"Diagnosis of {self.num_data} data"

    @property
    def subtitle(self) -> str:
        """The posterior and the seed that it was made with."""
        return f"posterior by {self.posterior}, seed {self.seed}"

    def overview(self) -> Table:
        """A row a check: its verdict and its result in a few words."""
        header = ["check", "verdict", "result"]
        return [header, *([one.title, one.verdict, one.headline] for one in self.checks)]

    def __getitem__(self, kind: type[Check]) -> Check:
        """The check of a class.

        Raises:
            KeyError: If there is none: not asked for, or skipped.
        """
        for check in self.checks:
            if isinstance(check, kind):
                return check
        made = ", ".join(type(check).__name__ for check in self.checks)
        raise KeyError(f"There is no {kind.__name__} in this diagnosis; it has {made}.")

    def __str__(self) -> str:
        lines = [f"{self.title} ({self.subtitle})", ""]
        lines += ["What is wrong and what to do, most urgent first:"] if self.findings else []
        lines += [line for finding in self.findings for line in wrapped(str(finding))]
        lines += [] if self.findings else ["No check found anything wrong."]
        lines += ["", *table_lines(self.overview())]
        for check in self.checks:
            lines += ["", str(check)]
        return "\n".join(lines)

    def to_html(self, path: str | Path) -> None:
        """Writes one file that any browser shows, pictures and all, without scripts.

        Args:
            path: The file.

        Raises:
            OSError: If it cannot be written; what it held before is intact.
        """
        write_atomically(Path(path), page(self.title, self._repr_html_()).encode())

    def _repr_html_(self) -> str:
        """For notebooks."""
        return fragment(self.title, self.subtitle, self.findings, self.overview(), self.checks)
