"""The two generators: sums of univariate functions, and a mixture of experts."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN
from lvkam_pyro.options import check_count


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


class MixtureOfExperts(nn.Module):
    r"""A mixture of experts: each latent is an expert, and gates weigh the experts' votes.

    .. math:: m_o = \sum_{q=1}^{Q} \gamma_{qo} \, \Lambda_q(z_q), \qquad
              \gamma_{qo} = \frac{e^{z_q w_{qo}}}{\sum_{r=1}^{Q} e^{z_r w_{ro}}}

    with a function :math:`\Lambda_q` of one latent and a gate :math:`\gamma` that all latents
    take part in. An output is a weighted mean of the Q functions, so it is not additive in the
    latents: estimators for additive models do not apply. It has Q functions where a
    :class:`KANGenerator` has Q O.

    Arguments:
        num_latents: Number of latents `Q`.
        num_outputs: Number of outputs `O`.
        basis: Basis of the functions; its domain should cover the prior's. Default: a cubic
            B-spline basis with 8 cells on [0, 1].
        base_activation: Function added to each spline, or None.

    Attributes:
        experts: The functions, a KANLayer of `Q` inputs and one output.
        gate_weights: The weights :math:`w`, of shape `(Q, O)`.

    Raises:
        ValueError: If a count is below 1.

    References:
        Jacobs, R. et al. (1991). Adaptive mixtures of local experts, equation 1.
        https://doi.org/10.1162/neco.1991.3.1.79

    Example:
        >>> generator = MixtureOfExperts(16, 64)
        >>> generator(torch.rand(256, 1, 16)).shape
        torch.Size([256, 1, 64])
    """

    def __init__(
        self,
        num_latents: int,
        num_outputs: int,
        *,
        basis: Basis | None = None,
        base_activation: Callable[[Tensor], Tensor] | None = F.silu,
    ) -> None:
        super().__init__()
        basis = BSplineBasis(grid_size=8) if basis is None else basis
        self.num_latents = num_latents
        self.num_outputs = check_count("num_outputs", num_outputs)
        self.experts = KANLayer(num_latents, 1, basis=basis, base_activation=base_activation)
        self.gate_weights = nn.Parameter(torch.randn(num_latents, num_outputs))

    @property
    def domain(self) -> tuple[float, float]:
        """Interval of each latent on which the functions vary."""
        return self.experts.domain

    def gates(self, z: Tensor) -> Tensor:
        r"""The gates :math:`\gamma`, of shape `(..., Q, O)`, which sum to one over the latents.

        Args:
            z: Latents of shape `(..., Q)`.
        """
        return (z.unsqueeze(-1) * self.gate_weights).softmax(-2)

    def forward(self, z: Tensor) -> Tensor:
        """The outputs, of shape `(..., O)`, at latents `z` of shape `(..., Q)`."""
        return (self.experts.unsummed(z) * self.gates(z)).sum(-2)
