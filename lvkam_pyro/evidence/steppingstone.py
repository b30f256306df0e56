"""Evidence by steppingstone sampling over a ladder of power posteriors."""

from torch import Tensor

from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.jackknife import leave_one_out_log_mean_exp, log_mean_exp
from lvkam_pyro.evidence.ladder import LadderEstimator, Moments
from lvkam_pyro.guides.power_posterior import PowerSamples


class SteppingStone(LadderEstimator):
    r"""The product of the ratios of neighbouring normalisers, per datum.

    .. math:: \log p(x) = \sum_k \log E_{p_{t_k}}[p(x|z)^{t_{k+1} - t_k}]

    each a log of a mean over all chains' draws (Xie, Lewis, Fan, Kuo and Chen 2011,
    https://doi.org/10.1093/sysbio/syq085): no discretisation error. The reverse estimate, from the
    upper temperature of each step, is a diagnostic: the two agree when neighbours overlap.
    Diagnostics: `reverse`, `reverse_gap`, `chain_spread`, `(N,)` each, and the ladder's as in
    `ThermodynamicIntegration`.

    Args:
        ladder: What to run; None is `PowerPosterior()`.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> from lvkam_pyro.guides.power_posterior import PowerPosterior
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> ladder = PowerPosterior(num_temperatures=6, num_warmup=40, num_samples=40)
        >>> evidence = SteppingStone(ladder).estimate(model, torch.zeros(2))
        >>> bool((evidence.log_evidence + 1.2655).abs().max() < 0.1)
        True
    """

    name = "SteppingStone"

    def estimate_from(self, samples: PowerSamples) -> Evidence:
        """The evidence from the draws of a ladder.

        Args:
            samples: The draws.

        Returns:
            The evidence.
        """
        steps = _log_steps(samples)
        log_evidence = log_mean_exp(steps).sum(0)
        reverse = _reverse_estimate(samples)
        return self.conclude(
            samples,
            Moments.of(samples.log_likelihood),
            log_evidence,
            leave_one_out_log_mean_exp(steps).sum(1),
            chain_estimates=steps.sum(1),
            diagnostics={"reverse": reverse, "reverse_gap": reverse - log_evidence},
        )


def _log_steps(samples: PowerSamples) -> Tensor:
    """Each chain's log mean of exp(gap l) at the lower temperature of a step, `(C, T - 1, N)`."""
    gaps = samples.temperatures.diff()[:, None]
    return log_mean_exp(gaps * samples.log_likelihood[..., :-1, :])


def _reverse_estimate(samples: PowerSamples) -> Tensor:
    """Minus the sum of log means of exp(-gap l) at the upper temperatures, `(N,)`."""
    gaps = samples.temperatures.diff()[:, None]
    return -log_mean_exp(-gaps * samples.log_likelihood[..., 1:, :], (0, 1)).sum(0)
