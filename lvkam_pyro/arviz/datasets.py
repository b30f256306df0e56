"""Groups of an ArviZ object: tensors with names for their axes."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lvkam_pyro import __version__
from lvkam_pyro.arviz.draws import Draws
from lvkam_pyro.arviz.layout import AxisNames, DataLayout, SiteLayout

SAMPLE = ("chain", "draw")
Named = tuple[Sequence[str], Tensor]
"""Names of the axes, and the values."""

Coordinate = Sequence[float] | Sequence[str]


def dataset(
    variables: Mapping[str, Named],
    *,
    coords: Mapping[str, Coordinate] | None = None,
    attrs: Mapping[str, object] | None = None,
) -> xr.Dataset:
    """An xarray dataset that counts along every axis without a coordinate of its own.

    Args:
        variables: Name to axes and values.
        coords: Coordinates of some axes.
        attrs: What to note on the group, beside the library and its version.

    Example:
        >>> group = dataset({"ess": (("data",), torch.ones(3))})
        >>> group.sizes["data"], group.attrs["inference_library"]
        (3, 'lvkam_pyro')
    """
    sizes = {
        dim: size
        for dims, values in variables.values()
        for dim, size in zip(dims, values.shape, strict=True)
    }
    counts = {dim: np.arange(size) for dim, size in sizes.items()}
    return xr.Dataset(
        {name: (dims, values.detach().cpu().numpy()) for name, (dims, values) in variables.items()},
        coords=counts | {dim: np.asarray(values) for dim, values in (coords or {}).items()},
        attrs={
            "inference_library": "lvkam_pyro",
            "inference_library_version": __version__,
            **(attrs or {}),
        },
    )


def site_dataset(
    chains: Iterable[Mapping[str, Tensor]], sites: Mapping[str, SiteLayout]
) -> xr.Dataset:
    """A group with a variable for each site, from the chains' draws `(D, N, ...)`."""
    chains = list(chains)
    return dataset(
        {
            name: ((*SAMPLE, *site.dims), torch.stack([chain[name] for chain in chains]))
            for name, site in sites.items()
        }
    )


def posterior_groups(chains: Sequence[Draws], layout: DataLayout) -> dict[str, xr.Dataset]:
    """Draws from the posterior, new observations, and the log densities there."""
    latents = [chain.latents for chain in chains]
    log_prior = [chain.log_prior for chain in chains]
    log_likelihood = [chain.log_likelihood for chain in chains]
    observations = (chain.observations for chain in chains)
    return {
        **latent_groups(latents, log_prior, log_likelihood, layout),
        "posterior_predictive": site_dataset(observations, layout.observed),
    }


def latent_groups(
    latents: Iterable[Mapping[str, Tensor]],
    log_prior: Sequence[Tensor],
    log_likelihood: Sequence[Tensor],
    layout: AxisNames,
) -> dict[str, xr.Dataset]:
    """Draws from the posterior and the log densities there, from one item a chain.

    Args:
        latents: Site name to draws `(D, N, ...)`.
        log_prior: Of these draws, `(D, N)`; none where it is not known.
        log_likelihood: The same of the observations given the draws.
        layout: What the axes are called.
    """
    dims = (*SAMPLE, layout.data_dim)
    conditional: Named = (dims, torch.stack(list(log_likelihood)))
    groups = {
        "posterior": site_dataset(latents, layout.latents),
        "conditional_log_likelihood": dataset({layout.observed_name: conditional}),
    }
    if log_prior:
        prior: Named = (dims, torch.stack(list(log_prior)))
        groups["log_prior"] = dataset({layout.latent_name: prior})
    return groups


def prior_groups(chains: Sequence[Draws], layout: DataLayout) -> dict[str, xr.Dataset]:
    """Draws from the prior, and new observations given these."""
    return {
        "prior": site_dataset((chain.latents for chain in chains), layout.latents),
        "prior_predictive": site_dataset((chain.observations for chain in chains), layout.observed),
    }


def data_group(layout: DataLayout) -> xr.Dataset:
    """The observed data."""
    return dataset(
        {name: (site.dims, layout.observations[name]) for name, site in layout.observed.items()}
    )
