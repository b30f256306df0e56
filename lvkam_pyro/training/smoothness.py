"""A regulariser of generators: smooth functions."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN
from lvkam_pyro.kan.regularization import roughness


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
        modules = model.modules() if isinstance(model, nn.Module) else ()
        layers = [layer for kan in modules if isinstance(kan, KAN) for layer in kan.layers]
        terms = [roughness(layer) for layer in layers if isinstance(layer, KANLayer)]
        return self.strength * torch.stack(terms).sum() if terms else torch.zeros(())
