"""A diagnosis as HTML: one piece, no scripts, nothing from elsewhere."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from typing import Protocol

from lvkam_pyro import __version__, plots
from lvkam_pyro.checks.check import CheckResult, Table
from lvkam_pyro.checks.finding import Finding
from lvkam_pyro.plots.style import render

_DPI = 130

_STYLE = """
.lvkam { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; }
.lvkam h1 { font-size: 1.5rem; margin: 0 0 .2rem; }
.lvkam h2 { font-size: 1.15rem; margin: 2.2rem 0 .2rem; }
.lvkam p { margin: .3rem 0; }
.lvkam .quiet { opacity: .75; }
.lvkam table { border-collapse: collapse; margin: .8rem 0; font-size: .87rem; display: block;
  overflow-x: auto; color: inherit; background: none; }
.lvkam th, .lvkam td { padding: .2rem .8rem .2rem 0; text-align: right; white-space: nowrap;
  border-bottom: 1px solid #8885; background: none; color: inherit; }
.lvkam th:first-child, .lvkam td:first-child { text-align: left; }
.lvkam .overview td, .lvkam .overview th { text-align: left; }
.lvkam figure { margin: .8rem 0; padding: .6rem; background: #fff; border-radius: 6px;
  width: fit-content; max-width: 100%; box-sizing: border-box; }
.lvkam img { max-width: 100%; height: auto; display: block; }
.lvkam ol { padding-left: 1.4rem; }
.lvkam li { margin: .5rem 0; }
.lvkam .badge { display: inline-block; border-radius: 4px; padding: 0 .5em; font-size: .78rem;
  font-weight: 600; color: #fff; background: #4d4d4d; margin-right: .4em; }
.lvkam .error { background: #b3261e; }
.lvkam .warning { background: #8a5300; }
.lvkam .note { background: #00598c; }
.lvkam .nothing { background: #00664b; }
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
body {{ margin: 2rem auto; padding: 0 1rem; max-width: 60rem; background: #fff; color: #1c1c1c; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #17191c; color: #e6e6e6; }} }}
</style>
</head>
<body>
{content}
</body>
</html>
"""


class Report(Protocol):
    """The parts of a `Diagnosis` that make a page."""

    @property
    def title(self) -> str:
        """The name of the diagnosis."""

    @property
    def subtitle(self) -> str:
        """The posterior and the seed that it was made with."""

    @property
    def checks(self) -> Sequence[CheckResult]:
        """The checks."""

    @property
    def findings(self) -> Sequence[Finding]:
        """The findings of all checks, most urgent first."""

    def overview(self) -> Table:
        """A row a check."""


def page(report: Report) -> str:
    """A whole document.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> report = lv.diagnose(problem.model, problem.x, num_simulations=50)
        >>> page(report).startswith("<!doctype html>")
        True
    """
    return _PAGE.format(title=escape(report.title), content=fragment(report))


def fragment(report: Report) -> str:
    """A part of a document with its own style, which a notebook shows."""
    parts = [
        f'<div class="lvkam"><style>{_STYLE}</style>',
        f"<h1>{escape(report.title)}</h1>",
        f'<p class="quiet">{escape(report.subtitle)}; lvkam_pyro {escape(__version__)}</p>',
        "<h2>What is wrong and what to do</h2>",
        _list_findings(report.findings),
        _table(report.overview(), kind="overview"),
        *(_section(check) for check in report.checks),
        "</div>",
    ]
    return "\n".join(parts)


def _list_findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return f"<p>{_badge('nothing found')}No check found anything wrong.</p>"
    items = (
        f"<li>{_badge(finding.severity.name.lower())}<b>{escape(finding.check)}.</b> "
        f"{escape(finding.problem)} <i>{escape(finding.remedy)}</i></li>"
        for finding in findings
    )
    return f"<ol>{''.join(items)}</ol>"


def _section(check: CheckResult) -> str:
    heading = f"<h2>{escape(check.title)}</h2><p>{_badge(check.verdict)}"
    parts = [f"{heading}{escape(check.question)}</p>"]
    if check.table():
        parts += [_table(check.table()), _picture(check)]
    parts += [f'<p class="quiet">But: {escape(caveat)}</p>' for caveat in check.caveats]
    return "\n".join(parts)


def _badge(verdict: str) -> str:
    return f'<span class="badge {escape(verdict.split()[0])}">{escape(verdict)}</span>'


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
