"""The likelihood of continuous outputs."""

import math

import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from lvkam_pyro.likelihoods.factored import FactoredNormal


class NormalLikelihood(PyroModule):
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
        if num_outputs < 1:
            raise ValueError(
                f"Expected at least one output, got num_outputs = {num_outputs}. "
                "Pass the number of columns of the data."
            )
        if not 0 < min_scale < scale < math.inf:
            raise ValueError(
                f"Expected 0 < min_scale < scale, got min_scale = {min_scale:g} and "
                f"scale = {scale:g}. Both are standard deviations in the units of the data."
            )
        self.num_outputs = num_outputs
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
