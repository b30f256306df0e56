"""A spike beside a plateau: what no estimator and no diagnostic can see."""

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from lvkam_pyro.problems.problem import Problem

_NUM_LATENTS = 10
_CENTRE, _SCALE = 2.0, 0.01
_GAIN = 4.0
"""The nats by which the spike's mass outweighs the plateau's."""


class SpikeAndPlateau:
    r"""A likelihood that is flat but for a narrow peak, which holds nearly all of the evidence.

    .. math:: z \sim N(0, I_{10}), \qquad
              p(x | z) = N(x; 0, 1) \left[1 + (e^4 - 1) \frac{N(z; c, s^2 I)}
                         {N(c; 0, (1 + s^2) I)} \right], \qquad p(x) = e^4 N(x; 0, 1)

    with c = (2, ..., 2) and s = 0.01: less than 1e-27 of the prior lies within the spike, so
    that whoever draws from the prior or follows gradients finds :math:`N(x; 0, 1)`, with small
    errors, and is wrong by 4 nats. (A density of z, not a law of x: it is weighed by a factor.)

    Example:
        >>> SpikeAndPlateau().log_evidence(torch.zeros(1))  # 4 + log N(0; 0, 1)
        tensor([3.0811])
    """

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the data x (N,)."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(_NUM_LATENTS), 1.0).to_event(1))
            peak = dist.Normal(_CENTRE, _SCALE).log_prob(z).sum(-1)
            marginal = dist.Normal(0.0, math.hypot(1.0, _SCALE)).log_prob(x.new_tensor(_CENTRE))
            spike = math.log(math.expm1(_GAIN)) + peak - _NUM_LATENTS * marginal
            plateau = dist.Normal(0.0, 1.0).log_prob(x)
            pyro.factor("likelihood", plateau + torch.logaddexp(spike.new_zeros(()), spike))

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log evidence, `(N,)`."""
        log_prob: Tensor = dist.Normal(0.0, 1.0).log_prob(x)
        return _GAIN + log_prob


def spike_and_plateau() -> Problem:
    """The problem, which every estimator is expected to miss by 4 nats.

    Example:
        >>> spike_and_plateau().blind_spot
        'no draw reaches the spike, which holds 98 % of the evidence'
    """
    model, x = SpikeAndPlateau(), torch.tensor([-1.0, 0.0, 0.5, 2.0], dtype=torch.float64)
    share = math.expm1(_GAIN) / math.exp(_GAIN)
    return Problem(
        name="spike_and_plateau",
        title="spike beside a plateau, 10-D",
        model=model,
        x=x,
        log_evidence=model.log_evidence(x),
        num_latents=_NUM_LATENTS,
        source="closed form",
        blind_spot=f"no draw reaches the spike, which holds {100 * share:.0f} % of the evidence",
    )
