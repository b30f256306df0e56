"""Posteriors of shapes that are hard to follow: evidence by quadrature, or in closed form."""

import math
from functools import partial

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from lvkam_pyro.problems.families.pieces import log_plane_integral
from lvkam_pyro.problems.problem import Answered
from lvkam_pyro.statistics.quadrature import composite_gauss_legendre

_NUM_DATA = 4
_NUM_NODES = 400


class Funnel:
    r"""Nine effects of a common unknown size (Neal 2003, https://doi.org/10.1214/aos/1056562461).

    .. math:: v \sim N(0, 2^2), \qquad z_i \sim N(0, e^v), \qquad x_i \sim N(z_i, 0.5^2), \qquad
              p(x) = \int N(v; 0, 2^2) \prod_{i=1}^{9} N(x_i; 0, e^v + 0.5^2) \, dv

    Args:
        prior: The standard deviation of v.
        noise: That of the data.
        num_effects: How many there are.

    Example:
        >>> Funnel().log_evidence(torch.zeros(1, 9).double()).shape
        torch.Size([1])
    """

    def __init__(self, *, prior: float = 2.0, noise: float = 0.5, num_effects: int = 9) -> None:
        self.prior = prior
        self.noise = noise
        self.num_effects = num_effects

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the data x (N, 9)."""
        with pyro.plate("data", len(x)):
            v = pyro.sample("v", dist.Normal(x.new_zeros(()), self.prior))
            scale = (v / 2).exp()[..., None]
            prior = dist.Normal(0.0 * scale, scale).expand((*v.shape, self.num_effects))
            z = pyro.sample("z", prior.to_event(1))
            pyro.sample("x", dist.Normal(z, self.noise).to_event(1), obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`."""
        v, log_masses = _normal_nodes(self.prior, 12 * self.prior)
        scale = (v.exp() + self.noise**2).sqrt()
        log_likelihood = dist.Normal(0.0, scale).log_prob(x.double()[..., None]).sum(1)
        return (log_masses + log_likelihood).logsumexp(-1)


