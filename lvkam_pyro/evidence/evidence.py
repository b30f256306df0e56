"""The result of an estimator: log p(x) per datum with its errors and a verdict."""

from dataclasses import dataclass

import torch
from scipy.stats import t as student_t
from torch import Tensor

from lvkam_pyro.evidence.verdict import Verdict
from lvkam_pyro.statistics.jackknife import jackknife_error
from lvkam_pyro.tracing.structure import Unit


@dataclass(frozen=True)
class Evidence:
    """Estimates of log p(x_n), in nats.

    The standard errors come from replicates (islands of particles, or chains) by the jackknife;
    that of the total from the replicates' totals, because data that share draws err together.

    Attributes:
        log_evidence: `(N,)` in float64.
        standard_error: `(N,)`, of Monte Carlo.
        total: The sum over the data.
        total_standard_error: Its Monte Carlo standard error.
        diagnostics: Name to tensor, the estimator's own.
        verdict: Whether to trust it.
        num_likelihood_evaluations: Likelihood evaluations per datum.
        estimator: The estimator's display name.
        num_replicates: R.
        data_hash: A short name of the observations.
        discretization_error: `(N,)`, of a temperature grid, or None where there is none.
        data_scale: The data plate's full size divided by the number of data.
        leave_one_out: The values without each replicate, `(R, N)`, if they are kept: what totals
            of some of the data have their errors from.
        is_lower_bound: Whether it bounds the evidence from below, with an unknown gap: to be
            compared with no estimate.
        unit: The unit of evidence: `datum`, or `data set` where some latent is shared by all data
            and N is 1.

    Example:
        >>> verdict = Verdict(True, (), "", torch.zeros(2, dtype=torch.bool))
        >>> replicates = torch.tensor([[1.0, 2.0], [1.1, 2.1], [0.9, 1.9]], dtype=torch.float64)
        >>> evidence = Evidence.of(
        ...     replicates.mean(0), replicates, diagnostics={}, verdict=verdict,
        ...     num_likelihood_evaluations=3, estimator="Example", data_hash="")
        >>> round(evidence.total, 3), round(evidence.mean, 3)
        (3.0, 1.5)
    """

    log_evidence: Tensor
    standard_error: Tensor
    total: float
    total_standard_error: float
    diagnostics: dict[str, Tensor]
    verdict: Verdict
    num_likelihood_evaluations: int
    estimator: str
    num_replicates: int
    data_hash: str
    discretization_error: Tensor | None = None
    data_scale: float = 1.0
    leave_one_out: Tensor | None = None
    is_lower_bound: bool = False
    unit: str = Unit.DATUM.value

    @classmethod
    def of(
        cls,
        log_evidence: Tensor,
        leave_one_out: Tensor,
        *,
        diagnostics: dict[str, Tensor],
        verdict: Verdict,
        num_likelihood_evaluations: int,
        estimator: str,
        data_hash: str,
        discretization_error: Tensor | None = None,
        data_scale: float = 1.0,
        is_lower_bound: bool = False,
    ) -> "Evidence":
        """The result from an estimate and its delete-one values `(R, N)`."""
        return cls(
            log_evidence=log_evidence,
            standard_error=jackknife_error(leave_one_out),
            total=float(log_evidence.sum()),
            total_standard_error=float(jackknife_error(leave_one_out.sum(1))),
            diagnostics=diagnostics,
            verdict=verdict,
            num_likelihood_evaluations=num_likelihood_evaluations,
            estimator=estimator,
            num_replicates=len(leave_one_out),
            data_hash=data_hash,
            discretization_error=discretization_error,
            data_scale=data_scale,
            leave_one_out=leave_one_out,
            is_lower_bound=is_lower_bound,
        )

    @property
    def num_data(self) -> int:
        """The number of data N."""
        return len(self.log_evidence)

    @property
    def nats(self) -> str:
        """The unit of the mean, as text: of one number for the whole data set it is a total."""
        return "nats per datum" if self.unit == Unit.DATUM.value else "nats"

    @property
    def mean(self) -> float:
        """The mean over the data, in nats per datum."""
        return self.total / self.num_data

    @property
    def mean_standard_error(self) -> float:
        """The standard error of the mean over these data, in nats per datum."""
        return self.total_standard_error / self.num_data

    @property
    def total_discretization_error(self) -> float:
        """The sum of the data's discretisation errors, as if all had one sign; 0 without any."""
        return 0.0 if self.discretization_error is None else float(self.discretization_error.sum())

    def mean_interval(self, level: float = 0.95) -> tuple[float, float]:
        """A confidence interval of the mean over these data, in nats per datum, as `interval`.

        Args:
            level: Between 0 and 1.

        Raises:
            ValueError: If the level is not between 0 and 1.
        """
        half = self._quantile(level) * self.total_standard_error + self.total_discretization_error
        return (self.total - half) / self.num_data, (self.total + half) / self.num_data

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """A confidence interval of each log p(x_n) by Student's t with R - 1 degrees of freedom.

        Args:
            level: Between 0 and 1.

        Returns:
            Lower and upper ends, `(N,)` each; the discretisation error widens both sides.

        Raises:
            ValueError: If the level is not between 0 and 1.
        """
        half = self._quantile(level) * self.standard_error
        if self.discretization_error is not None:
            half = half + self.discretization_error
        return self.log_evidence - half, self.log_evidence + half

    def _quantile(self, level: float) -> float:
        if not 0 < level < 1:
            raise ValueError(f"Expected a level between 0 and 1, but got {level}. Use e.g. 0.95.")
        return float(student_t.ppf((1 + level) / 2, self.num_replicates - 1))

    def __str__(self) -> str:
        reliable = int((~self.verdict.unreliable).sum())
        counted = f" ({self.num_data} data, {reliable} reliable)"
        return (
            f"{self.estimator}: {self.mean:.3f} ± {self.mean_standard_error:.3f} {self.nats}"
            f"{counted if self.unit == Unit.DATUM.value else ''}. Verdict: {self.verdict}"
        )

    def __repr__(self) -> str:
        return str(self)


def to_double(tensor: Tensor) -> Tensor:
    """A detached copy in float64 on the CPU, where results live.

    Example:
        >>> to_double(torch.ones(1)).dtype
        torch.float64
    """
    return tensor.detach().to("cpu", torch.float64)
