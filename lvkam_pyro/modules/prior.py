"""The learned prior: one-dimensional energy densities whose functions are KAN functions."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.distributions import Distribution

from lvkam_pyro.distributions.energy import EnergyDistribution, build_panels
from lvkam_pyro.distributions.logspline import LogSpline
from lvkam_pyro.distributions.logspline_mixture import LogSplineMixture
from lvkam_pyro.distributions.mixture import EnergyMixture
from lvkam_pyro.distributions.panels import Panels
from lvkam_pyro.distributions.univariate import UnivariateDensity
from lvkam_pyro.kan.basis import Basis
from lvkam_pyro.kan.bspline import BSplineBasis
from lvkam_pyro.kan.layer import KANLayer


class EnergyPrior(PyroModule):
    r"""The functions :math:`f_{qp}` of a prior and the densities made of them.

    The abstract base of :class:`MixturePrior` and :class:`ProductPrior`. A subclass defines
    ``forward() -> distribution`` and ``combine``, from the latents to what the generator sees.

    Arguments:
        num_latents: Number of latents `Q`.
        num_components: Number of functions per latent `P`.
        basis: Basis of the functions, whose domain is the support of the latents. Default: a
            cubic B-spline basis with 8 cells on [0, 1].
        reference: One univariate torch distribution :math:`\pi_0`. Default: uniform on the domain
            of the basis. Where it reaches beyond the domain, its tails are the prior's.
        base_activation: Function added to each spline, none by default. Without one, B-splines
            take the fast log-spline form.

    Raises:
        ValueError: If a count is below 1 or the reference does not fit the domain.
    """

    def __init__(
        self,
        num_latents: int,
        *,
        num_components: int = 1,
        basis: Basis | None = None,
        reference: Distribution | None = None,
        base_activation: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        _check_count(num_latents, "num_latents")
        _check_count(num_components, "num_components")
        self.num_latents = num_latents
        self.num_components = num_components
        self.functions = KANLayer(
            num_latents,
            num_components,
            basis=BSplineBasis(grid_size=8) if basis is None else basis,
            base_activation=base_activation,
        )
        low, high = self.functions.basis.domain
        uniform = torch.distributions.Uniform(low, high, validate_args=False)
        self.reference = uniform if reference is None else reference
        self._panels = build_panels(self.functions.basis.breakpoints, self.reference)

    @property
    def domain(self) -> tuple[float, float]:
        """Interval on which the functions vary."""
        return self.functions.basis.domain

    @property
    @abstractmethod
    def combined_count(self) -> int:
        """Number of latents that sum to one input of the generator."""

    @property
    def combined_domain(self) -> tuple[float, float]:
        """Interval that the functions' part of the generator's inputs keeps to."""
        low, high = self.domain
        return self.combined_count * low, self.combined_count * high

    @abstractmethod
    def combine(self, z: Tensor) -> Tensor:
        """The generator's inputs, of shape `(..., Q)`, made of the latents."""

    def components(self) -> UnivariateDensity:
        """The densities of all functions, of batch shape `(Q, P)`."""
        functions = self.functions
        panels = self._current_panels(functions.basis)
        if isinstance(functions.basis, BSplineBasis) and functions.base_activation is None:
            return LogSpline(functions.to_polynomials(), panels, self.reference)
        return EnergyDistribution(
            lambda z: _elementwise(functions, z),
            self.reference,
            breakpoints=panels,
            batch_shape=torch.Size([self.num_latents, self.num_components]),
        )

    def _current_panels(self, basis: Basis) -> Panels:
        """The panels, built anew once the basis has moved, also to another device or dtype."""
        kept, now = self._panels.breakpoints, basis.breakpoints
        same_kind = kept.device == now.device and kept.dtype == now.dtype
        if not (same_kind and torch.equal(kept, now)):
            self._panels = Panels(now, self.reference)
        return self._panels


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
        reference: The reference measure :math:`\pi_0`; uniform on the domain by default.
        base_activation: Function added to each spline, none by default.
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
        reference: Distribution | None = None,
        base_activation: Callable[[Tensor], Tensor] | None = None,
        learn_weights: bool = True,
    ) -> None:
        super().__init__(
            num_latents,
            num_components=num_components,
            basis=basis,
            reference=reference,
            base_activation=base_activation,
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
            return LogSplineMixture(components, self.logits)
        return EnergyMixture(components, self.logits)

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
        reference: The reference measure :math:`\pi_0`; uniform on the domain by default.
        base_activation: Function added to each spline, none by default.

    Raises:
        ValueError: If a count is below 1 or the reference does not fit the domain.

    Example:
        >>> prior = ProductPrior(num_latents=5, num_components=11)
        >>> prior.combine(prior().sample()).shape, prior.combined_domain
        (torch.Size([5]), (0.0, 11.0))
    """

    def densities(self) -> UnivariateDensity:
        """The density of each inner latent, of batch shape `(Q, P)`: what one plots."""
        return self.components()

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


def _elementwise(functions: KANLayer, z: Tensor) -> Tensor:
    """Each function at its own point: `z` of shape `(..., Q, P)`, so is the result."""
    component = torch.arange(z.shape[-1], device=z.device)[:, None].expand(z.shape[:-3:-1])
    columns = z.transpose(-1, -2)
    return functions.selected(columns, component.expand(columns.shape)).transpose(-1, -2)


def _check_count(count: int, name: str) -> None:
    if count < 1:
        raise ValueError(
            f"Expected at least 1 for {name}, got {count}. A model needs a latent, and a latent "
            "a component."
        )
