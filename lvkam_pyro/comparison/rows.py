"""The results of a comparison, a row each, and their table as text and in LaTeX."""

from collections.abc import Sequence
from dataclasses import dataclass

from pandas import DataFrame
from torch import Tensor

from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.statistics.text_table import text_table

_LEFT = ("model", "recipe", "estimator", "verdict")
_WIDTH = 18
"""Of names, in a terminal of 100 columns."""

_LEGEND = (
    "(s.e. of the mean over these data; ESS: median, Pareto k and R-hat: worst; evals: per datum)"
)
_LATEX_NAMES = {"k": r"$\hat k$", "R-hat": r"$\hat R$", "evals": "evaluations"}


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


def comparison_text(rows: Sequence[EvidenceRow], disagreements: Sequence[str]) -> str:
    """The rows, below them the reasons of bad verdicts, and sentences on estimates that disagree.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
        >>> evidence = lv.evidence.Importance(64).estimate(model, torch.rand(4, 3))
        >>> comparison_text([EvidenceRow("mine", evidence)], []).splitlines()[0].split()[:3]
        ['model', 'estimator', 'nats/datum']
    """
    frame = cell_frame(rows)
    names = [name for name in _LEFT[:3] if name in frame]
    frame[names] = frame[names].apply(lambda cells: cells.str[:_WIDTH])
    lines = [text_table(frame, left=_LEFT, gap=1), _LEGEND]
    for row in rows:
        lines += _reasons(row)
    return "\n".join([*lines, *([""] if disagreements else []), *disagreements])


def latex_table(rows: Sequence[EvidenceRow]) -> str:
    r"""The rows as a LaTeX `tabular`, for a document that uses the package booktabs.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
        >>> evidence = lv.evidence.Importance(64).estimate(model, torch.rand(4, 3))
        >>> print(latex_table([EvidenceRow("my_model", evidence)]).splitlines()[4][:11])
        my\_model &
    """
    frame = cell_frame(rows)
    sides = "".join("l" if name in _LEFT else "r" for name in frame)
    style = frame.rename(columns=_LATEX_NAMES).style.format(escape="latex").hide(axis="index")
    return str(style.to_latex(column_format=sides, hrules=True))


def cell_frame(rows: Sequence[EvidenceRow]) -> DataFrame:
    """The rows as the texts of a table's columns; `recipe` is one if a row has a recipe."""
    frame = DataFrame([row.cells() for row in rows])
    if all(row.evidence.nats == "nats" for row in rows):
        frame = frame.rename(columns={"nats/datum": "nats"})
    return frame if any(row.recipe for row in rows) else frame.drop(columns="recipe")


def _reasons(row: EvidenceRow) -> list[str]:
    """Why a result is not reliable, and what to do."""
    verdict = row.evidence.verdict
    if verdict.reliable:
        return []
    name = f"{row.model}, {row.method}:"
    return ["", name, *(f"  {reason}" for reason in verdict.reasons), f"  {verdict.remedy}"]
