"""A Pyro program without its data: what it observes, it draws."""

from pyro.distributions import Unit
from pyro.poutine.messenger import Messenger

from lvkam_pyro.tracing.recorder import Site


class Unconditioned(Messenger):
    """Draws the observed sites, but neither factors nor `pyro.deterministic` sites.

    `poutine.uncondition` draws the latter too: inside a plate they come back with a second batch.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         loc = pyro.deterministic("loc", 2.0 * z)
        ...         return pyro.sample("x", dist.Normal(loc, 1.0), obs=x)
        >>> with Unconditioned():
        ...     model(torch.empty(5)).shape
        torch.Size([5])
    """

    def _pyro_sample(self, msg: Site) -> None:
        is_computed = msg["infer"].get("_deterministic") or isinstance(msg["fn"], Unit)
        if msg["is_observed"] and not is_computed:
            msg["is_observed"] = False
            msg["value"] = None
            msg["done"] = False
