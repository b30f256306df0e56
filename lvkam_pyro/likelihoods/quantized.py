"""Values measured in few levels: the likelihood and its distribution."""

import math
from collections.abc import Sequence

import torch
from torch import Size, Tensor, nn
from torch.distributions import constraints
from torch.nn import functional as F

from lvkam_pyro.likelihoods.factored import (
    Factored,
    Likelihood,
    inner_products,
    is_outer,
)
from lvkam_pyro.options import check_count

_DEVIATION = math.pi / math.sqrt(3.0)
"""Standard deviation of the logistic distribution of scale one."""

_MIN_SCALE = 1e-4

_FAR = 1e6
"""The outer border of the first and the last level: further out than any mean."""


class QuantizedLogistic(Factored):
    r"""Logistic noise that was rounded to levels, cut off at both ends and dequantised.

    .. math:: y_o \sim \operatorname{Logistic}(m_o, s_o), \qquad
              n_o = \min(\max(\lfloor L y_o \rfloor, 0), L - 1), \qquad
              x_o = \frac{n_o + u_o}{L}, \quad u_o \sim U(0, 1)

    so that its density on [0, 1] is a step function,

    .. math:: \log p(x \mid m) = \sum_o \log \Big[ \sigma\Big( \frac{b_{n_o + 1} - m_o}{s_o} \Big)
              - \sigma\Big( \frac{b_{n_o} - m_o}{s_o} \Big) \Big] + O \log L, \qquad
              n_o = \lfloor L x_o \rfloor

    with the logistic function :math:`\sigma` and the borders :math:`b_n = n / L` but for
    :math:`b_0 = -\infty` and :math:`b_L = \infty`: the discretised logistic of Salimans et al.,
    2017, PixelCNN++, https://arxiv.org/abs/1701.05517, equation 2, as a density of dequantised data
    (Theis et al. 2016, https://arxiv.org/abs/1511.01844, section 3.1). A mean far outside of
    [0, 1] makes the end certain, as where a sensor sees nothing or is saturated.

    Where all particles meet all data (`loc` of shape `(S, 1, O)`, values of shape `(N, O)`, more
    data than levels) the levels are tabulated, and the result `(S, N)` is one matrix product with
    the indicators of the data's levels.

    Arguments:
        loc: Means :math:`m` of the logistic distribution, of shape `(*batch, O)`.
        scale: Positive scales :math:`s` of the logistic distribution, whose standard deviation is
            :math:`\pi s / \sqrt 3`, of shape `(O,)` or `()`.
        num_levels: Number of levels `L`.
        validate_args: Whether to check parameters and values.

    Raises:
        ValueError: If `loc` is a scalar, `scale` does not fit its last dimension, or there are
            fewer than 2 levels.

    Example:
        >>> density = QuantizedLogistic(torch.zeros(256, 1, 64), torch.tensor(0.1), num_levels=17)
        >>> density.log_prob(torch.rand(100, 64)).shape
        torch.Size([256, 100])
    """

    arg_constraints = {  # noqa: RUF012 - torch's own form
        "loc": constraints.real_vector,
        "scale": constraints.positive,
    }
    support = constraints.independent(constraints.unit_interval, 1)

    def __init__(
        self, loc: Tensor, scale: Tensor, *, num_levels: int, validate_args: bool | None = None
    ) -> None:
        if loc.ndim == 0 or scale.shape not in (Size(), loc.shape[-1:]):
            raise ValueError(
                "Expected loc of shape (*batch, O) and scale of shape (O,) or (), got "
                f"{tuple(loc.shape)} and {tuple(scale.shape)}."
            )
        self.loc = loc
        self.scale = scale
        self.num_levels = check_count("num_levels", num_levels, minimum=2)
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """Means of the dequantised values, of shape `(*batch, O)`."""
        mean = (self._exceedance().sum(-1) + 0.5) / self.num_levels
        return mean.expand(self._extended_shape())

    @property
    def variance(self) -> Tensor:
        """Variances of the dequantised values, of shape `(*batch, O)`."""
        exceedance = self._exceedance()
        odd = 2 * torch.arange(1, self.num_levels).to(exceedance) - 1
        variance = (odd * exceedance).sum(-1) - exceedance.sum(-1).square() + 1 / 12
        return (variance / self.num_levels**2).expand(self._extended_shape())

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws of dequantised values, of shape `sample_shape + batch_shape + (O,)`."""
        with torch.no_grad():
            shape = self._extended_shape(Size(sample_shape))
            uniform, within = torch.rand(2, *shape, dtype=self.loc.dtype, device=self.loc.device)
            tiny = torch.finfo(self.loc.dtype).eps
            noise = uniform.clamp(tiny, 1 - tiny).logit()
            return (self._levels(self.loc + self.scale * noise) + within) / self.num_levels

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of values in [0, 1] of shape `(..., O)`, in nats."""
        value = value.to(self.loc.dtype)
        inside = ((value >= 0) & (value <= 1)).all(-1)
        if self._validate_args:
            _check_inside(value, inside)
            self._validate_sample(value)
        levels = self._levels(value.nan_to_num()).long()
        shared = is_outer(self.loc, value) and levels[..., 0].numel() > self.num_levels
        log_probs = self._tabulated(levels) if shared else self._one_by_one(levels)
        log_volume = self._event_shape[0] * math.log(self.num_levels)
        log_prob = torch.where(inside, log_probs + log_volume, -torch.inf)
        log_prob = log_prob.masked_fill(value.isnan().any(-1), torch.nan)
        return self._over_batch(log_prob)

    def _levels(self, value: Tensor) -> Tensor:
        return (value * self.num_levels).floor().clamp(0, self.num_levels - 1)

    def _borders(self) -> Tensor:
        """The borders of the levels, `(L + 1,)`, the outer two so far out as to be infinite."""
        borders = torch.arange(self.num_levels + 1).to(self.loc) / self.num_levels
        borders[0], borders[-1] = -_FAR, _FAR
        return borders

    def _exceedance(self) -> Tensor:
        """The probability of each level but the first, or a higher one: `(*batch, O, L - 1)`."""
        inner = self._borders()[1:-1]
        return ((self.loc[..., None] - inner) / self.scale[..., None]).sigmoid()

    def _one_by_one(self, levels: Tensor) -> Tensor:
        borders = self._borders()
        low, high = borders[levels], borders[levels + 1]
        # Each factor is summed by itself: the arrays (S, N, O) are what takes memory here.
        sides = F.logsigmoid((self.loc - low) / self.scale).sum(-1)
        sides = sides + F.logsigmoid((high - self.loc) / self.scale).sum(-1)
        return sides + _log_width(self.scale, low, high).sum(-1)

    def _tabulated(self, levels: Tensor) -> Tensor:
        borders = self._borders()
        low, high = borders[:-1], borders[1:]
        scale = self.scale.expand(self._event_shape)[:, None]
        loc = self.loc[..., None]
        sides = F.logsigmoid((loc - low) / scale) + F.logsigmoid((high - loc) / scale)
        table = sides + _log_width(scale, low, high)
        indicators = F.one_hot(levels, self.num_levels).to(table.dtype)
        return inner_products(table.flatten(-2), indicators.flatten(-2))


