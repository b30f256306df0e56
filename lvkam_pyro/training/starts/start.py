"""The starts of recipes that serve models of every kind."""

import torch
from torch import Tensor

from lvkam_pyro.likelihoods.normal import NormalLikelihood
from lvkam_pyro.training.recipe import Model
from lvkam_pyro.training.starts.pca import PCAStart

_DEVIATIONS = 1.5


def start_additive(model: Model, x: Tensor) -> None:
    """Starts an additive LV-KAM at the principal components, any other model where it is.

    Args:
        model: Changed in place where `PCAStart` fits it: an LVKAM of one generator layer with a
            likelihood of this library.
        x: Data (N, ...).

    Example:
        >>> start_additive(lambda x: None, None)
    """
    start = PCAStart()
    if start.fits(model):
        start(model, x)


def start_vague(model: Model, x: Tensor) -> None:
    """Starts as `start_additive`, with normal noise so wide that no datum is far from the model.

    The largest residual of an output at the principal components is 1.5 standard deviations: so
    the likelihood of the worst datum is not far below the largest that there is, which decides how
    many draws of the prior rejection accepts.

    Args:
        model: Changed in place where `PCAStart` fits it.
        x: Data (N, ...).

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
    z = start(model, x)
    if isinstance(model.likelihood, NormalLikelihood):
        with torch.no_grad():
            farthest = (x - model.generator(z)).abs().amax(0)
            model.likelihood.set_scale(
                torch.maximum(farthest / _DEVIATIONS, model.likelihood.scale)
            )
