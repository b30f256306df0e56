"""Groups of an ArviZ object: tensors with names for their axes."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor

from lvkam_pyro import __version__

Groups = Mapping[str, xr.Dataset]
"""Name of each group, such as `posterior`, to its dataset."""

SAMPLE = ("chain", "draw")

RESERVED: frozenset[str] = frozenset(
    {"chain", "draw", "particle", "temperature", "swap", "estimator"}
)
"""Axes that ArviZ or these groups have beside a model's plates."""

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
        attrs: Notes on the group, beside the library and its version.

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


def event_names(site: str, num_axes: int, *, sole: str = "") -> list[str]:
    """Names for the axes of an event.

    Args:
        site: The site's name.
        num_axes: The number of its axes.
        sole: The name of the first, if the site is the only one of its kind.

    Example:
        >>> event_names("z", 2), event_names("z", 2, sole="latent")
        (['z_dim_0', 'z_dim_1'], ['latent', 'z_dim_1'])
    """
    names = [f"{site}_dim_{axis}" for axis in range(num_axes)]
    return [sole, *names[1:]] if sole and names else names


def plain_group(samples: Mapping[str, Tensor]) -> xr.Dataset:
    """Draws `(C, D, *the site's shape)` of a model that is not at hand.

    Example:
        >>> plain_group({"z": torch.zeros(4, 10, 2)})["z"].dims
        ('chain', 'draw', 'z_dim_0')
    """
    return dataset(
        {
            free_name(name): ((*SAMPLE, *event_names(name, values.ndim - 2)), values)
            for name, values in samples.items()
        }
    )


def constant_group(constant_data: Mapping[str, ArrayLike | Tensor]) -> xr.Dataset:
    """Covariates and other data that the model does not draw.

    Args:
        constant_data: Name to values.

    Example:
        >>> constant_group({"age": [31.0, 40.0]})["age"].dims
        ('age_dim_0',)
    """
    tensors = {name: torch.as_tensor(values) for name, values in constant_data.items()}
    return dataset(
        {name: (event_names(name, values.ndim), values) for name, values in tensors.items()}
    )


def free_name(site: str, axes: frozenset[str] = RESERVED) -> str:
    """The name of a site's variable: the site's, with an underscore if an axis is called so.

    Example:
        >>> free_name("z"), free_name("draw")
        ('z', 'draw_')
    """
    return f"{site}_" if site in axes else site


Coords = Mapping[str, Sequence[object]]
"""Name of an axis to the names of the entries along it."""

Dims = Mapping[str, Sequence[str]]
"""Name of a variable to the names of its axes, those of chains and draws left out."""


def label_groups(groups: Groups, coords: Coords, dims: Dims) -> dict[str, xr.Dataset]:
    """Names axes and their entries as the user wishes, in every group that has them.

    Args:
        groups: The groups.
        coords: New coordinates of axes.
        dims: New names for the axes of variables. Where a group's variable has fewer axes than
            names, as a log likelihood has, which is summed over the event, the first names count.

    Returns:
        The groups.

    Raises:
        ValueError: If there is no such variable or axis, or there are too few or too many names.

    Example:
        >>> z = (("chain", "data"), np.zeros((4, 2)))
        >>> groups = {"posterior": xr.Dataset({"z": z}).assign_coords(data=[0, 1])}
        >>> found = label_groups(groups, {"person": ["Ann", "Bo"]}, {"z": ["person"]})
        >>> found["posterior"]["z"].sel(person="Bo").sizes
        Frozen({'chain': 4})
    """
    variables = {str(name) for group in groups.values() for name in group.data_vars}
    _check_known("dims", dims, variables)
    renamed = {name: _rename(group, dims) for name, group in groups.items()}
    axes = {str(dim) for group in renamed.values() for dim in group.dims}
    _check_known("coords", coords, axes)
    return {name: _assign(group, coords) for name, group in renamed.items()}


def _check_known(argument: str, given: Collection[str], known: Collection[str]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        kind = "variable" if argument == "dims" else "axis"
        raise ValueError(
            f"Expected {argument} to name what there is, but no {kind} is called {unknown}. There "
            f"are {sorted(known)}."
        )


def _rename(group: xr.Dataset, dims: Dims) -> xr.Dataset:
    """The dataset with the axes of some variables under other names."""
    if not set(dims) & set(group.data_vars):
        return group
    renamed = {
        name: variable.rename(_new_names(variable, dims[str(name)])) if name in dims else variable
        for name, variable in group.data_vars.items()
    }
    return xr.Dataset(renamed, attrs=group.attrs)


def _new_names(variable: xr.DataArray, names: Sequence[str]) -> dict[object, str]:
    own = [dim for dim in variable.dims if dim not in RESERVED]
    if len(own) > len(names):
        raise ValueError(
            f"Expected {len(own)} names for the axes {own} of '{variable.name}' in dims, got "
            f"{list(names)}."
        )
    return dict(zip(own, names, strict=False))


def _assign(group: xr.Dataset, coords: Coords) -> xr.Dataset:
    found = {dim: np.asarray(list(names)) for dim, names in coords.items() if dim in group.dims}
    for dim, names in found.items():
        if len(names) != group.sizes[dim]:
            raise ValueError(
                f"Expected {group.sizes[dim]} entries along '{dim}' in coords, got {len(names)}."
            )
    return group.assign_coords(found)
