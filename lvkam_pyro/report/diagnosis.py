"""All checks of a model on one page, the most urgent findings first."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TypeVar

from lvkam_pyro import __version__, plots
from lvkam_pyro.checks.check import CheckResult, Finding, Severity, Table, table_lines, wrapped
from lvkam_pyro.plots.style import render
from lvkam_pyro.training.runs.files import write_atomically

_DPI = 130

_FILES = files("lvkam_pyro.report")
_STYLE = _FILES.joinpath("page.css").read_text(encoding="utf-8")
_PAGE = Template(_FILES.joinpath("page.html").read_text(encoding="utf-8"))


def page(title: str, content: str) -> str:
    """A whole document.

    Args:
        title: Its name.
        content: Its part, see `fragment`.

    Example:
        >>> page("mine", "<p>Hello</p>").startswith("<!doctype html>")
        True
    """
    return _PAGE.substitute(title=escape(title), content=content)


def fragment(
    title: str,
    subtitle: str,
    findings: Sequence[Finding],
    overview: Table,
    checks: Sequence[CheckResult],
) -> str:
    """A part of a document with its own style, which a notebook shows.

    Args:
        title: The name of the diagnosis.
        subtitle: The posterior and the seed that it was made with.
        findings: The findings of all checks, most urgent first.
        overview: A row a check.
        checks: The checks.
    """
    parts = [
        f'<div class="lvkam"><style>\n{_STYLE}</style>',
        f"<h1>{escape(title)}</h1>",
        f'<p class="quiet">{escape(subtitle)}; lvkam_pyro {escape(__version__)}</p>',
        "<h2>What is wrong and what to do</h2>",
        _list_findings(findings),
        _table(overview, kind="overview"),
        *(_section(check) for check in checks),
        "</div>",
    ]
    return "\n".join(parts)


def _list_findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return f"<p>{_badge(Severity.NOTHING)}No check found anything wrong.</p>"
    items = (
        f"<li>{_badge(finding.severity)}<b>{escape(finding.check)}.</b> "
        f"{escape(finding.problem)} <i>{escape(finding.remedy)}</i></li>"
        for finding in findings
    )
    return f"<ol>{''.join(items)}</ol>"


def _section(check: CheckResult) -> str:
    heading = f"<h2>{escape(check.title)}</h2><p>{_badge(check.severity)}"
    parts = [f"{heading}{escape(check.question)}</p>"]
    if check.table():
        parts += [_table(check.table()), _picture(check)]
    parts += [f'<p class="quiet">But: {escape(caveat)}</p>' for caveat in check.caveats]
    return "\n".join(parts)


def _badge(severity: Severity) -> str:
    return f'<span class="badge {severity.name.lower()}">{severity.text}</span>'


def _table(table: Table, *, kind: str = "") -> str:
    header, *rows = table
    body = "".join(_row(row, "td") for row in rows)
    return f'<table class="{kind}"><thead>{_row(header, "th")}</thead><tbody>{body}</tbody></table>'


def _row(cells: Iterable[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _picture(check: CheckResult) -> str:
    picture = b64encode(render(plots.check(check), dpi=_DPI)).decode()
    source = f"data:image/png;base64,{picture}"
    return f'<figure><img alt="{escape(check.title)}" src="{source}"></figure>'


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
