"""Verdicts and standard errors of an estimator against the errors that it made."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Self

from lvkam_pyro.problems.trial import ValidationTrial, done, joined


@dataclass(frozen=True)
class Calibration:
    r"""How far verdicts and standard errors of one estimator can be trusted.

    .. math:: z_{ns} = \frac{\log \hat p_s(x_n) - \log p(x_n)}{\text{s.e.}_{ns}}

    over all pairs of a datum n and a seed s whose verdict is reliable and whose Monte Carlo error
    exceeds the known deterministic ones (discretisation, rounding): those where it is all there is
    to know. Bounds are never reliable, and what was refused does not count.

    Attributes:
        num_estimates: All values, over problems, data and seeds.
        num_reliable: Those that the estimator trusts.
        num_pairs: Those that have a z-score.
        root_mean_square_z: 1 for exact standard errors, 1.07 for those of 16 replicates (Student's
            t with 15 degrees of freedom); not a number without pairs.
        coverage: The share of pairs whose 95 % interval holds the exact answer.
        num_silent: Values that are trusted and wrong: beyond four standard errors and the known
            ones, and beyond 0.01 nats.
        num_false_alarms: Values that are not trusted and right: within 2.5 standard errors and 0.1
            nats.
        root_mean_square_error: Over all values, in nats.
        cost: The mean over problems of mean squared error times likelihood evaluations.
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
        z = joined([trial.z[trial.counts] for trial in runs])
        costs = [
            float(trial.errors.square().mean()) * trial.estimate.num_likelihood_evaluations
            for trial in runs
        ]
        return cls(
            num_estimates=sum(len(trial.exact) for trial in runs),
            num_reliable=sum(int(trial.reliable.sum()) for trial in runs),
            num_pairs=len(z),
            root_mean_square_z=float(z.square().mean().sqrt()),
            coverage=float(joined([trial.covered[trial.counts] for trial in runs]).mean()),
            num_silent=sum(int(trial.silent.sum()) for trial in runs),
            num_false_alarms=sum(int(trial.false_alarms.sum()) for trial in runs),
            root_mean_square_error=float(
                joined([trial.errors for trial in runs]).square().mean().sqrt()
            ),
            cost=fmean(costs) if costs else float("nan"),
            seconds=fmean(trial.seconds for trial in runs) if runs else float("nan"),
        )

    @property
    def share_reliable(self) -> float:
        """The share of all values that the estimator trusts; not a number without any."""
        return self.num_reliable / self.num_estimates if self.num_estimates else float("nan")
