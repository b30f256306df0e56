"""Posteriors along curves and shells, and with many modes by way of waves."""

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from lvkam_pyro.problems.families.pieces import (
    NUM_DATA,
    STANDARD,
    log_integer,
    log_uniform,
    nodes_on,
    normal_product,
    panels,
    rotation,
    simulate,
)
from lvkam_pyro.problems.family import Family, Half
from lvkam_pyro.problems.problem import Answered
from lvkam_pyro.problems.shapes import Banana, Funnel


class Valleys:
    r"""Five parabolas, turned at random: a narrow curved valley in ten dimensions.

    .. math:: z \sim N(0, I), \quad y = R z, \quad x_j \sim N(y_{2j} - c y_{2j-1}^2, s^2), \qquad
              p(x) = \prod_j \int N(y; 0, 1) \, N(x_j; -c y^2, 1 + s^2) \, dy

    Args:
        turn: R, `(2 O, 2 O)` in float64, for O outputs.
        curvature: The parabolas' c.
        scale: The noise's standard deviation s.

    Example:
        >>> model = Valleys(torch.eye(2).double(), curvature=0.0, scale=1.0)
        >>> model.log_evidence(torch.zeros(1, 1).double())  # log N(0; 0, 2)
        tensor([-1.2655], dtype=torch.float64)
    """

    def __init__(self, turn: Tensor, *, curvature: float, scale: float) -> None:
        self.turn = turn
        self.curvature = curvature
        self.scale = scale

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the data x (N, O)."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(self.turn)), 1.0).to_event(1))
            y = z @ self.turn.to(x).T
            loc = y[..., 1::2] - self.curvature * y[..., ::2].square()
            pyro.sample("x", dist.Normal(loc, self.scale).to_event(1), obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`."""
        y, log_weights = nodes_on(STANDARD)
        log_masses = log_weights + dist.Normal(0.0, 1.0).log_prob(y)
        output = dist.Normal(-self.curvature * y.square(), math.hypot(1.0, self.scale))
        return (log_masses + output.log_prob(x.double()[..., None])).logsumexp(-1).sum(-1)


class Rosenbrock:
    r"""Three latents, each near the square of the one before it.

    .. math:: z \sim N(0, I_3), \qquad x_1 \sim N(z_2 - z_1^2, s^2), \qquad
              x_2 \sim N(z_3 - z_2^2, s^2)

    so that :math:`z_3` is integrated out in closed form, :math:`z_1` and the first error on a grid.

    Args:
        scale: The noise's standard deviation s.

    Example:
        >>> Rosenbrock(0.1).log_evidence(torch.zeros(1, 2).double()).shape
        torch.Size([1])
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the data x (N, 2)."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(3), 1.0).to_event(1))
            loc = z[..., 1:] - z[..., :-1].square()
            pyro.sample("x", dist.Normal(loc, self.scale).to_event(1), obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`."""
        z, log_weights = nodes_on(panels(-8.0, 8.0, 500))
        noise, log_noise = nodes_on(panels(-8.0, 8.0, 30))
        standard = dist.Normal(0.0, 1.0)
        log_masses = (
            (log_weights + standard.log_prob(z))[:, None] + log_noise + standard.log_prob(noise)
        )
        first, second = x.double().T[..., None, None]
        middle = first + z[:, None].square() + self.scale * noise
        last = dist.Normal(-middle.square(), math.hypot(1.0, self.scale)).log_prob(second)
        return (log_masses + standard.log_prob(middle) + last).logsumexp((1, 2))


class Shell:
    r"""The distance from the origin, measured with an error that a datum brings with it.

    .. math:: z \sim N(0, I_Q), \qquad x \sim N(|z|, s^2), \qquad
              p(x) = \int \chi_Q(r) \, N(x; r, s^2) \, dr

    Args:
        size: The number of latents Q.

    Example:
        >>> Shell(3).log_evidence(torch.tensor([[1.0, 0.1]]).double()).shape
        torch.Size([1])
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the distances and errors x (N, 2)."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.size), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.norm(dim=-1), x[:, 1]), obs=x[:, 0])

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`."""
        r, log_weights = nodes_on(panels(0.0, 15.0))
        log_norm = (self.size / 2 - 1) * math.log(2) + math.lgamma(self.size / 2)
        log_masses = log_weights + (self.size - 1) * r.log() - r.square() / 2 - log_norm
        measured, scale = x.double()[..., None].unbind(1)
        return (log_masses + dist.Normal(r, scale).log_prob(measured)).logsumexp(-1)


def _valleys() -> Answered:
    scale = float(log_uniform(0.03, 0.3))
    model = Valleys(rotation(10), curvature=float(log_uniform(0.5, 2.0)), scale=scale)
    x = simulate(model, torch.zeros(NUM_DATA, 5, dtype=torch.float64))
    return model, x, model.log_evidence(x)


def _parabola() -> Answered:
    model = Banana(prior=float(log_uniform(1.0, 3.0)), noise=float(log_uniform(0.01, 0.3)))
    x = simulate(model, torch.zeros(NUM_DATA, dtype=torch.float64))
    return model, x, model.log_evidence(x)


def _rosenbrock() -> Answered:
    model = Rosenbrock(float(log_uniform(0.05, 0.5)))
    x = simulate(model, torch.zeros(NUM_DATA, 2, dtype=torch.float64))
    return model, x, model.log_evidence(x)


def _shell() -> Answered:
    model = Shell(log_integer(2, 12))
    scale = log_uniform(0.02, 0.3, NUM_DATA)
    distance = torch.randn(NUM_DATA, model.size, dtype=torch.float64).norm(dim=-1)
    x = torch.stack([distance + scale * torch.randn(NUM_DATA).double(), scale], -1)
    return model, x, model.log_evidence(x)


def _funnels() -> Answered:
    model = Funnel(prior=3.0, noise=float(log_uniform(0.1, 1.0)), num_effects=log_integer(2, 20))
    x = simulate(model, torch.zeros(NUM_DATA, model.num_effects, dtype=torch.float64))
    return model, x, model.log_evidence(x)


def _waves() -> Answered:
    """Each of the rotated latents is seen through a sine of several periods."""
    frequency, scale = float(log_uniform(1.0, 5.0)), float(log_uniform(0.05, 0.5))
    model, x = normal_product(
        log_integer(2, 6), lambda y: dist.Normal((frequency * y).sin(), scale)
    )
    return model, x, model.log_evidence(x)


def _signs() -> Answered:
    """Each of the rotated latents is seen through its square: 2^Q equal modes."""
    scale = float(log_uniform(0.1, 0.5))
    model, x = normal_product(log_integer(2, 8), lambda y: dist.Normal(y.square(), scale))
    return model, x, model.log_evidence(x)


FAMILIES = (
    Family("valleys", "a curved narrow valley, 10-D", Half.CHOOSING, _valleys, "quadratures"),
    Family("parabola", "banana, 2-D", Half.REPORTING, _parabola, "quadrature over one latent"),
    Family(
        "rosenbrock",
        "each latent near the square of another, 3-D",
        Half.REPORTING,
        _rosenbrock,
        "quadrature over two latents",
    ),
    Family("shell", "a shell, 2-D to 12-D", Half.CHOOSING, _shell, "quadrature over the radius"),
    Family("funnels", "funnels, 3-D to 21-D", Half.REPORTING, _funnels, "quadrature over the size"),
    Family("waves", "waves of rotated latents, 2-D to 6-D", Half.REPORTING, _waves, "quadratures"),
    Family("signs", "2^Q equal modes, 2-D to 8-D", Half.CHOOSING, _signs, "quadratures"),
)
