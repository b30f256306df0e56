"""Posteriors that are mixtures of normal distributions: any number, width and mass of modes."""

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from lvkam_pyro.problems.families.pieces import NUM_DATA, directions, log_integer, log_uniform
from lvkam_pyro.problems.family import Family, Half
from lvkam_pyro.problems.problem import Answered

FLAT = 1e4
"""The width of a bump that is level over all of the prior."""


class Modes:
    r"""A likelihood of normal bumps, each with its share of the evidence.

    .. math:: z \sim N(0, I), \qquad L_n(z) = \sum_k e^{a_{nk}} \frac{N(z; m_{nk}, s_{nk}^2 I)}
              {N(m_{nk}; 0, (1 + s_{nk}^2) I)}, \qquad \log p_n = \log \sum_k e^{a_{nk}}

    A datum holds its own modes, `(K, 2 + Q)`: log evidence a, width s and centre m of each. (A
    density of z, not a distribution of x: a factor weighs it.)

    Example:
        >>> Modes().log_evidence(bumps([[0.5, 0.5]], [[0.1, 0.5]], torch.zeros(1, 2, 3)))
        tensor([0.])
    """

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the modes x (N, K, 2 + Q)."""
        log_share, scale, centre = x[..., 0], x[..., 1:2], x[..., 2:]
        log_norm = dist.Normal(0.0, (1 + scale.square()).sqrt()).log_prob(centre).sum(-1)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(centre.shape[-1]), 1.0).to_event(1))
            bump = dist.Normal(centre, scale).log_prob(z[..., None, :]).sum(-1)
            pyro.factor("likelihood", (log_share + bump - log_norm).logsumexp(-1))

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log evidence, `(N,)`."""
        return x[..., 0].logsumexp(-1)


def bumps(
    shares: Tensor | list[list[float]], scales: Tensor | list[list[float]], centres: Tensor
) -> Tensor:
    """The data of `Modes`.

    Args:
        shares: Evidence of each mode, broadcast to `(N, K)`.
        scales: Their widths, broadcast to `(N, K)`.
        centres: Of shape `(N, K, Q)`.

    Example:
        >>> bumps([[0.5, 0.5]], [[0.1, 0.5]], torch.zeros(8, 2, 3)).shape
        torch.Size([8, 2, 5])
    """
    columns = [
        torch.as_tensor(values).to(centres).expand(centres.shape[:-1])
        for values in (shares, scales)
    ]
    return torch.cat([columns[0].log()[..., None], columns[1][..., None], centres], -1)


def _answer(x: Tensor) -> Answered:
    model = Modes()
    return model, x, model.log_evidence(x)


def _one_mode() -> Answered:
    """From 1 to 50 dimensions, noise from the prior's own size to a hundredth of it."""
    centres = torch.randn(NUM_DATA, 1, log_integer(1, 50), dtype=torch.float64)
    return _answer(bumps([[1.0]], log_uniform(0.01, 1.0, NUM_DATA, 1), centres))


def _equal_modes() -> Answered:
    """Two modes of equal mass, one of them narrow: the narrow one is a speck of the prior."""
    centre = directions(NUM_DATA, 1, log_integer(2, 8))
    scales = torch.cat([log_uniform(0.05, 0.3, NUM_DATA, 1), torch.full((NUM_DATA, 1), 0.5)], 1)
    return _answer(bumps([[0.5, 0.5]], scales, torch.cat([centre, -centre], 1)))


def _narrow_share() -> Answered:
    """The narrow one holds from a twentieth to nineteen twentieths of the mass."""
    centre = 1.5 * directions(NUM_DATA, 1, 4)
    share = 0.05 + 0.9 * torch.rand(NUM_DATA, 1, dtype=torch.float64)
    scales = torch.cat([log_uniform(0.03, 0.3, NUM_DATA, 1), torch.full((NUM_DATA, 1), 0.7)], 1)
    shares = torch.cat([share, 1 - share], 1)
    return _answer(bumps(shares, scales, torch.cat([centre, -centre], 1)))


def _far_modes() -> Answered:
    """Two to six modes of equal width, too far from each other for a chain to cross."""
    count = log_integer(2, 6)
    centres = torch.randn(NUM_DATA, count, 10, dtype=torch.float64)
    shares = torch.distributions.Dirichlet(torch.ones(NUM_DATA, count).double()).sample()
    return _answer(bumps(shares, log_uniform(0.1, 0.3, NUM_DATA, 1), centres))


def _many_modes() -> Answered:
    """Twenty modes of several widths in a few dimensions."""
    centres = torch.randn(NUM_DATA, 20, log_integer(2, 5), dtype=torch.float64)
    shares = torch.distributions.Dirichlet(torch.ones(NUM_DATA, 20).double()).sample()
    return _answer(bumps(shares, log_uniform(0.05, 0.5, NUM_DATA, 20), centres))


def _spikes(size: int, fractions: tuple[float, float], gain: float) -> Tensor:
    """Spikes that hold a fraction of the prior each, beside a plateau."""
    fraction = log_uniform(*fractions, NUM_DATA)
    radius = 1.0 + torch.rand(NUM_DATA, dtype=torch.float64)
    # The prior's mass in a spike is about its density there times (2 pi)^(Q/2) s^Q.
    scale = (fraction * (radius.square() / 2).exp()) ** (1 / size)
    centre = radius[:, None] * directions(NUM_DATA, size)
    scales = torch.stack([torch.full_like(scale, FLAT), scale], 1)
    return bumps([[1.0, math.expm1(gain)]], scales, torch.stack([0 * centre, centre], 1))


def _spikes_5() -> Answered:
    return _answer(_spikes(5, (1e-7, 1e-4), 4.6))


def _spikes_3() -> Answered:
    return _answer(_spikes(3, (1e-6, 1e-3), 2.0))


def _nested_spikes() -> Answered:
    """A plateau, a hill on it and a peak beside the hill, a third of the evidence each."""
    centre = 1.2 * directions(NUM_DATA, 1, 4)
    narrow = log_uniform(0.02, 0.15, NUM_DATA, 1)
    scales = torch.cat([torch.full_like(narrow, FLAT), torch.full_like(narrow, 0.4), narrow], 1)
    return _answer(bumps([[1 / 3] * 3], scales, torch.cat([0 * centre, -centre, centre], 1)))


FAMILIES = (
    Family("one_mode", "one normal mode, 1-D to 50-D", Half.CHOOSING, _one_mode),
    Family("equal_modes", "two modes of equal mass, one narrow", Half.CHOOSING, _equal_modes),
    Family("narrow_share", "a wide mode and a narrow one, 4-D", Half.REPORTING, _narrow_share),
    Family("far_modes", "modes far from each other, 10-D", Half.REPORTING, _far_modes),
    Family("many_modes", "twenty modes, 2-D to 5-D", Half.CHOOSING, _many_modes),
    Family("spikes_5", "spikes beside a plateau, 5-D", Half.CHOOSING, _spikes_5),
    Family("spikes_3", "spikes beside a plateau, 3-D", Half.REPORTING, _spikes_3),
    Family("nested_spikes", "plateau, hill and peak, 4-D", Half.REPORTING, _nested_spikes),
)
