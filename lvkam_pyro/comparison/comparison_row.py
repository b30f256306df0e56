"""One result in a comparison: one estimator on one model."""

from dataclasses import dataclass

from torch import Tensor

from lvkam_pyro.evidence.evidence import Evidence


@dataclass(frozen=True)
class EvidenceRow:
    """One estimator's result for one model.

    Attributes:
        model: The model's name.
        evidence: The result.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
        >>> evidence = lv.evidence.Importance(64).estimate(model, torch.rand(4, 3))
        >>> EvidenceRow("mine", evidence).to_dict()["num_data"]
        4
    """

    model: str
    evidence: Evidence

    def to_dict(self) -> dict[str, str | float | int | bool | None]:
        """The row as plain values; None where the estimator has no such diagnostic."""
        evidence, diagnostics = self.evidence, self.evidence.diagnostics
        return {
            "model": self.model,
            "estimator": evidence.estimator,
            "nats_per_datum": evidence.mean,
            "standard_error": evidence.mean_standard_error,
            "discretization_error": _mean(evidence.discretization_error),
            "total": evidence.total,
            "total_standard_error": evidence.total_standard_error,
            "median_ess": _median(diagnostics.get("ess")),
            "worst_pareto_k": _worst(diagnostics.get("pareto_k")),
            "worst_rhat": _worst(diagnostics.get("rhat")),
            "evaluations": evidence.num_likelihood_evaluations,
            "num_data": evidence.num_data,
            "num_unreliable": int(evidence.verdict.unreliable.sum()),
            "reliable": evidence.verdict.reliable,
            "verdict": str(evidence.verdict),
            "data_hash": evidence.data_hash,
        }

    @property
    def is_bound(self) -> bool:
        """Whether it is a lower bound, to be compared with no estimate."""
        return self.evidence.estimator.startswith("ELBO")

    @property
    def is_reliable(self) -> bool:
        """Whether no datum fails a gate."""
        return self.evidence.verdict.reliable

    def cells(self) -> list[str]:
        """The row as the texts of the table's columns."""
        row, evidence = self.to_dict(), self.evidence
        counts = f"{row['num_unreliable']}/{evidence.num_data} bad"
        verdict = "reliable" if evidence.verdict.reliable else counts
        return [
            self.model,
            evidence.estimator,
            f"{evidence.mean:.3f}",
            f"{evidence.mean_standard_error:.2g}",
            _number(row["median_ess"], ".0f"),
            _number(row["worst_pareto_k"], ".2f"),
            _number(row["worst_rhat"], ".3f"),
            str(evidence.num_likelihood_evaluations),
            "lower bound" if self.is_bound else verdict,
        ]


def _mean(values: Tensor | None) -> float | None:
    return None if values is None else float(values.mean())


def _median(values: Tensor | None) -> float | None:
    return None if values is None else float(values.median())


def _worst(values: Tensor | None) -> float | None:
    return None if values is None else float(values.max())


def _number(value: object, form: str) -> str:
    return "-" if value is None else format(value, form)
