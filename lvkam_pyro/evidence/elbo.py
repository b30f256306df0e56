"""The evidence lower bound, as the yardstick beside the estimators of the evidence."""

import torch
from torch import Tensor

from lvkam_pyro.evidence.importance import Importance
from lvkam_pyro.evidence.replicates import Summary
from lvkam_pyro.evidence.verdict import Gate
from lvkam_pyro.statistics.jackknife import leave_one_out_mean


class ELBO(Importance):
    r"""The mean log weight of each datum, a lower bound of its log evidence.

    .. math:: \frac{1}{S} \sum_s \log \frac{p(x_n, z_s)}{q(z_s | x_n)} \le \log p(x_n)
        \text{ in the mean}

    The same quantity and the same reparameterised gradient as Pyro's `Trace_ELBO`, per datum and
    with a standard error. The standard error is that of the bound; its gap to the evidence, the
    divergence from guide to posterior, is unknown. So the verdict always reads unreliable as an
    estimate of the evidence, and says that it is a lower bound. Diagnostics as in
    `Importance`.

    Args:
        num_particles: S, at least (rounded up to full islands).
        num_replicates: R islands.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If there is no particle, or fewer than two replicates.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> ELBO(64).estimate(model, torch.zeros(2)).verdict.reasons
        ('2 of 2 data have a lower bound whose gap to the log evidence is unknown.',)
    """

    name = "ELBO"
    remedy = "Use Importance with the same guide, or a ladder, for the evidence."
    is_lower_bound = True

    def __init__(self, num_particles: int = 1024, *, num_replicates: int = 32) -> None:
        super().__init__(num_particles, num_replicates=num_replicates)

    def average(self, values: Tensor, dim: int = 0) -> Tensor:
        """The mean log weight along an axis: of particles, of islands."""
        return values.mean(dim)

    def leave_one_out(self, replicates: Tensor) -> Tensor:
        """The mean log weights without each island, `(R, U)`."""
        return leave_one_out_mean(replicates)

    def gates(self, summary: Summary) -> list[Gate]:
        """A lower bound is what it says, and no more."""
        everywhere = torch.ones_like(summary["ess"], dtype=torch.bool)
        return [Gate(everywhere, "have a lower bound whose gap to the log evidence is unknown")]
