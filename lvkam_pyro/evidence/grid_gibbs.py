"""Evidence of additive models by Gibbs sampling on nodes and the multistate acceptance ratio."""

from lvkam_pyro.evidence.multistate import MultistateBAR
from lvkam_pyro.ladder.grid_gibbs import GridGibbsKernel
from lvkam_pyro.ladder.ladder import Ladder

_LADDER = Ladder(
    num_temperatures=16,
    num_chains=16,
    num_warmup=20,
    num_samples=40,
    thinning=1,
    kernel=GridGibbsKernel(),
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
        super().__init__(_LADDER if ladder is None else ladder)
