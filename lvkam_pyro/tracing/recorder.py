"""One run of a Pyro program, recorded: its sample sites, with proposed values put in."""

from collections.abc import Mapping
from copy import copy
from typing import Any, Self

from pyro.distributions import Unit
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Beta, LKJCholesky

Site = dict[str, Any]
"""Pyro's message of one sample statement: fn, value, scale, mask, cond_indep_stack, ..."""


class SiteRecorder(Messenger):
    """Records the sample sites of the program that runs inside, and fills in proposed values.

    It does what `poutine.trace(poutine.replay(...))` does, at less cost: no graph, no copies.
    What `pyro.deterministic` computes and the indices of plates are kept apart from the sites;
    `further` is for what a kind of recorder computes of them, by site.

    Args:
        values: Site name to the value that the site takes instead of a draw.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> with SiteRecorder({"z": torch.tensor(2.0)}) as recorder:
        ...     z = pyro.sample("z", dist.Normal(0.0, 1.0))
        >>> recorder.latents["z"]["value"]
        tensor(2.)
    """

    def __init__(self, values: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.values = {} if values is None else values
        self.sites: dict[str, Site] = {}
        self.computed: dict[str, Site] = {}
        self.subsamples: dict[str, Tensor] = {}
        self.further: dict[str, Tensor] = {}

    def fresh(self, values: Mapping[str, Tensor]) -> Self:
        """A recorder of the same kind with other values, and nothing recorded yet."""
        new = copy(self)
        new.values = values
        new.sites, new.computed, new.subsamples, new.further = {}, {}, {}, {}
        return new

    @property
    def latents(self) -> dict[str, Site]:
        """The sites that are not observed, in the order in which they ran."""
        return {name: site for name, site in self.sites.items() if not site["is_observed"]}

    @property
    def observations(self) -> dict[str, Site]:
        """The observed sites, those of `pyro.factor` among them."""
        return {name: site for name, site in self.sites.items() if site["is_observed"]}

    def _pyro_sample(self, msg: Site) -> None:
        value = None if msg["is_observed"] else self.values.get(msg["name"])
        if value is not None:
            msg["value"] = value
            msg["done"] = True
        else:
            msg["fn"] = with_exact_sampler(msg["fn"])

    def _pyro_post_sample(self, msg: Site) -> None:
        if site_is_subsample(msg):
            self.subsamples[msg["name"]] = msg["value"]
        elif msg["infer"].get("_deterministic"):
            self.computed[msg["name"]] = msg
        else:
            self.sites[msg["name"]] = msg


def with_exact_sampler(fn: Any) -> Any:  # noqa: ANN401
    """The distribution, with a sampler of its own density where torch's has another one.

    Torch's `LKJCholesky` draws the squared lengths of its rows from Beta distributions whose first
    parameters are 1/2, 1/2, 3/2, 5/2, ... in place of 1/2, 1/2, 1, 3/2, ... (Lewandowski, Kurowicka
    and Joe 2009, https://doi.org/10.1016/j.jmva.2009.04.008, section 3.2): from three dimensions on
    E r^2 is not what its `log_prob` says, and all that weighs its draws would be wrong.

    Example:
        >>> import torch, pyro.distributions as dist
        >>> draws = with_exact_sampler(dist.LKJCholesky(3, 2.0)).sample((40_000,))
        >>> bool(((draws @ draws.mT)[:, 2, 0].square().mean() - 1 / 6).abs() < 0.01)
        True
    """
    base = getattr(fn, "base_dist", None)
    if base is not None and (exact := with_exact_sampler(base)) is not base:
        fn = copy(fn)
        fn.base_dist = exact
    if isinstance(fn, LKJCholesky):
        fn, own = copy(fn), fn._beta
        half = own.concentration1.new_tensor([0.5, *(row / 2 for row in range(1, fn.dim))])
        fn._beta = Beta(half.expand_as(own.concentration1), own.concentration0)
    return fn


class LastLatentDrawnError(Exception):
    """The latents are complete: what the model would compute next is its likelihood."""


class LatentRecorder(SiteRecorder):
    """Records a model's latents and stops the model after the last, by `LastLatentDrawnError`.

    Args:
        values: Site name to the value that the site takes instead of a draw.
        last: The last latent's name; None: the model runs to its end.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from contextlib import suppress
        >>> with suppress(LastLatentDrawnError), LatentRecorder(last="z") as recorder:
        ...     z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...     x = pyro.sample("x", dist.Normal(z, 1.0))
        >>> list(recorder.latents)
        ['z']
    """

    def __init__(
        self, values: Mapping[str, Tensor] | None = None, *, last: str | None = None
    ) -> None:
        super().__init__(values)
        self.last = last

    def _pyro_post_sample(self, msg: Site) -> None:
        super()._pyro_post_sample(msg)
        if msg["name"] == self.last:
            raise LastLatentDrawnError


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
