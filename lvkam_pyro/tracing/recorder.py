"""One run of a Pyro program, recorded: its sample sites, and what changes their densities."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pyro.distributions import Delta, MaskedDistribution, Unit
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Distribution

Site = dict[str, Any]
"""Pyro's message of one sample statement: fn, value, scale, mask, cond_indep_stack, ..."""


class SiteRecorder(Messenger):
    """Records the sample sites of the program that runs inside, and fills in proposed values.

    It does what `poutine.trace(poutine.replay(...))` does, at less cost: no graph, no copies.
    What `pyro.deterministic` computes and the indices of plates are kept apart from the sites.

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

    def _pyro_post_sample(self, msg: Site) -> None:
        if site_is_subsample(msg):
            self.subsamples[msg["name"]] = msg["value"]
        elif msg["infer"].get("_deterministic"):
            self.computed[msg["name"]] = msg
        else:
            self.sites[msg["name"]] = msg


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


def plates(site: Site) -> list[CondIndepStackFrame]:
    """The vectorised plates around a site, outermost first.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.recorder import SiteRecorder
        >>> with pyro.plate("data", 5), SiteRecorder() as run:
        ...     z = pyro.sample("z", dist.Normal(0.0, 1.0))
        >>> [frame.name for frame in plates(run.sites["z"])]
        ['data']
    """
    return [frame for frame in site["cond_indep_stack"] if frame.vectorized]


def subsampling_scale(frame: CondIndepStackFrame) -> float:
    """The factor full size / size by which a plate scales the log densities inside it.

    Example:
        >>> subsampling_scale(CondIndepStackFrame("data", -1, size=5, counter=0, full_size=20))
        4.0
    """
    return 1.0 if frame.full_size is None else frame.full_size / frame.size


def is_weighted(site: Site, data_scale: float) -> bool:
    """Whether a mask, a user's scale or an inner subsample changes the density of a site.

    Args:
        site: The site.
        data_scale: The scale of the data plate, which is no change.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.recorder import SiteRecorder
        >>> with SiteRecorder() as run, pyro.plate("data", 5), pyro.poutine.scale(scale=0.5):
        ...     x = pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(5))
        >>> is_weighted(run.sites["x"], 1.0)
        True
    """
    scale = site["scale"] / data_scale
    is_scaled = isinstance(scale, Tensor) or abs(scale - 1) > 1e-9
    return is_scaled or next(_masks(site), None) is not None


def density_mask(site: Site) -> Tensor:
    """Where the density of a site counts, in the shape of its value.

    A mask comes by `poutine.mask` or by `.mask` of a distribution.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.recorder import SiteRecorder
        >>> with SiteRecorder() as run, pyro.plate("data", 2):
        ...     x = pyro.sample("x", dist.Normal(0.0, 1.0).mask(torch.tensor([True, False])))
        >>> density_mask(run.sites["x"])
        tensor([ True, False])
    """
    value = site["value"]
    mask = torch.ones(value.shape, dtype=torch.bool, device=value.device)
    for part, event_dim in _masks(site):
        mask = mask & torch.as_tensor(part, device=value.device)[(..., *[None] * event_dim)]
    return mask


def _masks(site: Site) -> Iterator[tuple[Any, int]]:
    """The masks on a site, each with the number of axes of the events that it masks."""
    if site["mask"] is not None:
        yield site["mask"], site["fn"].event_dim
    for fn in _bases(site["fn"]):
        if isinstance(fn, MaskedDistribution):
            yield fn._mask, fn.event_dim


def check_scale(site: Site, whose: str) -> None:
    """No `poutine.scale` is around a latent site, other than that of its plates.

    Args:
        site: The site.
        whose: What the message calls it.

    Raises:
        ValueError: If there is one.
    """
    scale = torch.as_tensor(site["scale"], dtype=torch.float64)
    for frame in plates(site):
        scale = scale / subsampling_scale(frame)
    if not bool((scale - 1).abs().max() < 1e-6):
        raise ValueError(
            f"The {whose} '{site['name']}' has a scale around it ({float(scale.amax()):g}), so its "
            "density is not normalised and what is computed with it is no evidence. Remove "
            "poutine.scale from the latents."
        )


def is_delta(site: Site) -> bool:
    """Whether a site holds one value.

    Example:
        >>> is_delta({"fn": Delta(torch.zeros(2)).to_event(1)})
        True
    """
    return any(isinstance(fn, Delta) for fn in _bases(site["fn"]))


def has_atoms(site: Site) -> bool:
    """Whether a site is a mixture with a point among its components.

    Example:
        >>> import pyro.distributions as dist
        >>> zero, one = Delta(torch.zeros(2)), dist.Normal(torch.zeros(2), 1.0)
        >>> has_atoms({"fn": dist.MaskedMixture(torch.tensor([True, False]), zero, one)})
        True
    """
    return not is_delta(site) and _holds_delta(site["fn"])


def _holds_delta(fn: Distribution) -> bool:
    parts = [part for part in vars(fn).values() if isinstance(part, Distribution)]
    return isinstance(fn, Delta) or any(map(_holds_delta, parts))


def _bases(fn: Distribution) -> Iterator[Distribution]:
    """A distribution and those that it was made from, one after another."""
    yield fn
    while (base := getattr(fn, "base_dist", None)) is not None:
        fn = base
        yield fn
