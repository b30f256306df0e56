"""Mixtures of energy densities, themselves one-dimensional densities, and their components."""

import torch
from pyro.distributions import Categorical
from torch import Size, Tensor
from torch.distributions import constraints

from lvkam_pyro.distributions.panels import Panels
from lvkam_pyro.distributions.rows import choose
from lvkam_pyro.distributions.shapes import broadcasts_to
from lvkam_pyro.distributions.table import PanelInverse, Table
from lvkam_pyro.distributions.tabulated import version_of
from lvkam_pyro.distributions.univariate import UnivariateDensity


class EnergyMixture(UnivariateDensity):
    r"""Mixture of normalised one-dimensional densities.

    .. math:: p(z) = \sum_{p=1}^{P} \alpha_p \, e^{f_p(z)} \, \pi_0(z) / Z_p, \qquad
              \alpha = \operatorname{softmax}(\text{logits})

    The mixture has an exact distribution function, so it is drawn by inversion with
    reparameterised gradients, and its support is a plain interval that NUTS can use: unlike
    torch's ``MixtureSameFamily``.

    Arguments:
        components: Densities whose last batch dimension is the component, `(*batch, P)`.
        logits: Unnormalised log weights, broadcastable to `(*batch, P)`. Default: equal weights.
        validate_args: Whether to check values against the support.

    Raises:
        ValueError: If the components have no batch dimension or do not share their breakpoints,
            or logits do not fit them or are not finite.

    Example:
        >>> from lvkam_pyro.distributions.energy import EnergyDistribution
        >>> tilt = torch.tensor([-8.0, 8.0])
        >>> mixture = EnergyMixture(EnergyDistribution(lambda z: tilt * z))
        >>> mixture.mean, mixture.batch_shape
        (tensor(0.5000), torch.Size([]))
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012 - torch's own form

    def __init__(
        self,
        components: UnivariateDensity,
        logits: Tensor | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        shape = components.batch_shape
        if logits is None:
            logits = torch.zeros(
                shape, dtype=components.dtype, device=components.panels.edges.device
            )
        _check_components(shape, logits.shape)
        _check_shared(components.breakpoints)
        self.components = components._spread()
        # As it came: a view of a parameter is no leaf, which deepcopy refuses.
        self._logits = logits
        super().__init__(
            components.panels.component(),
            components.reference,
            shape[:-1],
            dtype=components.dtype,
            validate_args=validate_args,
        )
        if self._validate_args:
            _check_weights(logits)

    @property
    def logits(self) -> Tensor:
        """Unnormalised log weights, of shape `(*batch, P)`."""
        return self._logits.expand(*self._parameter_shape, self.components.batch_shape[-1])

    @property
    def log_weights(self) -> Tensor:
        r"""Normalised log weights :math:`\log \alpha`, of shape `(*batch, P)`."""
        return self.logits.log_softmax(-1)

    @property
    def mixture_distribution(self) -> Categorical:
        r"""The distribution of the component's index, :math:`P(c = p) = \alpha_p`, `(*batch)`."""
        return Categorical(logits=self.logits).expand(self.batch_shape)

    def component(self, index: Tensor) -> UnivariateDensity:
        r"""The density of `z` given the index of its component, :math:`p(z \mid c) = p_c(z)`.

        With a site for the index, Pyro can sum over components itself, and infer which one a
        datum comes from: ``c = pyro.sample("c", mixture.mixture_distribution,
        infer={"enumerate": "parallel"})``, then ``z = pyro.sample("z", mixture.component(c))``,
        has the evidence of ``z = pyro.sample("z", mixture)``.

        Arguments:
            index: Integers from 0 to P - 1, of any shape that broadcasts with the batch.

        Raises:
            ValueError: If an index is not that of a component, under validation.

        Example:
            >>> from lvkam_pyro.distributions.energy import EnergyDistribution
            >>> tilt = torch.tensor([-8.0, 8.0])
            >>> mixture = EnergyMixture(EnergyDistribution(lambda z: tilt * z))
            >>> mixture.component(torch.tensor([[0], [1]])).mean
            tensor([[0.1247],
                    [0.8753]])
        """
        if self._validate_args:
            check_index(index, self.logits.shape[-1])
        chosen = self._choose(index)
        return chosen.expand(torch.broadcast_shapes(index.shape, self.batch_shape))

    def _choose(self, index: Tensor) -> UnivariateDensity:
        return ComponentDensity(self.components, index, validate_args=self._validate_args)

    def _version(self) -> object:
        versions = (self.components._version(), version_of(self._logits))
        return None if None in versions else versions

    def _refresh(self) -> None:
        super()._refresh()
        self.components._refresh()

    def _expand_parameters(self, shape: Size) -> None:
        full = Size([*shape, self.components.batch_shape[-1]])
        self.components = self.components.expand(full)._spread()

    def _log_potential(self, z: Tensor) -> Tensor:
        log_prob = self.components._log_density(self.components._align(z.unsqueeze(-1)))
        return (self.log_weights + log_prob).logsumexp(-1)

    def _log_density(self, z: Tensor) -> Tensor:
        # The components are normalised already.
        return self._log_potential(z)

    def _node_potentials(self, panels: Panels) -> Tensor:
        components = self.components._node_potentials(panels.components())
        offset = self.log_weights.double() - self.components._table.log_normalizer
        return (components + offset[..., None, None]).logsumexp(-3)

    def _slots(self) -> tuple[Tensor, PanelInverse]:
        # One search draws component and panel together.
        table = self.components._table
        masses = table.cdf.diff() * self.log_weights.double().exp().unsqueeze(-1)
        return masses.reshape(self._parameter_shape.numel(), -1), table.inverse(self.dtype)


