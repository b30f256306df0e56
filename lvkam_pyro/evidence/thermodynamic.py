"""Evidence by thermodynamic integration over a ladder."""

from torch import Tensor

from lvkam_pyro.evidence.evidence import to_double
from lvkam_pyro.evidence.ladder import LadderEstimate, LadderEstimator, Moments
from lvkam_pyro.evidence.rules import HermiteRule, Rule, bracket
from lvkam_pyro.evidence.steppingstone import chain_log_steps
from lvkam_pyro.evidence.verdict import Gate
from lvkam_pyro.ladder.ladder import Ladder, LadderSamples
from lvkam_pyro.statistics.jackknife import log_mean_exp

_INFINITE = "have an infinite mean log likelihood at some temperature"

_MAX_GRID_ERROR = 0.25


class ThermodynamicIntegration(LadderEstimator):
    r"""The area under the thermodynamic curve of each datum.

    .. math:: \log p(x) = \int_0^1 E_{p_t(z|x)}[\log p(x|z)] \, dt

    (Friel and Pettitt 2008, https://doi.org/10.1111/j.1467-9868.2007.00650.x). The discretisation
    error comes from the rule against itself on every second temperature, and against steppingstone
    on the first interval; the standard error from
    the jackknife over chains. Diagnostics: `rhat`, `ess`, `lower_bound`, `upper_bound` (left and
    right sums), `chain_spread` (the standard deviation of the chains' own estimates), `(N,)` each;
    the verdict is unreliable where the discretisation error exceeds a quarter of a nat, for then a
    coarse grid says little of its own error; further
    `mean_log_likelihood`, `variance_log_likelihood`, `mean_log_likelihood_error`, `acceptance`
    over `(T, N)`, `swap_rate` `(T - 1, N)` and `temperatures` `(T,)`.

    Args:
        ladder: What to run; None is `Ladder()`.
        rule: How to integrate; None is `HermiteRule()`, the rule of the smallest error.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> ladder = Ladder(num_temperatures=6, num_warmup=40, num_samples=40)
        >>> evidence = ThermodynamicIntegration(ladder).estimate(model, torch.zeros(2))
        >>> bool((evidence.log_evidence + 1.2655).abs().max() < 0.1)
        True
    """

    name = "Thermodynamic"

    def __init__(self, ladder: Ladder | None = None, *, rule: Rule | None = None) -> None:
        super().__init__(ladder)
        self.rule = HermiteRule() if rule is None else rule

    def integrate(self, samples: LadderSamples, moments: Moments) -> LadderEstimate:
        """The integral over the temperatures; see the base class."""
        temperatures, curve = samples.temperatures, (moments.mean, moments.variance)
        chain_estimates = self.rule.integrate(
            temperatures, samples.log_likelihood.mean(0), samples.log_likelihood.var(0)
        )
        log_evidence = self.rule.integrate(temperatures, *curve)
        lower, upper = bracket(temperatures, moments.mean)
        grid_error = self.rule.error(temperatures, *curve) + self._first_error(samples, moments)
        grid_error = to_double(grid_error)
        return LadderEstimate(
            log_evidence,
            self.rule.integrate(
                temperatures, moments.leave_one_out_mean, moments.leave_one_out_variance
            ),
            chain_estimates=chain_estimates,
            diagnostics={"lower_bound": lower, "upper_bound": upper},
            gates=[
                Gate(~to_double(log_evidence).isfinite(), _INFINITE),
                Gate.above("a discretisation error in nats", grid_error, _MAX_GRID_ERROR),
            ],
            discretization_error=grid_error,
        )

    def _first_error(self, samples: LadderSamples, moments: Moments) -> Tensor:
        """The rule against steppingstone on the first interval, `(N,)`.

        A few exact draws far from the posterior make the curve steep at its beginning alone, which
        no coarser grid shows.
        """
        ends = moments.mean[:2], moments.variance[:2]
        by_rule = self.rule.integrate(samples.temperatures[:2], *ends)
        return (by_rule - log_mean_exp(chain_log_steps(samples))[0]).abs()
