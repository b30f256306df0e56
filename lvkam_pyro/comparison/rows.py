"""The results of a comparison, a row each, and their table as text and in LaTeX."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

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


class Row(ABC):
    """A result: of a model, by an estimator, perhaps by a recipe (empty where by none)."""

    model: str
    recipe: str
    estimator: str

    @property
    def method(self) -> str:
        """The name of the estimator, with that of the recipe where there is one."""
        return f"{self.estimator} ({self.recipe})" if self.recipe else self.estimator

    @abstractmethod
    def to_dict(self) -> dict[str, object]:
        """The row as plain values."""

    @abstractmethod
    def cells(self) -> dict[str, str]:
        """The row as the texts of a table's columns, by name."""


RowT = TypeVar("RowT", bound=Row)


@dataclass(frozen=True)
class Rows(Generic[RowT]):
    """Results below each other, found by model and method.

    Attributes:
        rows: The results.

    Example:
        >>> list(Rows(()))
        []
    """

    rows: tuple[RowT, ...]

    def __iter__(self) -> Iterator[RowT]:
        return iter(self.rows)

    def find(self, key: tuple[str, str]) -> RowT:
        """The row of one (model, method): the estimator, or `"estimator (recipe)"`.

        Raises:
            KeyError: If there is none.
        """
        found = {(row.model, row.method): row for row in reversed(self.rows)}
        if key not in found:
            raise KeyError(f"No result {key}. Results: {[*reversed(found)]}.")
        return found[key]

    def to_frame(self) -> DataFrame:
        """The rows as a data frame of plain values."""
        return DataFrame([row.to_dict() for row in self.rows])

    def cells(self) -> DataFrame:
        """The rows as the texts of a table's columns; `recipe` is one if a row has a recipe."""
        frame = DataFrame([row.cells() for row in self.rows])
        return frame if any(row.recipe for row in self.rows) else frame.drop(columns="recipe")

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class EvidenceRow(Row):
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
    def estimator(self) -> str:  # type: ignore[override]
        """The name of the estimator."""
        return self.evidence.estimator

    @property
    def is_lower_bound(self) -> bool:
        """Whether it is a lower bound, to be compared with no estimate."""
        return self.evidence.is_lower_bound

    @property
    def is_reliable(self) -> bool:
        """Whether no datum fails a gate."""
        return self.evidence.verdict.reliable

    def to_dict(self) -> dict[str, object]:
        """The row as plain values; None where the estimator has no such diagnostic."""
        evidence, diagnostics = self.evidence, self.evidence.diagnostics
        return {
            "model": self.model,
            "recipe": self.recipe,
            "estimator": self.estimator,
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
            "estimator": self.estimator,
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
    frame = evidence_cells(rows)
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
    frame = evidence_cells(rows)
    sides = "".join("l" if name in _LEFT else "r" for name in frame)
    style = frame.rename(columns=_LATEX_NAMES).style.format(escape="latex").hide(axis="index")
    return str(style.to_latex(column_format=sides, hrules=True))


def evidence_cells(rows: Sequence[EvidenceRow]) -> DataFrame:
    """The rows as texts, in nats where they are of the data set as a whole."""
    frame = Rows(tuple(rows)).cells()
    is_whole = all(row.evidence.nats == "nats" for row in rows)
    return frame.rename(columns={"nats/datum": "nats"}) if is_whole else frame


def _reasons(row: EvidenceRow) -> list[str]:
    """Why a result is not reliable, and what to do."""
    verdict = row.evidence.verdict
    if verdict.reliable:
        return []
    name = f"{row.model}, {row.method}:"
    return ["", name, *(f"  {reason}" for reason in verdict.reasons), f"  {verdict.remedy}"]
