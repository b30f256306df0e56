"""Names that the user gives to axes and to the entries along them."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import xarray as xr

from lvkam_pyro.arviz.datasets import RESERVED, Groups

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
