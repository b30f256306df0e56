"""Results of several models and estimators on the same data."""

import json
from dataclasses import dataclass
from pathlib import Path

from lvkam_pyro.comparison.bayes_factors import BayesFactors, bayes_factors_of
from lvkam_pyro.comparison.disagreement import Disagreement, find_disagreements
from lvkam_pyro.comparison.rows import EvidenceRow, Rows, comparison_text, latex_table
from lvkam_pyro.evidence.evidence import Evidence


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
