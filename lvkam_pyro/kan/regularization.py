"""Penalties on functions: roughness, size, and the entropy of their shares of an output."""

import torch
from torch import Tensor

from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.nonuniform import NonUniformBSplineBasis
from lvkam_pyro.kan.bases.splines import extend
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN, check_samples, layer_inputs, layers_of


def roughness(layer: KANLayer) -> Tensor:
    r"""The change of the slopes of a layer's functions, squared and summed, for any basis.

    .. math:: \sum_{o,i} \sum_{k=2}^{K-1} (c_{oi,k+1} - 2 c_{oik} + c_{oi,k-1})^2

    for B-splines on equal cells: zero for straight lines and, times :math:`h^{-3}` with the width
    :math:`h` of a cell, near the integral of the squared second derivative. Times
    :math:`1 / (2 \tau^2)` it is minus the log density of a Gaussian random walk of second order
    with step :math:`\tau` [1]. Where the cells differ in width, the differences are divided ones
    over the abscissae :math:`\xi_k`, averages of :math:`d` knots each, over which the coefficients
    of a straight line are a straight line [2, 3]:

    .. math:: \sum_{o,i} \sum_k \frac{h^3}{w_k} \Big( \frac{c_{k+1} - c_k}{\xi_{k+1} - \xi_k}
              - \frac{c_k - c_{k-1}}{\xi_k - \xi_{k-1}} \Big)^2, \qquad
              w_k = \frac{\xi_{k+1} - \xi_{k-1}}{2}, \quad h = \frac{b - a}{G},

    of the same size, so that a grid may move under it. For a basis that is no spline the second
    differences are those of the functions at :math:`K` equally spaced points.

    Args:
        layer: The layer, whose base activation is left alone.

    Returns:
        A differentiable scalar, in squared units of the layer's outputs.

    References:
        [1] Eilers, P. and Marx, B. (1996). Flexible smoothing with B-splines and penalties,
        equation 5. https://doi.org/10.1214/ss/1038425655
        [2] de Boor, C. (1978). A Practical Guide to Splines, chapter XI, equation 17.
        [3] Li, Z. and Cao, J. (2022). General P-splines for non-uniform B-splines.
        https://arxiv.org/abs/2201.06808

    Example:
        >>> layer = KANLayer(1, 1, base_activation=None)
        >>> with torch.no_grad():
        ...     layer.coefficients.copy_(torch.arange(8.0).view(1, 8, 1)).shape
        torch.Size([1, 8, 1])
        >>> roughness(layer).item()
        0.0
    """
    return second_differences(layer.basis, layer.spline_coefficients).square().sum()


def edge_magnitudes(layer: KANLayer, samples: Tensor | None = None) -> Tensor:
    r"""The size of each function of a layer.

    .. math:: |f_{oi}|_1 = \frac{1}{S} \sum_{s=1}^{S} |f_{oi}(z_{si})|
              \qquad\text{or, without samples,}\qquad
              m_{oi} \Big( |w_{oi}| + \frac{1}{K} \sum_{k=1}^{K} |c_{oik}| \Big).

    The form with samples is equation 2.17 of [1]; the other one is cheap, and of the same order
    for B-splines, whose coefficients lie near the function.

    Args:
        layer: The layer.
        samples: Inputs of the layer, of shape ``(..., I)``.

    Returns:
        The magnitudes, ``(I, O)``, differentiable.

    Raises:
        ValueError: If the samples do not fit, see `check_samples`.

    References:
        [1] Liu, Z. et al. (2024). KAN: Kolmogorov-Arnold Networks. https://arxiv.org/abs/2404.19756

    Example:
        >>> layer = KANLayer(3, 2)
        >>> edge_magnitudes(layer).shape, edge_magnitudes(layer, torch.rand(10, 3)).shape
        (torch.Size([3, 2]), torch.Size([3, 2]))
    """
    if samples is None:
        spline, base = layer.coefficients.abs().tensor_split([layer.basis.num_functions], dim=1)
        return layer.mask * (spline.mean(1) + base.sum(1))
    return layer.unsummed(check_samples(layer, samples)).abs().mean(0)


