"""Evidence by annealed importance sampling and tempered sequential Monte Carlo, per datum."""

from collections.abc import Callable

from torch import Tensor

from lvkam_pyro.evidence.annealing import AnnealingEstimator
from lvkam_pyro.evidence.replicates import Summary
from lvkam_pyro.evidence.verdict import Gate
from lvkam_pyro.guides.mixture import MixtureGuide
from lvkam_pyro.ladder.reference import ReferenceTarget
from lvkam_pyro.ladder.schedule import PowerSchedule
from lvkam_pyro.ladder.target import GradientTarget
from lvkam_pyro.ladder.tempering import MAX_DRIFT, AnnealingPath
from lvkam_pyro.options import check_count, check_share
from lvkam_pyro.statistics.weights import MAX_PARETO_K
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram

_MIN_ISLAND_SIZE = 15.0
"""With fewer effective particles the islands' means are skewed: the low ones look sure."""


class AnnealedImportance(AnnealingEstimator):
    r"""Chains from prior to posterior, each with the weight of its whole way.

    .. math:: \log \hat p(x_n) = \log \frac1S \sum_s \prod_k p(x_n | z_{sk})^{t_{k+1} - t_k}

    (Neal 2001, https://doi.org/10.1023/A:1008923215028, equation 8): importance sampling whose
    proposal comes as near to the posterior as there are temperatures. Where it errs, it errs low:
    `sandwich` bounds it from above too, on data that the model simulates. Diagnostics: `ess`,
    `pareto_k`, `acceptance` (the least mean acceptance of the moves), `island_spread` and
    `num_temperatures`, `(N,)` each.

    Args:
        num_particles: S, at least (rounded up to full islands).
        num_temperatures: T.
        num_replicates: R islands, at least 8.
        num_moves: MALA steps at each temperature.
        schedule: Where the temperatures lie; None: `PowerSchedule()`, or in equal steps from a
            guide.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a count is too small.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> evidence = AnnealedImportance(512, num_temperatures=16).estimate(model, torch.zeros(2))
        >>> bool((evidence.log_evidence + 1.2655).abs().max() < 0.1)
        True
    """

    name = "AnnealedImportance"
    threshold = 0.0
    remedy = "Use more temperatures, TemperedSMC, MultistateBAR, or Lookahead."

    def __init__(
        self,
        num_particles: int = 2048,
        *,
        num_temperatures: int = 100,
        num_replicates: int = 16,
        num_moves: int = 1,
        schedule: Callable[[int], Tensor] | None = None,
    ) -> None:
        super().__init__(num_particles, num_replicates=num_replicates, num_moves=num_moves)
        self.num_temperatures = check_count("num_temperatures", num_temperatures, minimum=2)
        self.schedule = schedule

    def path(self, target: GradientTarget) -> AnnealingPath:
        """The schedule's temperatures, moves learned from few particles; see the base class."""
        is_near = isinstance(target, ReferenceTarget)
        schedule = self.schedule or PowerSchedule(1.0 if is_near else 5.0)
        temperatures = schedule(self.num_temperatures)
        return AnnealingPath.along(target, temperatures, max(256, self.num_particles // 4))

    def gates(self, summary: Summary) -> list[Gate]:
        """The chains' weights have a variance, and each island enough of them."""
        return [
            Gate.above("Pareto k", summary["pareto_k"], MAX_PARETO_K),
            Gate.below(
                "an effective sample size of an island",
                summary["ess"] / self.num_replicates,
                _MIN_ISLAND_SIZE,
            ),
            *super().gates(summary),
        ]


class TemperedSMC(AnnealingEstimator):
    r"""Particles that are weighed, resampled where few are effective, and moved, up to t = 1.

    .. math:: \log \hat p(x_n) = \sum_k \log \sum_i W_i \, p(x_n | z_i)^{t_{k+1} - t_k}

    (Del Moral, Doucet and Jasra 2006, https://doi.org/10.1111/j.1467-9868.2006.00553.x) with the
    weights W carried from step to step. Each datum has its temperatures, chosen so that
    each step leaves the share `efficiency` of the particles effective. Diagnostics: `ess` (the
    least along the path), `acceptance` (the least mean acceptance of the moves),
    `num_temperatures`, `island_spread` and `pareto_k` (of the last weights), `(N,)` each.

    Args:
        num_particles: S, at least (rounded up to full islands).
        num_replicates: R islands, at least 8.
        num_moves: MALA steps at each temperature.
        efficiency: The conditional effective sample size of each step as a share of S.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a count is too small, or the efficiency not between 0 and 1.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> evidence = TemperedSMC(512).estimate(model, torch.zeros(2))
        >>> bool((evidence.log_evidence + 1.2655).abs().max() < 0.1)
        True
    """

    name = "TemperedSMC"
    threshold = 0.5
    remedy = "Use more particles or num_moves, MultistateBAR, or Lookahead."

    def __init__(
        self,
        num_particles: int = 2048,
        *,
        num_replicates: int = 16,
        num_moves: int = 5,
        efficiency: float = 0.8,
    ) -> None:
        super().__init__(num_particles, num_replicates=num_replicates, num_moves=num_moves)
        self.efficiency = check_share("efficiency", efficiency)

    def path(self, target: GradientTarget) -> AnnealingPath:
        """Temperatures with equally efficient steps; see `AnnealingEstimator.path`."""
        return AnnealingPath.adaptive(target, self.efficiency, self.num_particles)


class MixtureSMC(TemperedSMC):
    r"""`TemperedSMC` whose particles start from a density that is fitted to a first population.

    .. math:: \pi_t(z) \propto q(z)^{1 - t} \, p(x_n, z)^t

    with q as of `MixtureGuide`. Where the prior is vague, or there are tens to hundreds of latents,
    the way from q is much shorter than that from the prior, and where q is a poor proposal
    (`MixtureImportance` says so) the moves on the way mend it. Likelihood evaluations count those
    of the first population. A mode that it did not meet is lost. Diagnostics and verdict are those
    of `TemperedSMC`, and `drift`: how much the first population still moved, in standard errors of
    a mean. The verdict is unreliable above 5. A guide that is given is left aside.

    Args:
        num_particles: S, at least (rounded up to full islands).
        num_replicates: R islands, at least 8.
        num_moves: Moves at each temperature, of the first population too.
        efficiency: The conditional effective sample size of each step as a share of S.
        num_pilots: Particles of the first population.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If a count is too small, or the efficiency not between 0 and 1; when used, if a
            latent cannot move on the real line.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1000.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> evidence = MixtureSMC(512).estimate(model, torch.zeros(2))
        >>> bool((evidence.log_evidence + 7.8267).abs().max() < 0.1)
        True
    """

    name = "MixtureSMC"
    remedy = "Use more num_pilots, num_particles or num_moves."

    def __init__(
        self,
        num_particles: int = 2048,
        *,
        num_replicates: int = 16,
        num_moves: int = 5,
        efficiency: float = 0.8,
        num_pilots: int = 1024,
    ) -> None:
        super().__init__(
            num_particles,
            num_replicates=num_replicates,
            num_moves=num_moves,
            efficiency=efficiency,
        )
        self.num_pilots = num_pilots

    def target(self, program: BoundProgram, guide: Program | None) -> ReferenceTarget:
        """The way from the fitted density; see `AnnealingEstimator.target`."""
        fitted = MixtureGuide(program.model, num_pilots=self.num_pilots, num_moves=self.num_moves)
        pilots = GradientTarget(program)
        target = ReferenceTarget(program, fitted.fit(pilots))
        target.num_evaluations = pilots.num_evaluations
        return target

    def diagnostics(self, target: GradientTarget) -> Summary:
        """The drift of the population that the first density was fitted to; see the base class."""
        drift = target.reference.drift if isinstance(target, ReferenceTarget) else None
        return {} if drift is None else {"drift": drift}

    def gates(self, summary: Summary) -> list[Gate]:
        """The first population had come to rest, and the particles agree."""
        name = "a drift of the first population in standard errors"
        return [Gate.above(name, summary["drift"], MAX_DRIFT), *super().gates(summary)]
