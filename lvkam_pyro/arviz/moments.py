"""A guide with the moments of draws from a posterior: what their evidence is estimated with."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.transforms import ReshapeTransform
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor
from torch.distributions import Transform

from lvkam_pyro.tracing.prior_guide import LibraryGuide, PriorGuide
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.sites import plates
from lvkam_pyro.tracing.structure import LatentSite, ProgramStructure, bijection

_DEGREES_OF_FREEDOM = 5.0
_INFLATION = 1.2
"""Of the covariance. Both make the guide's tails heavier than the posterior's."""


@dataclass(frozen=True, eq=False)
class MomentGuide(LibraryGuide):
    r"""Student's t with mean and covariance of draws, per datum and site.

    .. math:: T^{-1}(z) \sim t_5\big(\bar u, \; 1.2 \, \tfrac{3}{5} \operatorname{cov}(u)\big),
        \quad u_s = T^{-1}(z_s)

    with T torch's `biject_to` of the site's support. Heavy tails keep importance weights bounded
    where the posterior is about normal.

    Args:
        structure: The program's plates.
        frames: The plates around each latent site.
        transforms: Each latent site's T.
        moments: Each latent site's mean `(N, *inner plates, E)` and Cholesky factor of the
            covariance `(N, *inner plates, E, E)`.
    """

    structure: ProgramStructure
    frames: Mapping[str, Sequence[CondIndepStackFrame]]
    transforms: Mapping[str, Transform]
    moments: Mapping[str, tuple[Tensor, Tensor]]

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Draw every latent site."""
        return {site.name: self._draw(site) for site in self.structure.latents}

    def _draw(self, site: LatentSite) -> Tensor:
        with ExitStack() as stack:
            for frame in self.frames[site.name]:
                stack.enter_context(pyro.plate(frame.name, frame.size, dim=frame.dim))
            value: Tensor = pyro.sample(site.name, self._distribution(site))
        return value

    def _distribution(self, site: LatentSite) -> dist.TorchDistribution:
        to_pyro = self.structure.to_pyro
        mean, factor = (to_pyro(moment[None], site)[0] for moment in self.moments[site.name])
        degrees = mean.new_full(mean.shape[:-1], _DEGREES_OF_FREEDOM)
        base = dist.MultivariateStudentT(degrees, mean, factor)
        shape = ReshapeTransform(mean.shape[-1:], site.unconstrained_shape)
        return dist.TransformedDistribution(base, [shape, self.transforms[site.name]])


def guide_of_moments(
    program: BoundProgram, latents: Mapping[str, Tensor]
) -> MomentGuide | PriorGuide:
    """A guide with the moments of equally weighted draws; the prior where they have none.

    Args:
        program: The program, whose unit is a datum.
        latents: Site name to draws `(D, N, *inner plates, *event)`.
    """
    structure, sites = program.structure, program.record_alone().latents
    if not all(site.has_bijection for site in structure.latents):
        return PriorGuide(program.model)
    transforms = {name: bijection(site) for name, site in sites.items()}
    moments = {}
    for site in structure.latents:
        free = transforms[site.name].inv(structure.to_pyro(latents[site.name], site))
        arranged = structure.to_particles(free, site)
        flat = arranged.reshape(*arranged.shape[: 2 + len(site.inner_shape)], -1)
        moments[site.name] = _moments(flat)
    if not all(torch.isfinite(factor).all() for _, factor in moments.values()):
        return PriorGuide(program.model)
    frames = {name: plates(site) for name, site in sites.items()}
    return MomentGuide(structure, frames, transforms, moments)


def _moments(draws: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of `(S, ..., E)`, and a factor of the scale, not finite where there is none."""
    mean = draws.mean(0)
    centred = draws - mean
    covariance = torch.einsum("s...i,s...j->...ij", centred, centred) / max(1, len(draws) - 1)
    scale = _INFLATION * (1 - 2 / _DEGREES_OF_FREEDOM) * covariance
    factor, failed = torch.linalg.cholesky_ex(scale)
    return mean, torch.where((failed == 0)[..., None, None], factor, torch.nan)
