"""The log densities of any Pyro program, per particle and datum."""

from collections.abc import Mapping

import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from lvkam_pyro.tracing.recorder import Site
from lvkam_pyro.tracing.structure import ModelStructure, plates, subsampling_scale


def sum_log_probs(
    sites: Mapping[str, Site], structure: ModelStructure, shape: tuple[int, int]
) -> Tensor:
    r"""The log density of a set of sites, per particle and datum.

    .. math:: \sum_{i} c_i \, m_i \log p_i(v_i), \quad \text{summed over every axis but } (s, n)

    with the user's scale and the inner plates' subsampling scale `c` and the mask `m`, but without
    the data plate's own scale, which belongs to the total over the data.

    Args:
        sites: The recorded sites.
        structure: The model's data plate.
        shape: The number of particles and of data `(S, N)`.

    Returns:
        The log densities, of shape `(S, N)`.

    Raises:
        ValueError: If a site has batch axes that belong to no plate.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.recorder import SiteRecorder
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> x = torch.zeros(5)
        >>> with SiteRecorder({"z": torch.zeros(3, 1)}) as run:
        ...     model(x)
        >>> sum_log_probs(run.observations, ModelStructure.of(model, x), (3, 5)).shape
        torch.Size([3, 5])
    """
    terms = [per_datum(_site_log_prob(site, structure), site, structure) for site in sites.values()]
    for site, term in zip(sites.values(), terms, strict=True):
        _check_axes(term, site, shape)
    if not terms:
        return torch.zeros(shape)
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total.expand(shape)


def _site_log_prob(site: Site, structure: ModelStructure) -> Tensor:
    """A site's log density over its batch shape, scaled and masked, without the data's scale."""
    log_prob = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
    scale = site["scale"] / data_scale(site, structure)
    scaled: Tensor = scale_and_mask(log_prob, scale, site["mask"])
    return scaled


def data_scale(site: Site, structure: ModelStructure) -> float:
    """The data plate's full size divided by its size, at a site (1 outside of the plate).

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.structure import record_once
        >>> def model(x):
        ...     with pyro.plate("data", 100, subsample_size=len(x)):
        ...         pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)
        >>> x = torch.zeros(5)
        >>> data_scale(record_once(model, x).sites["x"], ModelStructure.of(model, x))
        20.0
    """
    for frame in site["cond_indep_stack"]:
        if frame.dim == structure.data_dim:
            return subsampling_scale(frame)
    return 1.0


def per_datum(log_prob: Tensor, site: Site, structure: ModelStructure) -> Tensor:
    """Sum a site's log density over the inner plates: what is left broadcasts to `(S, N)`.

    Raises:
        ValueError: If it has axes that belong to no plate.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.structure import record_once
        >>> def model(x):
        ...     with pyro.plate("data", len(x), dim=-2), pyro.plate("readings", 3, dim=-1):
        ...         pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)
        >>> x = torch.zeros(5, 3)
        >>> site = record_once(model, x).sites["x"]
        >>> per_datum(torch.ones(5, 3), site, ModelStructure.of(model, x))
        tensor([[3., 3., 3., 3., 3.]])
    """
    if log_prob.ndim > structure.num_plates + 1:
        raise ValueError(_axes_message(site, log_prob.shape))
    if structure.num_plates == 1:
        return log_prob
    dims = [d for d in range(-log_prob.ndim, 0) if d not in _kept_dims(structure)]
    inner = {frame.dim for frame in plates(site)}
    if any(log_prob.shape[d] > 1 and d not in inner for d in dims):
        raise ValueError(_axes_message(site, log_prob.shape))
    full = log_prob.reshape((1,) * (structure.num_plates + 1 - log_prob.ndim) + log_prob.shape)
    return full.sum(dims) if dims else full


def _kept_dims(structure: ModelStructure) -> tuple[int, int]:
    """The dimensions of particles and data."""
    return structure.particle_dim, structure.data_dim


def _check_axes(log_prob: Tensor, site: Site, shape: tuple[int, int]) -> None:
    """A site's summed log density broadcasts to (particles, data)."""
    sizes = zip(log_prob.shape[::-1], shape[::-1], strict=False)
    if log_prob.ndim > 2 or any(size not in (1, limit) for size, limit in sizes):
        raise ValueError(_axes_message(site, log_prob.shape))


def _axes_message(site: Site, shape: torch.Size) -> str:
    """What to do about batch axes that belong to no plate."""
    names = [frame.name for frame in plates(site)]
    return (
        f"The site '{site['name']}' has a log density of shape {tuple(shape)}, whose axes do not "
        f"fit its plates {names}. Mark the axes of one event by .to_event(...), or put the site "
        "into a plate for each further axis."
    )
