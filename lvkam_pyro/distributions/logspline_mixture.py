"""The mixture of log-splines: the fast form of the learned prior."""

import torch
from torch import Tensor

from lvkam_pyro.distributions.component import choose
from lvkam_pyro.distributions.logspline import LogSpline, horner, locate_cell, take_cells
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
        batch = self._parameter_shape
        cell, t = locate_cell(z, self.breakpoints, batch)
        num_cells, num_components = self.breakpoints.shape[-1] - 1, self.logits.shape[-1]
        row = num_components * row_index(batch, z).unsqueeze(-1) + row_index(
            self.logits.shape[-1:], z
        )
        index = num_cells * row + cell.unsqueeze(-1)
        values = horner(take_cells(self._fused_coefficients(), index), t.unsqueeze(-1))
        values = values.squeeze(-1) if num_components == 1 else values.logsumexp(-1)
        return self.components._with_reference(values, z)

    def _fused_coefficients(self) -> Tensor:
        """Coefficients `(*batch, P, G, d + 1)`, weights and normalisers included."""
        offset = self.log_weights - self.components._table.log_normalizer.to(self.dtype)
        constant, *powers = self.components.coefficients.unbind(-1)
        return torch.stack([constant + offset.unsqueeze(-1), *powers], -1)
