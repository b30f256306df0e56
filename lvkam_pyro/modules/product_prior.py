"""The prior whose latents are sums of independent inner latents."""

from pyro.distributions import TorchDistribution
from torch import Tensor

from lvkam_pyro.distributions.univariate import UnivariateDensity
from lvkam_pyro.modules.prior import EnergyPrior


class ProductPrior(EnergyPrior):
    r"""Independent energy densities whose sums are the generator's inputs.

    .. math:: p(z) = \prod_{q=1}^{Q} \prod_{p=1}^{P}
              \frac{e^{f_{qp}(z_{qp})} \, \pi_0(z_{qp})}{Z_{qp}}, \qquad u_q = \sum_p z_{qp}

    The inner sum of the Kolmogorov-Arnold theorem: with :math:`z_{qp} = F_{qp}^{-1}(u_{qp})` of
    uniform :math:`u_{qp}` the model is literally :math:`\sum_q \Phi_q(\sum_p F_{qp}^{-1}(u_{qp}))`.

    Arguments:
        num_latents: Number of outer terms `Q`.
        num_components: Number of inner terms `P`.
        basis: Basis of the functions; its domain is the support of each inner latent.
        reference: The reference measure :math:`\pi_0`, a univariate torch distribution or a
            :class:`ReferenceMeasure` that is learned; uniform on the domain by default.
        base_activation: Function added to each spline, none by default.
        hidden: Widths of the hidden layers of each function; none by default.
        sampler: How draws are made, such as a :class:`RejectionSampler`; by inversion by default.

    Raises:
        ValueError: If a count is below 1 or the reference does not fit the domain.

    Example:
        >>> prior = ProductPrior(num_latents=5, num_components=11)
        >>> prior.combine(prior().sample()).shape, prior.combined_domain
        (torch.Size([5]), (0.0, 11.0))
    """

    def densities(self) -> UnivariateDensity:
        """The density of each inner latent, of batch shape `(Q, P)`: what one plots."""
        return self._drawn(self.components())

    def forward(self) -> TorchDistribution:
        """The prior of all inner latents, of event shape `(Q, P)`."""
        return self.densities().to_event(2)

    @property
    def combined_count(self) -> int:
        """Number of latents in each input of the generator: `P`."""
        return self.num_components

    def combine(self, z: Tensor) -> Tensor:
        """The generator's inputs `u`, of shape `(..., Q)`: sums over the inner latents."""
        return z.sum(-1)
