"""Normal noise around continuous outputs: the likelihood and its factored distribution."""

import math
from collections.abc import Sequence

import torch
from pyro.distributions import Normal
from torch import Size, Tensor, nn
from torch.distributions import constraints
from torch.distributions.utils import _standard_normal

from lvkam_pyro.likelihoods.factored import (
    Factored,
    Likelihood,
    is_outer,
)
from lvkam_pyro.options import check_count


class FactoredNormal(Factored):
    r"""Normal density of a vector of independent outputs, factored for shared particles.

    .. math:: \log p(x_n \mid m_s) = -\tfrac12 \sum_o \Big( \frac{x_{no} - m_{so}}{\sigma_o}
              \Big)^2 - \sum_o \log \sigma_o - \tfrac{O}{2} \log 2 \pi

    The distribution ``Normal(loc, scale).to_event(1)``. Where all particles meet all data (`loc` of
    shape `(S, 1, O)`, values of shape `(N, O)`) the square is expanded, so that the result
    `(S, N)` costs one matrix product and no array of shape `(S, N, O)` is ever made. Values and
    means are centred first, so that float32 does not cancel.

    Arguments:
        loc: Means, of shape `(*batch, O)`.
        scale: Positive standard deviations, of shape `(O,)` or `()`.
        validate_args: Whether to check parameters and values.

    Raises:
        ValueError: If `loc` is a scalar or `scale` does not fit its last dimension.

    Example:
        >>> means, data = torch.zeros(256, 1, 64), torch.zeros(100, 64)
        >>> FactoredNormal(means, torch.tensor(0.1)).log_prob(data).shape
        torch.Size([256, 100])
    """

    arg_constraints = {  # noqa: RUF012 - torch's own form
        "loc": constraints.real_vector,
        "scale": constraints.positive,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None) -> None:
        if loc.ndim == 0 or scale.shape not in (Size(), loc.shape[-1:]):
            raise ValueError(
                "Expected loc of shape (*batch, O) and scale of shape (O,) or (), got "
                f"{tuple(loc.shape)} and {tuple(scale.shape)}. A scale that differs between data "
                "has no factored form: use Normal(loc, scale).to_event(1)."
            )
        self.loc = loc
        self.scale = scale
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """Means, of shape `(*batch, O)`."""
        return self.loc.expand(self._extended_shape())

    @property
    def variance(self) -> Tensor:
        """Variances, of shape `(*batch, O)`."""
        return self.scale.square().expand(self._extended_shape())

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Reparameterised draws, of shape `sample_shape + batch_shape + (O,)`."""
        shape = self._extended_shape(Size(sample_shape))
        noise = _standard_normal(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + self.scale * noise

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of values of shape `(..., O)`, constants included, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        value = value.to(self.loc.dtype)
        centre = value.detach().reshape(-1, value.shape[-1]).mean(0)
        # A datum that is not finite is so alone.
        centre = torch.where(centre.isfinite(), centre, 0.0)
        x, mean = (value - centre) / self.scale, (self.loc - centre) / self.scale
        square = self._outer_square(x, mean) if is_outer(mean, x) else (x - mean).square().sum(-1)
        log_volume = self.scale.log().expand(self._event_shape).sum()
        constant = log_volume + 0.5 * self._event_shape[0] * math.log(2 * math.pi)
        log_prob = -0.5 * square - constant
        return self._over_batch(log_prob)

    def pointwise_log_prob(self, value: Tensor) -> Tensor:
        """Log density of each output by itself, of shape `(..., O)`, in nats."""
        return Normal(self.loc, self.scale, validate_args=False).log_prob(value)

    @staticmethod
    def _outer_square(x: Tensor, mean: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(x.shape[:-1], mean.shape[:-1])
        x, mean = x.reshape(-1, x.shape[-1]), mean.reshape(-1, mean.shape[-1])
        square = mean.square().sum(-1, keepdim=True) + x.square().sum(-1)
        return torch.addmm(square, mean, x.T, alpha=-2).view(shape)


class NormalLikelihood(Likelihood):
    r"""Normal noise around the generator's output, with a learned scale for each output.

    .. math:: x_o \sim \mathcal{N}(m_o, \sigma_o^2), \qquad \sigma_o = e^{\lambda_o}

    Arguments:
        num_outputs: Number of outputs `O`.
        scale: Standard deviation to start from, in the units of the data.
        min_scale: Floor of the standard deviation, in the units of the data: an output that the
            model could reproduce exactly would otherwise have unbounded density.

    Raises:
        ValueError: If `num_outputs` is below 1, `scale` is not positive or not above `min_scale`.

    Example:
        >>> likelihood = NormalLikelihood(64, scale=0.1)
        >>> likelihood(torch.zeros(256, 1, 64)).log_prob(torch.zeros(100, 64)).shape
        torch.Size([256, 100])
    """

    def __init__(self, num_outputs: int, *, scale: float = 0.1, min_scale: float = 1e-4) -> None:
        super().__init__()
        if not 0 < min_scale < scale < math.inf:
            raise ValueError(
                f"Expected 0 < min_scale < scale, got min_scale = {min_scale:g} and "
                f"scale = {scale:g}. Both are standard deviations in the units of the data."
            )
        self.num_outputs = check_count("num_outputs", num_outputs)
        self.min_scale = min_scale
        self.log_scale = nn.Parameter(torch.full((num_outputs,), math.log(scale - min_scale)))

    @property
    def scale(self) -> Tensor:
        """Standard deviation of each output, of shape `(O,)`."""
        return self.log_scale.exp() + self.min_scale

    def set_scale(self, scale: Tensor) -> None:
        """Set the standard deviations, of shape `(O,)`, in place, above the floor."""
        with torch.no_grad():
            excess = (scale - self.min_scale).clamp(min=self.min_scale)
            self.log_scale.copy_(excess.log())

    def forward(self, loc: Tensor) -> FactoredNormal:
        """Density of the outputs around means `loc` of shape `(..., O)`."""
        return FactoredNormal(loc, self.scale)
