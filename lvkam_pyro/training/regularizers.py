"""Regularisers of generators: smooth functions, and few functions."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN
from lvkam_pyro.kan.regularization import edge_entropy, edge_l1, roughness


@dataclass(frozen=True)
class Smoothness:
    r"""Penalty on the roughness of every KAN of a model, such as its generator.

    .. math:: \lambda \sum_{layers} \sum_{o,i,k} (\Delta^2 c_{oik})^2

    in nats: minus the log density, up to a constant, of a second-order Gaussian random walk of
    coefficients with step :math:`(2 \lambda)^{-1/2}` in units of the data. The functions of a
    prior are not touched, nor is a model without a KAN.

    Arguments:
        strength: The factor :math:`\lambda`; the larger, the straighter the functions.

    Raises:
        ValueError: If the strength is negative.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> bool(Smoothness(10.0)(model) > 0)
        True
    """

    strength: float

    def __post_init__(self) -> None:
        if not self.strength >= 0:
            raise ValueError(f"Expected a strength of at least 0, got {self.strength}.")

    def __call__(self, model: object) -> Tensor:
        """The penalty of a model, a scalar in nats."""
        layers = [layer for network in _networks(model) for layer in network.layers]
        terms = [roughness(layer) for layer in layers if isinstance(layer, KANLayer)]
        return self.strength * torch.stack(terms).sum() if terms else torch.zeros(())


@dataclass(frozen=True, kw_only=True)
class Sparsity:
    r"""Penalty on every KAN of a model, such as its generator, that leaves few functions large.

    .. math:: \sum_{layers} \Big( \lambda_1 \sum_{o,i} |f_{oi}|_1
              + \lambda_H H\big( |f_{oi}|_1 / {\textstyle\sum |f|_1} \big) \Big)

    in nats, with the magnitudes that `edge_magnitudes` reads off the coefficients and their
    entropy H. `prune` then switches the small functions off. The functions of a prior are not
    touched, nor is a model without a KAN. To add it to another regulariser, give the recipe
    ``regularizer=lambda model: smoothness(model) + sparsity(model)``.

    Arguments:
        l1: The factor :math:`\lambda_1`, in nats per unit of the generator's outputs.
        entropy: The factor :math:`\lambda_H`.

    Raises:
        ValueError: If a factor is negative or not finite.

    References:
        Liu, Z. et al. (2024). KAN: Kolmogorov-Arnold Networks, equation 2.20, with its
        :math:`\lambda \mu_1` and :math:`\lambda \mu_2`. https://arxiv.org/abs/2404.19756

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> bool(Sparsity(l1=1.0, entropy=2.0)(model) > 0)
        True
    """

    l1: float = 1.0
    entropy: float = 1.0

    def __post_init__(self) -> None:
        for name, factor in (("l1", self.l1), ("entropy", self.entropy)):
            if not 0 <= factor < math.inf:
                raise ValueError(f"Expected {name} of at least 0 and finite, got {factor}.")

    def __call__(self, model: object) -> Tensor:
        """The penalty of a model, a scalar in nats."""
        terms = [
            self.l1 * edge_l1(network) + self.entropy * edge_entropy(network)
            for network in _networks(model)
        ]
        return torch.stack(terms).sum() if terms else torch.zeros(())


def _networks(model: object) -> list[KAN]:
    modules = model.modules() if isinstance(model, nn.Module) else ()
    return [module for module in modules if isinstance(module, KAN)]
