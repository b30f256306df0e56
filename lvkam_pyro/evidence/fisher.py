"""Fisher's identity: the gradient of the evidence from draws of the posterior."""

from collections.abc import Mapping

from torch import Tensor

from lvkam_pyro.tracing.densities import sum_log_probs
from lvkam_pyro.tracing.recorder import SiteRecorder
from lvkam_pyro.tracing.structure import Model, ModelStructure

MAX_GRADIENT_DRAWS = 512
"""Posterior draws of each datum in one gradient."""


def with_fisher_gradient(
    total: float, model: Model, x: Tensor, structure: ModelStructure, draws: Mapping[str, Tensor]
) -> Tensor:
    r"""A total log evidence whose gradient is that of the joint density at posterior draws.

    .. math:: \nabla \log p(x) = E_{z | x} [\nabla \log p(x, z)]

    Args:
        total: The value.
        model: The Pyro model.
        x: The observations, of shape `(N, ...)`.
        structure: The model's structure.
        draws: Site name to equally weighted draws `(D, N, *inner plates, *event)`; of many, every
            k-th is taken, so that at most 512 are.

    Returns:
        A scalar.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> shift = torch.tensor(0.0, requires_grad=True)
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z + shift, 1.0), obs=x)
        >>> x = torch.ones(1)
        >>> draws = {"z": torch.full((3, 1), 0.25)}
        >>> with_fisher_gradient(-2.0, model, x, ModelStructure.of(model, x), draws).backward()
        >>> shift.grad
        tensor(0.7500)
    """
    values = {}
    for site in structure.latents:
        stride = -(-len(draws[site.name]) // MAX_GRADIENT_DRAWS)
        values[site.name] = structure.to_pyro(draws[site.name][::stride], site)
    run = SiteRecorder(values)
    with run:
        model(x)
    shape = (len(next(iter(values.values()))), len(x))
    surrogate = sum_log_probs(run.sites, structure, shape).mean(0).sum()
    return total + (surrogate - surrogate.detach())
