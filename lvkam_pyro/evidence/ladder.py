"""The base of estimators on a ladder: one run, its moments, its gradient."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.stats import t as student_t
from torch import Tensor

from lvkam_pyro.evidence.estimator import Estimator, with_fisher_gradient
from lvkam_pyro.evidence.evidence import Evidence, to_double
from lvkam_pyro.evidence.verdict import (
    MAX_CHAIN_SPREAD,
    MAX_RHAT,
    MIN_EFFECTIVE_SAMPLE_SIZE,
    Gate,
    common_failure,
)
from lvkam_pyro.ladder.ladder import Ladder, LadderSamples
from lvkam_pyro.ladder.reference import starts_at_prior
from lvkam_pyro.ladder.schedule import PowerSchedule
from lvkam_pyro.statistics.convergence import half_drift
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.session import draw_seed

_FROM_GUIDE = Ladder(
    num_temperatures=8, num_chains=12, num_warmup=50, num_samples=50, schedule=PowerSchedule(2.5)
)
"""The few draws of the prior among the guide's make the curve steep at its beginning."""

_MANY_RESTARTS = 5.0
"""States of a chain that have come all the way from an exact draw."""

_FALL_RATE = 3e-5
_DRIFT_RATE = 1e-9
"""Chances that chains that have converged fail, at one temperature and datum."""


@dataclass(frozen=True)
class Moments:
    """Mean and variance of the log likelihood at each temperature.

    Attributes:
        mean: E_t, `(T, N)`.
        variance: V_t, `(T, N)`.
        mean_error: The standard error of E_t over the chains, `(T, N)`.
        leave_one_out_mean: E_t without each chain, `(C, T, N)`.
        leave_one_out_variance: V_t without each chain, `(C, T, N)`.
    """

    mean: Tensor
    variance: Tensor
    mean_error: Tensor
    leave_one_out_mean: Tensor
    leave_one_out_variance: Tensor

    @classmethod
    def of(cls, log_likelihood: Tensor) -> "Moments":
        """The moments of draws `(D, C, T, N)`.

        Example:
            >>> Moments.of(torch.zeros(5, 3, 2, 1)).leave_one_out_mean.shape
            torch.Size([3, 2, 1])
        """
        num_draws, num_chains = log_likelihood.shape[:2]
        # Squares about the mean, so that large log likelihoods do not cancel.
        centre = log_likelihood.mean((0, 1))
        chain_mean = (log_likelihood - centre).mean(0)
        chain_square = (log_likelihood - centre).square().mean(0)
        count = num_draws * num_chains
        others_mean = (chain_mean.sum(0) - chain_mean) / (num_chains - 1)
        others_square = (chain_square.sum(0) - chain_square) / (num_chains - 1)
        return cls(
            mean=centre,
            variance=chain_square.mean(0) * count / (count - 1),
            mean_error=chain_mean.std(0) / num_chains**0.5,
            leave_one_out_mean=centre + others_mean,
            leave_one_out_variance=others_square - others_mean.square(),
        )


@dataclass(frozen=True)
class LadderEstimate:
    """The values that an estimator reads off a ladder's draws.

    Attributes:
        log_evidence: `(N,)`.
        leave_one_out: The same without each chain, `(C, N)`.
        chain_estimates: Each chain's own estimate, `(C, N)`.
        diagnostics: The estimator's own.
        gates: The estimator's own, judged before the ladder's.
        discretization_error: `(N,)`, if there is one.
    """

    log_evidence: Tensor
    leave_one_out: Tensor
    chain_estimates: Tensor
    diagnostics: dict[str, Tensor]
    gates: Sequence[Gate] = ()
    discretization_error: Tensor | None = None


