"""Runs of a program on one particle, mapped over many: for programs that take no further axis."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pyro
import torch
from pyro.distributions import TorchDistribution
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint

from lvkam_pyro.tracing.recorder import Site, SiteRecorder

_Tensors = dict[str, dict[str, Tensor]]


class MappedDistribution(TorchDistribution):
    """The distribution of a site in a mapped run: its density at the recorded values alone.

    Args:
        base: The distribution in the run of one particle.
        log_prob: The log density of all particles, `(S, *plates)`.

    Example:
        >>> import pyro.distributions as dist
        >>> fn = MappedDistribution(dist.Normal(0.0, 1.0), torch.zeros(8, 3))
        >>> fn.batch_shape, fn.log_prob(torch.ones(8, 3)).shape
        (torch.Size([8, 3]), torch.Size([8, 3]))
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {}

    def __init__(self, base: Distribution, log_prob: Tensor) -> None:
        self.base_dist = base
        self.known_log_prob = log_prob
        super().__init__(log_prob.shape, base.event_shape, validate_args=False)

    @property
    def support(self) -> Any:  # noqa: ANN401
        """The support of the base."""
        return self.base_dist.support

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density of the values that were recorded."""
        return self.known_log_prob


def record_mapped(
    run: Callable[[SiteRecorder], object],
    recorder: SiteRecorder,
    values: Mapping[str, Tensor],
    num_plates: int,
) -> SiteRecorder:
    """Maps a run over particles by `torch.vmap`, and gathers what was recorded.

    Args:
        run: Runs the program on one particle, inside of the recorder that it is given.
        recorder: The recorder, without values: it is filled as if the program had taken all
            particles at once.
        values: Name of each latent site to values, `(S, *the site's own shape)`.
        num_plates: The axes between that of the particles and an event.

    Returns:
        The recorder.

    Raises:
        RuntimeError: If the program branches on values, or torch cannot map what it does.

    Example:
        >>> import pyro.distributions as dist
        >>> def model():
        ...     z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...     pyro.sample("x", dist.Normal(z[0] - z[1], 1.0), obs=torch.tensor(0.5))
        >>> def run(inside):
        ...     with inside:
        ...         model()
        >>> z = torch.tensor([[0.0, 0.0], [1.5, 1.0]])
        >>> site = record_mapped(run, SiteRecorder(), {"z": z}, 0).sites["x"]
        >>> site["fn"].log_prob(site["value"])
        tensor([-1.0439, -0.9189])
    """
    singles: list[SiteRecorder] = []

    def one(particle: dict[str, Tensor]) -> _Tensors:
        single = recorder.fresh(particle)
        run(single)
        singles.append(single)
        return {
            "values": {name: site["value"] for name, site in single.sites.items()},
            "log_probs": {name: _log_prob(site) for name, site in single.sites.items()},
            "computed": {name: site["value"] for name, site in single.computed.items()},
            "further": single.further,
        }

    # Torch's checks of values are branches on them, which cannot be mapped.
    with pyro.validation_enabled(False):
        found: _Tensors = torch.vmap(one, randomness="error")(dict(values))
    return _gather(recorder, singles[0], found, num_plates)


def _log_prob(site: Site) -> Tensor:
    log_prob = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
    # A latent that holds all of its values sums to one, whatever mask is on it.
    mask = None if "_enumerate_dim" in site["infer"] else site["mask"]
    masked: Tensor = scale_and_mask(log_prob, 1.0, mask)
    return masked


def _gather(
    recorder: SiteRecorder, single: SiteRecorder, found: _Tensors, num_plates: int
) -> SiteRecorder:
    """The recorder, filled with the sites of all particles."""
    for name, site in single.sites.items():
        event_dim = len(site["fn"].event_shape)
        value = _padded(found["values"][name], num_plates + event_dim)
        log_prob = _left_of_plates(found["log_probs"][name], num_plates)
        fn = MappedDistribution(site["fn"], log_prob)
        plain = {"value": value, "fn": fn, "mask": None, "args": (), "kwargs": {}}
        recorder.sites[name] = {**site, **plain}
    for name, site in single.computed.items():
        recorder.computed[name] = {**site, "value": found["computed"][name]}
    recorder.subsamples.update(single.subsamples)
    recorder.further.update({n: _padded(v, num_plates) for n, v in found["further"].items()})
    return recorder


def _left_of_plates(stacked: Tensor, num_plates: int) -> Tensor:
    """The same with the particles' axis next to the plates, right of those of discrete latents."""
    further = stacked.ndim - 1 - num_plates
    if further <= 0:
        return _padded(stacked, num_plates)
    # Where the particles belong a run alone has an axis of size 1.
    return stacked.squeeze(further).movedim(0, further - 1)


def _padded(stacked: Tensor, num_axes: int) -> Tensor:
    """Stacked values with an axis for every plate, between the particles' and their own."""
    missing = num_axes - (stacked.ndim - 1)
    return stacked.reshape(len(stacked), *[1] * missing, *stacked.shape[1:])
