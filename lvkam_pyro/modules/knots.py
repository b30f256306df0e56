"""Knots of a prior that follow the posterior."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from lvkam_pyro.distributions.univariate import UnivariateDensity
from lvkam_pyro.kan.grids.grid import GridUpdate

_NUM_LEVELS = 999


@dataclass(frozen=True)
class KnotUpdate:
    r"""The report of new knots: what they did to a prior's densities.

    Attributes:
        grid: What they did to its functions.
        kl: :math:`\mathrm{KL}(p_{\text{old}} \,\|\, p_{\text{new}})` of each density, in nats, of
            shape `(Q,)` or `(Q, P)`.
        log_ratio: The largest :math:`|\log p_{\text{new}} - \log p_{\text{old}}|` at 999 quantiles
            of the old density, from 0.1 % to 99.9 %, of the same shape.

    Example:
        >>> grid = GridUpdate(relative_errors=(torch.tensor([0.01]),), num_outside=(0,))
        >>> print(KnotUpdate(grid, kl=torch.tensor([1e-5]), log_ratio=torch.tensor([0.02])))
        KL(old || new) at most 1.0e-05 nats, |log p| changed by at most 0.02
        layer 0: relative error at most 1.0e-02 (input 0)
    """

    grid: GridUpdate
    kl: Tensor
    log_ratio: Tensor

    def __str__(self) -> str:
        return (
            f"KL(old || new) at most {self.kl.max():.1e} nats, |log p| changed by at most "
            f"{self.log_ratio.max():.2g}\n{self.grid}"
        )


def check_update(update: KnotUpdate, tolerance: float) -> KnotUpdate:
    """The update, with a warning where a density changed by more than the tolerance, in nats."""
    if not float(update.kl.max()) <= tolerance:
        warnings.warn(
            f"The new knots changed a density by more than the tolerance of {tolerance} nats:\n"
            f"{update}\nTrain on, or use more cells, or a larger ratio.",
            stacklevel=3,
        )
    return update


def latent_rows(samples: Tensor, batch_shape: torch.Size) -> Tensor:
    """Samples `(S, Q)`: the inner latents of a `ProductPrior` share the knots of their sum."""
    count = len(batch_shape)
    if samples.dim() <= count or samples.shape[-count:] != batch_shape:
        raise ValueError(
            f"Expected samples of shape (..., {', '.join(map(str, batch_shape))}) with at least "
            f"one dimension before the latents, got {tuple(samples.shape)}."
        )
    return samples.detach().flatten(0, -count - 1).movedim(1, -1).flatten(0, -2)


@torch.no_grad()
def compare_densities(
    old: UnivariateDensity, new: UnivariateDensity, grid: GridUpdate
) -> KnotUpdate:
    """The report of new knots, from the densities before and after."""
    levels = torch.linspace(0, 1, _NUM_LEVELS + 2).to(old.breakpoints)[1:-1]
    column = levels.view(-1, *[1] * len(old.batch_shape))
    z = old.icdf(column.expand(-1, *old.batch_shape))
    log_ratio = (new.log_prob(z) - old.log_prob(z)).abs().amax(0)
    return KnotUpdate(grid, kl_divergence(old, new), log_ratio)
