"""A comparison as text to read and as a LaTeX table."""

from collections.abc import Sequence

from pandas import DataFrame

from lvkam_pyro.comparison.disagreement import Disagreement
from lvkam_pyro.comparison.row import EvidenceRow
from lvkam_pyro.statistics.text_table import text_table

_LEFT = ("model", "recipe", "estimator", "verdict")
_WIDTH = 18
"""Of names, in a terminal of 100 columns."""

_LEGEND = (
    "(s.e. of the mean over these data; ESS: median, Pareto k and R-hat: worst; evals: per datum)"
)
_LATEX_NAMES = {"k": r"$\hat k$", "R-hat": r"$\hat R$", "evals": "evaluations"}


def comparison_text(rows: Sequence[EvidenceRow], disagreements: Sequence[Disagreement]) -> str:
    """The rows, the reasons of bad verdicts below, and the estimates that disagree.

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
    return "\n".join([*lines, *([""] if disagreements else []), *map(str, disagreements)])


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
    return frame if any(row.recipe for row in rows) else frame.drop(columns="recipe")


def _reasons(row: EvidenceRow) -> list[str]:
    """Why a result is not reliable, and what to do."""
    verdict = row.evidence.verdict
    if verdict.reliable:
        return []
    name = f"{row.model}, {row.method}:"
    return ["", name, *(f"  {reason}" for reason in verdict.reasons), f"  {verdict.remedy}"]
