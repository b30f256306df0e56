r"""Reference measures :math:`\pi_0` whose parameters a prior learns."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, LogNormal, Normal


class ReferenceMeasure(nn.Module, ABC):
    r"""A reference measure :math:`\pi_0` of a prior, made anew from parameters at each use.

    A prior takes any univariate torch distribution as :math:`\pi_0` as it is:
    ``Normal(0.0, 1.0)``, ``LogNormal(0.0, 1.0)``, ``Laplace(0.0, 1.0)``. Without one it is uniform
    on the domain, which is the flat (Lebesgue) measure there but for a constant, and the normaliser
    absorbs every constant. A measure whose parameters are to be learned is a module of this kind.

    Implementing one:

    - Inherit from ``ReferenceMeasure`` and own the parameters.
    - Define ``forward()``: one univariate torch distribution of them, of batch shape `()`.

    Its ends must not move: the support stays where it is while a prior learns.

    Example:
        >>> class LaplaceReference(ReferenceMeasure):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.loc = nn.Parameter(torch.zeros(()))
        ...     def forward(self):
        ...         return torch.distributions.Laplace(self.loc.clone(), 1.0)
        >>> LaplaceReference()().mean.detach()
        tensor(0.)
    """

    @abstractmethod
    def forward(self) -> Distribution:
        """The measure with its present parameters."""


class _LocationScale(ReferenceMeasure):
    """Holds a mean and the logarithm of a standard deviation."""

    def __init__(self, loc: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        _check(loc, scale)
        self.loc = nn.Parameter(torch.tensor(float(loc)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    @property
    def scale(self) -> Tensor:
        r"""The standard deviation :math:`\sigma`, a scalar."""
        return self.log_scale.exp()


class NormalReference(_LocationScale):
    r"""The normal measure with learnable mean and scale.

    .. math:: \pi_0(z) = \mathcal{N}(z;\, \mu, \sigma^2), \qquad \sigma = e^{\log \sigma}

    Outside the domain a prior's functions are constant, so there it is this normal that reaches,
    moves and widens to where the posterior is. Inside, a quadratic energy could do the same: the
    two differ in the tails alone.

    Arguments:
        loc: The mean :math:`\mu` to start from.
        scale: The standard deviation :math:`\sigma` to start from, above 0.

    Raises:
        ValueError: If the mean is not finite, or the scale not finite and positive.

    Example:
        >>> from lvkam_pyro.modules.priors import MixturePrior
        >>> prior = MixturePrior(2, reference=NormalReference(0.5, 0.3))
        >>> prior().log_prob(torch.rand(7, 2)).sum().backward()
        >>> [name for name, _ in prior.named_parameters()]
        ['functions.coefficients', 'measure.loc', 'measure.log_scale']
    """

    def forward(self) -> Normal:
        """The normal distribution of the present mean and scale."""
        # A clone: a distribution made before an optimiser's step keeps the mean it was made with.
        return Normal(self.loc.clone(), self.scale, validate_args=False)


class LogNormalReference(_LocationScale):
    r"""The lognormal measure with learnable parameters, for latents above 0.

    .. math:: \pi_0(z) = \frac{1}{z}\, \mathcal{N}(\log z;\, \mu, \sigma^2)

    Its support has an end, at 0, so that the basis' domain must start there.

    Arguments:
        loc: The mean :math:`\mu` of :math:`\log z` to start from.
        scale: The standard deviation :math:`\sigma` of :math:`\log z` to start from, above 0.

    Raises:
        ValueError: If the mean is not finite, or the scale not finite and positive.

    Example:
        >>> LogNormalReference(0.0, 0.5)().mode
        tensor(0.7788, grad_fn=<ExpBackward0>)
    """

    def forward(self) -> LogNormal:
        """The lognormal distribution of the present parameters."""
        return LogNormal(self.loc.clone(), self.scale, validate_args=False)


class FixedReference(ReferenceMeasure):
    """A reference measure with nothing to learn: any univariate torch distribution.

    Arguments:
        distribution: One univariate torch distribution.

    Example:
        >>> FixedReference(Normal(0.0, 1.0))()
        Normal(loc: 0.0, scale: 1.0)
    """

    def __init__(self, distribution: Distribution) -> None:
        super().__init__()
        self.distribution = distribution

    def forward(self) -> Distribution:
        """The distribution that was given."""
        return self.distribution


def _check(loc: float, scale: float) -> None:
    if not (math.isfinite(loc) and math.isfinite(scale) and scale > 0):
        raise ValueError(
            f"Expected a finite loc and a finite scale above 0, got loc={loc} and scale={scale}."
        )
