"""A diagnosis as HTML: one piece, no scripts, nothing from elsewhere."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from string import Template

from lvkam_pyro import __version__, plots
from lvkam_pyro.checks.check import CheckResult, Table
from lvkam_pyro.checks.finding import Finding, Severity
from lvkam_pyro.plots.style import render

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