def edge_l1(network: KAN | KANLayer, samples: Tensor | None = None) -> Tensor:
    r"""The sum of the magnitudes of all functions: with a small one, few functions matter.

    .. math:: \sum_{layers} \sum_{o,i} |f_{oi}|_1

    Args:
        network: A network or a layer.
        samples: Inputs of the network, ``(..., I)``, for magnitudes over samples; without them
            those of the coefficients. See `edge_magnitudes`.

    Returns:
        A differentiable scalar, in units of the outputs.

    Raises:
        ValueError: If the samples do not fit.

    References:
        Liu, Z. et al. (2024). KAN: Kolmogorov-Arnold Networks, equation 2.18.
        https://arxiv.org/abs/2404.19756

    Example:
        >>> network = KAN([3, 5, 2])
        >>> bool(edge_l1(network, torch.rand(10, 3)) > 0)
        True
    """
    return torch.stack([edges.sum() for edges in _all_magnitudes(network, samples)]).sum()


def edge_entropy(network: KAN | KANLayer, samples: Tensor | None = None) -> Tensor:
    r"""The entropy of the shares that functions have in the magnitude of their layer.

    .. math:: \sum_{layers} - \sum_{o,i} p_{oi} \log p_{oi}, \qquad
              p_{oi} = \frac{|f_{oi}|_1}{\sum_{o',i'} |f_{o'i'}|_1}

    It is 0 where one function of a layer has all, and :math:`\log(I O)` where all have the same.

    Args:
        network: A network or a layer.
        samples: As for `edge_l1`.

    Returns:
        A differentiable scalar in nats; a layer whose functions are all 0 counts 0.

    Raises:
        ValueError: If the samples do not fit.

    References:
        Liu, Z. et al. (2024). KAN: Kolmogorov-Arnold Networks, equation 2.19.
        https://arxiv.org/abs/2404.19756

    Example:
        >>> layer = KANLayer(2, 2)
        >>> layer.set_mask(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
        >>> edge_entropy(layer).item()
        0.0
    """
    return torch.stack([_entropy(edges) for edges in _all_magnitudes(network, samples)]).sum()


def _all_magnitudes(network: KAN | KANLayer, samples: Tensor | None) -> list[Tensor]:
    if samples is None:
        return [edge_magnitudes(layer) for layer in layers_of(network)]
    return [edge_magnitudes(layer, inputs) for layer, inputs in layer_inputs(network, samples)]


def _entropy(magnitudes: Tensor) -> Tensor:
    share = magnitudes / magnitudes.sum().clamp(min=torch.finfo(magnitudes.dtype).tiny)
    # A share of 0 counts 0, as a share of 1 does, but its gradient would be infinite.
    return torch.special.entr(share.where(share > 0, 1.0)).sum()


def second_differences(basis: Basis, coefficients: Tensor) -> Tensor:
    """The second differences of functions, whose squares `roughness` adds up.

    Args:
        basis: The basis.
        coefficients: The coefficients of the functions, ``(O, I, K)``.

    Returns:
        ``(O, I, K-2)``, linear in the coefficients.

    Example:
        >>> second_differences(BSplineBasis(grid_size=2), torch.eye(5)[:, None])[2, 0]
        tensor([ 1., -2.,  1.])
    """
    if isinstance(basis, NonUniformBSplineBasis):
        return _divided_differences(basis, coefficients)
    if not isinstance(basis, BSplineBasis):
        points = torch.linspace(
            *basis.domain,
            basis.num_functions,
            dtype=coefficients.dtype,
            device=coefficients.device,
        )
        coefficients = coefficients @ basis(points).mT
    return coefficients.diff(dim=-1).diff(dim=-1)


def _divided_differences(basis: NonUniformBSplineBasis, coefficients: Tensor) -> Tensor:
    low, high = basis.domain
    abscissae = _abscissae(basis)
    slopes = coefficients.diff(dim=-1) / abscissae.diff(dim=-1)
    widths = (abscissae[..., 2:] - abscissae[..., :-2]) / 2
    return slopes.diff(dim=-1) * (((high - low) / basis.grid_size) ** 3 / widths).sqrt()


def _abscissae(basis: NonUniformBSplineBasis) -> Tensor:
    """The coefficients of the identity, by which a straight line is known: ([I,] K)."""
    knots = extend(basis.breakpoints, basis.degree)
    if basis.degree == 0:
        return knots.unfold(-1, 2, 1).mean(-1)
    return knots[..., 1:-1].unfold(-1, basis.degree, 1).mean(-1)
