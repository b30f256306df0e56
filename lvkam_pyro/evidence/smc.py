"""Evidence by tempered sequential Monte Carlo, per datum."""

from lvkam_pyro.evidence.annealing import AnnealingEstimator
from lvkam_pyro.ladder.target import GradientTarget
from lvkam_pyro.ladder.tempering import AnnealingPath
from lvkam_pyro.options import check_share


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
