"""A signal of unknown sign: two far modes of unequal mass, evidence in closed form."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from lvkam_pyro.problems.problem import Problem
from lvkam_pyro.tracing.session import seeded_rng

_NUM_DATA = 4
_NUM_LATENTS = 10
_SCALE = 0.3
_SHARE = 0.8


class Bimodal:
    r"""The datum is the latent vector or its negative, with noise.

    .. math:: z \sim N(0, I), \qquad x \sim w \, N(z, \sigma^2 I) + (1 - w) \, N(-z, \sigma^2 I),
              \qquad p(x) = N(x; 0, (1 + \sigma^2) I)

    A chain or a guide that sees one mode only is wrong by log w or log (1 - w).

    Example:
        >>> Bimodal().log_evidence(torch.zeros(1, 1))  # log N(0; 0, 1.09)
        tensor([-0.9620])
    """

    num_latents = _NUM_LATENTS
    scale = _SCALE
    share = _SHARE

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the data x (N, 10)."""
        shares = x.new_tensor([self.share, 1 - self.share])
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.num_latents), 1.0).to_event(1))
            parts = dist.Normal(torch.stack([z, -z], -2), self.scale).to_event(1)
            pyro.sample("x", dist.MixtureSameFamily(dist.Categorical(shares), parts), obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`."""
        log_prob: Tensor = dist.Normal(0.0, (1 + self.scale**2) ** 0.5).log_prob(x).sum(-1)
        return log_prob


def bimodal(*, seed: int = 0) -> Problem:
    """The problem.

    Args:
        seed: Of the data.

    Example:
        >>> bimodal().x.shape
        torch.Size([4, 10])
    """
    model = Bimodal()
    with seeded_rng(seed, torch.empty(0)):
        x = torch.randn(_NUM_DATA, _NUM_LATENTS, dtype=torch.float64) * (1 + _SCALE**2) ** 0.5
    return Problem(
        name="bimodal",
        title="two modes, 10-D",
        model=model,
        x=x,
        log_evidence=model.log_evidence(x),
        num_latents=_NUM_LATENTS,
        source="closed form",
    )
