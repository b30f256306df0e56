"""The result of any check of a model or sampler: values, a verdict, and its own limits."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from textwrap import wrap
from typing import ClassVar, NamedTuple, Self

from pandas import DataFrame
from torch import Tensor

from lvkam_pyro.statistics.text_table import text_table

SIGNIFICANCE = 0.01
"""The chance that a check blames a correct model and sampler, all that it tests taken together."""


class Severity(IntEnum):
    """The urgency of a finding: the larger, the more; below a note of none, or of no check.

    Example:
        >>> Severity.ERROR > Severity.NOTE
        True
    """

    UNKNOWN = -1
    NOTHING = 0
    NOTE = 1
    WARNING = 2
    ERROR = 3

    @property
    def text(self) -> str:
        """The verdict of a check whose worst finding is so urgent."""
        named = {Severity.UNKNOWN: "not made", Severity.NOTHING: "nothing found"}
        return named.get(self, self.name.lower())


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and what to do.

    Attributes:
        severity: An error makes other values wrong; a warning is a misfit; a note is for later.
        check: The title of the check that found it.
        problem: The fault, with its values.
        remedy: The steps to take.

    Example:
        >>> print(Finding(Severity.ERROR, "Importance weights", "k is 1.2.", "Use a ladder."))
        ERROR    Importance weights: k is 1.2. Use a ladder.
    """

    severity: Severity
    check: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.severity.name:8} {self.check}: {self.problem} {self.remedy}"


def bonferroni(*p_values: float) -> float:
    """One p-value for several tests of any dependence: the least, times their number.

    Args:
        *p_values: At least one.

    Returns:
        At most 1; under the null hypothesis it is below any a with a chance of at most a.

    Example:
        >>> bonferroni(0.01, 0.5)
        0.02
    """
    return min(1.0, len(p_values) * min(p_values))


def quote_p(p_value: float) -> str:
    """A p-value as text: two digits, and no more than can be meant.

    Example:
        >>> quote_p(0.03142), quote_p(0.5), quote_p(1e-20)
        ('0.031', '0.50', '< 1e-06')
    """
    if p_value < 1e-6:
        return "< 1e-06"
    return f"{p_value:.2f}" if p_value >= 0.1 else f"{p_value:.2g}"


def state_p(p_value: float) -> str:
    """A p-value in a sentence.

    Example:
        >>> state_p(0.03142), state_p(1e-20)
        ('p = 0.031', 'p < 1e-06')
    """
    text = quote_p(p_value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


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
    def severity(self) -> Severity:
        """That of its worst finding."""
        return max((finding.severity for finding in self.findings), default=Severity.NOTHING)

    @property
    def verdict(self) -> str:
        """`nothing found`, or how bad it is."""
        return self.severity.text

    def __str__(self) -> str:
        lines = [f"{self.title}: {self.verdict}", *wrapped(self.question)]
        lines += [f"  {line}" for line in table_lines(self.table())]
        lines += [line for finding in self.findings for line in wrapped(str(finding))]
        lines += [line for caveat in self.caveats for line in wrapped(f"But: {caveat}")]
        return "\n".join(lines)


class SignificanceCheck(CheckResult):
    """A check by several tests, each with a name and a p-value.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> issubclass(lv.checks.SBC, SignificanceCheck)
        True
    """

    @property
    @abstractmethod
    def p_values(self) -> dict[str, float]:
        """The p-value of each test, by name."""

    @property
    def p_value(self) -> float:
        """That of all tests together, Bonferroni's."""
        return bonferroni(*self.p_values.values())

    @property
    def headline(self) -> str:
        """The p-value of all tests together."""
        return state_p(self.p_value)

    @property
    def rejected(self) -> list[int]:
        """The indices of the tests that fail, all taken together."""
        p_values = self.p_values.values()
        return [i for i, p in enumerate(p_values) if p < SIGNIFICANCE / len(p_values)]


@dataclass(frozen=True)
class SkippedCheck(CheckResult):
    """A check that the model, the data or the sampler do not allow.

    Attributes:
        title: Of the check.
        question: Why it could not be made.

    Example:
        >>> print(SkippedCheck("LOO-PIT", "The model observes nothing."))
        LOO-PIT: not made
          The model observes nothing.
    """

    title: str  # type: ignore[misc]
    question: str  # type: ignore[misc]
    severity = Severity.UNKNOWN
    headline = ""
    findings = ()
    caveats = ()

    def table(self) -> Table:
        """No rows."""
        return []

    def __str__(self) -> str:
        return f"{self.title}: {self.verdict}\n  {self.question}"


class Estimate(NamedTuple):
    """An estimate with its standard error, of any shape.

    Attributes:
        value: The estimate, `(*)`.
        error: Its standard error, `(*)`.

    Example:
        >>> import torch
        >>> Estimate.of(torch.tensor([1.0, 2.0, 3.0])).text("+.2f")
        '+2.00 ± 0.58'
    """

    value: Tensor
    error: Tensor

    @classmethod
    def of(cls, values: Tensor) -> Self:
        """The mean over the data, `(N, *)`."""
        return cls(values.mean(0).cpu(), (values.std(0) / len(values) ** 0.5).cpu())

    def at(self, index: int) -> Self:
        """One entry."""
        return type(self)(self.value[index], self.error[index])

    def text(self, form: str) -> str:
        """A single estimate as text."""
        return f"{float(self.value):{form}} ± {float(self.error):{form.lstrip('+')}}"


def wrapped(text: str) -> list[str]:
    """A paragraph for a terminal of 100 columns, indented.

    Example:
        >>> wrapped("one line")
        ['  one line']
    """
    return wrap(text, 100, initial_indent="  ", subsequent_indent="    ")


def table_lines(table: Table) -> list[str]:
    """The rows as lines: names to the left, values to the right.

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
