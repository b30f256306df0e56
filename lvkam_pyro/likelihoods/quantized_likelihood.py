"""The likelihood of outputs that were measured in few levels."""

import math

import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from lvkam_pyro.likelihoods.quantized_logistic import QuantizedLogistic

_DEVIATION = math.pi / math.sqrt(3.0)
"""Standard deviation of the logistic law of scale one."""

_MIN_SCALE = 1e-4


class QuantizedLikelihood(PyroModule):
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
        if num_outputs < 1 or num_levels < 2:
            raise ValueError(
                f"Expected at least one output and 2 levels, got num_outputs = {num_outputs} and "
                f"num_levels = {num_levels}. Pass the number of columns of the data, and how many "
                "values each of them can have."
            )
        if not 0 < scale < math.inf:
            raise ValueError(
                f"Expected a scale above 0, got {scale:g}. It is a standard deviation on [0, 1]."
            )
        self.num_outputs = num_outputs
        self.num_levels = num_levels
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
