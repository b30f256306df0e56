"""Where an additive model starts: at the principal components of the data."""

from dataclasses import dataclass
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, nn

from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.likelihoods.bernoulli import BernoulliLikelihood
from lvkam_pyro.likelihoods.categorical import CategoricalLikelihood
from lvkam_pyro.likelihoods.joint import JointLikelihood
from lvkam_pyro.likelihoods.normal import NormalLikelihood
from lvkam_pyro.likelihoods.quantized import QuantizedLikelihood
from lvkam_pyro.lvkam import LVKAM
from lvkam_pyro.modules.generators import KANGenerator
from lvkam_pyro.modules.prior import EnergyPrior
from lvkam_pyro.tracing.arguments import Arguments, Program
from lvkam_pyro.training.starts.ridge import ridge_log_odds, ridge_regression

Part = NormalLikelihood | QuantizedLikelihood | BernoulliLikelihood | CategoricalLikelihood


@dataclass(frozen=True)
class PCAStart:
    r"""Start an LV-KAM of one generator layer from a principal component analysis.

    The whitened scores :math:`s_{nq}` of the data become latents by the quantiles of the prior's
    reference measure,

    .. math:: z_{nq} = F_0^{-1}\big(\Phi(s_{nq} / 1.6)\big),

    (for a product prior: that many standard deviations from the mean of the sum). The generator's
    coefficients then maximise the likelihood of the data at these latents, less a ridge penalty: of
    measurements by linear regression on the basis functions, after which the scales are the
    residuals' standard deviations; of zeros and ones and of categories by logistic regression of
    their log odds.

    Categories enter the analysis as indicators, which are at their mean where an entry was not
    observed. Where data are of several kinds, the columns of each kind are divided by their first
    singular value, so that none outweighs the others (multiple factor analysis; Escofier and Pages
    1994, https://doi.org/10.1016/0167-9473(94)90135-X). Scores beyond the number of components of
    the data are drawn from a standard normal.

    Arguments:
        ridge: Ridge penalty on the coefficients: of measurements in units of data, of log odds in
            nats, half of it times a square.

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
            TypeError: If the model is not an LVKAM with one generator layer and a likelihood of
                this library.
        """
        if not self.fits(model):
            raise TypeError(
                "Expected an LVKAM whose generator is a KANGenerator of one layer, without "
                "formulas, and whose likelihood is a NormalLikelihood, QuantizedLikelihood, "
                "BernoulliLikelihood, CategoricalLikelihood or JointLikelihood, got "
                f"{type(model).__name__}. Start other models where they are: Recipe(start=None)."
            )
        layer = cast("KANLayer", cast("KANGenerator", model.generator).layers[0])
        # Whole numbers and truth values have neither means nor scores.
        parts = _parts(model.likelihood, x if x.is_floating_point() else x.to(layer.coefficients))
        with torch.no_grad():
            scores = _whitened_scores(_columns(parts), model.prior.num_latents)
            z = _latents_of_scores(model.prior, scores)
            features = layer.features(z).flatten(1)
            coefficients = [_fit(part, features, share, self.ridge) for part, share in parts]
            layer.coefficients.copy_(torch.cat(coefficients, -1).view_as(layer.coefficients))
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
            and all(isinstance(part, Part) for part in _likelihoods(model.likelihood))
        )


def start_additive(model: Program, *args: Any, **kwargs: Any) -> None:
    """Starts an additive LV-KAM at the principal components, any other model where it is.

    Args:
        model: Changed in place where `PCAStart` fits it: an LVKAM of one generator layer with a
            likelihood of this library.
        *args: The model's arguments; of such an LVKAM data (N, ...).
        **kwargs: The same by name.

    Example:
        >>> start_additive(lambda x: None, None)
    """
    start = PCAStart()
    if start.fits(model):
        start(model, *args, **kwargs)


