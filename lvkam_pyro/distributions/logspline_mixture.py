"""The mixture of log-splines: the fast form of the learned prior."""

import torch
from torch import Size, Tensor

from lvkam_pyro.distributions.blocks import in_blocks
from lvkam_pyro.distributions.component import choose
from lvkam_pyro.distributions.logspline import LogSpline, horner, locate_cell, take, to_columns
from lvkam_pyro.distributions.mixture import EnergyMixture
from lvkam_pyro.distributions.panels import row_index


class LogSplineMixture(EnergyMixture):
    r"""Mixture of :class:`LogSpline` densities, evaluated and drawn in one pass.

    .. math:: p(z) = \sum_p \alpha_p \, e^{f_p(z)} \pi_0(z) / Z_p

    The same law as :class:`EnergyMixture` of the same components. An evaluation finds the cell
    of a point once for all components; a draw finds component and panel together, by one search
    in the row of the `P M` weighted panel masses, and inverts that component alone.

    Arguments:
        components: Log-splines of batch shape `(*batch, P)`.
        logits: Unnormalised log weights, broadcastable to `(*batch, P)`. Default: equal weights.
        validate_args: Whether to check values against the support.

    Example:
        >>> cells = torch.tensor([[[0.0, -8.0]], [[0.0, 8.0]]])  # f(t) = -8 t and 8 t
        >>> mixture = LogSplineMixture(LogSpline(cells, torch.tensor([0.0, 1.0])))
        >>> mixture.icdf(torch.tensor([0.25, 0.5, 0.75]))
        tensor([0.0865, 0.5000, 0.9135])
    """

    components: LogSpline

    def _choose(self, index: Tensor) -> LogSpline:
        return LogSpline(
            choose(self.components.coefficients, index, 2),
            self.panels,
            self.reference,
            validate_args=self._validate_args,
        )

    def _log_potential(self, z: Tensor) -> Tensor:
        columns = to_columns(self._fused_coefficients())
        return in_blocks(
            lambda block: self._score_block(columns, block), z, batch=self._parameter_shape
        )

    def _score_block(self, columns: list[Tensor], z: Tensor) -> Tensor:
        batch = self._parameter_shape
        cell, t = locate_cell(z, self.panels, batch)
        # Components first, so that each is evaluated on points next to each other.
        rows = row_index(Size([*batch, self.logits.shape[-1]]), z).movedim(-1, 0)
        rows = rows.view(-1, *[1] * (z.ndim - len(batch)), *batch)
        index = rows * (self.breakpoints.shape[-1] - 1) + cell
        values = horner(take(columns, index), t)
        values = values[0] if len(values) == 1 else values.logsumexp(0)
        return self.components._with_reference(values, z)

    def _fused_coefficients(self) -> Tensor:
        """Coefficients `(*batch, P, G, d + 1)`, weights and normalisers included."""
        offset = self.log_weights - self.components._table.log_normalizer.to(self.dtype)
        constant, *powers = self.components.coefficients.unbind(-1)
        return torch.stack([constant + offset.unsqueeze(-1), *powers], -1)
