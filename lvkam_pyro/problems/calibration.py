"""Whether reported standard errors are those that estimates have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.problems.problem import Problem
from lvkam_pyro.problems.validation import ROUNDING, ValidationTrial

_LEVEL = 0.95


@dataclass(frozen=True)
class Calibration:
    r"""Standard errors of one estimator against the errors that it made.

    .. math:: z_{ns} = \frac{\log \hat p_s(x_n) - \log p(x_n)}{\text{s.e.}_{ns}}

    over all pairs of a datum n and a seed s whose verdict is reliable and whose Monte Carlo error
    exceeds the known deterministic ones (discretisation, rounding): those where it is all there is
    to know. Problems with a declared blind spot, which no standard error can show, and bounds are
    left out.

    Attributes:
        num_pairs: Pairs (n, s).
        root_mean_square_z: 1 for exact standard errors, 1.07 for those of 16 replicates (Student's
            t with 15 degrees of freedom); not a number without pairs.
        coverage: The share of pairs whose 95 % interval holds the exact answer.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> estimator = lv.evidence.MixtureImportance(1024, num_pilots=64)
        >>> trials = lv.problems.validate([problem], [estimator], seeds=range(4), progress=False)
        >>> Calibration.of(tuple(trials)).num_pairs > 10
        True
    """

    num_pairs: int
    root_mean_square_z: float
    coverage: float

    @classmethod
    def of(cls, trials: Sequence[ValidationTrial]) -> Self:
        """Pool the trials of one estimator."""
        runs = [
            _judge(trial.problem, result)
            for trial in trials
            if not (trial.problem.blind_spot or trial.is_lower_bound)
            for result in trial.results
        ]
        z = torch.cat([torch.empty(0), *(z for z, _ in runs)])
        covered = torch.cat([torch.empty(0), *(covered for _, covered in runs)])
        return cls(len(z), float(z.square().mean().sqrt()), float(covered.double().mean()))


def _judge(problem: Problem, result: Evidence) -> tuple[Tensor, Tensor]:
    """The z-scores of the data that count, and whether their intervals hold the exact answer."""
    exact = problem.log_evidence
    known = ROUNDING * exact.abs()
    if result.discretization_error is not None:
        known = known + result.discretization_error
    counts = ~result.verdict.unreliable & (result.standard_error > known)
    low, high = result.interval(_LEVEL)
    z = (result.log_evidence - exact) / result.standard_error
    return z[counts], ((low <= exact) & (exact <= high))[counts]
