"""Bayes factors between the models of a comparison."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, nan

import torch
from torch import Tensor

from lvkam_pyro.comparison.rows import EvidenceRow, Row, Rows
from lvkam_pyro.statistics.text_table import text_table


@dataclass(frozen=True, eq=False)
class BayesFactor(Row):
    r"""The log Bayes factor of two models of the same data by one estimator.

    .. math:: \log B = \sum_n \log p(x_n | M) - \log p(x_n | M_0)

    Two errors that are no substitute for each other: `standard_error` is that of the Monte Carlo
    on these data (the models' errors are taken as independent, which is safe where they share
    random numbers); `data_standard_error` is how much the total would change with other data of
    the same distribution,
    :math:`\sqrt{N \operatorname{Var}_n(\log p(x_n | M) - \log p(x_n | M_0))}`.

    Attributes:
        model: M.
        reference: M_0.
        estimator: The estimator's name.
        recipe: The recipe that both results are by; empty where they are by none.
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
    recipe: str
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
            recipe=row.recipe,
            log_bayes_factor=one.total - other.total,
            standard_error=hypot(one.total_standard_error, other.total_standard_error),
            discretization_error=one.total_discretization_error + other.total_discretization_error,
            differences=one.log_evidence - other.log_evidence,
            difference_errors=torch.hypot(one.standard_error, other.standard_error),
            reliable=one.verdict.reliable and other.verdict.reliable,
        )

    @property
    def data_standard_error(self) -> float:
        """The standard error over data; not a number where there is but one."""
        if len(self.differences) < 2:
            return nan
        return float(self.differences.std() * len(self.differences) ** 0.5)

    def to_dict(self) -> dict[str, object]:
        """The result as plain values."""
        return {name: getattr(self, name) for name in _PLAIN}

    def cells(self) -> dict[str, str]:
        """The result as the texts of a table's columns, by name."""
        return {
            "model": self.model,
            "recipe": self.recipe,
            "estimator": self.estimator,
            "log B": f"{self.log_bayes_factor:.3f}",
            "s.e.": f"{self.standard_error:.2g}",
            "discret.": f"{self.discretization_error:.2g}",
            "over data": f"{self.data_standard_error:.2g}",
            "verdict": "reliable" if self.reliable else "unreliable",
        }


_PLAIN = (
    "model", "reference", "recipe", "estimator", "log_bayes_factor", "standard_error",
    "discretization_error", "data_standard_error", "reliable",
)  # fmt: skip
_LEFT = ("model", "recipe", "estimator", "verdict")


@dataclass(frozen=True, repr=False)
class BayesFactors(Rows[BayesFactor]):
    """The Bayes factors of all models against one, by each estimator that both have.

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

    def __getitem__(self, key: tuple[str, str]) -> BayesFactor:
        """The Bayes factor of one (model, method): see `EvidenceComparison`.

        Raises:
            KeyError: If there is none.
        """
        return self.find(key)

    def __str__(self) -> str:
        first = self.rows[0]
        head = f"log Bayes factors against {first.reference}, of {len(first.differences)} data"
        return f"{head}, in nats\n{text_table(self.cells(), left=_LEFT, gap=1)}"


def bayes_factors_of(rows: Sequence[EvidenceRow], reference: str | None = None) -> BayesFactors:
    """The Bayes factors of all models against one; bounds are left aside.

    Args:
        rows: Results on the same data.
        reference: The model to compare with; None is the first.

    Returns:
        A row for each other model and each estimator that both models have, by the same recipe.

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
    estimates = [row for row in rows if not row.is_lower_bound]
    base = {row.method: row for row in estimates if row.model == chosen}
    factors = tuple(
        BayesFactor.of(row, base[row.method])
        for row in estimates
        if row.model != chosen and row.method in base
    )
    if not factors:
        raise ValueError(
            f"No estimator (other than bounds) has results for {chosen!r} and for another model. "
            "Use the same estimators for all models."
        )
    return BayesFactors(factors)
