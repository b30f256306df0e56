"""Estimates of one model that differ by more than their errors."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from math import hypot, inf

from scipy.stats import t as student_t

from lvkam_pyro.comparison.rows import EvidenceRow
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