def start_vague(model: Program, *args: Any, **kwargs: Any) -> None:
    """Starts as `start_additive`, with normal noise so wide that no datum is far from the model.

    The largest residual of an output at the principal components is 1.5 standard deviations: so
    the likelihood of the worst datum is not far below the largest that there is, which decides how
    many draws of the prior rejection accepts.

    Args:
        model: Changed in place where `PCAStart` fits it.
        *args: The model's arguments; of such an LVKAM data (N, ...).
        **kwargs: The same by name.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 5), lv.NormalLikelihood(5))
        >>> x = torch.randn(100, 2) @ torch.randn(2, 5)
        >>> start_additive(model, x)
        >>> narrow = model.likelihood.scale
        >>> start_vague(model, x)
        >>> bool((model.likelihood.scale > narrow).all())
        True
    """
    start = PCAStart()
    if not start.fits(model):
        return
    z = start(model, *args, **kwargs)
    if isinstance(model.likelihood, NormalLikelihood):
        [x] = Arguments(args, kwargs).tensors
        with torch.no_grad():
            farthest = (x - model.generator(z)).abs().amax(0)
            model.likelihood.set_scale(
                torch.maximum(farthest / _DEVIATIONS, model.likelihood.scale)
            )


_DEVIATIONS = 1.5
_SPREAD = 1.6
_MIN_RELATIVE_SCALE = 1e-3


def _likelihoods(likelihood: nn.Module) -> list[nn.Module]:
    return list(likelihood.parts) if isinstance(likelihood, JointLikelihood) else [likelihood]


def _parts(likelihood: object, x: Tensor) -> list[tuple[Part, Tensor]]:
    """The likelihoods with their columns of the data."""
    if isinstance(likelihood, JointLikelihood):
        return [(cast("Part", part), share) for part, share in likelihood.shares(x)]
    return [(cast("Part", likelihood), x)]


def _columns(parts: list[tuple[Part, Tensor]]) -> Tensor:
    """The columns to analyse: centred columns `(N, C)`, each kind of equal weight."""
    blocks = [_centred(part, share) for part, share in parts]
    if len(blocks) == 1:
        return blocks[0]
    largest = [torch.linalg.matrix_norm(block, 2) for block in blocks]
    # A kind without variation has no weight, whatever it is divided by.
    tiny = torch.finfo(blocks[0].dtype).tiny
    weighted = [block / norm.clamp(min=tiny) for block, norm in zip(blocks, largest, strict=True)]
    return torch.cat(weighted, -1)


def _centred(part: Part, x: Tensor) -> Tensor:
    if not isinstance(part, CategoricalLikelihood):
        return x - x.mean(0)
    observed = (x >= 0).to(x.dtype).repeat_interleave(part.num_categories, -1)
    indicators = part.features(x)
    frequencies = indicators.sum(0) / observed.sum(0).clamp(min=1)
    return indicators - observed * frequencies


def _whitened_scores(columns: Tensor, num_latents: int) -> Tensor:
    """Scores of unit variance on the leading principal components, of shape `(N, Q)`."""
    left, _, _ = torch.linalg.svd(columns, full_matrices=False)
    scores = left[:, :num_latents] * len(columns) ** 0.5
    missing = num_latents - scores.shape[1]
    return torch.cat([scores, torch.randn(len(columns), missing).to(columns)], 1)


def _latents_of_scores(prior: EnergyPrior, scores: Tensor) -> Tensor:
    reference, count = prior.reference, prior.combined_count
    quantiles = reference.icdf(torch.special.ndtr(scores / _SPREAD))
    return count * reference.mean + count**0.5 * (quantiles - reference.mean)


def _fit(part: Part, features: Tensor, x: Tensor, ridge: float) -> Tensor:
    """The coefficients `(F, O)` of one kind of data, whose noise is set where it has some."""
    if isinstance(part, NormalLikelihood | QuantizedLikelihood):
        coefficients = ridge_regression(features, x, ridge)
        residual = (x - features @ coefficients).std(0, correction=0)
        part.set_scale(residual.clamp(min=_MIN_RELATIVE_SCALE * float(x.std())))
        return coefficients
    curvature = _CURVATURES[type(part)]
    return ridge_log_odds(
        features, lambda log_odds: part(log_odds).log_prob(x), part.num_outputs,
        ridge=ridge, curvature=curvature,
    )  # fmt: skip


_CURVATURES: dict[type[Part], float] = {BernoulliLikelihood: 0.25, CategoricalLikelihood: 0.5}
"""Upper bounds of the eigenvalues of the negative Hessian of a log likelihood in its log odds."""
