"""The axes of any Pyro model's sites, called as its plates are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from lvkam_pyro.arviz.layout import event_names
from lvkam_pyro.tracing.recorder import Site
from lvkam_pyro.tracing.structure import plates


@dataclass(frozen=True)
class SiteAxes:
    """The axes of one site's value.

    Attributes:
        names: The name of each axis; None for one of size one that belongs to no plate.
        num_batch: How many of them are of the batch.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.arviz.runs import Recorder
        >>> with pyro.plate("groups", 3, dim=-2), Recorder() as run:
        ...     z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        >>> axes = SiteAxes.of(run.sites["z"])
        >>> axes.names, axes.dims
        (('groups', None, 'z_dim_0'), ('groups', 'z_dim_0'))
    """

    names: tuple[str | None, ...]
    num_batch: int

    @classmethod
    def of(cls, site: Site) -> Self:
        """Of a sampled site."""
        fn = site["fn"]
        frames = {frame.dim: frame.name for frame in plates(site)}
        batch = _batch_names(site["name"], fn.batch_shape, frames)
        return cls((*batch, *event_names(site["name"], len(fn.event_shape))), len(batch))

    @classmethod
    def of_computed(cls, site: Site) -> Self:
        """Of a deterministic site: by its `event_dim`, or if it has none, by the plates' sizes."""
        shape, frames = site["value"].shape, {frame.dim: frame for frame in plates(site)}
        declared = site["fn"].event_dim
        splits = range(declared, declared + 1) if declared < len(shape) else range(len(shape) + 1)
        for num_event in splits:
            batch = shape[: len(shape) - num_event]
            if all(-dim <= len(batch) and batch[dim] == f.size for dim, f in frames.items()):
                names = {dim: frame.name for dim, frame in frames.items()}
                found = _batch_names(site["name"], batch, names)
                return cls((*found, *event_names(site["name"], num_event)), len(batch))
        return cls(tuple(event_names(site["name"], len(shape))), 0)

    @property
    def dims(self) -> tuple[str, ...]:
        """The names of those axes that have one."""
        return tuple(name for name in self.names if name is not None)

    @property
    def batch_dims(self) -> tuple[str, ...]:
        """The same of the batch alone."""
        return tuple(name for name in self.names[: self.num_batch] if name is not None)

    def squeeze(self, value: Tensor, num_lead: int) -> Tensor:
        """Drops the axes without a name from `(*lead, *shape)` or `(*lead, *batch shape)`."""
        names = self.names[: value.ndim - num_lead]
        unnamed = tuple(num_lead + axis for axis, name in enumerate(names) if name is None)
        return value.squeeze(unnamed)


def _batch_names(site: str, shape: torch.Size, frames: Mapping[int, str]) -> tuple[str | None, ...]:
    """A plate's name, none for an axis of size one, or a name as of an event."""
    return tuple(
        frames.get(axis - len(shape), None if size == 1 else f"{site}_batch_{axis}")
        for axis, size in enumerate(shape)
    )
