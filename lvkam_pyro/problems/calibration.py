"""Verdicts and standard errors of an estimator against the errors that it made."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from statistics import fmean, median
from typing import Self

from torch import Tensor

from lvkam_pyro.problems.trial import ValidationTrial, done, joined


@dataclass(frozen=True)
class Calibration:
    r"""How far verdicts and standard errors of one estimator can be trusted.

    .. math:: z_{ns} = \frac{\log \hat p_s(x_n) - \log p(x_n)}{\text{s.e.}_{ns}}

    over all pairs of a datum n and a seed s whose verdict is reliable and whose Monte Carlo error
    exceeds the known deterministic ones (discretisation, rounding): those where it is all there is
    to know. Bounds are never reliable, and what was refused does not count.

    A silent error says of verdicts what no average over thousands of sound values shows, and would
    say of standard errors what is not theirs: it is counted, and left out of the z-scores.

    Attributes:
        num_estimates: All values, over problems, data and seeds.
        num_reliable: Those that the estimator trusts.
        num_pairs: Those of them that have a Monte Carlo error.
        root_mean_square_z: 1 for exact standard errors, 1.07 for those of 16 replicates (Student's
            t with 15 degrees of freedom); of pairs without silent errors, and not a number where
            there is none.
        coverage: The share of pairs whose 95 % interval holds the exact answer.
        num_silent: Values that are trusted and wrong: beyond four standard errors and the known
            ones, and beyond 0.01 nats.
        num_false_alarms: Values that are not trusted and right: within 2.5 standard errors and 0.1
            nats.
        root_mean_square_error: Over the values that are trusted, in nats.
        cost: The median over problems of its square times likelihood evaluations.
        seconds: The mean time of a run.

    Example:
        >>> import lvkam_pyro as lv
        >>> family = lv.problems.load_family("linear_gaussian_1")
        >>> estimator = lv.evidence.MixtureImportance(1024, num_pilots=64)
        >>> trials = lv.problems.validate([family], [estimator], seeds=range(4), progress=False)
        >>> Calibration.of(tuple(trials)).num_pairs > 10
        True
    """

    num_estimates: int
    num_reliable: int
    num_pairs: int
    root_mean_square_z: float
    coverage: float
    num_silent: int
    num_false_alarms: int
    root_mean_square_error: float
    cost: float
    seconds: float

    @classmethod
    def of(cls, trials: Sequence[ValidationTrial]) -> Self:
        """Pool the trials of one estimator."""
        runs = done(trials)
        z = joined([trial.z[trial.counts & ~trial.silent] for trial in runs])
        errors = [trial.errors[trial.reliable] for trial in runs]
        costs = [
            float(each.square().mean()) * trial.estimate.num_likelihood_evaluations
            for each, trial in zip(errors, runs, strict=True)
            if len(each)
        ]
        covered = joined([trial.covered[trial.counts] for trial in runs])
        return cls(
            num_estimates=sum(len(trial.exact) for trial in runs),
            num_reliable=sum(int(trial.reliable.sum()) for trial in runs),
            num_pairs=len(covered),
            root_mean_square_z=_root_mean_square(z),
            coverage=float(covered.mean()),
            num_silent=sum(int(trial.silent.sum()) for trial in runs),
            num_false_alarms=sum(int(trial.false_alarms.sum()) for trial in runs),
            root_mean_square_error=_root_mean_square(joined(errors)),
            cost=median(costs) if costs else nan,
            seconds=fmean(trial.seconds for trial in runs) if runs else nan,
        )

    @property
    def share_reliable(self) -> float:
        """The share of all values that the estimator trusts; not a number without any."""
        return self.num_reliable / self.num_estimates if self.num_estimates else nan


def _root_mean_square(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
