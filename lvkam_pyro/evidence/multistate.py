"""Evidence by the multistate Bennett acceptance ratio over a ladder, of gradients or of Gibbs."""

import torch

from lvkam_pyro.evidence.evidence import to_double
from lvkam_pyro.evidence.ladder import LadderEstimate, LadderEstimator, Moments
from lvkam_pyro.evidence.reweighting import Reweighting
from lvkam_pyro.evidence.steppingstone import chain_log_steps
from lvkam_pyro.evidence.verdict import MIN_OVERLAP, Gate
from lvkam_pyro.ladder.grid_gibbs import GridGibbsKernel
from lvkam_pyro.ladder.ladder import Ladder, LadderSamples
from lvkam_pyro.ladder.schedule import PowerSchedule
from lvkam_pyro.statistics.jackknife import log_mean_exp

_GIBBS_LADDER = Ladder(
    num_temperatures=16,
    num_chains=16,
    num_warmup=20,
    num_samples=40,
    thinning=1,
    kernel=GridGibbsKernel(),
)


_FROM_GUIDE = Ladder(
    num_temperatures=6, num_chains=16, num_warmup=50, num_samples=50, schedule=PowerSchedule(1.0)
)


class MultistateBAR(LadderEstimator):
    r"""The normalisers that are consistent with the draws of all temperatures together.

    .. math:: \log Z_k = \log \sum_s \frac{e^{t_k l_s}}{\sum_j n_j e^{t_j l_s} / Z_j}

    with all draws s of the ladder, :math:`Z_0 = 1` and :math:`p(x) = Z_{T-1}` (Shirts and Chodera
    2008, https://doi.org/10.1063/1.2978177, equation 11). No temperature grid is integrated over,
    so there is no discretisation error, and of the estimators that know the draws' log likelihoods
    it is the one of least variance. Standard errors by the jackknife over the chains. Diagnostics:
    `overlap`, the least overlap of neighbouring temperatures, `(N,)`; `log_normalizer` `(T, N)`;
    `chain_spread` (the standard deviation of the jackknife's pseudo-values of the chains) and the
    ladder's, as in `ThermodynamicIntegration`. The verdict is unreliable where the overlap is below
    0.03.

    Args:
        ladder: What to run; None is `Ladder()`.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.ladder.ladder import Ladder
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> ladder = Ladder(num_temperatures=6, num_warmup=40, num_samples=40)
        >>> evidence = MultistateBAR(ladder).estimate(model, torch.zeros(2))
        >>> bool((evidence.log_evidence + 1.2655).abs().max() < 0.1)
        True
    """

    name = "MBAR"
    from_guide = _FROM_GUIDE

    def integrate(self, samples: LadderSamples, moments: Moments) -> LadderEstimate:
        """The normaliser at temperature 1; see the base class."""
        steps = log_mean_exp(chain_log_steps(samples))
        start = torch.cat([torch.zeros_like(steps[:1]), steps.cumsum(0)])
        solved = Reweighting.of(samples.temperatures, samples.log_likelihood, start)
        log_evidence = solved.log_normalizer[-1]
        others, overlap = solved.leave_one_out()
        return LadderEstimate(
            log_evidence,
            others,
            chain_estimates=log_evidence - (len(others) - 1) * (others - log_evidence),
            diagnostics={"overlap": overlap, "log_normalizer": solved.log_normalizer},
            gates=[Gate.below("an overlap of temperatures", to_double(overlap), MIN_OVERLAP)],
        )


class GridGibbs(MultistateBAR):
    r"""The evidence of additive models from a ladder of Gibbs chains on quadrature nodes.

    For models whose output is a sum of functions of one latent each with normal noise (see
    `AdditiveModel`): every latent is drawn from its exact conditional at every temperature, so
    that short chains do, and modes of a latent are crossed at once. The draws of all temperatures
    are combined as in `MultistateBAR`, which see for the formula and the diagnostics. Where
    `Lookahead` is unreliable, this is the next to try.

    Args:
        ladder: What to run, by default 16 temperatures of 16 chains, 20 steps of warm-up and 40
            kept. Any ladder will do; `Ladder(kernel=GridGibbsKernel(...))` is meant.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
        ...         pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)
        >>> evidence = GridGibbs().estimate(model, torch.zeros(2))  # log N(0; 0, 5)
        >>> bool((evidence.log_evidence + 1.7237).abs().max() < 4 * evidence.standard_error.max())
        True
    """

    name = "GridGibbs"

    def __init__(self, ladder: Ladder | None = None) -> None:
        super().__init__(_GIBBS_LADDER if ladder is None else ladder)
