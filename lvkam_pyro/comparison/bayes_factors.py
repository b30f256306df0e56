"""Bayes factors between the models of a comparison."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import hypot

import torch
from torch import Tensor

from lvkam_pyro.comparison.comparison_row import EvidenceRow
from lvkam_pyro.evidence.evidence import Evidence

_LINE = "{:<16} {:<18} {:>11} {:>8} {:>8} {:>9} {}"
_WIDTHS = (16, 18, 11, 8, 8, 9, 10)


@dataclass(frozen=True, eq=False)
class BayesFactor:
    r"""What one estimator says of two models of the same data.

    .. math:: \log B = \sum_n \log p(x_n | M) - \log p(x_n | M_0)

    Two errors that are no substitute for each other: `standard_error` is that of the Monte Carlo
    on these data (the models' errors are taken as independent, which is safe where they share
    random numbers); `data_standard_error` is how much the total would change with other data of
    the same law, :math:`\sqrt{N \operatorname{Var}_n(\log p(x_n | M) - \log p(x_n | M_0))}`.

    Attributes:
        model: M.
        reference: M_0.
        estimator: The estimator's name.
        log_bayes_factor: log B in nats, for M where it is positive.
        standard_error: Its Monte Carlo standard error.
        discretization_error: The sum of both estimates' discretisation errors.
        differences: Of each datum's log evidence, `(N,)`.
        difference_errors: Their Monte Carlo standard errors, `(N,)`.
        reliable: Whether both estimates are.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> models = {"right": problem.model, "same": problem.model}
        >>> estimators = [lv.evidence.Lookahead(64)]
        >>> comparison = lv.compare_evidence(models, problem.x, estimators, progress=False)
        >>> comparison.bayes_factors(reference="right")["same", "Lookahead"].log_bayes_factor
        0.0
    """

    model: str
    reference: str
    estimator: str
    log_bayes_factor: float
    standard_error: float
    discretization_error: float
    differences: Tensor
    difference_errors: Tensor
    reliable: bool

    @classmethod
    def of(cls, row: EvidenceRow, reference: EvidenceRow) -> "BayesFactor":
        """The Bayes factor of one estimator's results for two models."""
        one, other = row.evidence, reference.evidence
        return cls(
            model=row.model,
            reference=reference.model,
            estimator=one.estimator,
            log_bayes_factor=one.total - other.total,
            standard_error=hypot(one.total_standard_error, other.total_standard_error),
            discretization_error=_discretization_error(one, other),
            differences=one.log_evidence - other.log_evidence,
            difference_errors=torch.hypot(one.standard_error, other.standard_error),
            reliable=one.verdict.reliable and other.verdict.reliable,
        )

    @property
    def data_standard_error(self) -> float:
        """The standard error over data; not a number where there is but one."""
        return float(self.differences.std() * len(self.differences) ** 0.5)

    def to_dict(self) -> dict[str, str | float | bool]:
        """The result as plain values."""
        return {
            "model": self.model,
            "reference": self.reference,
            "estimator": self.estimator,
            "log_bayes_factor": self.log_bayes_factor,
            "standard_error": self.standard_error,
            "discretization_error": self.discretization_error,
            "data_standard_error": self.data_standard_error,
            "reliable": self.reliable,
        }


def _discretization_error(one: Evidence, other: Evidence) -> float:
    return one.total_discretization_error + other.total_discretization_error


@dataclass(frozen=True)
class BayesFactors:
    """Bayes factors of all models against one, by each estimator that both have.

    Attributes:
        rows: The Bayes factors.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> models = {"a": problem.model, "b": problem.model}
        >>> estimators = [lv.evidence.Lookahead(64)]
        >>> comparison = lv.compare_evidence(models, problem.x, estimators, progress=False)
        >>> print(str(comparison.bayes_factors()).splitlines()[0])
        log Bayes factors against a, of 4 data, in nats
    """

    rows: tuple[BayesFactor, ...]

    def __iter__(self) -> Iterator[BayesFactor]:
        return iter(self.rows)

    def __getitem__(self, key: tuple[str, str]) -> BayesFactor:
        """The Bayes factor of one (model, estimator).

        Raises:
            KeyError: If there is none.
        """
        for row in self.rows:
            if (row.model, row.estimator) == key:
                return row
        present = [(row.model, row.estimator) for row in self.rows]
        raise KeyError(f"No Bayes factor {key}. There are: {present}.")

    def to_dict(self) -> list[dict[str, str | float | bool]]:
        """The rows as plain values, for `pandas.DataFrame`."""
        return [row.to_dict() for row in self.rows]

    def __str__(self) -> str:
        first = self.rows[0]
        head = f"log Bayes factors against {first.reference}, of {len(first.differences)} data"
        names = ("model", "estimator", "log B", "s.e.", "discret.", "over data", "verdict")
        lines = [_LINE.format(*names), _LINE.format(*("-" * width for width in _WIDTHS))]
        lines += [_line(row) for row in self.rows]
        return "\n".join([f"{head}, in nats", *lines])

    def __repr__(self) -> str:
        return str(self)


def _line(row: BayesFactor) -> str:
    return _LINE.format(
        row.model[:16],
        row.estimator[:18],
        f"{row.log_bayes_factor:.3f}",
        f"{row.standard_error:.2g}",
        f"{row.discretization_error:.2g}",
        f"{row.data_standard_error:.2g}",
        "reliable" if row.reliable else "unreliable",
    )


def bayes_factors_of(rows: Sequence[EvidenceRow], reference: str | None = None) -> BayesFactors:
    """The Bayes factors of all models against one; bounds are left aside.

    Args:
        rows: Results on the same data.
        reference: The model to compare with; None is the first.

    Returns:
        A row for each other model and each estimator that both models have.

    Raises:
        ValueError: If there is no such model, no other one, or no estimator that both have.

    Example:
        >>> bayes_factors_of([], "mine")
        Traceback (most recent call last):
        ValueError: Expected results of the model 'mine' and of others, but got results of [].
    """
    models = list(dict.fromkeys(row.model for row in rows))
    chosen = reference if reference is not None or not models else models[0]
    if chosen not in models or len(models) < 2:
        raise ValueError(
            f"Expected results of the model {chosen!r} and of others, but got results of {models}."
        )
    estimates = [row for row in rows if not row.is_bound]
    base = {row.evidence.estimator: row for row in estimates if row.model == chosen}
    factors = tuple(
        BayesFactor.of(row, base[row.evidence.estimator])
        for row in estimates
        if row.model != chosen and row.evidence.estimator in base
    )
    if not factors:
        raise ValueError(
            f"No estimator (other than bounds) has results for {chosen!r} and for another model. "
            "Use the same estimators for all models."
        )
    return BayesFactors(factors)
