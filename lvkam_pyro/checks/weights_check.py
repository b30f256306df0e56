"""Whether a guide's weighted particles can stand for the posterior, datum by datum."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lvkam_pyro.checks.check import CheckResult, Finding, Severity, Table
from lvkam_pyro.evidence.evidence import Evidence, to_double
from lvkam_pyro.evidence.verdict import MIN_EFFECTIVE_SAMPLE_SIZE
from lvkam_pyro.statistics.weights import MAX_PARETO_K, weight_diagnostics
from lvkam_pyro.tracing.particles import Particles

_DIAGNOSTICS = ("pareto_k", "ess", "largest_weight")
_REMEDY = (
    "Train the guide longer, draw more particles, or use a ladder (Ladder); until then "
    "trust no other number that these particles gave."
)


@dataclass(frozen=True, eq=False)
class WeightsCheck(CheckResult):
    """The quality of the importance weights of each datum's particles.

    Attributes:
        pareto_k: The shape of their tail, `(N,)`.
        ess: Their effective sample size, `(N,)`.
        largest: The share of the largest, `(N,)`.
        num_particles: S.
        source: The proposal of the particles.

    Example:
        >>> import torch
        >>> check_weights(torch.randn(1000, 5)).ess.shape
        torch.Size([5])
    """

    title: ClassVar[str] = "Importance weights"
    question: ClassVar[str] = "Do the particles reach the posterior of each datum?"

    pareto_k: Tensor
    ess: Tensor
    largest: Tensor
    num_particles: int
    source: str = ""

    @property
    def failed(self) -> Tensor:
        """The data with k above 0.7 or fewer than 10 effective particles, `(N,)`."""
        return ~(self.pareto_k <= MAX_PARETO_K) | (self.ess < MIN_EFFECTIVE_SAMPLE_SIZE)

    @property
    def headline(self) -> str:
        """The worst k and the least effective sample size."""
        return (
            f"worst k {float(self.pareto_k.max()):.2f}, least ESS {float(self.ess.min()):.0f} of "
            f"{self.num_particles}"
        )

    @property
    def findings(self) -> tuple[Finding, ...]:
        """How many data have weights that no estimate can stand on."""
        count = int(self.failed.sum())
        if not count:
            return ()
        problem = (
            f"{count} of {len(self.ess)} data have Pareto k above {MAX_PARETO_K} or fewer than "
            f"{MIN_EFFECTIVE_SAMPLE_SIZE:.0f} effective particles (worst k "
            f"{float(self.pareto_k.max()):.2f}, least {float(self.ess.min()):.1f} of "
            f"{self.num_particles})."
        )
        return (Finding(Severity.ERROR, self.title, problem, _REMEDY),)

    @property
    def caveats(self) -> tuple[str, ...]:
        """The limits of weights, and the error of k."""
        # The standard error of a Pareto shape near k from so many tail weights, at its limit.
        error = (1 + MAX_PARETO_K) / (3 * self.num_particles**0.5) ** 0.5
        return (
            "weights say nothing of a mode that no particle has visited.",
            f"k is known to ± {error:.2f} from so many particles.",
        )

    def table(self) -> Table:
        """Quartiles over the data, and the worst."""
        header = ["quantity", "best", "median", "worst", "limit"]
        k, ess, top = self.pareto_k, self.ess, self.largest
        return [
            header,
            ["Pareto k", *(f"{v:.2f}" for v in _span(k)), f"< {MAX_PARETO_K}"],
            [
                f"ESS of {self.num_particles}",
                *(f"{v:.0f}" for v in _span(ess)[::-1]),
                f"> {MIN_EFFECTIVE_SAMPLE_SIZE:.0f}",
            ],
            ["largest weight", *(f"{v:.2%}" for v in _span(top)), ""],
        ]


def check_weights(weights: Particles | Evidence | Tensor, *, source: str = "") -> WeightsCheck:
    """Judge importance weights, datum by datum.

    Args:
        weights: Particles, log weights `(S, N)`, or an estimate of `Importance`.
        source: Their proposal, for people to read.

    Raises:
        ValueError: If log weights are not of shape `(S, N)`, or the estimate is by no weights.

    References:
        Vehtari, A. et al. (2024). Pareto smoothed importance sampling.
        https://arxiv.org/abs/1507.02646

    Example:
        >>> import torch
        >>> heavy = 10 * torch.randn(1000, 5)
        >>> print(check_weights(heavy).findings[0].severity.name)
        ERROR
    """
    if isinstance(weights, Evidence):
        found, num_particles = _of_estimate(weights), weights.num_likelihood_evaluations
    else:
        log_weights = weights.log_weights if isinstance(weights, Particles) else weights
        found, num_particles = _of_weights(log_weights), len(log_weights)
    k, ess, largest = (to_double(found[name]) for name in _DIAGNOSTICS)
    return WeightsCheck(k, ess, largest, num_particles, source)


def _of_estimate(evidence: Evidence) -> dict[str, Tensor]:
    missing = set(_DIAGNOSTICS) - evidence.diagnostics.keys()
    if missing:
        raise ValueError(
            f"Expected an estimate by importance weights, got one of {evidence.estimator} without "
            f"{sorted(missing)}. Estimate it by Importance, or pass the weights."
        )
    return evidence.diagnostics


def _of_weights(log_weights: Tensor) -> dict[str, Tensor]:
    if log_weights.ndim != 2:
        raise ValueError(
            f"Expected log weights of shape (S, N), got {tuple(log_weights.shape)}. Use "
            "log_weights[:, None] for one datum."
        )
    return weight_diagnostics(log_weights)


def _span(values: Tensor) -> tuple[float, float, float]:
    return float(values.min()), float(values.median()), float(values.max())
