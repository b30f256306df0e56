"""The groups of any Pyro model: several plates, nested plates, latents without a plate."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
import xarray as xr
from pyro.distributions import Unit
from torch import Tensor

from lvkam_pyro.arviz.datasets import SAMPLE, Named, dataset
from lvkam_pyro.arviz.layout import check_plate_names
from lvkam_pyro.arviz.plates import SiteAxes
from lvkam_pyro.arviz.runs import Program, Recorder, Runs, record, run_many
from lvkam_pyro.tracing.recorder import Unconditioned
from lvkam_pyro.tracing.structure import subsampling_scale


@dataclass(frozen=True)
class JointModel:
    """A model with its arguments, and what the axes of its sites are called.

    Attributes:
        program: The model with its arguments.
        run: One run of it.
        axes: Axes of each site, the deterministic ones among them; those of `pyro.factor` are left
            out.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        ...     with pyro.plate("people", len(x)):
        ...         pyro.sample("x", dist.Normal(mean, 1.0), obs=x)
        >>> joint = JointModel.of(model, torch.zeros(5))
        >>> joint.axes["mean"].dims, joint.axes["x"].dims
        ((), ('people',))
    """

    program: Program
    run: Recorder
    axes: Mapping[str, SiteAxes]

    @classmethod
    def of(cls, model: Callable[..., object], *args: object, **kwargs: object) -> Self:
        """Runs the model once.

        Raises:
            ValueError: If a plate has a name of ArviZ's, or draws a subsample.
        """
        program = partial(model, *args, **kwargs)
        run = record(program)
        frames = check_plate_names(run.sites)
        if any(subsampling_scale(frame) != 1 for frame in frames):
            raise ValueError(
                "Expected a model of all its data, got one whose plate draws a subsample. Build it "
                "without subsample_size."
            )
        sampled = {k: SiteAxes.of(s) for k, s in run.sites.items() if not is_factor(s)}
        computed = {name: SiteAxes.of_computed(site) for name, site in run.computed.items()}
        return cls(program, run, sampled | computed)

    @property
    def latents(self) -> list[str]:
        """The latent sites."""
        return list(self.run.latents)

    @property
    def observed(self) -> list[str]:
        """The observed sites, without factors."""
        return [name for name, site in self.run.observations.items() if not is_factor(site)]

    @property
    def computed(self) -> list[str]:
        """The deterministic sites."""
        return list(self.run.computed)

    def group(self, values: Mapping[str, Tensor], names: Collection[str]) -> xr.Dataset:
        """A variable for each site, from values `(C, D, *shape)`."""
        return dataset({name: self._variable(name, values[name]) for name in names})

    def log_prob_group(self, log_prob: Mapping[str, Tensor], names: Collection[str]) -> xr.Dataset:
        """The log density of each site, from values `(C, D, *batch shape)`."""
        return dataset({name: self._pointwise(name, log_prob[name]) for name in names})

    def data(self) -> xr.Dataset:
        """The observed data."""
        return dataset(
            {
                name: (self.axes[name].dims, self.axes[name].squeeze(_full(site), 0))
                for name, site in self.run.observations.items()
                if not is_factor(site)
            }
        )

    def _variable(self, name: str, value: Tensor) -> Named:
        axes = self.axes[name]
        return (*SAMPLE, *axes.dims), axes.squeeze(value, 2)

    def _pointwise(self, name: str, log_prob: Tensor) -> Named:
        axes = self.axes[name]
        return (*SAMPLE, *axes.batch_dims), axes.squeeze(log_prob, 2)


def is_factor(site: Mapping[str, Any]) -> bool:
    """Whether a site is one of `pyro.factor`, which has a density but no value.

    Args:
        site: Pyro's message.
    """
    return isinstance(site["fn"], Unit)


def _full(site: Mapping[str, Any]) -> Tensor:
    value: Tensor = site["value"]
    return value.expand(site["fn"].shape())


def posterior_groups_of(
    joint: JointModel, draws: Mapping[str, Tensor]
) -> tuple[dict[str, xr.Dataset], Tensor]:
    """The groups of draws from the joint posterior, and the log joint density of each draw.

    Args:
        joint: The model.
        draws: Name of every latent site to draws `(C, D, *its shape)`.

    Returns:
        `posterior` with the deterministic sites, `posterior_predictive`, `log_likelihood` for each
        element of each observed site's plates, `log_prior` likewise; and log p(x, z) `(C, D)`.
    """
    shape = next(iter(draws.values())).shape[:2]
    flat = {name: values.flatten(0, 1) for name, values in draws.items()}
    actual = run_many(joint.program, shape.numel(), flat)
    new = _run_unconditioned(joint, shape.numel(), flat)
    values, log_prob = _unflatten(actual.values, shape), _unflatten(actual.log_prob, shape)
    groups = {
        "posterior": joint.group(values, [*joint.latents, *joint.computed]),
        "posterior_predictive": joint.group(_unflatten(new.values, shape), joint.observed),
        "log_likelihood": joint.log_prob_group(log_prob, joint.observed),
        "log_prior": joint.log_prob_group(log_prob, joint.latents),
    }
    return groups, actual.total().unflatten(0, shape)


def prior_groups_of(joint: JointModel, shape: torch.Size) -> dict[str, xr.Dataset]:
    """Draws from the prior, new observations given these, and the actual observations.

    Args:
        joint: The model.
        shape: The numbers of chains and draws.
    """
    values = _unflatten(_run_unconditioned(joint, shape.numel(), {}).values, shape)
    return {
        "prior": joint.group(values, [*joint.latents, *joint.computed]),
        "prior_predictive": joint.group(values, joint.observed),
        "observed_data": joint.data(),
    }


def _run_unconditioned(joint: JointModel, num_runs: int, values: Mapping[str, Tensor]) -> Runs:
    def program() -> None:
        with Unconditioned():
            joint.program()

    return run_many(program, num_runs, values)


def _unflatten(values: Mapping[str, Tensor], shape: torch.Size) -> dict[str, Tensor]:
    return {name: value.unflatten(0, shape) for name, value in values.items()}
