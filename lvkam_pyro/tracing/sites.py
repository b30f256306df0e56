"""One sample site: its plates, its values, and what makes its density another than it says."""

from collections.abc import Iterator
from typing import Any

import torch
from pyro.distributions import Delta, ImproperUniform, MaskedDistribution
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor
from torch.distributions import Distribution, Independent

from lvkam_pyro.tracing.recorder import Site

_MAX_SUMMED = 4096
"""Values of a discrete latent that are run side by side."""


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


def without_mask(site: Site) -> Site:
    """A copy of a site whose density counts everywhere.

    Example:
        >>> import pyro.distributions as dist
        >>> masked = dist.Normal(torch.zeros(2), 1.0).mask(torch.tensor([True, False]))
        >>> without_mask({"fn": masked, "mask": None})["fn"].log_prob(torch.zeros(2))
        tensor([-0.9189, -0.9189])
    """
    return {**site, "mask": None, "fn": _unmasked(site["fn"])}


def _unmasked(fn: Any) -> Any:  # noqa: ANN401
    if isinstance(fn, MaskedDistribution):
        return _unmasked(fn.base_dist)
    if isinstance(fn, Independent):
        return _unmasked(fn.base_dist).to_event(fn.reinterpreted_batch_ndims)
    return fn


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


def is_improper(site: Site) -> bool:
    """Whether a site's distribution has no normalised density.

    Example:
        >>> import pyro.distributions as dist
        >>> is_improper({"fn": dist.ImproperUniform(dist.constraints.real, (3,), ()).to_event(1)})
        True
    """
    return any(isinstance(fn, ImproperUniform) for fn in _bases(site["fn"]))


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


class DiscreteLatentError(ValueError):
    """A program that draws a discrete latent of too many values to sum over.

    Example:
        >>> issubclass(DiscreteLatentError, ValueError)
        True
    """


def is_discrete(site: Site) -> bool:
    """Whether a site's values can be counted.

    Example:
        >>> import pyro.distributions as dist
        >>> is_discrete({"fn": dist.Bernoulli(0.5)})
        True
    """
    discrete: bool = site["fn"].support.is_discrete
    return discrete


def is_summable(site: Site) -> bool:
    """Whether a discrete site has few enough values to run them all side by side.

    Example:
        >>> import pyro.distributions as dist
        >>> is_summable({"name": "n", "fn": dist.Categorical(torch.ones(3))})
        True
    """
    try:
        check_summable(site)
    except DiscreteLatentError:
        return False
    return True


def check_summable(site: Site) -> None:
    """A discrete latent site has few enough values to run them all side by side.

    Raises:
        DiscreteLatentError: If it has not.

    Example:
        >>> import pyro.distributions as dist
        >>> check_summable({"name": "n", "fn": dist.Poisson(3.0)})
        Traceback (most recent call last):
        ...
        lvkam_pyro.tracing.sites.DiscreteLatentError: The latent site 'n' is discrete ...
    """
    *_, base = _bases(site["fn"])
    kind, name = type(base).__name__, site["name"]
    if not site["fn"].has_enumerate_support:
        raise DiscreteLatentError(
            f"The latent site '{name}' is discrete and has no list of its values ({kind}), so it "
            "cannot be summed out. Give it a bounded distribution with few values, such as "
            "Categorical, or sum it by hand in the model."
        )
    count = len(site["fn"].enumerate_support(expand=False))
    if count > _MAX_SUMMED:
        raise DiscreteLatentError(
            f"The latent site '{name}' is discrete ({kind}) with {count} values, too many to sum "
            f"over (at most {_MAX_SUMMED}). Give it fewer values, or sum it by hand in the model."
        )
