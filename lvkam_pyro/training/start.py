"""The start of recipes that serve models of every kind."""

from torch import Tensor

from lvkam_pyro.training.pca import PCAStart
from lvkam_pyro.training.recipe import Model


def start_additive(model: Model, x: Tensor) -> None:
    """Starts an additive LV-KAM at the principal components, any other model where it is.

    Args:
        model: Changed in place where `PCAStart` fits it: an LVKAM of one generator layer with a
            normal likelihood.
        x: Data (N, O).

    Example:
        >>> start_additive(lambda x: None, None)
    """
    start = PCAStart()
    if start.fits(model):
        start(model, x)
