"""The generator: KAN functions from latents to the likelihood's parameters."""

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn import functional as F

from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN


class KANGenerator(KAN):
    r"""Kolmogorov-Arnold functions from latents to outputs.

    .. math:: m_o = \sum_{q=1}^{Q} \Phi_{oq}(z_q), \qquad o = 1..O

    and more such layers in sequence on request. With one layer the output is additive in the
    latents: each function :math:`\Phi_{oq}` can be plotted and read.

    Arguments:
        num_latents: Number of latents `Q`.
        num_outputs: Number of outputs `O`.
        hidden: Widths of further layers between latents and outputs.
        basis: Basis of the first layer's functions; its domain should cover the prior's. Default:
            a cubic B-spline basis with 8 cells on [0, 1].
        base_activation: Function added to each spline, or None.

    Raises:
        ValueError: If a width is below 1.

    Example:
        >>> import torch
        >>> generator = KANGenerator(16, 64)
        >>> generator(torch.rand(256, 1, 16)).shape
        torch.Size([256, 1, 64])
    """

    def __init__(
        self,
        num_latents: int,
        num_outputs: int,
        *,
        hidden: Sequence[int] = (),
        basis: Basis | None = None,
        base_activation: Callable[[Tensor], Tensor] | None = F.silu,
    ) -> None:
        super().__init__(
            [num_latents, *hidden, num_outputs],
            basis=BSplineBasis(grid_size=8) if basis is None else basis,
            base_activation=base_activation,
        )
        self.num_latents = num_latents
        self.num_outputs = num_outputs

    @property
    def domain(self) -> tuple[float, float]:
        """Interval of each latent on which the first layer's functions vary."""
        first = self.layers[0]
        assert isinstance(first, KANLayer)
        return first.domain
