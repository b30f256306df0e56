"""How rough the functions of a layer are, as a penalty to train against."""

from torch import Tensor

from lvkam_pyro.kan.layer import KANLayer


def roughness(layer: KANLayer) -> Tensor:
    r"""The sum of the squared second differences of all basis coefficients.

    .. math:: \sum_{o,i} \sum_{k=2}^{K-1} (c_{oi,k+1} - 2 c_{oik} + c_{oi,k-1})^2

    For B-splines this is, up to a factor of the grid, the integral of the squared second
    derivative: zero for straight lines. Times :math:`1 / (2 \tau^2)` it is minus the log density
    of a Gaussian random walk of second order with step :math:`\tau`.

    Args:
        layer: The layer, whose base activation is left alone.

    Returns:
        A differentiable scalar, in squared units of the layer's outputs.

    References:
        Eilers, P. and Marx, B. (1996). Flexible smoothing with B-splines and penalties,
        equation 5. https://doi.org/10.1214/ss/1038425655

    Example:
        >>> import torch
        >>> layer = KANLayer(1, 1, base_activation=None)
        >>> with torch.no_grad():
        ...     layer.coefficients.copy_(torch.arange(8.0).view(1, 8, 1)).shape
        torch.Size([1, 8, 1])
        >>> roughness(layer).item()
        0.0
    """
    return layer.spline_coefficients.diff(dim=-1).diff(dim=-1).square().sum()
