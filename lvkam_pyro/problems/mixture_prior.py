"""Latents with two peaks each behind a linear map: evidence as a sum over all peaks."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from lvkam_pyro.problems.linear_gaussian import normal_log_prob
from lvkam_pyro.problems.problem import Problem
from lvkam_pyro.tracing.session import seeded_rng

_NUM_DATA = 4
_NUM_LATENTS = 8
_SCALE = 0.5
_SHARES, _MEANS, _SCALES = (0.7, 0.3), (-1.0, 1.5), (0.3, 0.4)


class MixedLinear:
    r"""A linear map of independent latents, each with a law of two normal components.

    .. math:: z_q \sim \sum_{p=1}^{2} w_p N(m_p, s_p^2), \qquad x \sim N(W z, \sigma^2 I), \qquad
              p(x) = \sum_{c \in \{1, 2\}^Q} \prod_q w_{c_q} \,
                     N\big(x; W m_c, W \mathrm{diag}(s_c^2) W' + \sigma^2 I\big)

    Args:
        weight: W, `(O, Q)` in float64.

    Example:
        >>> MixedLinear(torch.eye(2).double()).log_evidence(torch.zeros(1, 2).double()).shape
        torch.Size([1])
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the data x (N, O)."""
        shares, means, scales = (
            self.weight.new_tensor(values).expand(self.weight.shape[1], 2)
            for values in (_SHARES, _MEANS, _SCALES)
        )
        prior = dist.MixtureSameFamily(dist.Categorical(shares), dist.Normal(means, scales))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior.to_event(1))
            pyro.sample("x", dist.Normal(z @ self.weight.T, _SCALE).to_event(1), obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`, by all 2^Q combinations of components."""
        num_latents = self.weight.shape[1]
        choices = torch.cartesian_prod(*[torch.arange(2)] * num_latents).reshape(-1, num_latents)
        shares, means, scales = (
            self.weight.new_tensor(values)[choices] for values in (_SHARES, _MEANS, _SCALES)
        )
        scaled = self.weight * scales[:, None]
        noise = _SCALE**2 * torch.eye(len(self.weight)).to(self.weight)
        parts = normal_log_prob(x, means @ self.weight.T, scaled @ scaled.mT + noise)
        return (shares.log().sum(-1) + parts).logsumexp(-1)


def mixture_prior(*, seed: int = 0) -> Problem:
    """The problem.

    Args:
        seed: Of the linear map and the data.

    Example:
        >>> mixture_prior().x.shape
        torch.Size([4, 8])
    """
    with seeded_rng(seed, torch.empty(0)):
        weight = torch.randn(_NUM_LATENTS, _NUM_LATENTS, dtype=torch.float64) / _NUM_LATENTS**0.5
        high = torch.rand(_NUM_DATA, _NUM_LATENTS) < _SHARES[1]
        low, peak = (
            mean + scale * torch.randn(_NUM_DATA, _NUM_LATENTS, dtype=torch.float64)
            for mean, scale in zip(_MEANS, _SCALES, strict=True)
        )
        x = torch.where(high, peak, low) @ weight.T
        x = x + _SCALE * torch.randn_like(x)
    model = MixedLinear(weight)
    return Problem(
        name="mixture_prior",
        title="latents with two peaks, 8-D",
        model=model,
        x=x,
        log_evidence=model.log_evidence(x),
        num_latents=_NUM_LATENTS,
        source="sum over 256 components",
    )
