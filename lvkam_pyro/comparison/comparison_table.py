"""A comparison as text to read and as a LaTeX table."""

from collections.abc import Iterable, Sequence

from lvkam_pyro.comparison.comparison_row import EvidenceRow
from lvkam_pyro.comparison.disagreement import Disagreement

_COLUMNS = (
    ("model", 15),
    ("estimator", 18),
    ("nats/datum", 10),
    ("s.e.", 7),
    ("ESS", 7),
    ("k", 5),
    ("R-hat", 6),
    ("evals", 8),
    ("verdict", 13),
)
_LEFT = {0, 1, 8}
_LEGEND = (
    "(s.e. of the mean over these data; ESS: median, Pareto k and R-hat: worst; evals: per datum)"
)
_LATEX_NAMES = (
    "model",
    "estimator",
    "nats/datum",
    "s.e.",
    "ESS",
    r"$\hat k$",
    r"$\hat R$",
    "evaluations",
    "verdict",
)
_LATEX_SIGNS = {sign: f"\\{sign}" for sign in "#$%&_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def text_table(rows: Sequence[EvidenceRow], disagreements: Sequence[Disagreement]) -> str:
    """The rows in at most 100 columns, with the reasons of bad verdicts below.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
        >>> evidence = lv.evidence.Importance(64).estimate(model, torch.rand(4, 3))
        >>> text_table([EvidenceRow("mine", evidence)], []).splitlines()[0].split()[:3]
        ['model', 'estimator', 'nats/datum']
    """
    lines = [_line([name for name, _ in _COLUMNS]), _line(["-" * w for _, w in _COLUMNS])]
    lines += [_line(row.cells()) for row in rows]
    lines += [_LEGEND]
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
    form = "".join("l" if index in _LEFT else "r" for index in range(len(_COLUMNS)))
    body = [_latex_line(_escape(cell) for cell in row.cells()) for row in rows]
    lines = [
        rf"\begin{{tabular}}{{{form}}}",
        r"\toprule",
        _latex_line(_LATEX_NAMES),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    """Texts to the left, numbers to the right, each cut to its column."""
    padded = [
        cell[:width].ljust(width) if index in _LEFT else cell.rjust(width)
        for index, (cell, (_, width)) in enumerate(zip(cells, _COLUMNS, strict=True))
    ]
    return " ".join(padded).rstrip()


def _reasons(row: EvidenceRow) -> list[str]:
    """What is wrong with a result and what to do."""
    verdict = row.evidence.verdict
    if verdict.reliable:
        return []
    name = f"{row.model}, {row.evidence.estimator}:"
    return ["", name, *(f"  {reason}" for reason in verdict.reasons), f"  {verdict.remedy}"]


def _latex_line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _escape(text: str) -> str:
    return "".join(_LATEX_SIGNS.get(sign, sign) for sign in text)