class ComponentDensity(UnivariateDensity):
    r"""For each entry of the batch, one of the components: :math:`p(z \mid c) = p_c(z)`.

    Made by :meth:`EnergyMixture.component`. Its integrals are the components' own.

    Arguments:
        components: Densities whose last batch dimension is the component, `(*batch, P)`.
        index: Indices of the components, that broadcast with `(*batch)`.
        validate_args: Whether to check values against the support.

    Example:
        >>> from lvkam_pyro.distributions.energy import EnergyDistribution
        >>> tilt = torch.tensor([-8.0, 8.0])
        >>> components = EnergyDistribution(lambda z: tilt * z)
        >>> ComponentDensity(components, torch.tensor([1, 1, 0])).mean
        tensor([0.8753, 0.8753, 0.1247])
    """

    arg_constraints = {"index": constraints.nonnegative_integer}  # noqa: RUF012 - torch's own form

    def __init__(
        self, components: UnivariateDensity, index: Tensor, *, validate_args: bool | None = None
    ) -> None:
        self.components = components._spread()
        shape = torch.broadcast_shapes(index.shape, components.batch_shape[:-1])
        self.index = index.expand(shape)
        super().__init__(
            components.panels.component(),
            components.reference,
            shape,
            dtype=components.dtype,
            validate_args=validate_args,
        )

    def _version(self) -> object:
        return self.components._version()

    def _refresh(self) -> None:
        super()._refresh()
        self.components._refresh()

    def _expand_parameters(self, shape: Size) -> None:
        self.index = self.index.expand(shape)

    def _log_potential(self, z: Tensor) -> Tensor:
        every = self.components._apply(self.components._log_potential, z.unsqueeze(-1))
        index = self.index.expand(every.shape[:-1]).unsqueeze(-1)
        return every.gather(-1, index).squeeze(-1)

    def _tabulate(self) -> Table:
        """The rows of the components' table: no other quadrature."""
        table, own = self.components._table, self.components._parameter_shape
        panels = table.panels.component()
        if table.panels.edges.ndim > 1:
            rows = (table.panels.edges, table.panels.section)
            edges, section = (choose(each.expand(*own, -1), self.index, 1) for each in rows)
            panels = panels.moved(edges, section)
        return Table(panels, choose(table.potentials, self.index, 2))


def check_index(index: Tensor, count: int) -> None:
    """Raise a ValueError unless all are indices of components."""
    integral = not (index.is_floating_point() or index.is_complex() or index.dtype == torch.bool)
    if not (integral and bool(((index >= 0) & (index < count)).all())):
        raise ValueError(
            f"Expected integer indices of components from 0 to {count - 1}, got {index.dtype} "
            f"values {index.flatten()[:5].tolist()}. Draw them from mixture.mixture_distribution."
        )


def _check_components(shape: Size, logits_shape: Size) -> None:
    if not (shape and broadcasts_to(logits_shape, shape)):
        raise ValueError(
            "Expected components of batch shape (*batch, P) and logits that broadcast to it, got "
            f"components {tuple(shape)} and logits {tuple(logits_shape)}. The last batch "
            "dimension of the components is the component of the mixture."
        )


def _check_weights(logits: Tensor) -> None:
    if not logits.logsumexp(-1).isfinite().all():
        raise ValueError(
            "Expected logits whose exponentials have a finite sum that is not 0, got "
            f"{logits.detach()}. Minus infinity leaves a component out, but not all of them."
        )


def _check_shared(breakpoints: Tensor) -> None:
    if breakpoints.ndim > 1 and breakpoints.shape[-2] != 1:
        raise ValueError(
            "Expected components that share their breakpoints, of shape (*batch, 1, G + 1), got "
            f"{tuple(breakpoints.shape)}. Give all components of a latent the union of their knots."
        )
