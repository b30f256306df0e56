"""Evidence by steppingstone sampling over a ladder."""

import torch
from torch import Tensor

from lvkam_pyro.evidence.evidence import to_double
from lvkam_pyro.evidence.ladder import LadderEstimate, LadderEstimator, Moments
from lvkam_pyro.evidence.verdict import Gate
from lvkam_pyro.ladder.ladder import Ladder, LadderSamples
from lvkam_pyro.statistics.jackknife import leave_one_out_log_mean_exp, log_mean_exp


class SteppingStone(LadderEstimator):
    r"""The product of the ratios of neighbouring normalisers, per datum.

    .. math:: \log p(x) = \sum_k \log E_{p_{t_k}}[p(x|z)^{t_{k+1} - t_k}]

    each a log of a mean over all chains' draws (Xie, Lewis, Fan, Kuo and Chen 2011,
    https://doi.org/10.1093/sysbio/syq085): no discretisation error. With `reverse`, each ratio
    comes from its upper temperature,

    .. math:: \log p(x) = -\sum_k \log E_{p_{t_{k+1}}}[p(x|z)^{t_k - t_{k+1}}]

    The two agree when neighbours overlap. Forward errs low where they do not, reverse errs high,
    and less surely: its terms have no bound where the prior is wider than the posterior, and what
    is impossible above temperature 0 it does not see at all (the verdict is unreliable then).
    Diagnostics: `forward`, `reverse`, `reverse_gap` (reverse minus forward), `chain_spread`,
    `(N,)` each, and the ladder's as in `ThermodynamicIntegration`.

    Args:
        ladder: What to run; None is `Ladder()`.
        reverse: Whether the evidence is that of the upper temperatures.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> from lvkam_pyro.ladder.ladder import Ladder
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> ladder = Ladder(num_temperatures=6, num_warmup=40, num_samples=40)
        >>> evidence = SteppingStone(ladder).estimate(model, torch.zeros(2))
        >>> bool((evidence.log_evidence + 1.2655).abs().max() < 0.1)
        True
    """

    name = "SteppingStone"

    def __init__(self, ladder: Ladder | None = None, *, reverse: bool = False) -> None:
        super().__init__(ladder)
        self.reverse = reverse
        if reverse:
            self.name = "SteppingStone reverse"

    def integrate(self, samples: LadderSamples, moments: Moments) -> LadderEstimate:
        """The product of the ratios, of one direction; see the base class."""
        forward, reverse = chain_log_steps(samples), chain_log_steps(samples, reverse=True)
        estimates = log_mean_exp(forward).sum(0), -log_mean_exp(reverse).sum(0)
        sign, steps = (-1, reverse) if self.reverse else (1, forward)
        return LadderEstimate(
            estimates[self.reverse],
            sign * leave_one_out_log_mean_exp(steps).sum(1),
            chain_estimates=sign * steps.sum(1),
            gates=[_blind_gate(samples)] if self.reverse else [],
            diagnostics={
                "forward": estimates[0],
                "reverse": estimates[1],
                "reverse_gap": estimates[1] - estimates[0],
            },
        )


def chain_log_steps(samples: LadderSamples, *, reverse: bool = False) -> Tensor:
    """Each chain's log mean of exp(gap l) at the lower temperature of a step, `(C, T - 1, N)`.

    In reverse, that of exp(-gap l) at the upper one.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
        >>> counts = {"num_chains": 8, "num_warmup": 4, "num_samples": 4}
        >>> ladder = lv.ladder.Ladder(num_temperatures=4, **counts)
        >>> chain_log_steps(ladder.sample(model, torch.rand(5, 3))).shape
        torch.Size([8, 3, 5])
    """
    gaps = samples.temperatures.diff()[:, None]
    if reverse:
        return log_mean_exp(-gaps * samples.log_likelihood[..., 1:, :])
    return log_mean_exp(gaps * samples.log_likelihood[..., :-1, :])


def _blind_gate(samples: LadderSamples) -> Gate:
    """Upper temperatures have no draws where the likelihood is zero, and part of the prior has."""
    impossible = (samples.log_likelihood[:, :, 0] == -torch.inf).any(0).any(0)
    return Gate(to_double(impossible) > 0, "have prior draws of zero likelihood, unseen in reverse")
