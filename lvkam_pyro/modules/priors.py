"""The two learned priors: a mixture for each latent, and sums of inner latents."""

from collections.abc import Callable

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import Distribution

from lvkam_pyro.distributions.logspline import LogSpline, LogSplineMixture
from lvkam_pyro.distributions.mixture import EnergyMixture
from lvkam_pyro.distributions.univariate import Sampler, UnivariateDensity
from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.modules.prior import EnergyPrior
from lvkam_pyro.modules.reference import ReferenceMeasure


class MixturePrior(EnergyPrior):
    r"""A mixture of energy densities for each latent.

    .. math:: p(z) = \prod_{q=1}^{Q} \sum_{p=1}^{P} \alpha_{qp} \,
              \frac{e^{f_{qp}(z_q)} \, \pi_0(z_q)}{Z_{qp}}, \qquad
              \alpha_q = \operatorname{softmax}(\text{logits}_q)

    The components are normalised, so that the weights mean what they say and draws follow the
    density that is scored.

    Arguments:
        num_latents: Number of latents `Q`.
        num_components: Number of mixture components per latent `P`.
        basis: Basis of the functions; its domain is the support of the latents.
        reference: The reference measure :math:`\pi_0`, a univariate torch distribution or a
            :class:`ReferenceMeasure` that is learned; uniform on the domain by default.
        base_activation: Function added to each spline, none by default.
        sampler: How draws are made, such as a :class:`RejectionSampler`; by inversion by default.
        learn_weights: Whether the weights are learned; equal weights otherwise.

    Raises:
        ValueError: If a count is below 1 or the reference does not fit the domain.

    Example:
        >>> prior = MixturePrior(num_latents=16, num_components=4)
        >>> prior().event_shape, prior.densities().mean.shape
        (torch.Size([16]), torch.Size([16]))
    """

    def __init__(
        self,
        num_latents: int,
        *,
        num_components: int = 1,
        basis: Basis | None = None,
        reference: Distribution | ReferenceMeasure | None = None,
        base_activation: Callable[[Tensor], Tensor] | None = None,
        sampler: Sampler | None = None,
        learn_weights: bool = True,
    ) -> None:
        super().__init__(
            num_latents,
            num_components=num_components,
            basis=basis,
            reference=reference,
            base_activation=base_activation,
            sampler=sampler,
        )
        logits = torch.zeros(num_latents, num_components)
        if learn_weights and num_components > 1:
            self.logits = nn.Parameter(logits)
        else:
            self.register_buffer("logits", logits)

    def densities(self) -> EnergyMixture:
        """The density of each latent, of batch shape `(Q,)`: what one plots."""
        components = self.components()
        if isinstance(components, LogSpline):
            return self._drawn(LogSplineMixture(components, self.logits))
        return self._drawn(EnergyMixture(components, self.logits))

    def forward(self) -> TorchDistribution:
        """The prior of all latents, of event shape `(Q,)`."""
        return self.densities().to_event(1)

    @property
    def combined_count(self) -> int:
        """Number of latents in each input of the generator: one."""
        return 1

    def combine(self, z: Tensor) -> Tensor:
        """The generator's inputs: the latents themselves."""
        return z


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