class QuantizedLikelihood(Likelihood):
    r"""Values of few levels on [0, 1], such as grey values, around the generator's output.

    .. math:: x_o \sim \operatorname{QuantizedLogistic}\Big( m_o, \tfrac{\sqrt 3}{\pi} \sigma_o
              \Big), \qquad \sigma_o = e^{\lambda_o}

    Noise of standard deviation :math:`\sigma_o` is rounded to a level and cut off at 0 and 1, see
    :class:`QuantizedLogistic`. So the generator says by an output far below 0 that a pixel is
    certainly black, which normal noise of one scale for all data cannot. Data that were measured
    in levels :math:`n = 0..L-1` are :math:`(n + u) / L` with any :math:`u \in (0, 1)`.

    Arguments:
        num_outputs: Number of outputs `O`.
        num_levels: Number of levels `L`.
        scale: Standard deviation of the noise to start from.

    Raises:
        ValueError: If `num_outputs` is below 1, `num_levels` below 2, or `scale` not positive.

    Example:
        >>> likelihood = QuantizedLikelihood(64, num_levels=17)
        >>> likelihood(torch.zeros(256, 1, 64)).log_prob(torch.rand(100, 64)).shape
        torch.Size([256, 100])
    """

    def __init__(self, num_outputs: int, *, num_levels: int, scale: float = 0.1) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise ValueError(
                f"Expected a scale above 0, got {scale:g}. It is a standard deviation on [0, 1]."
            )
        self.num_outputs = check_count("num_outputs", num_outputs)
        self.num_levels = check_count("num_levels", num_levels, minimum=2)
        self.log_scale = nn.Parameter(torch.full((num_outputs,), math.log(scale)))

    @property
    def scale(self) -> Tensor:
        """Standard deviation of the noise of each output before rounding, of shape `(O,)`."""
        return self.log_scale.exp()

    def set_scale(self, scale: Tensor) -> None:
        """Set the standard deviations, of shape `(O,)`, in place, none of them zero."""
        with torch.no_grad():
            self.log_scale.copy_(scale.clamp(min=_MIN_SCALE).log())

    def forward(self, loc: Tensor) -> QuantizedLogistic:
        """Density of the outputs around means `loc` of shape `(..., O)`."""
        return QuantizedLogistic(loc, self.scale / _DEVIATION, num_levels=self.num_levels)


def _check_inside(value: Tensor, inside: Tensor) -> None:
    if not inside.all():
        raise ValueError(
            f"Expected values in [0, 1], got values from {value.min():g} to {value.max():g}. "
            "Divide data of L levels n = 0..L-1 as (n + 0.5) / L; for data without levels use a "
            "NormalLikelihood."
        )


# The probability of a level from a to b, in units of the scale and about the mean, as a product
# whose factors never cancel: s(b) - s(a) = s(b) s(-a) (1 - e^(a - b)). This is the log of the last,
# which knows nothing of the mean.
def _log_width(scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return (-torch.expm1((low - high) / scale)).log()