class Banana:
    r"""One noisy equation for two unknowns: the posterior lies along a parabola.

    .. math:: z_1, z_2 \sim N(0, 2^2), \qquad x \sim N(z_2 - z_1^2, 0.1^2), \qquad
              p(x) = \int N(z_1; 0, 2^2) \, N(x; -z_1^2, 2^2 + 0.1^2) \, dz_1

    Args:
        prior: The standard deviation of the unknowns.
        noise: That of the data.

    Example:
        >>> Banana().log_evidence(torch.zeros(1).double()).shape
        torch.Size([1])
    """

    def __init__(self, *, prior: float = 2.0, noise: float = 0.1) -> None:
        self.prior = prior
        self.noise = noise

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the data x (N,)."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), self.prior).to_event(1))
            pyro.sample("x", dist.Normal(z[..., 1] - z[..., 0] ** 2, self.noise), obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`."""
        z, log_masses = _normal_nodes(self.prior, 12 * self.prior)
        scale = math.hypot(self.prior, self.noise)
        log_likelihood = dist.Normal(-z.square(), scale).log_prob(x.double()[:, None])
        return (log_masses + log_likelihood).logsumexp(-1)


class LabelSwitching:
    r"""Points from an even mixture of two normal distributions of unknown means.

    .. math:: \mu_1, \mu_2 \sim N(0, 3^2), \qquad
              x_i \sim \tfrac12 N(\mu_1, 0.7^2) + \tfrac12 N(\mu_2, 0.7^2), \quad i = 1, \dots, 20

    Args:
        scale: The components' standard deviation.

    Example:
        >>> LabelSwitching().log_evidence(torch.zeros(1, 20).double()).shape
        torch.Size([1])
    """

    prior = 3.0

    def __init__(self, *, scale: float = 0.7) -> None:
        self.scale = scale

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the sets of points x (N, 20)."""
        with pyro.plate("data", len(x)):
            means = pyro.sample("means", dist.Normal(x.new_zeros(2), self.prior).to_event(1))
            parts = dist.Normal(means[..., None, :], self.scale)
            mixture = dist.MixtureSameFamily(dist.Categorical(logits=x.new_zeros(2)), parts)
            pyro.sample("x", mixture.expand(means.shape[:-1] + x.shape[-1:]).to_event(1), obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`, by Gauss-Legendre nodes on both means."""
        integrals = [
            log_plane_integral(partial(self._log_joint, points), 10 * self.prior)
            for points in x.double()
        ]
        return torch.stack(integrals)

    def _log_joint(self, points: Tensor, means: Tensor) -> Tensor:
        parts = dist.Normal(means[:, None], self.scale).log_prob(points[:, None]) - math.log(2)
        log_prior = dist.Normal(0.0, self.prior).log_prob(means).sum(-1)
        log_joint: Tensor = log_prior + parts.logsumexp(-1).sum(-1)
        return log_joint


class GaussianShells:
    r"""A datum is the distance from one of two centres, measured with a small error.

    .. math:: z \sim U(-6, 6)^{10}, \qquad
              x \sim \tfrac12 N(|z - c|, 0.1^2) + \tfrac12 N(|z + c|, 0.1^2), \qquad
              c = (3.5, 0, \dots, 0)

    Both shells lie inside the box, so that with :math:`A` the unit sphere's area
    :math:`p(x) = \int_0^{2.5} A r^9 N(x; r, 0.1^2) \, dr / 12^{10}`
    (after Feroz and Hobson 2008, https://doi.org/10.1111/j.1365-2966.2007.12353.x, section 6.2).

    Example:
        >>> GaussianShells().log_evidence(torch.tensor([2.0]).double())
        tensor([-15.2836], dtype=torch.float64)
    """

    num_latents, half_width, centre, scale = 10, 6.0, 3.5, 0.1

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the distances x (N,)."""
        centre = torch.eye(1, self.num_latents).to(x) * self.centre
        ends = x.new_full((self.num_latents,), self.half_width)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Uniform(-ends, ends).to_event(1))
            radii = (z[..., None, :] - torch.cat([centre, -centre])).norm(dim=-1)
            parts = dist.Normal(radii, self.scale)
            mixture = dist.MixtureSameFamily(dist.Categorical(logits=x.new_zeros(2)), parts)
            pyro.sample("x", mixture, obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`."""
        ends = torch.tensor([0.0, self.half_width - self.centre], dtype=torch.float64)
        radius, weights = composite_gauss_legendre(ends, _NUM_NODES)
        log_area = math.log(2) + self.num_latents / 2 * math.log(math.pi) - math.lgamma(5)
        log_masses = weights.log() + log_area + (self.num_latents - 1) * radius.log()
        log_likelihood = dist.Normal(radius, self.scale).log_prob(x.double()[:, None])
        log_volume = self.num_latents * math.log(2 * self.half_width)
        return (log_masses + log_likelihood).logsumexp(-1) - log_volume


class SpikeAndPlateau:
    r"""A likelihood that is flat but for a narrow peak, which holds nearly all of the evidence.

    .. math:: z \sim N(0, I_{10}), \qquad
              p(x | z) = N(x; 0, 1) \left[1 + (e^4 - 1) \frac{N(z; c, s^2 I)}
                         {N(c; 0, (1 + s^2) I)} \right], \qquad p(x) = e^4 N(x; 0, 1)

    with c = (2, ..., 2) and s = 0.01: less than 1e-27 of the prior lies within the spike, so
    that whoever draws from the prior or follows gradients finds :math:`N(x; 0, 1)`, with small
    errors, and is wrong by 4 nats. (A density of z, not a distribution of x: a factor weighs it.)

    Example:
        >>> SpikeAndPlateau().log_evidence(torch.zeros(1))  # 4 + log N(0; 0, 1)
        tensor([3.0811])
    """

    num_latents, centre, scale, gain = 10, 2.0, 0.01, 4.0

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the data x (N,)."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.num_latents), 1.0).to_event(1))
            peak = dist.Normal(self.centre, self.scale).log_prob(z).sum(-1)
            marginal = dist.Normal(0.0, math.hypot(1.0, self.scale)).log_prob(
                x.new_tensor(self.centre)
            )
            spike = math.log(math.expm1(self.gain)) + peak - self.num_latents * marginal
            plateau = dist.Normal(0.0, 1.0).log_prob(x)
            pyro.factor("likelihood", plateau + torch.logaddexp(spike.new_zeros(()), spike))

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log evidence, `(N,)`."""
        log_prob: Tensor = dist.Normal(0.0, 1.0).log_prob(x)
        return self.gain + log_prob


def _normal_nodes(scale: float, limit: float) -> tuple[Tensor, Tensor]:
    """Nodes over a centred normal distribution, and the logarithms of their masses."""
    ends = torch.tensor([-limit, limit], dtype=torch.float64)
    nodes, weights = composite_gauss_legendre(ends, _NUM_NODES)
    return nodes, weights.log() + dist.Normal(0.0, scale).log_prob(nodes)


def funnel() -> Answered:
    """The funnel, with effects of four sizes.

    Example:
        >>> funnel()[1].shape
        torch.Size([4, 9])
    """
    model = Funnel()
    z = torch.randn(_NUM_DATA, model.num_effects, dtype=torch.float64)
    size = torch.tensor([0.1, 0.5, 1.0, 3.0], dtype=torch.float64)
    x = size[:, None] * z + model.noise * torch.randn_like(z)
    return model, x, model.log_evidence(x)


def banana() -> Answered:
    """The banana, at four data.

    Example:
        >>> banana()[1]
        tensor([-6., -2.,  0.,  2.], dtype=torch.float64)
    """
    model, x = Banana(), torch.tensor([-6.0, -2.0, 0.0, 2.0], dtype=torch.float64)
    return model, x, model.log_evidence(x)


def label_switching(num_points: int) -> Answered:
    """Sets of points from two components, which can change places.

    Example:
        >>> label_switching(20)[1].shape
        torch.Size([4, 20])
    """
    model, means = LabelSwitching(), torch.tensor([-2.0, 1.5], dtype=torch.float64)
    chosen = means[torch.randint(2, (_NUM_DATA, num_points))]
    x = chosen + model.scale * torch.randn_like(chosen)
    return model, x, model.log_evidence(x)


def gaussian_shells() -> Answered:
    """Two thin shells, at four radii.

    Example:
        >>> gaussian_shells()[1]
        tensor([1.2000, 1.4000, 1.6000, 1.8000], dtype=torch.float64)
    """
    model, x = GaussianShells(), torch.tensor([1.2, 1.4, 1.6, 1.8], dtype=torch.float64)
    return model, x, model.log_evidence(x)


def spike_and_plateau() -> Answered:
    """The spike, which every estimator is expected to miss by 4 nats.

    Example:
        >>> spike_and_plateau()[1].shape
        torch.Size([4])
    """
    model, x = SpikeAndPlateau(), torch.tensor([-1.0, 0.0, 0.5, 2.0], dtype=torch.float64)
    return model, x, model.log_evidence(x)
