"""Where an additive model starts: at the principal components of the data."""

from dataclasses import dataclass
from typing import TypeGuard, cast

import torch
from torch import Tensor

from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.lvkam import LVKAM
from lvkam_pyro.modules.generator import KANGenerator
from lvkam_pyro.modules.likelihood import NormalLikelihood
from lvkam_pyro.modules.prior import EnergyPrior


@dataclass(frozen=True)
class PCAStart:
    r"""Start an LV-KAM of one generator layer from a principal component analysis.

    The whitened scores :math:`s_{nq}` of the data become latents by the quantiles of the prior's
    reference measure,

    .. math:: z_{nq} = F_0^{-1}\big(\Phi(s_{nq} / 1.6)\big),

    (for a product prior: that many standard deviations from the mean of the sum). The generator's
    coefficients are the ridge regression of the data on the basis functions at these latents, and
    the likelihood's scales are the residuals' standard deviations. Scores beyond the number of
    components of the data are drawn from a standard normal.

    Arguments:
        ridge: Ridge penalty on the coefficients, in units of data.

    Example:
        >>> import lvkam_pyro as lv
        >>> x = torch.randn(100, 2) @ torch.randn(2, 5)
        >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 5), lv.NormalLikelihood(5))
        >>> latents = PCAStart(ridge=0.01)(model, x)
        >>> (x - model.generator(latents)).std() < 0.2 * x.std()
        tensor(True)
    """

    ridge: float = 1.0

    def __call__(self, model: object, x: Tensor) -> Tensor:
        """Set the model's parameters in place; returns the latents `(N, Q)` of the start.

        Raises:
            TypeError: If the model is not an LVKAM with one generator layer and normal noise.
        """
        if not self.fits(model):
            raise TypeError(
                "Expected an LVKAM whose generator is a KANGenerator of one layer, without "
                "formulas, and whose likelihood is a NormalLikelihood, got "
                f"{type(model).__name__}. Start other models where they are: Recipe(start=None)."
            )
        prior, likelihood = model.prior, cast("NormalLikelihood", model.likelihood)
        layer = cast("KANLayer", cast("KANGenerator", model.generator).layers[0])
        with torch.no_grad():
            z = _latents_of_scores(prior, _whitened_scores(x, prior.num_latents))
            layer.coefficients.copy_(_ridge_regression(layer, z, x, self.ridge))
            residual = (x - layer(z)).std(0, correction=0)
            likelihood.set_scale(residual.clamp(min=_MIN_RELATIVE_SCALE * float(x.std())))
        return z

    @staticmethod
    def fits(model: object) -> TypeGuard[LVKAM]:
        """Whether the model is one that this start knows how to set."""
        return (
            isinstance(model, LVKAM)
            and isinstance(model.generator, KANGenerator)
            and len(model.generator.layers) == 1
            # Exactly: a layer with formulas is not linear in its parameters.
            and type(model.generator.layers[0]) is KANLayer
            and isinstance(model.likelihood, NormalLikelihood)
        )


_SPREAD = 1.6
_MIN_RELATIVE_SCALE = 1e-3


def _whitened_scores(x: Tensor, num_latents: int) -> Tensor:
    """Scores of unit variance on the leading principal components, of shape `(N, Q)`."""
    left, _, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    scores = left[:, :num_latents] * len(x) ** 0.5
    missing = num_latents - scores.shape[1]
    return torch.cat([scores, torch.randn(len(x), missing).to(x)], 1)


def _latents_of_scores(prior: EnergyPrior, scores: Tensor) -> Tensor:
    reference, count = prior.reference, prior.combined_count
    quantiles = reference.icdf(torch.special.ndtr(scores / _SPREAD))
    return count * reference.mean + count**0.5 * (quantiles - reference.mean)


def _ridge_regression(layer: KANLayer, z: Tensor, x: Tensor, ridge: float) -> Tensor:
    """Coefficients `(I, K, O)` of the layer that reproduce `x` at the inputs `z`."""
    features = layer.features(z).flatten(1).double()
    gram = features.T @ features + ridge * torch.eye(features.shape[1]).to(features)
    solution = torch.linalg.solve(gram, features.T @ x.double())
    return solution.to(x.dtype).view_as(layer.coefficients)
