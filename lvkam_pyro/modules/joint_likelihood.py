"""The likelihood of data whose columns are of several kinds."""

from collections.abc import Sequence
from typing import cast

from pyro.nn import PyroModule
from torch import Tensor, nn

from lvkam_pyro.distributions.concatenation import Concatenation
from lvkam_pyro.modules.discrete_likelihoods import BernoulliLikelihood, CategoricalLikelihood
from lvkam_pyro.modules.likelihood import NormalLikelihood

Part = NormalLikelihood | BernoulliLikelihood | CategoricalLikelihood


class JointLikelihood(PyroModule):
    r"""Several likelihoods side by side, each with its share of the generator's outputs.

    .. math:: p(x \mid m) = \prod_i p_i(x_{(i)} \mid m_{(i)})

    For tables of measurements and categories, or fields of several kinds. The columns of the data
    and the outputs of the generator are in the order of the parts.

    Arguments:
        parts: The likelihoods.

    Raises:
        ValueError: If there is no part.

    Example:
        >>> import torch
        >>> likelihood = JointLikelihood([NormalLikelihood(4), CategoricalLikelihood(1, 3)])
        >>> likelihood.num_outputs
        7
        >>> likelihood(torch.zeros(256, 1, 7)).log_prob(torch.zeros(100, 5)).shape
        torch.Size([256, 100])
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__()
        if not parts:
            raise ValueError("Expected at least one likelihood, got no parts.")
        self.parts = nn.ModuleList(parts)
        self.sizes = [part.num_outputs for part in parts]

    @property
    def num_outputs(self) -> int:
        """The number of the generator's outputs that it takes."""
        return sum(self.sizes)

    def forward(self, outputs: Tensor) -> Concatenation:
        """Law of the data of the generator's outputs, of shape `(..., num_outputs)`."""
        shares = outputs.split(self.sizes, -1)
        return Concatenation(
            [cast("Part", part)(share) for part, share in zip(self.parts, shares, strict=True)]
        )
