"""The finding of a check: a fault, and its remedy."""

from dataclasses import dataclass
from enum import IntEnum

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
