"""Results of several models and estimators on the same data."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from math import hypot, inf
from pathlib import Path

from scipy.stats import t as student_t

from lvkam_pyro.comparison.bayes_factors import BayesFactors, bayes_factors_of
from lvkam_pyro.comparison.rows import EvidenceRow, Rows, comparison_text, latex_table
from lvkam_pyro.evidence.evidence import Evidence

_RATE = 1e-4
"""The chance that two sound estimates are said to disagree."""

_ROUNDING = 1e-6
"""Of a total, relative: models may reckon in single precision."""


@dataclass(frozen=True)
class Disagreement:
    r"""Two estimates of one model whose totals differ by more than their errors.

    .. math:: z = \frac{\max(0, |A - B| - d_A - d_B)}{\sqrt{s_A^2 + s_B^2}}

    with totals A and B, standard errors s and discretisation errors d, the data's summed. At least
    one of the two is wrong beyond its errors: it has missed a mode, or its error is too small.

    Attributes:
        model: The model's name.
        estimators: The names of the two, with those of their recipes where they have some.
        difference: Of the totals, first less second, in nats.
        z: The difference beyond the discretisation errors, in standard errors; infinite where
            both estimates claim to be exact, or one is not finite.

    Example:
        >>> str(Disagreement("mine", ("Importance", "SteppingStone"), -12.3, 7.7))
        'mine: Importance and SteppingStone disagree by 12.3 nats in total (7.7 standard errors).'
    """

    model: str
    estimators: tuple[str, str]
    difference: float
    z: float

    def __str__(self) -> str:
        first, second = self.estimators
        return (
            f"{self.model}: {first} and {second} disagree by {abs(self.difference):.3g} nats in "
            f"total ({self.z:.1f} standard errors)."
        )


def find_disagreements(rows: Sequence[EvidenceRow]) -> tuple[Disagreement, ...]:
    """The pairs of estimates that disagree, model by model; bounds are left aside.

    Estimates of one model by several recipes are held against each other too.

    The limit is Student's t at the rate of 1e-4, with the degrees of freedom of the estimate of
    fewer replicates.

    Args:
        rows: Results on the same data.

    Example:
        >>> find_disagreements([])
        ()
    """
    estimates = sorted((row for row in rows if not row.is_lower_bound), key=_model)
    return tuple(
        found
        for _, group in groupby(estimates, _model)
        for pair in combinations(group, 2)
        for found in _judge(pair)
    )


def _model(row: EvidenceRow) -> str:
    return row.model


def _judge(pair: tuple[EvidenceRow, EvidenceRow]) -> Iterable[Disagreement]:
    one, other = (row.evidence for row in pair)
    z = _standard_errors_apart(one, other)
    freedom = min(one.num_replicates, other.num_replicates) - 1
    if z > student_t.isf(_RATE / 2, max(freedom, 1)):
        names = (pair[0].method, pair[1].method)
        yield Disagreement(pair[0].model, names, one.total - other.total, z)


def _standard_errors_apart(one: Evidence, other: Evidence) -> float:
    slack = one.total_discretization_error + other.total_discretization_error
    slack += _ROUNDING * max(abs(one.total), abs(other.total))
    excess = abs(one.total - other.total) - slack
    error = hypot(one.total_standard_error, other.total_standard_error)
    if excess <= 0:
        return 0.0
    # Not greater also where one is not a number.
    return excess / error if error > 0 and excess < inf else inf


@dataclass(frozen=True, repr=False)
class EvidenceComparison(Rows[EvidenceRow]):
    """Results on the same data, one row for each model, recipe and estimator.

    Results on different data are not comparable, and refused.

    Attributes:
        rows: The results.

    Raises:
        ValueError: If there is no row, or rows come from different data.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
        >>> comparison = lv.compare_evidence(model, torch.rand(4, 3), [lv.evidence.Importance(64)])
        >>> [row.evidence.num_data for row in comparison]
        [4]
    """

    def __post_init__(self) -> None:
        hashes = sorted({row.evidence.data_hash for row in self.rows})
        if len(hashes) != 1:
            raise ValueError(
                f"Expected results on one set of data, but got {len(hashes)} ({hashes}). "
                "Estimate the evidence of every model on the same observations."
            )

    def __getitem__(self, key: tuple[str, str]) -> Evidence:
        """The result of one (model, method): the estimator, or `"estimator (recipe)"`.

        Raises:
            KeyError: If there is none.
        """
        return self.find(key).evidence

    def merge(self, other: "EvidenceComparison") -> "EvidenceComparison":
        """Both comparisons' rows, if they come from the same data.

        Raises:
            ValueError: If the data differ.
        """
        return EvidenceComparison(self.rows + other.rows)

    def to_csv(self, path: str | Path) -> None:
        """Write the rows to a CSV file.

        Args:
            path: The file.
        """
        self.to_frame().to_csv(path, index=False)

    def to_json(self, path: str | Path) -> None:
        """Write the rows, each with its values per datum, to a JSON file.

        Args:
            path: The file.
        """
        rows = [
            {
                **row.to_dict(),
                "log_evidence": row.evidence.log_evidence.tolist(),
                "log_evidence_standard_error": row.evidence.standard_error.tolist(),
                "unreliable": row.evidence.verdict.unreliable.tolist(),
            }
            for row in self.rows
        ]
        Path(path).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")

    def to_latex(self) -> str:
        """The table in LaTeX, for a document that uses the package booktabs."""
        return latex_table(self.rows)

    def bayes_factors(self, reference: str | None = None) -> BayesFactors:
        """Log Bayes factors of all models against one, with errors, by each estimator.

        Args:
            reference: The model to compare with; None is the first.

        Raises:
            ValueError: If there is no such model, no other one, or no estimator that both have.
        """
        return bayes_factors_of(self.rows, reference)

    @property
    def disagreements(self) -> tuple[Disagreement, ...]:
        """Pairs of estimates of one model that differ by more than their errors."""
        return find_disagreements(self.rows)

    def table(self) -> str:
        """The comparison as text of at most 100 columns, with all that is wrong below it."""
        return comparison_text(self.rows, [str(found) for found in self.disagreements])

    def __str__(self) -> str:
        return self.table()
