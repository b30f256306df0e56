"""Particles: latents drawn by a guide, with the model's and the guide's log densities per datum."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from lvkam_pyro.statistics.resampling import resample_systematic


@dataclass(frozen=True)
class Particles:
    r"""Draws of the latents and what every estimator needs to know about them.

    .. math:: \log w_{sn} = \log p(z_{sn}) + \log p(x_n | z_{sn}) - \log q(z_{sn} | x_n)

    Attributes:
        latents: Site name to draws, of shape `(S, U, *inner plates, *event)`, or
            `(S, 1, *event)` when all data share the draws.
        log_prior: `(S, U)`, the latent sites of the model.
        log_likelihood: `(S, U)`, the observed and factor sites of the model.
        log_guide: `(S, U)`, the sites of the guide.
        data_scale: The data plate's full size divided by its size; it multiplies totals.

    Example:
        >>> zeros = torch.zeros(4, 2)
        >>> particles = Particles({"z": zeros}, zeros, zeros - 1.0, zeros)
        >>> particles.log_evidence
        tensor([-1., -1.])
    """

    latents: dict[str, Tensor]
    log_prior: Tensor
    log_likelihood: Tensor
    log_guide: Tensor
    data_scale: float = 1.0

    @classmethod
    def stack(cls, parts: Sequence[Self]) -> Self:
        """The particles of several draws, one after the other."""
        return cls(
            {name: torch.cat([p.latents[name] for p in parts]) for name in parts[0].latents},
            torch.cat([part.log_prior for part in parts]),
            torch.cat([part.log_likelihood for part in parts]),
            torch.cat([part.log_guide for part in parts]),
            parts[0].data_scale,
        )

    def __repr__(self) -> str:
        shapes = {name: tuple(value.shape) for name, value in self.latents.items()}
        return f"Particles({self.num_particles} of {self.num_units} data, latents {shapes})"

    @property
    def num_particles(self) -> int:
        """The number of particles S."""
        return self.log_prior.shape[0]

    @property
    def num_units(self) -> int:
        """The number of units U."""
        return self.log_prior.shape[1]

    @property
    def log_joint(self) -> Tensor:
        """Log p(x, z), of shape `(S, U)`."""
        return self.log_prior + self.log_likelihood

    @property
    def log_weights(self) -> Tensor:
        """Log p(x, z) - log q(z|x), of shape `(S, U)`."""
        # The difference first: under the prior it is exactly zero, whatever its size.
        return (self.log_prior - self.log_guide) + self.log_likelihood

    @property
    def log_evidence(self) -> Tensor:
        """The importance-sampling estimate of log p(x), of shape `(U,)`."""
        return self.log_weights.logsumexp(0) - math.log(self.num_particles)

    def resample(self, num_draws: int) -> dict[str, Tensor]:
        """Equally weighted latents, resampled for each datum by itself and in random order.

        Args:
            num_draws: Number of draws D.

        Returns:
            Site name to draws `(D, U, *inner plates, *event)`.

        Raises:
            ValueError: If a datum has no particle with a positive, finite weight.

        Example:
            >>> zeros = torch.zeros(4, 2)
            >>> draws = Particles({"z": torch.randn(4, 2, 3)}, zeros, zeros, zeros).resample(8)
            >>> draws["z"].shape
            torch.Size([8, 2, 3])
        """
        index = resample_systematic(self.log_weights, num_draws)
        data = torch.arange(self.num_units, device=index.device)
        return {
            name: value[index, data if value.shape[1] > 1 else 0]
            for name, value in self.latents.items()
        }
