"""Log densities of any Pyro program, per particle and unit."""

from collections.abc import Mapping

import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from lvkam_pyro.tracing.recorder import Site
from lvkam_pyro.tracing.sites import plates
from lvkam_pyro.tracing.structure import ProgramStructure


def sum_log_probs(
    sites: Mapping[str, Site], structure: ProgramStructure, shape: tuple[int, int]
) -> Tensor:
    r"""The log density of a set of sites, per particle and unit.

    .. math:: \sum_{i} c_i \, m_i \log p_i(v_i), \quad \text{summed over every axis but } (s, u)

    with the user's scale and the inner plates' subsampling scale `c` and the mask `m`, but without
    the data plate's own scale, which belongs to the total over the data.

    Args:
        sites: The recorded sites.
        structure: The program's plates.
        shape: The number of particles and of units `(S, U)`.

    Returns:
        The log densities, of shape `(S, U)`.

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
        >>> with SiteRecorder() as once:
        ...     model(x)
        >>> with SiteRecorder({"z": torch.zeros(3, 1)}) as run:
        ...     model(x)
        >>> sum_log_probs(run.observations, ProgramStructure.of(once, 5), (3, 5)).shape
        torch.Size([3, 5])
    """
    total = None
    for term in site_log_probs(sites, structure, shape).values():
        total = term if total is None else total + term
    return torch.zeros(shape) if total is None else total.expand(shape)


def site_log_probs(
    sites: Mapping[str, Site], structure: ProgramStructure, shape: tuple[int, int]
) -> dict[str, Tensor]:
    """The log density of each site, as `sum_log_probs` adds them up.

    Returns:
        Site name to a tensor that broadcasts to `(S, U)`.

    Raises:
        ValueError: If a site has batch axes that belong to no plate.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.recorder import SiteRecorder
        >>> with SiteRecorder() as run, pyro.plate("data", 5):
        ...     x = pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(5))
        >>> site_log_probs(run.sites, ProgramStructure.of(run, 5), (1, 5))["x"][0]
        tensor(-0.9189)
    """
    terms = {
        name: per_unit(site_log_prob(site, structure), site, structure)
        for name, site in sites.items()
    }
    for name, term in terms.items():
        _check_axes(term, sites[name], shape)
    return terms


def site_log_prob(site: Site, structure: ProgramStructure) -> Tensor:
    """A site's log density over its batch shape, scaled and masked, without the data's scale.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.recorder import SiteRecorder
        >>> with SiteRecorder() as run, pyro.plate("data", 5):
        ...     x = pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(5))
        >>> site_log_prob(run.sites["x"], ProgramStructure.of(run, 5)).shape
        torch.Size([5])
    """
    log_prob = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
    scale = site["scale"] / structure.data_scale(site)
    scaled: Tensor = scale_and_mask(log_prob, scale, site["mask"])
    return scaled


def per_unit(log_prob: Tensor, site: Site, structure: ProgramStructure) -> Tensor:
    """A site's log density, summed over the inner plates: it broadcasts to `(S, U)`.

    Raises:
        ValueError: If it has axes that belong to no plate.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.recorder import SiteRecorder
        >>> data, readings = pyro.plate("data", 5, dim=-2), pyro.plate("readings", 3, dim=-1)
        >>> with SiteRecorder() as run, data, readings:
        ...     x = pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(5, 3))
        >>> per_unit(torch.ones(5, 3), run.sites["x"], ProgramStructure.of(run, 5))
        tensor([[3., 3., 3., 3., 3.]])
    """
    if log_prob.ndim > structure.num_plates + 1:
        raise ValueError(axes_message(site, log_prob.shape))
    if structure.num_plates == 1:
        return log_prob
    full = log_prob.reshape((1,) * (structure.num_plates + 1 - log_prob.ndim) + log_prob.shape)
    dims = [d for d in range(-full.ndim, 0) if d not in _kept_dims(structure)]
    inner = {frame.dim for frame in plates(site)}
    if any(full.shape[d] > 1 and d not in inner for d in dims):
        raise ValueError(axes_message(site, log_prob.shape))
    return full.sum(dims)


def _kept_dims(structure: ProgramStructure) -> tuple[int, int]:
    """The dimensions of particles and units."""
    return structure.particle_dim, structure.data_dim


def _check_axes(log_prob: Tensor, site: Site, shape: tuple[int, int]) -> None:
    """A site's summed log density broadcasts to (particles, units)."""
    sizes = zip(log_prob.shape[::-1], shape[::-1], strict=False)
    if log_prob.ndim > 2 or any(size not in (1, limit) for size, limit in sizes):
        raise ValueError(axes_message(site, log_prob.shape))


def axes_message(site: Site, shape: torch.Size) -> str:
    """The advice about batch axes that belong to no plate.

    Example:
        >>> axes_message({"name": "x", "cond_indep_stack": ()}, torch.Size([3]))
        "The site 'x' has a log density of shape (3,), whose axes do not fit its plates []. ..."
    """
    names = [frame.name for frame in plates(site)]
    return (
        f"The site '{site['name']}' has a log density of shape {tuple(shape)}, whose axes do not "
        f"fit its plates {names}. Mark the axes of one event by .to_event(...), or put the site "
        "into a plate for each further axis."
    )
