"""The function of one basis that is nearest to a function of another."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.bases.splines import MAX_DEGREE, SplineBasis
from lvkam_pyro.statistics.quadrature import composite_gauss_legendre


@dataclass(frozen=True)
class Projection:
    r"""The linear map from coefficients in one basis to those of the nearest functions in another.

    Made by `project`; all in float64. The leading dimension `I` is there when one of the two bases
    has other knots for every input.

    Attributes:
        transfer: The map, ``(K1, K0)`` or ``(I, K1, K0)``.
        values: The functions of the first basis at the J nodes of an integral over the domain,
            times the root of their weights (which sum to 1): ``(J, K0)`` or ``(I, J, K0)``.
        residual: The same for the part of each function that the projection loses.
    """

    transfer: Tensor
    values: Tensor
    residual: Tensor

    def __call__(self, coefficients: Tensor) -> Tensor:
        """The coefficients in the second basis, of the first's dtype and contiguous.

        Args:
            coefficients: Of functions in the first basis, ``(I, K0, O)``.

        Returns:
            Those of the nearest functions in the second, ``(I, K1, O)``.
        """
        # Contiguous: torch's fused optimisers update wrong entries of parameters with odd strides.
        return (self.transfer @ coefficients.double()).to(coefficients).contiguous()

    def relative_error(self, coefficients: Tensor) -> Tensor:
        r"""The change that the projection makes, as a share of the functions.

        .. math:: e_i^2 = \frac{\sum_o \int (f^1_{oi} - f^0_{oi})^2 \, dz}
                               {\sum_o \int (f^0_{oi})^2 \, dz}

        Args:
            coefficients: Of functions in the first basis, ``(I, K0, O)``.

        Returns:
            The relative root mean square change for each input, ``(I,)`` in float64; 0 where all
            functions of an input are 0.
        """
        lost, size = (
            (matrix @ coefficients.double()).flatten(-2).norm(dim=-1)
            for matrix in (self.residual, self.values)
        )
        return lost / size.clamp(min=torch.finfo(size.dtype).tiny)


@torch.no_grad()
def project(source: Basis, target: Basis) -> Projection:
    r"""The :math:`L^2` projection of the functions of one basis on those of another.

    .. math:: c^1 = \operatorname*{argmin}_c \int_a^b \Big( \sum_k c_k \phi^1_k(z)
              - \sum_k c^0_k \phi^0_k(z) \Big)^2 dz

    solves the normal equations :math:`M^{11} c^1 = M^{10} c^0` of the bases' inner products
    [1]. The integrals are sums over Gauss-Legendre nodes in the cells that the
    breakpoints of both bases cut the domain into. These are exact for polynomial pieces, so that
    the minimum is one of weighted least squares at the nodes: it is found by QR, in float64. No
    cell is without nodes, so the solution is unique wherever samples of the inputs happen to lie.

    Args:
        source: The first basis, of :math:`K_0` functions.
        target: The second, of :math:`K_1` functions on the same domain.

    Returns:
        The projection. It changes no function where the second basis holds all of the first's, as
        it does after a knot was added.

    Raises:
        ValueError: If the domains differ.

    References:
        [1] Larson, M. and Bengzon, F. (2013). The Finite Element Method, chapter 1.
        https://doi.org/10.1007/978-3-642-33287-6

    Example:
        >>> from lvkam_pyro.kan.bases.bspline import BSplineBasis
        >>> coarse, fine = BSplineBasis(grid_size=1, degree=1), BSplineBasis(grid_size=2, degree=1)
        >>> projection = project(coarse, fine)
        >>> projection(torch.tensor([[[1.0], [2.0]]]))
        tensor([[[1.0000],
                 [1.5000],
                 [2.0000]]])
    """
    if source.domain != target.domain:
        raise ValueError(
            f"Expected two bases on one domain, got {source.domain} and {target.domain}. "
            "A projection moves knots inside a domain, not its ends."
        )
    # In float64 from here on: copies, because modules change their dtype in place.
    source, target = (copy.deepcopy(basis).double() for basis in (source, target))
    nodes, weights = _nodes(source, target)
    before, after = (_weighted_values(basis, nodes, weights) for basis in (source, target))
    transfer = torch.linalg.lstsq(after, before, driver="gels").solution
    return Projection(transfer, before, after @ transfer - before)


def _nodes(source: Basis, target: Basis) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights in the cells of both bases: (J,) or (I, J), sum 1."""
    edges = _joined_breakpoints(source.breakpoints, target.breakpoints)
    # Exact for the squares of polynomial pieces, of twice their degree.
    num_nodes = max(map(_degree, (source, target))) + 1
    nodes, weights = composite_gauss_legendre(edges, num_nodes)
    low, high = source.domain
    return nodes, weights / (high - low)


def _joined_breakpoints(first: Tensor, second: Tensor) -> Tensor:
    shape = torch.broadcast_shapes(first.shape[:-1], second.shape[:-1])
    joined = [points.expand(*shape, -1) for points in (first, second)]
    return torch.cat(joined, -1).sort().values


def _weighted_values(basis: Basis, nodes: Tensor, weights: Tensor) -> Tensor:
    """All functions at the nodes times the root of the weights: (J, K) or (I, J, K)."""
    # Inputs come last where a basis has knots for each of them.
    values = basis(nodes.mT if nodes.dim() > 1 else nodes)
    values = values.transpose(0, 1) if nodes.dim() > 1 else values
    return values * weights.sqrt().unsqueeze(-1)


def _degree(basis: Basis) -> int:
    """The degree of the polynomial pieces, or one high enough for functions that have none."""
    return basis.degree if isinstance(basis, SplineBasis) else MAX_DEGREE
