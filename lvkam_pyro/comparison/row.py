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
        recipe: The recipe whose guide and estimator it is by; empty where it is by none.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
        >>> evidence = lv.evidence.Importance(64).estimate(model, torch.rand(4, 3))
        >>> EvidenceRow("mine", evidence).to_dict()["num_data"]
        4
    """

    model: str
    evidence: Evidence
    recipe: str = ""

    @property
    def method(self) -> str:
        """The name of the estimator, with that of the recipe where there is one."""
        name = self.evidence.estimator
        return f"{name} ({self.recipe})" if self.recipe else name

    @property
    def is_lower_bound(self) -> bool:
        """Whether it is a lower bound, to be compared with no estimate."""
        return self.evidence.is_lower_bound

    @property
    def is_reliable(self) -> bool:
        """Whether no datum fails a gate."""
        return self.evidence.verdict.reliable

    def to_dict(self) -> dict[str, str | float | int | bool | None]:
        """The row as plain values; None where the estimator has no such diagnostic."""
        evidence, diagnostics = self.evidence, self.evidence.diagnostics
        return {
            "model": self.model,
            "recipe": self.recipe,
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
            "is_lower_bound": evidence.is_lower_bound,
            "verdict": str(evidence.verdict),
            "data_hash": evidence.data_hash,
        }

    def cells(self) -> dict[str, str]:
        """The row as the texts of a table's columns, by name."""
        row = self.to_dict()
        return {
            "model": self.model,
            "recipe": self.recipe,
            "estimator": self.evidence.estimator,
            "nats/datum": f"{self.evidence.mean:.3f}",
            "s.e.": f"{self.evidence.mean_standard_error:.2g}",
            "ESS": _number(row["median_ess"], ".0f"),
            "k": _number(row["worst_pareto_k"], ".2f"),
            "R-hat": _number(row["worst_rhat"], ".3f"),
            "evals": str(self.evidence.num_likelihood_evaluations),
            "verdict": self._verdict(),
        }

    def _verdict(self) -> str:
        if self.is_lower_bound:
            return "lower bound"
        flags = self.evidence.verdict.unreliable
        return "reliable" if self.is_reliable else f"{int(flags.sum())}/{len(flags)} bad"


def _mean(values: Tensor | None) -> float | None:
    return None if values is None else float(values.mean())


def _median(values: Tensor | None) -> float | None:
    return None if values is None else float(values.median())


def _worst(values: Tensor | None) -> float | None:
    return None if values is None else float(values.max())


def _number(value: object, form: str) -> str:
    return "-" if value is None else format(value, form)