class LadderEstimator(Estimator):
    """An estimator that reads the evidence off the draws of a `Ladder`.

    Its chains are the replicates. It needs no guide; where one is given the ladder begins there,
    see `Ladder`. The loss runs the whole ladder; its gradient is the mean of grad log p(x, z) over
    (up to 512 of) the draws at temperature 1, exactly Fisher's identity.

    Implementing one: define `integrate(samples, moments) -> LadderEstimate`, and `from_guide`
    where another ladder than eight temperatures crowded at the guide suits it better.

    Args:
        ladder: What to run; None: `Ladder()`, or a shorter one where it begins at a guide.

    Example:
        >>> import lvkam_pyro as lv
        >>> one, other = lv.evidence.SteppingStone(), lv.evidence.ThermodynamicIntegration()
        >>> one.ladder_from(None) == other.ladder_from(None)
        True
    """

    remedy = (
        "Lengthen the ladder (more num_warmup and num_samples, more num_temperatures), or use "
        "Importance with a guide close to the posterior."
    )

    from_guide = _FROM_GUIDE

    def __init__(self, ladder: Ladder | None = None) -> None:
        super().__init__()
        self._ladder = ladder

    def ladder_from(self, guide: Program | None) -> Ladder:
        """The ladder that runs from a guide, or the prior; equal ones of estimators share a run."""
        default = Ladder() if starts_at_prior(guide) else self.from_guide
        return default if self._ladder is None else self._ladder

    @abstractmethod
    def integrate(self, samples: LadderSamples, moments: Moments) -> LadderEstimate:
        """The estimate from the draws of a ladder and the moments of their log likelihood."""

    def estimate_from(self, samples: LadderSamples) -> Evidence:
        """The evidence from the draws of a ladder, with what every estimator says of them."""
        moments = Moments.of(samples.log_likelihood)
        own = self.integrate(samples, moments)
        summary = _ladder_diagnostics(samples, moments) | own.diagnostics
        summary["chain_spread"] = own.chain_estimates.std(0)
        return self.conclude(
            samples,
            own.log_evidence,
            own.leave_one_out,
            diagnostics=summary,
            gates=[*own.gates, *_ladder_gates(samples, summary, moments)],
            num_evaluations=samples.num_likelihood_evaluations,
            discretization_error=own.discretization_error,
        )

    def estimate_bound(self, program: BoundProgram, guide: Program | None, seed: int) -> Evidence:
        """Run the ladder and estimate the log evidence; see `Estimator.estimate`."""
        samples = self.ladder_from(guide).sample_bound(program, guide, seed=seed)
        return self.estimate_from(samples)

    def log_evidence(self, program: BoundProgram, guide: Program | None) -> tuple[Tensor, float]:
        """The total, whose gradient is that of the joint density at the draws of temperature 1."""
        samples = self.ladder_from(guide).sample_bound(program, guide, seed=draw_seed())
        draws = {name: value.flatten(0, 1) for name, value in samples.latents.items()}
        total = self.estimate_from(samples).total
        return with_fisher_gradient(total, program, draws), samples.data_scale


def _ladder_gates(
    samples: LadderSamples, summary: dict[str, Tensor], moments: Moments
) -> list[Gate]:
    """The conditions on a ladder's draws: mixing, agreement of chains, a curve that rises.

    Args:
        samples: The draws.
        summary: The diagnostics.
        moments: The moments of the log likelihood.

    Returns:
        The gates.
    """
    num_chains = samples.num_chains
    rhat = _mixing(to_double(summary["rhat"]), to_double(summary["restarts"]) / num_chains)
    return [
        Gate(
            torch.full_like(samples.rhat[0], samples.biased, dtype=torch.bool),
            "were drawn by a biased kernel, whose chains miss the posterior: use MALA or HMC",
        ),
        rhat,
        common_failure(rhat),
        Gate.above(
            "a drift between the halves of the chains in standard errors",
            to_double(half_drift(samples.log_likelihood).amax(0)),
            _limit(_DRIFT_RATE, num_chains - 1),
        ),
        Gate.below("an effective sample size", summary["ess"], MIN_EFFECTIVE_SAMPLE_SIZE),
        Gate.above("a chain spread in nats", summary["chain_spread"], MAX_CHAIN_SPREAD),
        Gate.above(
            "a fall of the thermodynamic curve in standard errors",
            to_double(_worst_fall(moments)),
            _limit(_FALL_RATE, 2 * (num_chains - 1)),
        ),
    ]


def _mixing(rhat: Tensor, restarts: Tensor) -> Gate:
    """Chains agree, or have begun anew so often that short ones need not.

    R-hat of short chains is large although together they are right: on digits of the default recipe
    a ladder from the guide has 6 restarts a chain and more, and its data with a large R-hat err no
    more than their errors say. From the prior `mixture_prior` has two to four where it is wrong.
    """
    gate = Gate.above("R-hat", rhat, MAX_RHAT)
    failed = gate.failed & ~(restarts >= _MANY_RESTARTS)
    return Gate(failed, f"{gate.reason} and begin anew fewer than {_MANY_RESTARTS:g} times a chain")


def _limit(rate: float, degrees_of_freedom: int) -> float:
    """Standard errors that chance exceeds at this rate, where few chains measure the error."""
    return round(float(student_t.isf(rate, degrees_of_freedom)), 1)


def _worst_fall(moments: Moments) -> Tensor:
    """The largest fall between neighbouring temperatures in standard errors, `(N,)`."""
    fall = -moments.mean.diff(dim=0)
    error = (moments.mean_error[1:].square() + moments.mean_error[:-1].square()).sqrt()
    return torch.where(fall > 0, fall / error, 0.0).amax(0)


def _ladder_diagnostics(samples: LadderSamples, moments: Moments) -> dict[str, Tensor]:
    """The diagnostics of every estimator on a ladder: mixing per datum, and the curve."""
    return {
        "rhat": samples.rhat.amax(0),
        "ess": samples.ess.amin(0),
        "restarts": samples.restarts,
        "temperatures": samples.temperatures,
        "mean_log_likelihood": moments.mean,
        "variance_log_likelihood": moments.variance,
        "mean_log_likelihood_error": moments.mean_error,
        "acceptance": samples.acceptance,
        "swap_rate": samples.swap_rate,
    }
