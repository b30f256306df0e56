"""Mixtures of energy densities, themselves one-dimensional densities."""

from collections.abc import Callable

import torch
from pyro.distributions import Categorical
from torch import Size, Tensor
from torch.distributions import constraints

from lvkam_pyro.distributions.component import ComponentDensity, check_index
from lvkam_pyro.distributions.univariate import Table, UnivariateDensity, version_of


class EnergyMixture(UnivariateDensity):
    r"""Mixture of normalised one-dimensional densities.

    .. math:: p(z) = \sum_{p=1}^{P} \alpha_p \, e^{f_p(z)} \, \pi_0(z) / Z_p, \qquad
              \alpha = \operatorname{softmax}(\text{logits})

    The mixture has a distribution function of its own, so it is drawn by inversion with
    reparameterised gradients, and its support is a plain interval that NUTS can use: unlike
    torch's ``MixtureSameFamily``.

    Arguments:
        components: Densities whose last batch dimension is the component, `(*batch, P)`.
        logits: Unnormalised log weights, broadcastable to `(*batch, P)`. Default: equal weights.
        validate_args: Whether to check values against the support.

    Raises:
        ValueError: If the components have no batch dimension or logits do not fit it.

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
        self.components = components._spread()
        self.logits = logits.expand(shape)
        super().__init__(
            components.panels,
            components.reference,
            shape[:-1],
            dtype=components.dtype,
            validate_args=validate_args,
        )

    @property
    def log_weights(self) -> Tensor:
        r"""Normalised log weights :math:`\log \alpha`, of shape `(*batch, P)`."""
        return self.logits.log_softmax(-1)

    @property
    def mixture_distribution(self) -> Categorical:
        r"""The law of the component's number, :math:`P(c = p) = \alpha_p`, of the batch's shape."""
        return Categorical(logits=self.logits).expand(self.batch_shape)

    def component(self, index: Tensor) -> UnivariateDensity:
        r"""The density of `z` given the number of its component, :math:`p(z \mid c) = p_c(z)`.

        With a site for the number, Pyro can sum over components itself, and infer which one a
        datum comes from: ``c = pyro.sample("c", mixture.mixture_distribution,
        infer={"enumerate": "parallel"})``, then ``z = pyro.sample("z", mixture.component(c))``,
        has the evidence of ``z = pyro.sample("z", mixture)``.

        Arguments:
            index: Integers from 0 to P - 1, of any shape that broadcasts with the batch.

        Raises:
            ValueError: If an index is not the number of a component, under validation.

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
        versions = (self.components._version(), version_of(self.logits))
        return None if None in versions else versions

    def _refresh(self) -> None:
        super()._refresh()
        self.components._refresh()

    def _expand_parameters(self, shape: Size) -> None:
        full = Size([*shape, self.logits.shape[-1]])
        self.components = self.components.expand(full)
        self.logits = self.logits.expand(full)

    def _log_potential(self, z: Tensor) -> Tensor:
        log_prob = self.components._log_density(self.components._align(z.unsqueeze(-1)))
        return (self.log_weights + log_prob).logsumexp(-1)

    def _log_density(self, z: Tensor) -> Tensor:
        # The components are normalised already.
        return self._log_potential(z)

    def _density_in(self, panel: Tensor) -> Callable[[Tensor], Tensor]:
        panels = panel.unsqueeze(-1).expand(*panel.shape, self.logits.shape[-1])
        component = self.components._density_in(panels)
        log_weights = self.log_weights.double()
        return lambda z: (log_weights + component(z.unsqueeze(-1))).logsumexp(-1)

    def _tabulate(self) -> Table:
        """The components' tables, averaged by their weights: no quadrature of its own."""
        table = self.components._table
        log_weights = self.log_weights.double()[..., None, None]
        log_probabilities = (log_weights + table.log_probabilities).logsumexp(-3)
        cdf = (log_weights[..., 0].exp() * table.cdf).sum(-2)
        zero = torch.zeros(self._parameter_shape, dtype=cdf.dtype, device=cdf.device)
        return Table(zero, cdf, log_probabilities)


def _check_components(shape: Size, logits_shape: Size) -> None:
    fits = len(logits_shape) <= len(shape) and all(
        own in (1, size) for own, size in zip(logits_shape[::-1], shape[::-1], strict=False)
    )
    if not (shape and fits):
        raise ValueError(
            "Expected components of batch shape (*batch, P) and logits that broadcast to it, got "
            f"components {tuple(shape)} and logits {tuple(logits_shape)}. The last batch "
            "dimension of the components is the component of the mixture."
        )
