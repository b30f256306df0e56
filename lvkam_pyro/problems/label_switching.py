"""A mixture whose components can change places: two equal modes, evidence by quadrature."""

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from lvkam_pyro.problems.problem import Problem
from lvkam_pyro.statistics.quadrature import composite_gauss_legendre
from lvkam_pyro.tracing.session import seeded_rng

_NUM_DATA = 4
_NUM_POINTS = 20
_PRIOR_SCALE, _SCALE = 3.0, 0.7
_LIMIT, _NUM_NODES = 12.0, 400


class LabelSwitching:
    r"""Points from an even mixture of two normal laws of unknown means.

    .. math:: \mu_1, \mu_2 \sim N(0, 3^2), \qquad
              x_i \sim \tfrac12 N(\mu_1, 0.7^2) + \tfrac12 N(\mu_2, 0.7^2), \quad i = 1, \dots, 20

    Example:
        >>> LabelSwitching().log_evidence(torch.zeros(1, 20).double()).shape
        torch.Size([1])
    """

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the sets of points x (N, 20)."""
        with pyro.plate("data", len(x)):
            means = pyro.sample("means", dist.Normal(x.new_zeros(2), _PRIOR_SCALE).to_event(1))
            parts = dist.Normal(means[..., None, :], _SCALE)
            law = dist.MixtureSameFamily(dist.Categorical(logits=x.new_zeros(2)), parts)
            pyro.sample("x", law.expand(means.shape[:-1] + x.shape[-1:]).to_event(1), obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`, by Gauss-Legendre nodes on both means."""
        ends = torch.tensor([-_LIMIT, _LIMIT], dtype=torch.float64)
        nodes, weights = composite_gauss_legendre(ends, _NUM_NODES)
        log_masses = weights.log() + dist.Normal(0.0, _PRIOR_SCALE).log_prob(nodes)
        parts = dist.Normal(nodes[:, None], _SCALE).log_prob(x.double()[:, None]) - np.log(2)
        totals = []
        for part in parts:
            likelihood = torch.logaddexp(part[:, None], part).sum(-1)
            totals.append((log_masses[:, None] + log_masses + likelihood).logsumexp((0, 1)))
        return torch.stack(totals)


def label_switching(*, seed: int = 0) -> Problem:
    """The problem.

    Args:
        seed: Of the data.

    Example:
        >>> label_switching().x.shape
        torch.Size([4, 20])
    """
    with seeded_rng(seed, torch.empty(0)):
        means = torch.tensor([-2.0, 1.5], dtype=torch.float64)
        chosen = means[torch.randint(2, (_NUM_DATA, _NUM_POINTS))]
        x = chosen + _SCALE * torch.randn_like(chosen)
    model = LabelSwitching()
    return Problem(
        name="label_switching",
        title="exchangeable components, 2-D",
        model=model,
        x=x,
        log_evidence=model.log_evidence(x),
        num_latents=2,
        source="tensor quadrature",
    )
