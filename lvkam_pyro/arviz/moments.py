"""A guide with the moments of draws from a posterior: what their evidence is estimated with."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.transforms import ReshapeTransform
from torch import Tensor
from torch.distributions import Transform

from lvkam_pyro.arviz.layout import DataLayout
from lvkam_pyro.tracing.particles import Guide
from lvkam_pyro.tracing.prior_guide import PriorGuide
from lvkam_pyro.tracing.structure import LatentSite, Model, bijection, record_once

_DEGREES_OF_FREEDOM = 5.0
_INFLATION = 1.2
"""Of the covariance. Both make the guide's tails heavier than the posterior's."""


class MomentGuide:
    r"""Student's t with mean and covariance of draws, per datum and site.

    .. math:: T^{-1}(z) \sim t_5\big(\bar u, \; 1.2 \, \tfrac{3}{5} \operatorname{cov}(u)\big),
        \quad u_s = T^{-1}(z_s)

    with T torch's `biject_to` of the site's support. Heavy tails keep importance weights bounded
    where the posterior is about normal.

    Args:
        layout: The model's plates.
        transforms: Each latent site's T.
        moments: Each latent site's mean `(N, *inner plates, E)` and Cholesky factor of the
            covariance `(N, *inner plates, E, E)`.
    """

    def __init__(
        self,
        layout: DataLayout,
        transforms: Mapping[str, Transform],
        moments: Mapping[str, tuple[Tensor, Tensor]],
    ) -> None:
        self.layout = layout
        self.transforms = transforms
        self.moments = moments

    def __call__(self, x: Tensor) -> None:
        """Draws the latents."""
        for site in self.layout.structure.latents:
            with ExitStack() as stack:
                for name, size, dim in self._plates(site):
                    stack.enter_context(pyro.plate(name, size, dim=dim))
                pyro.sample(site.name, self._distribution(site))

    def _plates(self, site: LatentSite) -> list[tuple[str, int, int]]:
        structure, axes = self.layout.structure, self.layout.latents[site.name]
        num_data = len(self.moments[site.name][0])
        names = axes.dims[1 : 1 + len(axes.inner_dims)]
        inner = zip(names, site.inner_shape, site.inner_dims, strict=True)
        return [(structure.data_plate, num_data, structure.data_dim), *inner]

    def _distribution(self, site: LatentSite) -> dist.TorchDistribution:
        to_pyro = self.layout.structure.to_pyro
        mean, factor = (to_pyro(moment[None], site)[0] for moment in self.moments[site.name])
        degrees = mean.new_full(mean.shape[:-1], _DEGREES_OF_FREEDOM)
        base = dist.MultivariateStudentT(degrees, mean, factor)
        shape = ReshapeTransform(mean.shape[-1:], site.unconstrained_shape)
        return dist.TransformedDistribution(base, [shape, self.transforms[site.name]])


def guide_of_moments(
    model: Model, x: Tensor, layout: DataLayout, chains: Sequence[Mapping[str, Tensor]]
) -> Guide:
    """A guide with the moments of equally weighted draws; the prior where they have none.

    Args:
        model: The model.
        x: The data.
        layout: `DataLayout.of(model, x)`.
        chains: A chain each: site name to draws `(D, N, *inner plates, *event)`.
    """
    sites = record_once(model, x).latents
    latents = layout.structure.latents
    if not all(site.has_bijection for site in latents):
        return PriorGuide(model)
    transforms = {site.name: bijection(sites[site.name]) for site in latents}
    moments = {}
    for site in latents:
        drawn = torch.cat([chain[site.name] for chain in chains])
        free = transforms[site.name].inv(layout.structure.to_pyro(drawn, site))
        moments[site.name] = _moments(_to_particles(free, layout, site))
    exact = all(torch.isfinite(factor).all() for _, factor in moments.values())
    return MomentGuide(layout, transforms, moments) if exact else PriorGuide(model)


def _to_particles(free: Tensor, layout: DataLayout, site: LatentSite) -> Tensor:
    """From Pyro's layout to `(S, N, *inner plates, E)`."""
    arranged = layout.structure.to_particles(free, site)
    return arranged.reshape(*arranged.shape[: 2 + len(site.inner_shape)], -1)


def _moments(draws: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of `(S, ..., E)`, and a factor of the scale, not finite where there is none."""
    mean = draws.mean(0)
    centred = draws - mean
    covariance = torch.einsum("s...i,s...j->...ij", centred, centred) / max(1, len(draws) - 1)
    scale = _INFLATION * (1 - 2 / _DEGREES_OF_FREEDOM) * covariance
    factor, failed = torch.linalg.cholesky_ex(scale)
    return mean, torch.where((failed == 0)[..., None, None], factor, torch.nan)
