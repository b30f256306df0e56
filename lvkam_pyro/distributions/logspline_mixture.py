"""The mixture of log-splines: the fast form of the learned prior."""

import torch
from torch import Size, Tensor

from lvkam_pyro.distributions.component import choose
from lvkam_pyro.distributions.inversion import invert_in_panel
from lvkam_pyro.distributions.logspline import LogSpline, horner, locate_cell
from lvkam_pyro.distributions.mixture import EnergyMixture


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
        table = self._fused_coefficients()
        cell, t = locate_cell(z, self.breakpoints)
        count = self._parameter_shape.numel()
        row = torch.arange(count, device=z.device).view(self._parameter_shape)
        index = row * (len(self.breakpoints) - 1) + cell
        local = table.index_select(0, index.reshape(-1)).view(*index.shape, *table.shape[1:])
        values = horner(local, t.unsqueeze(-1))
        values = values.squeeze(-1) if values.shape[-1] == 1 else values.logsumexp(-1)
        return self.components._with_reference(values, z)

    def _fused_coefficients(self) -> Tensor:
        """Coefficients by `(batch x cell, component, power)`, weights and normalisers included."""
        offset = self.log_weights - self.components._table.log_normalizer.to(self.dtype)
        constant, *powers = self.components.coefficients.unbind(-1)
        fused = torch.stack([constant + offset.unsqueeze(-1), *powers], -1)
        return fused.transpose(-3, -2).reshape(-1, *self.logits.shape[-1:], fused.shape[-1])

    def _draw(self, shape: Size) -> Tensor:
        """Draws of component and panel together, then inversion inside the panel."""
        masses = self.components._table.cdf.diff() * self.log_weights.double().exp().unsqueeze(-1)
        num_panels = masses.shape[-1]
        flat = masses.reshape(self._parameter_shape.numel(), -1)
        cumulative = flat.cumsum(-1)
        num_draws = shape.numel() // len(flat)
        u = torch.rand(len(flat), num_draws, dtype=flat.dtype, device=flat.device)
        target = u * cumulative[:, -1:]
        slot = torch.searchsorted(cumulative[:, :-1].contiguous(), target.contiguous(), right=True)
        below = cumulative - flat
        mass = (target - below.gather(1, slot)).clamp(min=0)
        component, panel = slot // num_panels, slot % num_panels
        latent = torch.arange(len(flat), device=flat.device)[:, None]
        row = latent * self.logits.shape[-1] + component
        density = self.components._density_of(row, panel)
        low = self.panels.edges[panel]
        width = self.panels.edges[panel + 1] - low
        # The component's own density: its masses are the row's, divided by its weight.
        weight = self.log_weights.double().exp().reshape(len(flat), -1).gather(1, component)
        total = flat.gather(1, slot) / weight
        z = invert_in_panel(density, low, width, mass / weight, total)
        return self._open(z.T.reshape(shape))
