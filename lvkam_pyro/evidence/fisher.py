"""Fisher's identity: the gradient of the evidence from draws of the posterior."""

from collections.abc import Mapping

from torch import Tensor

from lvkam_pyro.tracing.program import BoundProgram

MAX_GRADIENT_DRAWS = 512
"""Posterior draws of each unit in one gradient."""


def with_fisher_gradient(
    total: float, program: BoundProgram, draws: Mapping[str, Tensor]
) -> Tensor:
    r"""A total log evidence whose gradient is that of the joint density at posterior draws.

    .. math:: \nabla \log p(x) = E_{z | x} [\nabla \log p(x, z)]

    Args:
        total: The value.
        program: The bound program.
        draws: Site name to equally weighted draws `(D, U, *inner plates, *event)`; of many, every
            k-th is taken, so that at most 512 are.

    Returns:
        A scalar.

    Example:
        >>> import pyro, pyro.distributions as dist, torch, lvkam_pyro as lv
        >>> shift = torch.tensor(0.0, requires_grad=True)
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z + shift, 1.0), obs=x)
        >>> draws = {"z": torch.full((3, 1), 0.25)}
        >>> with_fisher_gradient(-2.0, lv.bind(model, torch.ones(1)), draws).backward()
        >>> shift.grad
        tensor(0.7500)
    """
    stride = max(-(-len(value) // MAX_GRADIENT_DRAWS) for value in draws.values())
    some = {name: value[::stride] for name, value in draws.items()}
    surrogate = program.log_joint(some).mean(0).sum()
    return total + (surrogate - surrogate.detach())
