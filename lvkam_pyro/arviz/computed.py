"""The deterministic sites of a model whose latents belong to a datum each."""

from collections.abc import Mapping, Sequence

import torch
import xarray as xr
from torch import Tensor

from lvkam_pyro.arviz.joint import JointModel
from lvkam_pyro.arviz.layout import DataLayout
from lvkam_pyro.arviz.runs import run_many
from lvkam_pyro.tracing.structure import Model


def add_computed(
    groups: Mapping[str, xr.Dataset],
    model: Model,
    x: Tensor,
    layout: DataLayout,
    chains: Mapping[str, Sequence[Mapping[str, Tensor]]],
) -> dict[str, xr.Dataset]:
    """Adds to groups of latents what the model computes of them by `pyro.deterministic`.

    Args:
        groups: The groups.
        model: The model.
        x: The data.
        layout: `DataLayout.of(model, x)`.
        chains: For each of the groups to add to, a chain each: site name to draws
            `(D, N, *inner plates, *event)`.

    Returns:
        The groups; the same where the model computes nothing.

    Raises:
        ValueError: If the model has other sites in other runs.
    """
    joint = JointModel.of(model, x)
    if not joint.computed:
        return dict(groups)
    added = {
        name: groups[name].assign(_compute(joint, layout, latents).data_vars)
        for name, latents in chains.items()
    }
    return {**groups, **added}


def _compute(
    joint: JointModel, layout: DataLayout, chains: Sequence[Mapping[str, Tensor]]
) -> xr.Dataset:
    structure = layout.structure
    values = {}
    for site in structure.latents:
        drawn = structure.to_pyro(torch.cat([chain[site.name] for chain in chains]), site)
        values[site.name] = drawn.reshape(len(drawn), *joint.run.sites[site.name]["fn"].shape())
    num_runs = len(next(iter(values.values())))
    runs = run_many(joint.program, num_runs, values)
    shape = (len(chains), num_runs // len(chains))
    found = {name: runs.values[name].unflatten(0, shape) for name in joint.computed}
    return joint.group(found, joint.computed)
