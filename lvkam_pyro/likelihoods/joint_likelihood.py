"""The likelihood of data whose columns are of several kinds."""

from collections.abc import Sequence
from typing import cast

import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from lvkam_pyro.likelihoods.concatenation import Concatenation
from lvkam_pyro.likelihoods.discrete_likelihoods import BernoulliLikelihood, CategoricalLikelihood
from lvkam_pyro.likelihoods.normal import NormalLikelihood
from lvkam_pyro.likelihoods.quantized_likelihood import QuantizedLikelihood

Part = NormalLikelihood | QuantizedLikelihood | BernoulliLikelihood | CategoricalLikelihood


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

    def features(self, x: Tensor) -> Tensor:
        """What a network should see of data `(N, num_columns)`: the features of every part."""
        return torch.cat([_features(part, share) for part, share in self.shares(x)], -1)

    def shares(self, x: Tensor) -> list[tuple[Part, Tensor]]:
        """Every part with its own columns of data `(N, num_columns)`."""
        columns = x.split([_num_columns(part) for part in self._likelihoods()], -1)
        return list(zip(self._likelihoods(), columns, strict=True))

    def _likelihoods(self) -> list[Part]:
        return [cast("Part", part) for part in self.parts]

    def forward(self, outputs: Tensor) -> Concatenation:
        """Law of the data of the generator's outputs, of shape `(..., num_outputs)`."""
        shares = outputs.split(self.sizes, -1)
        return Concatenation(
            [part(share) for part, share in zip(self._likelihoods(), shares, strict=True)]
        )


def _num_columns(part: Part) -> int:
    return part.num_places if isinstance(part, CategoricalLikelihood) else part.num_outputs


def _features(part: Part, x: Tensor) -> Tensor:
    return part.features(x) if isinstance(part, CategoricalLikelihood) else x
