"""The result of any check of a model or sampler: values, a verdict, and its own limits."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from textwrap import wrap
from typing import ClassVar

from pandas import DataFrame

from lvkam_pyro.checks.finding import Finding
from lvkam_pyro.statistics.text_table import text_table

Table = Sequence[Sequence[str]]
"""Rows of texts, the first of them the header; the first column names the row."""


class CheckResult(ABC):
    """The result of one check.

    `str` is its page for a terminal; `plots.check` draws its picture; `diagnose` puts several on
    one page.

    Implementing one: a frozen dataclass with `title`, `question`, `headline`, `findings`,
    `caveats` and `table`; its picture is told to `plots.check.register`.

    Attributes:
        title: Its name.
        question: Its question, in one sentence.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> isinstance(lv.checks.check_weights(torch.randn(500, 3)), CheckResult)
        True
    """

    title: ClassVar[str]
    question: ClassVar[str]

    @property
    @abstractmethod
    def findings(self) -> tuple[Finding, ...]:
        """The faults; empty where nothing was found."""

    @property
    @abstractmethod
    def caveats(self) -> tuple[str, ...]:
        """When the check is not to be believed, in sentences."""

    @abstractmethod
    def table(self) -> Table:
        """Its values, each with its uncertainty."""

    @property
    @abstractmethod
    def headline(self) -> str:
        """Its result in a few words, such as a p-value."""

    @property
    def verdict(self) -> str:
        """`nothing found`, or how bad it is."""
        if not self.findings:
            return "nothing found"
        return max(finding.severity for finding in self.findings).name.lower()

    def __str__(self) -> str:
        lines = [f"{self.title}: {self.verdict}", *wrapped(self.question)]
        lines += [f"  {line}" for line in table_lines(self.table())]
        lines += [line for finding in self.findings for line in wrapped(str(finding))]
        lines += [line for caveat in self.caveats for line in wrapped(f"But: {caveat}")]
        return "\n".join(lines)


def wrapped(text: str) -> list[str]:
    """A paragraph for a terminal of 100 columns, indented.

    Example:
        >>> wrapped("one line")
        ['  one line']
    """
    return wrap(text, 100, initial_indent="  ", subsequent_indent="    ")


def table_lines(table: Table) -> list[str]:
    """The rows as lines: names to the left, numbers to the right.

    Example:
        >>> table_lines([["latent", "p"], ["z[0]", "0.50"]])
        ['latent     p', 'z[0]    0.50']
    """
    header, *rows = table
    return text_table(DataFrame(rows, columns=list(header)), left=header[:1]).splitlines()


def shorten(table: Table, *, limit: int = 12) -> Table:
    """The header and the first rows, and how many more there are.

    Example:
        >>> shorten([["latent"], ["a"], ["b"], ["c"]], limit=2)
        [['latent'], ['a'], ['b'], ['(1 more)']]
    """
    header, *rows = table
    hidden = len(rows) - limit
    if hidden <= 0:
        return [header, *rows]
    return [header, *rows[:limit], [f"({hidden} more)", *[""] * (len(header) - 1)]]
