"""One run of one estimator on one problem, held against the exact answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lvkam_pyro.evidence.cascade import CascadeEvidence
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.problems.family import Family

ROUNDING = 1e-6
"""Of an exact answer and its estimate, relative."""

SILENT_ERRORS, SILENT_NATS = 4.0, 0.01
"""A value that is called reliable is wrong beyond so many standard errors and so many nats."""

ALARM_ERRORS, ALARM_NATS = 2.5, 0.1
"""A value that is called unreliable is right within so many standard errors and so many nats."""

LEVEL = 0.95
"""Of the intervals."""


@dataclass(frozen=True)
class SilentError:
    """A value that is called reliable and is wrong.

    Attributes:
        family: The family's name.
        seed: Of the problem, and of the run.
        datum: Which of the problem's data.
        method: The estimator that the value comes from; of a cascade, its step.
        value: In nats.
        standard_error: As reported.
        exact: The exact answer.

    Example:
        >>> SilentError("banana", 0, 2, "Importance", -1.0, 0.1, -3.0).error
        2.0
    """

    family: str
    seed: int
    datum: int
    method: str
    value: float
    standard_error: float
    exact: float

    @property
    def error(self) -> float:
        """Value less exact answer, in nats."""
        return self.value - self.exact


@dataclass(frozen=True, eq=False)
class ValidationTrial:
    r"""One run of one estimator on one problem.

    Attributes:
        family: The problem's family.
        seed: Of the problem, and of the run.
        estimator: The estimator's name.
        exact: The exact log evidence, `(N,)`.
        result: The estimate; None where the estimator refuses the problem.
        seconds: Its time, with its ladder.
        refusal: Why it does not apply; empty where it does.

    Example:
        >>> import lvkam_pyro as lv
        >>> family = lv.problems.load_family("linear_gaussian_1")
        >>> (trial,) = lv.problems.validate([family], [lv.evidence.Lookahead()], progress=False)
        >>> bool(trial.reliable.all()), trial.silent_errors()
        (True, [])
    """

    family: Family
    seed: int
    estimator: str
    exact: Tensor
    result: Evidence | None
    seconds: float
    refusal: str = ""

    @property
    def estimate(self) -> Evidence:
        """The result of an estimator that did not refuse.

        Raises:
            ValueError: If it did.
        """
        if self.result is None:
            raise ValueError(
                f"Expected a result, but {self.estimator} refused {self.family.name}: "
                f"{self.refusal} Look at `result` first."
            )
        return self.result

    @property
    def errors(self) -> Tensor:
        """Estimate less exact answer, `(N,)`, in nats."""
        return self.estimate.log_evidence - self.exact

    @property
    def known_errors(self) -> Tensor:
        """The stated errors that are not of Monte Carlo: discretisation and rounding, `(N,)`."""
        discretization = self.estimate.discretization_error
        rounding = ROUNDING * self.exact.abs()
        return rounding if discretization is None else rounding + discretization

    @property
    def reliable(self) -> Tensor:
        """Which values are trusted by the estimator, and are no bounds, `(N,)`."""
        return ~(self.estimate.verdict.unreliable | self.estimate.is_lower_bound)

    @property
    def counts(self) -> Tensor:
        """Which reliable values have a Monte Carlo error that is above the known ones, `(N,)`."""
        return self.reliable & (self.estimate.standard_error > self.known_errors)

    @property
    def z(self) -> Tensor:
        """Errors in standard errors, `(N,)`: of what has none, not a number or infinite."""
        return self.errors / self.estimate.standard_error

    @property
    def covered(self) -> Tensor:
        """Which 95 % intervals hold the exact answer, `(N,)`."""
        low, high = self.estimate.interval(LEVEL)
        return (low <= self.exact) & (self.exact <= high)

    @property
    def silent(self) -> Tensor:
        """Which values are reliable and wrong, `(N,)`.

        By more than four standard errors on top of the known errors, and more than 0.01 nats. One
        that is not a number is wrong.
        """
        allowed = SILENT_ERRORS * self.estimate.standard_error + self.known_errors
        return self.reliable & ~(self.errors.abs() <= allowed.clamp(min=SILENT_NATS))

    @property
    def false_alarms(self) -> Tensor:
        """Which values are unreliable and right, `(N,)`: within 2.5 errors and 0.1 nats."""
        allowed = (ALARM_ERRORS * self.estimate.standard_error).clamp(max=ALARM_NATS)
        return self.estimate.verdict.unreliable & (self.errors.abs() <= allowed)

    @property
    def methods(self) -> tuple[str, ...]:
        """The estimator that each value comes from: of a cascade, its steps."""
        if isinstance(self.result, CascadeEvidence):
            return self.result.methods
        return (self.estimator,) * len(self.exact)

    def silent_errors(self) -> list[SilentError]:
        """The values that are reliable and wrong."""
        return list(self._silent_errors())

    def _silent_errors(self) -> Iterator[SilentError]:
        values, errors = self.estimate.log_evidence, self.estimate.standard_error
        for n in self.silent.nonzero()[:, 0].tolist():
            numbers = (float(each[n]) for each in (values, errors, self.exact))
            yield SilentError(self.family.name, self.seed, n, self.methods[n], *numbers)


def done(trials: Sequence[ValidationTrial]) -> list[ValidationTrial]:
    """Those that were not refused.

    Example:
        >>> done([])
        []
    """
    return [trial for trial in trials if trial.result is not None]


def joined(parts: Sequence[Tensor]) -> Tensor:
    """All parts behind each other in float64; none give nothing.

    Example:
        >>> joined([])
        tensor([], dtype=torch.float64)
    """
    return torch.cat([torch.empty(0, dtype=torch.float64), *(part.double() for part in parts)])
